"""Globals that change in ways of their own: subclasses of arrays, fields' names, modules that compute, builtins."""

from __future__ import annotations

import builtins
import importlib
import types
from contextlib import ExitStack

import numpy as np
import pytest
from test_never_stale import BODY, assert_right_everywhere, module, x
from test_stale_code import BODY as ONE_BODY
from test_stale_code import HEAD, session

from compute import Processes, Serial, Threads, run

pytestmark = pytest.mark.slow


class Kept(np.ndarray):
    """A user's own kind of array, with something more than its elements."""


class Doubled(np.ndarray):
    def __getitem__(self, key):
        return 2 * super().__getitem__(key)


@pytest.fixture(scope="module")
def pools():
    with ExitStack() as stack:
        yield [stack.enter_context(backend.open()) for backend in (Serial(), Threads(2), Processes(2))]


@pytest.fixture(params=[("nogil", "python"), ("python", "nogil")], ids=["compiled first", "python first"])
def variants(request):
    return request.param


@pytest.mark.parametrize("size", [6, 180_000], ids=["frozen", "where it lies"])
@pytest.mark.parametrize("kind", ["memmap", "subclass", "tuple"])
def test_an_array_of_another_kind_that_was_changed_in_place(pools, variants, kind, size):
    array = np.ones(size).view(np.memmap if kind == "memmap" else Kept)
    m = module(f"changed_{kind}", BODY.format("x[i] * TABLE[0][0]" if kind == "tuple" else "x[i] * TABLE[0]"))
    m.TABLE = (array,) if kind == "tuple" else array
    for factor in (2.0, 3.0):
        array[:] = factor
        assert_right_everywhere(pools, m.body, x * factor, variants)


def test_a_record_array_that_was_changed_in_place(pools, variants):
    m = module("changed_recarray", BODY.format("x[i] * TABLE[0].v"))
    m.TABLE = np.rec.fromarrays([[2.0, 2.0]], names="v")
    for factor in (2.0, 3.0):
        m.TABLE.v[:] = factor
        assert_right_everywhere(pools, m.body, x * factor, variants)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_an_array_with_arithmetic_of_its_own_is_refused_by_compiled_code():
    m = module("own_arithmetic", BODY.format("x[i] * TABLE[0]"))
    for array, own in ((np.full(6, 2.0).view(Doubled), "Doubled"), (np.matrix([[2.0, 1.0]]), "matrix")):
        m.TABLE = array
        with pytest.raises(ValueError, match=f"is a {own}, whose own "):
            run(m.body.nogil, x, on=Serial())
    m.TABLE = np.full(6, 2.0).view(Doubled)
    np.testing.assert_array_equal(run(m.body.python, x, on=Serial()).value, 4 * x)


def test_fields_that_were_named_anew_in_place(pools, variants):
    m = module("renamed_fields", BODY.format("x[i] * TABLE[0]['a']"))
    m.TABLE = np.array([(2.0, 3.0)], [("a", "f8"), ("b", "f8")])
    assert_right_everywhere(pools, m.body, 2 * x, variants)
    m.TABLE.dtype.names = "b", "a"
    assert_right_everywhere(pools, m.body, 3 * x, variants)


def test_inner_fields_that_were_named_anew_in_place(pools):
    m = module("renamed_inner", BODY.format("x[i] * TABLE[0]['p']['a']"))
    m.TABLE = np.array([((2.0, 3.0),)], [("p", [("a", "f8"), ("b", "f8")])])
    assert_right_everywhere(pools, m.body, 2 * x, ("nogil",))
    m.TABLE.dtype["p"].names = "b", "a"
    assert_right_everywhere(pools, m.body, 3 * x, ("nogil",))


LAZY = """
VALUES = {"CE": 2.0}
def __getattr__(name):
    if name in VALUES:
        return VALUES[name]
    raise AttributeError(name)
"""


