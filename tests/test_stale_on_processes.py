"""What reaches worker processes is what the caller has at each run: objects, classes, arrays, functions."""

from __future__ import annotations

import importlib
import os
import warnings
from contextlib import ExitStack

import numpy as np
import pytest
from test_never_stale import BODY, everywhere, module, x

from compute import Joblib, Processes, Serial, Threads
from kernels import Plan, kernel

TO_AND_FRO = 2.0, 3.0, 2.0, 4.0, 3.0  # a worker that keeps what it had for 2.0 must not have 3.0 the third time


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("importable")
        patch.syspath_prepend(folder)
        yield folder


@pytest.fixture(scope="module")
def pools(folder):
    """Pools whose workers find the folder."""
    with ExitStack() as stack:
        yield [stack.enter_context(backend.open()) for backend in (Serial(), Threads(2), Processes(2), Joblib(2))]


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
def test_a_read_only_array_that_changed(pools, how):
    array, put = read_only(how)
    m = module("reads_a_read_only_array", BODY.format("x[i] * TABLE[5]"))
    m.TABLE = array
    for value in TO_AND_FRO:
        put(value)
        everywhere(pools, m.body, x * value)


@pytest.mark.parametrize("how", ["an earlier view", "the flag"])
def test_a_read_only_array_in_a_list_that_changed(pools, how):
    array, put = read_only(how)

    @kernel(plan=lambda x: Plan(len(x), (x, [array])), compiled=False)
    def body(lo, hi, out, x, arrays):
        out[lo:hi] = x[lo:hi] * arrays[0][5]

    for value in TO_AND_FRO:
        put(value)
        everywhere(pools, body, x * value, variants=("python",))


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
def test_a_module_that_was_reloaded(pools, folder, read):
    file = folder / "reloaded.py"
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
        everywhere(pools, m.body, x * value, variants=("python",))


def test_a_method_that_was_replaced_and_taken_away(pools, folder):
    (folder / "patched.py").write_text(
        "class Base:\n    def f(self):\n        return 1.0\nclass Sub(Base):\n    pass\n"
    )
    importlib.invalidate_caches()
    patched = importlib.import_module("patched")
    m = module("calls_a_patched_method", BODY.format("x[i] * OBJECT.f()"))
    m.OBJECT = patched.Sub()
    by_input = kernel(plan=lambda x, o: Plan(len(x), (x, o)), compiled=False)(calls_f)
    for value in TO_AND_FRO:
        patched.Base.f = lambda self, value=value: value
        everywhere(pools, m.body, x * value, variants=("python",))
        patched.Sub.f = lambda self, value=value: value + 5
        everywhere(pools, m.body, x * (value + 5), variants=("python",))
        for pool in pools:
            np.testing.assert_array_equal(pool.run(by_input, x, m.OBJECT).value, x * (value + 5))
        del patched.Sub.f
        everywhere(pools, m.body, x * value, variants=("python",))
        for pool in pools:
            np.testing.assert_array_equal(pool.run(by_input, x, m.OBJECT).value, x * value)


def calls_f(lo, hi, out, x, held):
    out[lo:hi] = x[lo:hi] * held.f()


@pytest.mark.parametrize("name", ["Config", "Level", "Swapped", "Typed"])
def test_a_class_is_one_object_in_a_worker(pools, folder, name):
    file = folder / "one_object.py"
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
        everywhere(pools, m.body, np.ones(len(x)), variants=("python",))


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
def test_a_helper_with_the_name_of_a_librarys(pools, how):
    m = module("borrows_a_name", "import contextlib, functools, psutil, statistics\n" + BORROWED_NAMES[how])
    vars(m)["RATE"] = 1.0
    exec(BODY.format("step(x[i])"), vars(m))
    for value in TO_AND_FRO:
        m.RATE = value
        everywhere(pools, m.body, x * value, variants=("python", "nogil") if how.startswith("wraps") else ("python",))


