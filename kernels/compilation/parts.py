"""Helpers of reach.py: the names that code uses, the objects that an object contains, whether two arrays are equal."""

from __future__ import annotations

import builtins
import collections
import contextlib
import functools
import importlib.util
import operator
import sys
import types
import weakref
from collections.abc import Iterable, Iterator
from opcode import opmap
from typing import Any

import numpy as np

from kernels.compilation import provenance

MISSING: Any = type("Missing", (), {"__repr__": lambda self: "missing"})()
PLAIN_TYPES = (int, float, complex, bool, str, bytes, type(None), type(Ellipsis))
DEPTH = 10  # objects in objects that are looked into, for functions


def codes_of(code: types.CodeType) -> Iterator[types.CodeType]:
    """A code object and all that are nested in it: inner functions, lambdas, comprehensions."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes_of(constant)


@functools.lru_cache(maxsize=4096)
def globals_of(code: types.CodeType) -> tuple[str, ...]:
    """The names that the code looks up among globals, inner functions' included, in order."""
    import dis

    names = set()
    for inner in codes_of(code):
        for instruction in dis.get_instructions(inner):
            if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                names.add(str(instruction.argval))
    return tuple(sorted(names))


@functools.lru_cache(maxsize=4096)
def attributes_of(code: types.CodeType) -> frozenset[str]:
    """Every name that may be an attribute's, inner functions' included: `x.name`, and `getattr(x, "name")`."""
    named: set[str] = set()
    for inner in codes_of(code):
        named.update(inner.co_names)
        named.update(constant for constant in inner.co_consts if type(constant) is str and constant.isidentifier())
    return frozenset(sys.intern(name) for name in named)


# By these, code reads attributes whose names are not in it.
COMPUTED = frozenset(
    ("getattr", "hasattr", "vars", "__dict__", "attrgetter", "getattr_static", "getmembers", "globals")
)


def builtins_of(function: types.FunctionType) -> dict[str, Any]:
    """The names that a function's code finds among builtins because the user put them there, with their values."""
    looked_up = {name: vars(builtins).get(name, NotImplemented) for name in globals_of(function.__code__)}
    return {
        name: value
        for name, value in looked_up.items()
        if name not in function.__globals__ and value is not NotImplemented and not provenance.name_of_numbas(value)
    }


def runs_code_for_attributes(module: types.ModuleType) -> bool:
    """Whether reading an attribute of the module runs code of the user's: a module `__getattr__`, or a subclass."""
    if type(module) is types.ModuleType:
        return "__getattr__" in vars(module) and not provenance.is_fixed(module.__name__)
    return not provenance.is_fixed(type(module).__module__)


def attribute_of(module: types.ModuleType, name: str) -> Any:
    """What code that reads a module's attribute finds; MISSING where there is none."""
    if runs_code_for_attributes(module):
        try:
            return getattr(module, name)
        except Exception:
            return MISSING
    return vars(module).get(name, MISSING)


def imported_by(function: types.FunctionType) -> list[types.ModuleType]:
    """The modules that a function's code imports when it runs, inner functions' included, as far as they are loaded."""
    package = function.__globals__.get("__package__") or ""
    modules = [sys.modules.get(name) for name in _imports_of(function.__code__, package)]
    return [module for module in modules if module is not None]


@functools.lru_cache(maxsize=4096)
def _imports_of(code: types.CodeType, package: str) -> tuple[str, ...]:
    """The full names in its import statements, `a.b` and `a` for `import a.b`, and what may be one elsewhere."""
    import dis

    modules: set[str] = set()
    for inner in codes_of(code):
        if _IMPORTERS.intersection(inner.co_names):
            for name in inner.co_consts:
                if type(name) is str and all(map(str.isidentifier, name.split("."))):
                    modules.update(_with_parents(name))
        if not _IMPORTS.intersection(opcode for opcode in inner.co_code[::2]):
            continue
        level = latest = None
        for instruction in dis.get_instructions(inner):
            if instruction.opname == "IMPORT_NAME":
                name = "." * (level or 0) + str(instruction.argval)
                with contextlib.suppress(ImportError):  # beyond the top: it will say so when it runs
                    modules.update(_with_parents(importlib.util.resolve_name(name, package)))
            # The two instructions before IMPORT_NAME load the level (number of dots) and the imported names.
            level, latest = latest, instruction.argval
    return tuple(sorted(modules))


def _with_parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


_IMPORTS = {opmap["IMPORT_NAME"]}
_IMPORTERS = {"import_module", "__import__", "modules"}  # beside which a text may be the name of a module


def held_by(value: Any) -> list[Any]:
    """The objects that an object of Python's own kinds, or of a user's class, contains.

    Plain values and arrays of numbers are left out.
    """
    return [item for item in _held_by(value) if type(item) not in PLAIN_TYPES and not _is_numbers(item)]


