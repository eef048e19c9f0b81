"""A change between two runs is seen by every variant on every backend, in pools that were open before it."""

from __future__ import annotations

import importlib
import sys
import types
from contextlib import ExitStack

import numpy as np
import pytest
from numba import njit

from compute import Coroutines, Joblib, Prange, Processes, Serial, Threads
from kernels import kernel

POOLS = [
    Serial(),
    Threads(2),
    Coroutines(2),
    Joblib(2, kind="threading"),
    Processes(2),
    Processes(1, start="spawn"),
    Joblib(2),
]
x = np.arange(1.0, 7.0)
TO_AND_FRO = 2.0, 3.0, 2.0, 4.0, 3.0  # a worker that keeps what it had for 2.0 must not have 3.0 the third time


@pytest.fixture(scope="module")
def pools():
    with ExitStack() as stack:
        yield [stack.enter_context(backend.open()) for backend in POOLS]


@pytest.fixture
def prange():
    with Prange(2).open() as pool:
        yield [pool]


def assert_right_everywhere(pools, made, right, variants=("python", "nogil")) -> None:
    """Every variant on every pool gives the right value."""
    for pool in pools:
        for variant in variants:
            if not (variant == "python" and isinstance(pool.backend, Prange)):
                value = pool.run(made, x, variant=variant).value
                np.testing.assert_array_equal(value, right, f"{variant} on {pool}")


def module(name: str, text: str) -> types.ModuleType:
    """A user's module; made by hand, it cannot be imported by a worker."""
    made = types.ModuleType(name)
    made.njit, made.kernel, made.np = njit, kernel, np
    sys.modules[name] = made
    exec(text, vars(made))
    return made


BODY = """
@kernel
def body(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = {}
"""


def test_a_global_that_was_set(pools):
    m = module("set_global", "RATE = 2.0" + BODY.format("x[i] * RATE"))
    for rate in (2.0, 3, 2.0):
        m.RATE = rate
        assert_right_everywhere(pools, m.body, x * rate)


@pytest.mark.slow
def test_a_global_that_was_set_on_numbas_threads(prange):
    m = module("set_global_prange", "RATE = 2.0" + BODY.format("x[i] * RATE"))
    for rate in (2.0, 3.0):
        m.RATE = rate
        assert_right_everywhere(prange, m.body, x * rate)


def test_a_global_that_only_an_inner_function_reads(pools):
    text = "RATE = 2.0\ndef plain(v):\n    return v + RATE" + BODY.format("(lambda v: plain(v) * RATE)(x[i])")
    m = module("inner_global", text)
    for rate in (2.0, 3.0):
        m.RATE = rate
        assert_right_everywhere(pools, m.body, (x + rate) * rate)


@pytest.mark.slow  # a package with a version has one, too
def test_an_attribute_of_a_module_that_was_set(pools):
    settings = module("set_settings", "CE = 1.0")
    settings.__version__ = "1.0"
    m = module("reads_settings", "import set_settings as settings" + BODY.format("x[i] + settings.CE"))
    for value in (1.0, 5.0):
        settings.CE = value
        assert_right_everywhere(pools, m.body, x + value)


