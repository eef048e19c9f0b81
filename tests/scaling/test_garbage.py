"""What is exempt from collections while something is timed, and whose it is afterwards."""

from __future__ import annotations

BLOCKS = """
import gc, sys
from compute.scaling.garbage import PYTHONS_OWN, garbage_set_aside

asked, count = [], gc.get_freeze_count
gc.get_freeze_count = lambda: asked.append(count()) or asked[-1]
if sys.argv[1] == "frozen":
    gc.freeze()
before = count()
with garbage_set_aside():
    assert count() > before
    for _ in range(3):
        try:
            with garbage_set_aside():
                assert count() > before
                raise ValueError
        except ValueError:
            pass
        assert count() > before
assert (count() > PYTHONS_OWN) == (sys.argv[1] == "frozen")
with garbage_set_aside():
    assert count() > before
assert (count() > PYTHONS_OWN) == (sys.argv[1] == "frozen")
print(*[frozen > PYTHONS_OWN for frozen in asked])
"""


def test_the_last_block_takes_it_back_and_only_the_first_counts(script):
    assert script(BLOCKS, "free").stdout == "False False\n"


def test_what_the_program_has_frozen_stays_so(script):
    assert script(BLOCKS, "frozen").stdout == "True True\n"
