"""What a function reaches: two keys are equal exactly where the two functions compute the same."""

from __future__ import annotations

import enum
import inspect
import itertools
import math
import textwrap
import types
from collections import namedtuple

import numba
import numpy as np
import pytest
from numba import njit

from compute.lanes import control
from compute.lanes.loop import source_of
from kernels import REGISTRY
from kernels.compilation.compiler import compiled, forget
from kernels.compilation.reach import reach_of
from kernels.definition import operands


def made(text: str, **names):
    """The function `f` of a text, in globals of its own."""
    names |= {"np": np, "math": math, "njit": njit, "numba": numba, "__name__": "written"}
    exec(textwrap.dedent(text), names)
    return names["f"]


def key(text: str, compiled: bool = True, **names) -> str:
    return reach_of(made(text, **names), compiled).key


def alike(keys: dict[str, str]) -> list[tuple[str, str]]:
    """The pairs that have one key."""
    return [pair for pair in itertools.combinations(keys, 2) if keys[pair[0]] == keys[pair[1]]]


class Colour(enum.IntEnum):
    RED = 1
    BLUE = 2


class Shade(enum.IntEnum):
    RED = 2
    BLUE = 1


Point, Swapped = namedtuple("Point", "x y"), namedtuple("Point", "y x")
Swapped.__qualname__ = Point.__qualname__
nan = float("nan")
RECORD = np.dtype([("a", "f4"), ("b", "i4")])

# Values that are easily taken for each other: each is different from every other one.
VALUES = [
    1, 1.0, True, np.int64(1), np.int32(1), np.float64(1), np.True_, 1 + 0j, "1", b"1", (1,), ((1,),), frozenset({1}),
    0, 0.0, -0.0, False, None, "", b"", (), ((),), nan, 2, 3, 257, 2**40, 2**70, Colour.RED, Shade.RED, Colour.BLUE,
    (1, 11), (11, 1), (1, 2, 1), (1, 2, 2), (1, (2, 1)), ((1, 2), 1), ("a", "b"), ("ab",), ("a,b",), "a", "b",
    np.float32(1), np.zeros(3), np.zeros((3, 1)), np.zeros(3, np.float32), np.zeros((1, 3)), np.ones(3), np.arange(3),
    np.zeros((2, 3)), np.zeros((2, 3), order="F"), np.datetime64("2020-01-01"), np.datetime64("2020-01-02"),
    np.zeros(2, RECORD), np.zeros(2, [("b", "f4"), ("a", "i4")]), Point(1, 2), Point(2, 1), Swapped(1, 2), slice,
    len, abs, math.sin, math.cos, np.sin, np.cos, np.float64, np.float32, float, int, np.dtype("f4"), np.dtype("f8"),
    Point, Swapped, Colour, Shade, math, np, np.sum, np.prod, np.random.rand, np.random.randn, ValueError, TypeError,
]  # fmt: skip


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "python"])
@pytest.mark.parametrize("where", ["global", "cell", "default", "keyword", "tuple", "inner"])
def test_values_that_are_easily_taken_for_each_other(where, compiled):
    def of(value):
        names = {}
        text = {
            "global": "def f(): return V",
            "cell": "def g(v):\n    def f(): return v\n    return f\nf = g(V)",
            "default": "def f(v=V): return v",
            "keyword": "def f(*, v=V): return v",
            "tuple": "W = (V, 1)\ndef f(): return W",
            "inner": "def f():\n    def g(): return V\n    return g()",
        }[where]
        if where != "global" and compiled is False and isinstance(value, np.ndarray):
            return object()  # Python's arrays may change in place: they are compared when they are sent
        return key(text, compiled, V=value, **names)

    if compiled:
        keys = [of(value) for value in VALUES]
        equal = [pair for pair in itertools.combinations(range(len(VALUES)), 2) if keys[pair[0]] == keys[pair[1]]]
        assert [(VALUES[one], VALUES[other]) for one, other in equal] == []
    else:
        values = [value for value in VALUES if not isinstance(value, np.ndarray)]
        assert len({of(value) for value in values}) == len(values)


BODIES = [
    "x*1 + 11", "x*11 + 1", "x*1 - 11", "1*x + 11", "x**2", "x**3", "x + 11", "x if x else 1", "x or 1",
    "np.sin(x)", "np.cos(x)", "math.sin(x)", "abs(x)", "-x", "~x", "x < 1", "x <= 1", "x // 2", "x / 2", "x % 2",
    "sum([x, 1])", "[y for y in (x, 1)][0]", "[y for y in (x, 2)][0]", "(lambda y: y)(x)", "(lambda y: -y)(x)",
    "x in (1, 2)", "x in (1, 3)", "x in {1, 2}", "x in {1, 3}", "x not in (1, 2)", "x is None", "x is not None",
    "'%d' % x", "'%s' % x", "f'{x}'", "f'{x!r}'", "f'{x:3}'", "x[0]", "x[1]", "x[:1]", "x[1:]", "x.T", "x.real",
    "x == 1", "x & 1",
]  # fmt: skip


