"""What reaches worker processes is what the caller has at each run: objects, classes, arrays, functions."""

from __future__ import annotations

import importlib
import warnings

import numpy as np
import pytest
from test_never_stale import BODY, TO_AND_FRO, assert_right_everywhere, module, x

from compute import Processes
from kernels import Plan, kernel

pytestmark = pytest.mark.slow


def read_only(how: str):
    """A large read-only array, and a function that sets all of its elements all the same."""
    array = np.full(20_000, 1.0)
    view = array[:]
    array.flags.writeable = False

    def through_a_view(value):
        view[:] = value

    def by_the_flag(value):
        array.flags.writeable = True
        array[:] = value
        array.flags.writeable = False

    return array, through_a_view if how == "an earlier view" else by_the_flag


@pytest.mark.parametrize("how", ["an earlier view", "the flag"])
def test_a_read_only_array_that_changed(finding_pools, how):
    array, put = read_only(how)
    m = module("reads_a_read_only_array", BODY.format("x[i] * TABLE[5]"))
    m.TABLE = array
    for value in TO_AND_FRO:
        put(value)
        assert_right_everywhere(finding_pools, m.body, x * value)


@pytest.mark.parametrize("how", ["an earlier view", "the flag"])
def test_a_read_only_array_in_a_list_that_changed(finding_pools, how):
    array, put = read_only(how)

    @kernel(plan=lambda x: Plan(len(x), (x, [array])), compiled=False)
    def body(lo, hi, out, x, arrays):
        out[lo:hi] = x[lo:hi] * arrays[0][5]

    for value in TO_AND_FRO:
        put(value)
        assert_right_everywhere(finding_pools, body, x * value, variants=("python",))


BORROWED_NAMES = {
    "wraps": "@functools.wraps(np.linalg.norm)\ndef step(v):\n    return v * RATE\n",
    "wraps a function of Python": "@functools.wraps(statistics.mean)\ndef step(v):\n    return v * RATE\n",
    "wraps a function of pip's": "@functools.wraps(psutil.cpu_count)\ndef step(v):\n    return v * RATE\n",
    "a name that was set": "def step(v):\n    return v * RATE\nstep.__module__ = 'numpy'\n",
    "a library's decorator": "@contextlib.contextmanager\ndef held():\n    yield RATE\n"
    "def step(v):\n    with held() as rate:\n        return v * rate\n",
    "a library's closure": "step = np.vectorize(lambda v: v * RATE).__call__\n",
}


@pytest.mark.parametrize("how", BORROWED_NAMES)
def test_a_helper_with_the_name_of_a_librarys(finding_pools, how):
    m = module("borrows_a_name", "import contextlib, functools, psutil, statistics\n" + BORROWED_NAMES[how])
    vars(m)["RATE"] = 1.0
    exec(BODY.format("step(x[i])"), vars(m))
    for value in TO_AND_FRO:
        m.RATE = value
        assert_right_everywhere(
            finding_pools, m.body, x * value, variants=("python", "nogil") if how.startswith("wraps") else ("python",)
        )


def test_an_attribute_of_a_function(finding_pools):
    m = module("function_attributes", "def step(v):\n    return v * step.rate\n" + BODY.format("step(x[i])"))
    for value in TO_AND_FRO:
        m.step.rate = value
        assert_right_everywhere(finding_pools, m.body, x * value, variants=("python",))


COMPUTED_NAMES = [
    'getattr(settings, "RATE_" + LETTER)',
    'getattr(settings, "RATE_A", 1.0)',
    'settings.RATE_A if hasattr(settings, "RATE_A") else 1.0',
    'vars(settings).get("RATE_" + LETTER, 1.0)',
    'settings.__dict__.get("RATE_" + LETTER, 1.0)',
    'operator.attrgetter("RATE_" + LETTER)(settings)',
    'getattr(settings, "step_" + LETTER)()',
    "or_else()",
]


@pytest.mark.parametrize("by_value", [False, True], ids=["imported", "made by hand"])
@pytest.mark.parametrize("read", COMPUTED_NAMES)
def test_an_attribute_of_a_module_by_a_computed_name(finding_pools, importable, read, by_value):
    text = "step_B = 0\ndef step_A():\n    return RATE_A\n"
    if by_value:
        settings = module("settings_by_hand", text)
    else:
        (importable / "settings_to_compute.py").write_text(text)
        importlib.invalidate_caches()
        settings = importlib.import_module("settings_to_compute")
    m = module(
        "computes_names",
        f"import operator\nimport {settings.__name__} as settings\nLETTER = 'A'\ndef or_else():\n    try:\n"
        "        return settings.RATE_A\n    except AttributeError:\n        return 1.0\n"
        + BODY.format(f"x[i] * ({read})"),
    )
    if read == "or_else()" or "1.0" in read:
        assert_right_everywhere(finding_pools, m.body, x, variants=("python",))
    for value in TO_AND_FRO:
        settings.RATE_A = value
        assert_right_everywhere(finding_pools, m.body, x * value, variants=("python",))
    del settings.RATE_A
    if read == "or_else()" or "1.0" in read:
        assert_right_everywhere(finding_pools, m.body, x, variants=("python",))


def test_an_attribute_that_an_import_in_a_body_finds_absent_again(finding_pools, importable):
    (importable / "absent_again.py").write_text("")
    importlib.invalidate_caches()
    settings = importlib.import_module("absent_again")
    m = module(
        "imports_absent",
        "def rate():\n    import absent_again as s\n    return getattr(s, 'RATE', 1.0)\n"
        + BODY.format("x[i] * rate()"),
    )
    for value in TO_AND_FRO:
        settings.RATE = value
        assert_right_everywhere(finding_pools, m.body, x * value, variants=("python",))
        del settings.RATE
        assert_right_everywhere(finding_pools, m.body, x, variants=("python",))