def test_a_module_whose_attributes_are_computed(pools, variants):
    lazy = module("computes", LAZY)
    m = module("reads_computed", "import computes" + BODY.format("x[i] * computes.CE"))
    for value in (2.0, 3.0):
        lazy.VALUES["CE"] = value
        assert_right_everywhere(pools, m.body, x * value, variants)


def test_a_module_whose_functions_are_computed(pools):
    lazy = module("computes_functions", LAZY)
    m = module("calls_computed", "import computes_functions as c" + BODY.format("c.f(x[i])"))
    for value in (2.0, 3.0):
        exec(f"@njit\ndef f(v):\n    return v * {value}", vars(lazy))
        lazy.VALUES["f"] = vars(lazy).pop("f")
        assert_right_everywhere(pools, m.body, x * value, ("nogil",))


def test_a_module_with_a_class_of_its_own():
    class Computing(types.ModuleType):
        @property
        def CE(self):
            return self.value

    m = module("reads_property", BODY.format("x[i] * settings.CE"))
    m.settings = Computing("settings")
    for value in (2.0, 3.0):
        m.settings.value = value
        for variant in ("nogil", "python"):
            np.testing.assert_array_equal(run(m.body, x, on=Serial(), variant=variant).value, x * value)


def test_an_attribute_that_comes_later(pools, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "set_later.py").write_text("")
    settings = importlib.import_module("set_later")
    m = module("reads_later", "import set_later" + BODY.format("x[i] * getattr(set_later, 'GAIN', 1.0)"))
    assert_right_everywhere(pools, m.body, x, ("python",))
    settings.GAIN = 3.0
    assert_right_everywhere(pools, m.body, 3 * x, ("python",))


def test_a_builtin_of_the_users(pools, variants, monkeypatch):
    m = module("reads_builtin", BODY.format("x[i] * POWER_OF_MINE"))
    for value in (2.0, 3.0):
        monkeypatch.setattr(builtins, "POWER_OF_MINE", value, raising=False)
        assert_right_everywhere(pools, m.body, x * value, variants)
    m.POWER_OF_MINE = 4.0  # which hides it
    assert_right_everywhere(pools, m.body, x * 4.0, variants)


def test_what_another_session_left_on_disk(tmp_path):
    (tmp_path / "settings.py").write_text(LAZY)
    program = HEAD + "import builtins, settings\n"
    program += "builtins.MINE = settings.VALUES['CE'] = float(sys.argv[1])\n"
    program += ONE_BODY.format("x[i] * settings.CE + MINE") + "print(value(body))\n"
    assert [session(tmp_path, program, value) for value in "232"] == [["4.0"], ["6.0"], ["4.0"]]


def test_a_compiled_function_as_an_input(pools, variants):
    text = "from kernels import Plan\nRATE = 2.0\n@njit\ndef f(v):\n    return v * RATE\n"
    m = module("given_compiled", text + BODY.replace("@kernel", PLANNED).replace("x):", "x, f):").format("f(x[i])"))
    for rate in (2.0, 3.0):
        m.RATE = rate
        assert_right_everywhere(pools, m.body, x * rate, variants)


@pytest.mark.parametrize("read", ["method()", "read", "static()"])
def test_what_a_compiled_class_has_frozen_is_named(read):
    text = """
from numba import float64
from numba.experimental import jitclass
RATE = 2.0
@jitclass
class Rated:
    a: float64
    def __init__(self):
        self.a = 1.0
    def method(self):
        return self.a * RATE
    @property
    def read(self):
        return self.a * RATE
    @staticmethod
    def static():
        return RATE
"""
    m = module(f"frozen_class_{read.strip('()')}", text + BODY.format(f"x[i] * Rated().{read}"))
    np.testing.assert_array_equal(run(m.body.nogil, x, on=Serial()).value, 2 * x)
    m.RATE = 3.0
    with pytest.raises(RuntimeError, match=r"Rated\.(method|read|static) was compiled by numba"):
        run(m.body.nogil, x, on=Serial())


PLANNED = "@kernel(plan=lambda x: Plan(len(x), (x, f)))"