def _is_numbers(value: Any) -> bool:
    return isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject


def _held_by(value: Any) -> Iterable[Any]:
    if isinstance(value, types.FunctionType):
        return vars(value).values()
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values(), *vars(value).values()]
    if isinstance(value, types.MethodType | staticmethod | classmethod):
        return [value.__func__, getattr(value, "__self__", None)]
    if isinstance(value, property):
        return [value.fget, value.fset]
    if isinstance(value, weakref.ref):
        return [value()]
    if isinstance(value, type):
        return [] if provenance.is_fixed(value.__module__) else [*value.__bases__, *vars(value).values()]
    kind = type(value)
    items: list[Any] = []
    if isinstance(value, dict | types.MappingProxyType):
        items += [*value.keys(), *value.values()]
    elif isinstance(value, list | set | frozenset | tuple | collections.deque):
        items += value
    elif isinstance(value, np.ndarray):
        items += value.ravel().tolist() if value.dtype.hasobject else []
    own = attributes_in(value)
    if not provenance.is_fixed(kind.__module__):
        return [kind, *items, *own.values()]
    return [*items, *(own.values() if kind.__module__ in _HOLDERS else [own.get("__wrapped__")])]


# Modules of Python and numpy whose classes contain objects of the user: np.vectorize, SimpleNamespace …
_HOLDERS = {"types", "functools", "collections", "argparse", "numpy", "numpy.lib._function_base_impl", "operator"}


def attributes_in(value: Any) -> dict[str, Any]:
    """An object's own attributes, those in slots among them, by the names that `setattr` takes.

    Its own __getattr__ is not called, because it may do anything.
    """
    attributes: dict[str, Any] = {}
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            name = f"_{kind.__name__.lstrip('_')}{name}" if name.startswith("__") and not name.endswith("__") else name
            slot = vars(kind).get(name)
            if isinstance(slot, types.MemberDescriptorType):
                with contextlib.suppress(AttributeError):  # nothing is in it
                    attributes[name] = slot.__get__(value)
    with contextlib.suppress(AttributeError):
        attributes.update(object.__getattribute__(value, "__dict__"))
    return attributes


def own_operations(kind: type) -> str:
    """A special method that a subclass of numpy's arrays has of its own, and that changes what code computes; or ""."""
    own = kind.__mro__[: kind.__mro__.index(np.ndarray)]
    names = {name for cls in own if cls not in (np.memmap, np.recarray) for name in vars(cls)}
    return min((name for name in names & vars(np.ndarray).keys() if name not in _HARMLESS), default="")


_HARMLESS = {"__new__", "__init__", "__doc__", "__array_finalize__", "__reduce__", "__reduce_ex__", "__setstate__",
             "__repr__", "__str__", "__array_priority__"}  # fmt: skip


def with_items(value: tuple[Any, ...], items: list[Any]) -> tuple[Any, ...]:
    """A tuple of the same class with these items; the tuple itself if the items are unchanged."""
    if all(map(operator.is_, items, value)):
        return value
    # namedtuple.__new__ takes the items as separate arguments, so tuple's own is called.
    replaced: tuple[Any, ...] = tuple.__new__(type(value), items)
    return replaced


OWNDATA = 0x4  # numpy's flag of an array that frees its memory, which makes no difference to its elements


def layout_of(array: Any) -> tuple[Any, ...]:
    """All that can be set on an array in place except its elements: shape, dtype, strides, flags, and its address."""
    dtype = array.dtype if array.dtype.fields is None else repr(array.dtype)  # fields may be named anew, in place
    return dtype, array.shape, array.strides, array.flags.num, array.__array_interface__["data"][0]


def same_bytes(first: np.ndarray[Any, Any], second: np.ndarray[Any, Any]) -> bool:
    """Whether two arrays of the same shape and dtype, which has no objects, hold the same bytes.

    They are compared in place, a part at a time: no copy of an array is made.
    """
    if first.nbytes < 4096:
        return bool(first.tobytes() == second.tobytes())
    word = next(size for size in (8, 4, 2, 1) if first.dtype.itemsize % size == 0)
    # Stride 0: all elements along this axis are the same one, so it is compared once.
    strides = [first.strides[axis] or second.strides[axis] for axis in range(first.ndim)]
    once = tuple(slice(None) if stride else slice(1) for stride in strides)
    words = [array.view(np.ndarray)[once][..., np.newaxis].view(f"u{word}") for array in (first, second)]
    parts = np.nditer(words, ["buffered", "external_loop"], [["readonly"]] * 2, buffersize=PART)
    return all((a == b).all() for a, b in parts)


PART = 2**15  # words: 256 KiB of each array, which the second-level cache holds while they are compared
