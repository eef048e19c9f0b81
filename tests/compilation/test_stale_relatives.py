"""More changes between two runs: what is changed in place, and what numba has frozen on its own."""

from __future__ import annotations

import warnings
from contextlib import ExitStack

import numpy as np
import pytest
from test_never_stale import BODY, assert_right_everywhere, module, x

from compute import Processes, Serial, Threads

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pools():
    with ExitStack() as stack:
        yield [stack.enter_context(backend.open()) for backend in (Serial(), Threads(2), Processes(2))]


@pytest.mark.parametrize("size", [6, 180_000], ids=["frozen", "where it lies"])
def test_an_array_whose_layout_was_changed_in_place(pools, size):
    m = module("changed_layout", BODY.format("x[i] * TABLE.shape[0] + TABLE.itemsize"))
    m.TABLE = np.ones((2, size // 2))
    assert_right_everywhere(pools, m.body, x * 2 + 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        m.TABLE.shape = (3, size // 3)
    assert_right_everywhere(pools, m.body, x * 3 + 8)
    m.TABLE.resize((size, 1), refcheck=False)
    assert_right_everywhere(pools, m.body, x * size + 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        m.TABLE.dtype = np.complex64
        m.TABLE.shape = (size // 2, 2)
    assert_right_everywhere(pools, m.body, x * (size // 2) + 8)


def test_a_record_that_was_changed_in_place(pools):
    m = module("changed_record", BODY.format("x[i] * RECORD['a'] + PAIR[0]['a']"))
    records = np.zeros(2, [("a", "f8"), ("b", "i4")])
    m.RECORD, m.PAIR = records[0], (records[1], 1)
    for one, other in ((2.0, 1.0), (3.0, 1.0), (3.0, 4.0)):
        records["a"] = one, other
        assert_right_everywhere(pools, m.body, x * one + other)


def test_compiled_helpers_that_call_each_other(pools):
    text = (
        "RATE = 2.0\n@njit\ndef deep(v):\n    return v * RATE\n@njit\ndef middle(v, f=deep):\n    return f(v)\n"
        "@njit\ndef outer(v):\n    return middle(v) + deep(v)\n"
    )
    m = module("nested_compiled", text + BODY.format("outer(x[i])"))
    for rate in (2.0, 3.0, 4.0):
        m.RATE = rate
        assert_right_everywhere(pools, m.body, x * 2 * rate)


def test_a_kernel_that_is_called_directly(pools):
    m = module("called_directly", "RATE = 2.0\n@njit\ndef h(v):\n    return v * RATE\n" + BODY.format("h(x[i])"))
    for rate in (2.0, 3.0):
        m.RATE = rate
        for variant in ("python", "nogil"):
            np.testing.assert_array_equal(m.body.held_to(variant)(x), x * rate)


@pytest.mark.parametrize("options", ["parallel=True", "locals={'w': numba.float32}", "'float64(float64)'"])
def test_a_compiled_helper_with_options_of_its_own(pools, options):
    text = f"import numba\nRATE = 2.0\n@njit({options})\ndef h(v):\n    w = v * RATE\n    return w\n"
    m = module("own_options", text + BODY.format("h(x[i])"))
    for rate in (2.0, 3.0, 4.0):
        m.RATE = rate
        assert_right_everywhere(pools, m.body, x * rate)


def test_a_body_that_was_written_anew_beside_a_parallel_helper(pools):
    m = module("anew_parallel", "@njit(parallel=True)\ndef h(v):\n    return v\n" + BODY.format("h(x[i]) * 2"))
    assert_right_everywhere(pools, m.body, x * 2)
    scope = {"kernel": lambda function: function}
    exec(BODY.format("h(x[i]) * 3"), scope)
    m.body.variants["python"].function.__code__ = scope["body"].__code__  # as IPython's autoreload does
    assert_right_everywhere(pools, m.body, x * 3)


def test_a_read_only_view_of_an_array_that_changed(pools):
    m = module("read_only_view", BODY.format("x[i] * TABLE[0]"))
    base = np.ones(200_000)
    m.TABLE = base[:]
    m.TABLE.flags.writeable = False
    for value in (1.0, 3.0):
        base[0] = value
        assert_right_everywhere(pools, m.body, x * value)


HOLDERS = {
    "a list": "HELD = [f]\ndef h(v): return HELD[0](v)\n",
    "a dictionary": "HELD = {'f': {'g': f}}\ndef h(v): return HELD['f']['g'](v)\n",
    "a partial": "import functools\nh = functools.partial(f)\n",
    "a cache": "import functools\n@functools.lru_cache(maxsize=0)\ndef h(v): return f(v)\n",
}


@pytest.mark.parametrize(
    "helper", ["def f(v): return v * RATE * settings.CE", "@njit\ndef f(v): return v * RATE * 2.0"]
)
@pytest.mark.parametrize("holder", HOLDERS)
def test_functions_that_something_holds(pools, holder, helper):
    settings = module("held_settings", "CE = 2.0")
    m = module(
        "holds", f"import held_settings as settings\nRATE = 2.0\n{helper}\n{HOLDERS[holder]}" + BODY.format("h(x[i])")
    )
    for rate in (2.0, 3.0):
        m.RATE = rate
        assert_right_everywhere(pools, m.body, x * rate * 2, variants=("python",))
    if "settings" in helper:
        settings.CE = 5.0
        assert_right_everywhere(pools, m.body, x * 15, variants=("python",))


def test_a_kernel_in_a_kernel_whose_body_was_replaced(pools):
    text = BODY.format("x[i] * 2").replace("body", "inner")
    m = module(
        "inner_kernel", text + "@kernel(compiled=False)\ndef body(lo, hi, out, x):\n    out[lo:hi] = inner(x[lo:hi])\n"
    )
    assert_right_everywhere(pools, m.body, x * 2, variants=("python",))

    def other(lo, hi, out, x):
        for i in range(lo, hi):
            out[i] = x[i] * 3

    m.inner.add_variant("python", other)
    m.inner.add_variant("nogil", other, compiled=True)
    assert_right_everywhere(pools, m.body, x * 3, variants=("python",))


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

    root = Path(__file__).parents[2]
    paths = [str(root), str(root / "tests"), str(root / "tests/compilation")]
    code = f"import sys\nsys.path[:0] = {paths}\n{OVERLOADED}"
    subprocess.run([sys.executable, "-c", code], check=True)