def test_bodies_that_are_easily_taken_for_each_other():
    assert alike({body: key(f"def f(x): return {body}") for body in BODIES}) == []


def test_what_is_no_part_of_the_computation_does_not_count():
    one = key("def f(x):\n    return x + 1")
    assert one == key("# a comment\n\n\ndef f(x):\n    # another\n\n    return x + 1", unused=object())
    assert one == key("def f(x: float) -> float:\n    return x + 1")


HELPERS = [
    "def h(x): return x + 1",
    "def h(x): return x + 2",
    "def h(x): return g(x)\ndef g(x): return x + 1",
    "def h(x): return g(x)\ndef g(x): return x + 2",
    "def h(x): return g(x)\ndef g(x): return k(x)\ndef k(x): return x + 1",
    "def h(x): return g(x)\ndef g(x): return k(x)\ndef k(x): return x + C\nC = 1",
    "def h(x): return g(x)\ndef g(x): return k(x)\ndef k(x): return x + C\nC = 2",
    "@njit\ndef h(x): return x + 1",
    "@njit\ndef h(x): return x + 2",
    "@njit(fastmath=True)\ndef h(x): return x + 1",
    "@njit(fastmath={'nnan'})\ndef h(x): return x + 1",
    "@njit(fastmath={'nnan', 'ninf'})\ndef h(x): return x + 1",
    "@njit(error_model='numpy')\ndef h(x): return x + 1",
    "@njit(boundscheck=True)\ndef h(x): return x + 1",
    "@njit(inline='always')\ndef h(x): return x + 1",
    "@njit('float64(float64)')\ndef h(x): return x + 1",
    "@njit('float32(float64)')\ndef h(x): return x + 1",
    "@njit(parallel=True)\ndef h(x): return x + 1",
    "@njit\ndef h(x): return x + C\nC = 1",
    "@njit\ndef h(x): return x + C\nC = 2",
    "@njit\ndef h(x):\n    def g(): return C\n    return x + g()\nC = 1",
    "@njit\ndef h(x):\n    def g(): return C\n    return x + g()\nC = 2",
    "@njit\ndef h(x, y=1): return x + y",
    "@njit\ndef h(x, y=2): return x + y",
]


@pytest.mark.parametrize("call", ["h(x)", "(lambda y: h(y))(x)", "[h(y) for y in (x,)][0]"])
def test_helpers_that_are_easily_taken_for_each_other(call):
    assert alike({helper: key(f"{helper}\ndef f(x): return {call}") for helper in HELPERS}) == []


@pytest.mark.parametrize("read", ["m.C", "m.sub.C", "(lambda: m.C)()", "m.read()", "getattr(m, 'C')", "other(m)"])
@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "python"])
def test_an_attribute_of_a_module_counts_by_its_value(read, compiled):
    def of(value):
        module, below = types.ModuleType("m"), types.ModuleType("m.sub")
        module.C = below.C = value
        module.__version__ = "1.0"
        module.sub = below
        module.read = made("def f(): return C", C=value)
        other = made("def f(module): return module.C")
        return key(f"def f(x): return x + {read}", compiled, m=module, other=other)

    assert of(1) == of(1)
    assert len({of(1), of(2), of(1.0), of((1,))}) == 4


def test_what_was_set_since_is_seen():
    module = types.ModuleType("m")
    module.C = 1
    cells = made(
        """
        def g(v):
            def f(): return v
            def s(w):
                nonlocal v
                v = w
            f.s = s
            return f
        f = g(1)
        """
    )
    array = np.arange(5.0)
    names = {"A": 1, "m": module, "h": made("def f(): return 1"), "cells": cells, "array": array}
    function = made("def f(): return A + m.C + h() + cells() + array[0] + late", **names)
    known = {reach_of(function, True).key}

    def changes(what) -> None:
        before = reach_of(function, True)
        assert before.is_current()
        assert reach_of(function, True) is before
        what()
        assert not before.is_current()
        known.add(reach_of(function, True).key)

    changes(lambda: function.__globals__.update(A=2))
    changes(lambda: setattr(module, "C", 2))
    changes(lambda: function.__globals__.update(h=made("def f(): return 2")))
    changes(lambda: setattr(function.__globals__["h"], "__code__", made("def f(): return 3").__code__))
    changes(lambda: setattr(function.__globals__["h"], "__defaults__", (1,)))
    changes(lambda: cells.s(2))
    changes(lambda: array.__setitem__(4, -1))
    changes(lambda: function.__globals__.update(late=1))
    changes(lambda: function.__globals__.pop("late"))
    assert len(known) == 9  # the last one is the one before `late` again


