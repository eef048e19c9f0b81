"""Classes of the user's own: in workers they are what they are in the caller at each run, and one object for all."""

from __future__ import annotations

import importlib
import os

import numpy as np
import pytest
from test_never_stale import BODY, TO_AND_FRO, assert_right_everywhere, module, x

from kernels import Plan, kernel

METHODS = """
import abc, collections, dataclasses, enum, functools, typing
from numba import njit
class Base:
    def twice(self):
        return RATE
class Config(Base):
    def rate(self):
        return RATE
    @property
    def prop(self):
        return RATE
    @staticmethod
    def static():
        return RATE
    @classmethod
    def of_class(cls):
        return RATE
    @functools.cached_property
    def cached(self):
        return RATE
    def twice(self):
        return super().twice()
    def __call__(self):
        return self.other(RATE)
    def other(self, value):
        return value if isinstance(self, Config) and type(self) is Config else -1.0
@dataclasses.dataclass(frozen=True)
class Frozen:
    a: float = RATE
    def rate(self):
        return RATE
class Slots:
    __slots__ = ("a",)
    def rate(self):
        return RATE
class Abstract(abc.ABC):
    @abc.abstractmethod
    def rate(self): ...
class Concrete(Abstract):
    def rate(self):
        return RATE
class Typed(typing.NamedTuple):
    a: float = RATE
    def rate(self):
        return RATE
class Level(enum.IntEnum):
    HIGH = int(RATE)
    def rate(self):
        return RATE
class Of(typing.Generic[typing.TypeVar("T")]):
    def rate(self):
        return RATE
Swapped = collections.namedtuple("Swapped", "a b" if RATE == 2.0 else "b a")
"""
READ_OF_A_CLASS = {
    "Config().rate()": "a method",
    "Config().prop": "a property",
    "Config.static()": "a static method",
    "Config.of_class()": "a class method",
    "Config().cached": "a cached property",
    "Config().twice()": "super()",
    "Config()()": "a special method",
    "Frozen().rate()": "a method of a dataclass",
    "Frozen().a": "a default of a dataclass",
    "Slots().rate()": "a method of a class with slots",
    "Concrete().rate()": "a method of an abstract class",
    "Typed().rate()": "a method of a named tuple",
    "Typed().a": "a default of a named tuple",
    "Level.HIGH.value": "a member of an enumeration",
    "Level.HIGH.rate()": "a method of an enumeration",
    "Of().rate()": "a method of a generic class",
    "(3 - Swapped(1, 2).a if RATE == 2.0 else RATE - Swapped(1, 2).b + 1)": "the order of fields",
}


@pytest.mark.parametrize("read", READ_OF_A_CLASS, ids=READ_OF_A_CLASS.get)
def test_a_module_that_was_reloaded(finding_pools, importable, read):
    file = importable / "reloaded.py"
    file.write_text("RATE = 2.0\n" + METHODS)
    importlib.invalidate_caches()
    settings = importlib.import_module("reloaded")
    m = module("reads_a_reloaded_module", BODY.format(f"x[i] * ({read})".replace(" if ", " if settings.")))
    vars(m)["settings"] = settings
    for value in TO_AND_FRO:
        file.write_text(f"RATE = {value}\n" + METHODS)
        os.utime(file, (value, value))
        importlib.reload(settings)
        for name in dir(settings):
            if name[0].isupper():
                setattr(m, name, getattr(settings, name))
        assert_right_everywhere(finding_pools, m.body, x * value, variants=("python",))


def test_a_method_that_was_replaced_and_taken_away(finding_pools, importable):
    (importable / "patched.py").write_text(
        "class Base:\n    def f(self):\n        return 1.0\nclass Sub(Base):\n    pass\n"
    )
    importlib.invalidate_caches()
    patched = importlib.import_module("patched")
    m = module("calls_a_patched_method", BODY.format("x[i] * OBJECT.f()"))
    m.OBJECT = patched.Sub()
    by_input = kernel(plan=lambda x, o: Plan(len(x), (x, o)), compiled=False)(calls_f)
    for value in TO_AND_FRO:
        patched.Base.f = lambda self, value=value: value
        assert_right_everywhere(finding_pools, m.body, x * value, variants=("python",))
        patched.Sub.f = lambda self, value=value: value + 5
        assert_right_everywhere(finding_pools, m.body, x * (value + 5), variants=("python",))
        for pool in finding_pools:
            np.testing.assert_array_equal(pool.run(by_input, x, m.OBJECT).value, x * (value + 5))
        del patched.Sub.f
        assert_right_everywhere(finding_pools, m.body, x * value, variants=("python",))
        for pool in finding_pools:
            np.testing.assert_array_equal(pool.run(by_input, x, m.OBJECT).value, x * value)