def test_a_module_that_was_reloaded(pools, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # it goes by a file's second
    path = tmp_path / "reloaded_helper.py"
    path.write_text("def step(v):\n    return v + 1")
    import reloaded_helper

    m = module("reloads", "import reloaded_helper\nfrom reloaded_helper import step" + BODY.format("step(x[i])"))
    assert_right_everywhere(pools, m.body, x + 1)
    path.write_text("def step(v):\n    return v + 10 * 1")
    assert_right_everywhere(pools, m.body, x + 1)  # nobody has loaded it: what runs is what the caller has
    importlib.reload(reloaded_helper)
    m.step = reloaded_helper.step
    assert_right_everywhere(pools, m.body, x + 10)


@pytest.mark.slow
def test_a_helper_that_was_written_anew(pools):
    m = module("rewritten", "def h(v):\n    return g(v)\ndef g(v):\n    return v + 1" + BODY.format("h(x[i])"))
    assert_right_everywhere(pools, m.body, x + 1)
    exec("def g(v):\n    return v + 2", vars(m))
    assert_right_everywhere(pools, m.body, x + 2)
    scope: dict = {}
    exec("def g(v):\n    return v + 3", scope)
    m.g.__code__ = scope["g"].__code__  # as IPython's autoreload does
    assert_right_everywhere(pools, m.body, x + 3)
    exec("def h(v, plus=4):\n    return v + plus", vars(m))
    assert_right_everywhere(pools, m.body, x + 4)
    m.h.__defaults__ = (5,)
    assert_right_everywhere(pools, m.body, x + 5)


@pytest.mark.slow
def test_a_helper_of_numbas_whose_global_was_set_and_whose_options_changed(pools):
    text = "RATE = 2.0\n@njit\ndef h(v):\n    return v * RATE" + BODY.format("h(x[i])")
    m = module("set_compiled_helper", text)
    assert m.h(1.0) == 2.0  # numba has frozen it now
    for rate in (3.0, 4.0):
        m.RATE = rate
        assert_right_everywhere(pools, m.body, x * rate)
    exec("@njit(fastmath=True)\ndef h(v):\n    return v + RATE", vars(m))
    assert_right_everywhere(pools, m.body, x + 4.0)


def test_a_closure_that_was_changed(pools):
    def make():
        rate = 2.0

        @kernel
        def body(lo, hi, out, x):
            for i in range(lo, hi):
                out[i] = x[i] * rate

        def set_rate(value):
            nonlocal rate
            rate = value

        return body, set_rate

    body, set_rate = make()
    for rate in (2.0, 3.0):
        set_rate(rate)
        assert_right_everywhere(pools, body, x * rate)


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(8, id="small"),
        pytest.param(30_000, id="frozen", marks=pytest.mark.slow),
        pytest.param(200_000, id="where it lies", marks=pytest.mark.slow),
    ],
)
def test_a_global_array_that_was_changed_in_place(pools, size):
    m = module("changed_array", BODY.format("x[i] * TABLE[-1]"))
    m.TABLE = np.ones(size)
    for value in (1.0, 7.0):
        m.TABLE[-1] = value
        assert_right_everywhere(pools, m.body, x * value)
    m.TABLE = np.full(size, 9.0)
    assert_right_everywhere(pools, m.body, x * 9)
    m.TABLE = np.full((size, 2), 3.0)[:, 0]  # not contiguous
    assert_right_everywhere(pools, m.body, x * 3)


def test_objects_that_change_in_place_where_python_runs(pools):
    class Model:
        rate = 2.0

    m = module("changed_objects", BODY.format("x[i] * model.rate * table['a'][0]"))
    m.model, m.table = Model(), {"a": [1.0]}
    for rate, factor in ((2.0, 1.0), (3.0, 1.0), (3.0, 5.0)):
        m.model.rate, m.table["a"][0] = rate, factor
        assert_right_everywhere(pools, m.body, x * rate * factor, variants=("python",))


def test_a_body_that_was_put_under_the_name_of_another(pools):
    m = module("other_body", BODY.format("x[i] + 1"))
    assert_right_everywhere(pools, m.body, x + 1)

    def other(lo, hi, out, x):
        for i in range(lo, hi):
            out[i] = x[i] + 2

    m.body.add_variant("python", other)
    m.body.add_variant("nogil", other, compiled=True)
    assert_right_everywhere(pools, m.body, x + 2)


