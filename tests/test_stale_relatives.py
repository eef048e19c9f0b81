"""More changes between two runs: what is changed in place, and what numba has frozen on its own."""

from __future__ import annotations

import warnings
from contextlib import ExitStack

import numpy as np
import pytest
from test_never_stale import BODY, everywhere, module, x

from compute import Processes, Serial, Threads


@pytest.fixture(scope="module")
def pools():
    with ExitStack() as stack:
        yield [stack.enter_context(backend.open()) for backend in (Serial(), Threads(2), Processes(2))]


@pytest.mark.parametrize("size", [6, 180_000], ids=["frozen", "where it lies"])
def test_an_array_whose_layout_was_changed_in_place(pools, size):
    m = module("changed_layout", BODY.format("x[i] * TABLE.shape[0] + TABLE.itemsize"))
    m.TABLE = np.ones((2, size // 2))
    everywhere(pools, m.body, x * 2 + 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        m.TABLE.shape = (3, size // 3)
    everywhere(pools, m.body, x * 3 + 8)
    m.TABLE.resize((size, 1), refcheck=False)
    everywhere(pools, m.body, x * size + 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        m.TABLE.dtype = np.complex64
        m.TABLE.shape = (size // 2, 2)
    everywhere(pools, m.body, x * (size // 2) + 8)


def test_a_record_that_was_changed_in_place(pools):
    m = module("changed_record", BODY.format("x[i] * RECORD['a'] + PAIR[0]['a']"))
    records = np.zeros(2, [("a", "f8"), ("b", "i4")])
    m.RECORD, m.PAIR = records[0], (records[1], 1)
    for one, other in ((2.0, 1.0), (3.0, 1.0), (3.0, 4.0)):
        records["a"] = one, other
        everywhere(pools, m.body, x * one + other)


def test_compiled_helpers_that_call_each_other(pools):
    text = (
        "RATE = 2.0\n@njit\ndef deep(v):\n    return v * RATE\n@njit\ndef middle(v, f=deep):\n    return f(v)\n"
        "@njit\ndef outer(v):\n    return middle(v) + deep(v)\n"
    )
    m = module("nested_compiled", text + BODY.format("outer(x[i])"))
    for rate in (2.0, 3.0, 4.0):
        m.RATE = rate
        everywhere(pools, m.body, x * 2 * rate)


def test_a_kernel_that_is_called_directly(pools):
    m = module("called_directly", "RATE = 2.0\n@njit\ndef h(v):\n    return v * RATE\n" + BODY.format("h(x[i])"))
    for rate in (2.0, 3.0):
        m.RATE = rate
        for variant in ("python", "nogil"):
            np.testing.assert_array_equal(m.body.held_to(variant)(x), x * rate)


OVERLOADED = """
import numpy as np
from numba.extending import overload
from test_never_stale import BODY, module, x
from compute import Serial, run
m = module("overloaded_later", "def h(v):\\n    return v * 2\\n" + BODY.format("h(x[i])"))
assert (run(m.body, x, on=Serial()).value == x * 2).all()
@overload(m.h)
def other(v):
    return lambda v: v * 5
assert (run(m.body, x, on=Serial()).value == x * 5).all()
"""


def test_an_overload_after_the_first_run():
    """In a process of its own: an overload is there for good, and nothing is kept beside it."""
    import subprocess
    import sys
    from pathlib import Path

    here = Path(__file__).parent
    code = f"import sys\nsys.path[:0] = [{str(here.parent)!r}, {str(here)!r}]\n{OVERLOADED}"
    subprocess.run([sys.executable, "-c", code], check=True)
