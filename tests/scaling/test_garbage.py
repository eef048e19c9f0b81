"""What is exempt from collections while something is timed, and whose it is afterwards."""

from __future__ import annotations

import pytest

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


ANYWHERE = """
import gc, sys
from ctrl_c import CtrlC
from compute.scaling.garbage import PYTHONS_OWN, garbage_set_aside, no_garbage_collection

block, k, came = {"aside": garbage_set_aside, "off": no_garbage_collection}[sys.argv[1]], 0, True
while came:
    k += 1
    try:
        with CtrlC(k) as at:
            with block():
                pass
    except KeyboardInterrupt:
        pass
    came = at.came
    assert gc.isenabled() and gc.get_freeze_count() <= PYTHONS_OWN, k
print(k > 15)
"""


@pytest.mark.parametrize("block", ["aside", "off"])
def test_a_ctrl_c_anywhere_leaves_the_collector_as_it_was(script, block):
    assert script(ANYWHERE, block).stdout == "True\n"