def test_an_attribute_of_a_function(pools):
    m = module("function_attributes", "def step(v):\n    return v * step.rate\n" + BODY.format("step(x[i])"))
    for value in TO_AND_FRO:
        m.step.rate = value
        everywhere(pools, m.body, x * value, variants=("python",))


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
def test_an_attribute_of_a_module_by_a_computed_name(pools, folder, read, by_value):
    text = "step_B = 0\ndef step_A():\n    return RATE_A\n"
    if by_value:
        settings = module("settings_by_hand", text)
    else:
        (folder / "settings_to_compute.py").write_text(text)
        importlib.invalidate_caches()
        settings = importlib.import_module("settings_to_compute")
    m = module(
        "computes_names",
        f"import operator\nimport {settings.__name__} as settings\nLETTER = 'A'\ndef or_else():\n    try:\n"
        "        return settings.RATE_A\n    except AttributeError:\n        return 1.0\n"
        + BODY.format(f"x[i] * ({read})"),
    )
    if read == "or_else()" or "1.0" in read:
        everywhere(pools, m.body, x, variants=("python",))
    for value in TO_AND_FRO:
        settings.RATE_A = value
        everywhere(pools, m.body, x * value, variants=("python",))
    del settings.RATE_A
    if read == "or_else()" or "1.0" in read:
        everywhere(pools, m.body, x, variants=("python",))


def test_an_attribute_that_an_import_in_a_body_finds_absent_again(pools, folder):
    (folder / "absent_again.py").write_text("")
    importlib.invalidate_caches()
    settings = importlib.import_module("absent_again")
    m = module(
        "imports_absent",
        "def rate():\n    import absent_again as s\n    return getattr(s, 'RATE', 1.0)\n"
        + BODY.format("x[i] * rate()"),
    )
    for value in TO_AND_FRO:
        settings.RATE = value
        everywhere(pools, m.body, x * value, variants=("python",))
        del settings.RATE
        everywhere(pools, m.body, x, variants=("python",))


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
def test_a_function_among_the_inputs(pools, given, how):
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
        everywhere(pools, m.body, x * value, variants=("python", "nogil") if compiles else ("python",))


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


def test_objects_with_locks_and_numbas_containers(pools, folder):
    (folder / "has_locks.py").write_text(HAVE_A_LOCK)
    importlib.invalidate_caches()
    m = importlib.import_module("has_locks")
    for value in TO_AND_FRO:
        m.config.rate, m.table["rate"], m.numbers[0] = value, value + 1, value + 2
        everywhere(pools, m.body, x * value * (value + 1) * (value + 2), variants=("python",))


def test_what_each_worker_has_of_its_own_is_named(folder):
    (folder / "has_a_generator.py").write_text(
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
def test_what_no_worker_can_be_given_is_refused_in_one_line(pools):
    m = module(
        "cannot_be_sent",
        "import numba\nfrom numba import objmode\nfrom numba.experimental import jitclass\n"
        "@jitclass([('a', numba.float64)])\nclass J:\n    def __init__(self):\n        self.a = 2.0\n"
        "@kernel(compiled=False)\ndef makes(lo, hi, out, x):\n    out[lo:hi] = J().a\n"
        "@kernel\ndef returns_to_python(lo, hi, out, x):\n    with objmode(v='float64'):\n        v = np.sum(x)\n"
        "    for i in range(lo, hi):\n        out[i] = v\n",
    )
    for pool in pools[2:]:
        with pytest.raises(TypeError, match=r"makes reaches what cannot be sent.*J is a jitclass.*run it on threads"):
            pool.run(m.makes, x)
        with pytest.raises(TypeError, match=r"uses numba's objmode.*run it on threads"):
            pool.run(m.returns_to_python, x, variant="nogil")


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
def test_classes_of_all_kinds(pools, folder, read):
    (folder / "kinds.py").write_text("RATE = 2.0\n" + KINDS)
    importlib.invalidate_caches()
    kinds = importlib.import_module("kinds")
    m = module("uses_kinds", "from kinds import *\n" + BODY.format(f"x[i] * ({read})"))
    for _ in range(2):
        everywhere(pools, m.body, x * 2, variants=("python",))
    kinds.Made.rate = 2.0
    everywhere(pools, m.body, x * 2, variants=("python",))