def test_a_global_that_does_not_pickle(pools, tmp_path, monkeypatch):
    (tmp_path / "locked.py").write_text(
        "import threading\nfrom kernels import kernel\nLOCK, RATE = threading.Lock(), 2.0\n"
        "@kernel(compiled=False)\ndef body(lo, hi, out, x):\n    with LOCK:\n        out[lo:hi] = x[lo:hi] * RATE\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import locked

    with Processes(2).open() as pool:  # whose workers can import it
        assert_right_everywhere([pool], locked.body, x * 2, variants=("python",))
        locked.RATE = 3.0
        assert_right_everywhere([pool], locked.body, x * 3, variants=("python",))


def test_code_that_cannot_leave_the_process_is_compiled_where_it_runs(pools):
    m = module("addresses", "import ctypes\nlabs = ctypes.CDLL(None).labs\nlabs.argtypes = [ctypes.c_long]\n"
               "labs.restype = ctypes.c_long" + BODY.format("labs(int(-x[i]))"))  # fmt: skip
    here = [pool for pool in pools if isinstance(pool.backend, Serial | Threads | Coroutines)]
    assert_right_everywhere(here, m.body, x)


@pytest.mark.slow
def test_compiled_functions_as_inputs_are_not_taken_for_each_other(pools):
    text = "from kernels import Plan\n@njit\ndef one(v):\n    return v + 1\n@njit\ndef two(v):\n    return v * 2\n"
    body = BODY.replace("@kernel", "@kernel(plan=lambda x, f: Plan(len(x), (x, f)))").replace("x):", "x, f):")
    m = module("given", text + body.format("f(x[i])"))
    for _ in range(2):
        for pool in pools:
            for variant in ("nogil", "python"):
                np.testing.assert_array_equal(pool.run(m.body, x, m.one, variant=variant).value, x + 1)
                np.testing.assert_array_equal(pool.run(m.body, x, m.two, variant=variant).value, x * 2)


@pytest.mark.slow
def test_a_package_with_a_version_and_a_callee_of_a_callee(pools, tmp_path, monkeypatch):
    (tmp_path / "versioned").mkdir()
    (tmp_path / "versioned/__init__.py").write_text("__version__ = '1.0'\n")
    (tmp_path / "versioned/settings.py").write_text("CE = 1.0\n")
    (tmp_path / "versioned/deep.py").write_text(
        "from versioned import settings\ndef deep(v):\n    return v + settings.CE\n"
    )
    (tmp_path / "versioned/near.py").write_text(
        "from versioned.deep import deep\ndef near(v):\n    return deep(v) * 2\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    from versioned import deep, settings

    m = module("uses_versioned", "from versioned.near import near" + BODY.format("near(x[i])"))
    assert_right_everywhere(pools, m.body, (x + 1) * 2)
    settings.CE = 5.0
    assert_right_everywhere(pools, m.body, (x + 5) * 2)
    exec("def deep(v):\n    return v - settings.CE", vars(deep))
    sys.modules["versioned.near"].deep = deep.deep
    assert_right_everywhere(pools, m.body, (x - 5) * 2)


FREEZING = {
    "vectorize": ("@numba.vectorize\ndef h(v):\n    return v * RATE", "h(x[i])"),
    "guvectorize": (
        "@numba.guvectorize(['void(float64[:], float64[:])'], '(n)->(n)')\ndef h(a, o):\n    o[0] = a[0] * RATE",
        "x[i] * RATE\n    h(x[lo:hi], out[lo:hi])",
    ),
    "stencil": ("@numba.stencil\ndef h(a):\n    return a[0] * RATE", "h(x)[i]"),
    "cfunc": ("@numba.cfunc('float64(float64)')\ndef h(v):\n    return v * RATE", "h(x[i])"),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", FREEZING)
def test_what_numba_freezes_for_good_is_refused_once_it_has_changed(pools, what):
    made, call = FREEZING[what]
    m = module(f"freezes_{what}", "import numba\nRATE = 2.0\n" + made + BODY.format(call))
    here = [pool for pool in pools if isinstance(pool.backend, Serial | Threads | Coroutines)]
    assert_right_everywhere(here, m.body, x * 2, variants=("nogil",))
    m.RATE = 3.0
    for pool in pools:
        for variant in ("nogil", "python"):
            if variant == "nogil" or what == "vectorize":
                with pytest.raises(RuntimeError, match=r"h was compiled by numba .* run its definition again"):
                    pool.run(m.body, x, variant=variant)
    exec(made, vars(m))
    assert_right_everywhere(here, m.body, x * 3, variants=("nogil",))