def calls_f(lo, hi, out, x, held):
    out[lo:hi] = x[lo:hi] * held.f()


@pytest.mark.parametrize("name", ["Config", "Level", "Swapped", "Typed"])
def test_a_class_is_one_object_in_a_worker(finding_pools, importable, name):
    file = importable / "one_object.py"
    file.write_text("RATE = 1.0\n" + METHODS)
    importlib.invalidate_caches()
    one_object = importlib.import_module("one_object")
    m = module(
        "compares_classes",
        f"@kernel(compiled=False)\ndef body(lo, hi, out, x):\n    from one_object import {name} as imported\n"
        f"    import one_object as whole\n    out[lo:hi] = imported is {name} and whole.{name} is {name}\n",
    )
    for value in TO_AND_FRO:
        file.write_text(f"RATE = {value}\n" + METHODS)
        os.utime(file, (value, value))
        importlib.reload(one_object)
        setattr(m, name, getattr(one_object, name))
        assert_right_everywhere(finding_pools, m.body, np.ones(len(x)), variants=("python",))


KINDS = """
import abc, ctypes, dataclasses, enum, threading, typing, weakref, logging, functools
class Meta(type):
    def __call__(cls, *args):
        made = super().__call__(*args)
        made.extra = 1.0
        return made
class Made(metaclass=Meta):
    rate = RATE
class Failed(ValueError):
    rate = RATE
class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_double)]
    def rate(self):
        return RATE
@typing.runtime_checkable
class Rated(typing.Protocol):
    rate: float
@dataclasses.dataclass(slots=True)
class Slotted:
    a: float = RATE
    b: list = dataclasses.field(default_factory=list)
class Flags(enum.IntFlag):
    A = 1
    B = 2
class Registered:
    lock = threading.Lock()
    all = []
    log = logging.getLogger("kinds")
    rate = RATE
    def __init_subclass__(cls):
        Registered.all.append(cls.__name__)
    @functools.lru_cache
    def cached(self):
        return RATE
class Sub(Registered):
    class Inner:
        rate = RATE
    def __eq__(self, other):
        return isinstance(other, Sub)
    __hash__ = None
    @property
    def both(self):
        return RATE
    @both.setter
    def both(self, value):
        pass
class Tree:
    def __init__(self, left=None):
        self.left = left
    def depth(self):
        return 1 + (self.left.depth() if isinstance(self.left, Tree) else 0)
"""
OF_KINDS = {
    "a metaclass": "Made().rate * Made().extra",
    "an exception": "Failed().rate",
    "a structure of C": "Point(1.0).x * Point().rate()",
    "a protocol": "RATE if isinstance(Made(), Rated) else 0",
    "a dataclass with slots": "Slotted().a + len(Slotted().b)",
    "flags": "RATE if Flags.A | Flags.B == 3 and isinstance(Flags.A | Flags.B, Flags) else 0",
    "a class that registers": "Sub.rate + len(Registered.all) - 1 if Registered.lock and Sub.log else 0",
    "a class in a class": "Sub.Inner().rate",
    "a method that remembers": "Registered().cached()",
    "equality": "RATE if Sub() == Sub() and Sub.__hash__ is None else 0",
    "a property with a setter": "Sub().both",
    "itself": "RATE * Tree(Tree()).depth() / 2",
}


@pytest.mark.parametrize("read", OF_KINDS.values(), ids=OF_KINDS)
def test_classes_of_all_kinds(finding_pools, importable, read):
    (importable / "kinds.py").write_text("RATE = 2.0\n" + KINDS)
    importlib.invalidate_caches()
    kinds = importlib.import_module("kinds")
    m = module("uses_kinds", "from kinds import *\n" + BODY.format(f"x[i] * ({read})"))
    for _ in range(2):
        assert_right_everywhere(finding_pools, m.body, x * 2, variants=("python",))
    kinds.Made.rate = 2.0
    assert_right_everywhere(finding_pools, m.body, x * 2, variants=("python",))