UNKEYED = {
    "an object": "V = object()\ndef f(): return V",
    "a list": "V = [1]\ndef f(): return V",
    "a stencil": "@numba.stencil\ndef h(a): return a[0]\ndef f(a): return h(a)",
    "an overload of a function": (
        "from numba.extending import overload\ndef h(x): return x\n@overload(h)\ndef o(x): return lambda x: x\n"
        "def f(x): return h(x)"
    ),
    "a vectorized function": "@numba.vectorize\ndef h(a): return a\ndef f(a): return h(a)",
    "a class of the user's": "class V: pass\ndef f(): raise V",
    "an intrinsic": (
        "from numba.extending import intrinsic\n@intrinsic\ndef h(t, x): return x(x), lambda c, b, s, a: a[0]\n"
        "def f(x): return h(x)"
    ),
    "a C function": "import ctypes\nV = ctypes.CDLL(None).abs\ndef f(x): return V(x)",
    "a large array": "V = np.zeros(200_000)\ndef f(): return V[0]",
    "a jitable": (
        "from numba.extending import register_jitable\n@register_jitable\ndef h(x): return x\ndef f(x): return h(x)"
    ),
}


EXTENDS = "an overload of a function", "a jitable", "an intrinsic"


@pytest.mark.parametrize("whats", [[what for what in UNKEYED if what not in EXTENDS], *([what] for what in EXTENDS)])
def test_what_cannot_be_told_by_value_is_not_kept(warm_python, whats):
    """In a process of its own: an overload is there for good, and nothing is kept beside it."""
    warm_python.run(f"""
import math, textwrap
import numba
import numpy as np
from numba import njit
from kernels.compilation.compiler import compiled, forget
from kernels.compilation.reach import reach_of
{inspect.getsource(made)}
plain = made("def f(x): return x + 1")
assert not reach_of(plain, True).unkeyed
for what, text in {[(what, UNKEYED[what]) for what in whats]!r}:
    assert reach_of(made(text), True).unkeyed, what
    extends = what in {EXTENDS!r}
    assert bool(reach_of(made("def f(x): return x + 2"), True).unkeyed) is extends, what  # for everything, from then on
""")


ORDINARY = [
    "np.sin(x[0]) + np.pi", "math.exp(x[0])", "abs(x).sum()", "np.zeros(3)[0]", "np.dot(x, x)", "np.linalg.norm(x)",
    "np.random.rand()", "np.float64(1) + np.int64(2)", "sum([y for y in x])", "min(x[0], 1)", "x.shape[0] + len(x)",
    "np.where(x > 0, x, 0)[0]", "(lambda y: y * SCALE)(x[0])", "TABLE[0] + x[0]", "Colour.RED + x[0]", "helper(x)",
    "compiled_helper(x[0])", "settings.CE", "x.take(0) + x.load", "range(3)[0]", "ValueError('no')",
]  # fmt: skip


@pytest.mark.parametrize("body", ORDINARY)
def test_an_ordinary_body_is_kept_on_disk(body):
    settings = types.ModuleType("settings")
    settings.CE = 2.0
    helpers = {
        "helper": made("def f(x): return np.cumsum(x)[-1]"),
        "compiled_helper": made("@njit\ndef f(x): return -x"),
    }
    names = {"SCALE": 2.0, "TABLE": np.arange(3), "Colour": Colour, "settings": settings} | helpers
    assert not reach_of(made(f"def f(x): return {body}", **names), True).unkeyed


def test_every_lane_of_this_library_is_kept_on_disk():
    for shipped in REGISTRY.values():
        for name, variant in shipped.variants.items():
            if variant.compiled:
                reach = reach_of(source_of(shipped.held_to(name)), True)
                assert not reach.unkeyed
                assert not reach.names, "nothing of this library's own is looked at before each run"


def test_an_array_that_changes_is_in_no_key_of_python():
    array = np.zeros(3)
    function = made("def f(): return V[0]", V=array)
    assert reach_of(function, False).mutable
    assert not reach_of(made("def f(): return V", V=1.5), False).mutable


@pytest.mark.slow
def test_values_of_this_library_that_were_set_are_read(monkeypatch):
    """Constants of ours are what they are at the moment of the run, in code that is kept as well."""
    line_of = control.line_of

    def reads():
        return 1000 * line_of(1) + operands.TALL

    def now():
        return compiled(reads)()

    expected = reads()
    assert now() == expected
    for place, name, value in ((operands, "TALL", 5), (control, "HEADER", 7)):  # which the helper reads
        monkeypatch.setattr(place, name, value)
        assert now() == reads() != expected
        forget()
        assert now() == reads() != expected
    monkeypatch.undo()
    assert now() == reads() == expected
    forget()
    assert now() == expected