class Holds:
    def __init__(self, f):
        self.f = f


GIVEN = {
    "function": lambda m: m.plain,
    "compiled function": lambda m: m.jitted,
    "compiled function that calls one": lambda m: m.calls_jitted,
    "function that calls a compiled one": lambda m: m.calls,
}
HELD = {
    "itself": (lambda f: f, lambda held: held),
    "tuple": (lambda f: (f, 1), lambda held: held[0]),
    "list": (lambda f: [f], lambda held: held[0]),
    "dict": (lambda f: {"f": f}, lambda held: held["f"]),
    "object": (Holds, lambda held: held.f),
}


@pytest.mark.filterwarnings("ignore::numba.core.errors.NumbaExperimentalFeatureWarning")
@pytest.mark.parametrize("how", HELD)
@pytest.mark.parametrize("given", GIVEN)
def test_a_function_among_the_inputs(finding_pools, given, how):
    m = module(
        "gives_functions",
        "RATE = 1.0\ndef plain(v):\n    return v * RATE\njitted = njit(plain)\n"
        "def calls(v):\n    return jitted(v)\ncalls_jitted = njit(calls)\n",
    )
    m.HELD, m.GIVEN, m.Plan, m.m = HELD, GIVEN, Plan, m
    exec(
        f"make, get = HELD[{how!r}]\n@kernel(plan=lambda x: Plan(len(x), (x, make(GIVEN[{given!r}](m)))))\n"
        "def body(lo, hi, out, x, held):\n    for i in range(lo, hi):\n        out[i] = GET(held)(x[i])\n".replace(
            "GET(held)", {"itself": "held", "tuple": "held[0]"}.get(how, "get(held)")
        ),
        vars(m),
    )
    compiles = given.startswith("compiled") and how in ("itself", "tuple")
    for value in TO_AND_FRO:
        m.RATE = value
        assert_right_everywhere(
            finding_pools, m.body, x * value, variants=("python", "nogil") if compiles else ("python",)
        )


HAVE_A_LOCK = """
import threading, weakref
from numba.typed import Dict, List
from kernels import kernel
class Locked:
    def __init__(self):
        self.lock, self.again, self.event = threading.Lock(), threading.RLock(), threading.Event()
        self.rate = 1.0
config = Locked()
table = Dict()
table["rate"] = 1.0
numbers = List([1.0])
LOCK = threading.RLock()
@kernel(compiled=False)
def body(lo, hi, out, x):
    with config.lock, config.again, LOCK:
        out[lo:hi] = x[lo:hi] * config.rate * table["rate"] * numbers[0]
"""


def test_objects_with_locks_and_numbas_containers(finding_pools, importable):
    (importable / "has_locks.py").write_text(HAVE_A_LOCK)
    importlib.invalidate_caches()
    m = importlib.import_module("has_locks")
    for value in TO_AND_FRO:
        m.config.rate, m.table["rate"], m.numbers[0] = value, value + 1, value + 2
        assert_right_everywhere(finding_pools, m.body, x * value * (value + 1) * (value + 2), variants=("python",))


def test_what_each_worker_has_of_its_own_is_named(importable):
    (importable / "has_a_generator.py").write_text(
        "from kernels import kernel\nclass Stream:\n    def __init__(self):\n        self.left = (n for n in 'ab')\n"
        "        self.rate = 2.0\nSTREAM = Stream()\n"
        "@kernel(compiled=False)\ndef body(lo, hi, out, x):\n    out[lo:hi] = STREAM.rate\n"
    )
    importlib.invalidate_caches()
    m = importlib.import_module("has_a_generator")
    with Processes(1).open() as pool:
        with pytest.warns(RuntimeWarning, match=r"has_a_generator\.STREAM, a Stream, cannot be sent.*plain values"):
            pool.run(m.body, x)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            pool.run(m.body, x)  # once is enough


@pytest.mark.filterwarnings("ignore::numba.core.errors.NumbaWarning")
def test_what_no_worker_can_be_given_is_refused_in_one_line(finding_pools):
    m = module(
        "cannot_be_sent",
        "import numba\nfrom numba import objmode\nfrom numba.experimental import jitclass\n"
        "@jitclass([('a', numba.float64)])\nclass J:\n    def __init__(self):\n        self.a = 2.0\n"
        "@kernel(compiled=False)\ndef makes(lo, hi, out, x):\n    out[lo:hi] = J().a\n"
        "@kernel\ndef returns_to_python(lo, hi, out, x):\n    with objmode(v='float64'):\n        v = np.sum(x)\n"
        "    for i in range(lo, hi):\n        out[i] = v\n"
        "from numba import njit, objmode as in_python\nC = 3.0\n@njit\ndef f(v):\n"
        "    with in_python(r='float64'):\n        r = float(v * C)\n    return r\n"
        "@kernel\ndef calls_it(lo, hi, out, x):\n    for i in range(lo, hi):\n        out[i] = f(x[i])\n",
    )
    for pool in finding_pools[2:]:
        with pytest.raises(TypeError, match=r"makes reaches what cannot be sent.*J is a jitclass.*run it on threads"):
            pool.run(m.makes, x)
        for variant in ("python", "nogil"):
            with pytest.raises(TypeError, match=r"calls_it uses numba's objmode.*run it on threads"):
                pool.run(m.calls_it, x, variant=variant)
        with pytest.raises(TypeError, match=r"uses numba's objmode.*run it on threads"):
            pool.run(m.returns_to_python, x, variant="nogil")
