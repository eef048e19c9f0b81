"""What a function reaches: everything that decides what it computes, as one hash of values.

A function reads globals, closure cells and attributes of modules, and calls other functions that read theirs.
`reach_of` walks all of these and gives them one key. Two equal keys mean the same computation.
"""

from __future__ import annotations

import builtins
import enum
import types
import weakref
from contextlib import nullcontext
from typing import Any

import numpy as np

from kernels.compilation import c_functions, digests, provenance
from kernels.compilation.bounded import MADE, Bounded
from kernels.compilation.parts import (
    COMPUTED,
    DEPTH,
    MISSING,
    OWNDATA,
    PLAIN_TYPES,
    attribute_of,
    attributes_of,
    globals_of,
    held_by,
    imported_by,
    layout_of,
    own_operations,
    runs_code_for_attributes,
)
from kernels.compilation.reach_snapshot import Reach, contents, exact_form

# An array up to this size is frozen into compiled code by numba; a larger one is read where it lies (numba's
# `make_constant_array`). A frozen one is compared before each run.
FROZEN_BYTES = 10**6


def reach_of(function: types.FunctionType, compiled: bool) -> Reach:
    """What the function reaches now. compiled: as numba compiles it, else as Python runs it."""
    latest = _latest.get((id(function), compiled))
    if latest is None or not latest[1].is_current():
        with provenance.numbas_lock() if compiled else nullcontext():
            latest = _latest[id(function), compiled] = function, _Walk(compiled).reach(function)
    return latest[1]


def forget() -> None:
    """Look at everything anew."""
    _latest.clear()


_latest: Bounded[tuple[int, bool], tuple[types.FunctionType, Reach]] = Bounded(2 * MADE)
# For ufuncs, stencils and other objects whose functions numba froze: the keys of these functions at first sight.
_frozen: weakref.WeakKeyDictionary[Any, list[str]] = weakref.WeakKeyDictionary()


class _Walk:
    """One walk over what a function reaches. Each thing goes into the key, and into the lists of what to compare."""

    def __init__(self, compiled: bool) -> None:
        self._compiled = compiled
        self._digest = digests.sha256()
        self._met: dict[int, int] = {}  # id -> order of first visit, so that cycles end
        self._modules: list[types.ModuleType] = []
        self._attributes: set[str] = set()
        self._depth = 0  # of objects in objects
        self._reach = Reach()

    def reach(self, function: types.FunctionType) -> Reach:
        """Walk from the function on; everything that was reached."""
        if self._compiled:
            provenance.bring_up_to_date()
        self._reach.registered = provenance.registrations()
        if self._compiled and (foreign := provenance.foreign()):
            self._unkeyed(f"{foreign} extends numba", self._reach.registered)
        self._value(function)
        self._modules_attributes()
        self._reach.key = self._digest.hexdigest()
        self._reach.attributes = frozenset(self._attributes)
        return self._reach

    def _put(self, kind: str, content: bytes | str = b"") -> None:
        """One item, with its kind and its length: no two sequences of items have the same bytes."""
        content = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        self._digest.update(f"{kind}:{len(content)}:".encode() + content)

    def _unkeyed(self, why: str, value: Any) -> None:
        self._reach.unkeyed = self._reach.unkeyed or why
        self._reach.kept_alive.append(value)
        self._put("object", f"{type(value).__qualname__} {id(value)}")

    def _value(self, value: Any) -> None:
        kind = type(value)
        if kind in PLAIN_TYPES:
            self._put(kind.__name__, exact_form(value))
        elif kind is tuple or kind is frozenset:
            self._items(
                kind.__name__, value if kind is tuple else sorted(value, key=lambda item: (str(type(item)), repr(item)))
            )
        elif isinstance(value, tuple) and hasattr(kind, "_fields"):
            self._class(kind)
            self._items("fields", value)
        elif isinstance(value, np.generic) and kind.__module__ == "numpy" and not value.dtype.hasobject:
            self._dtype(value.dtype)
            self._put("scalar", value.tobytes())
            if isinstance(value, np.void):  # a record may be a part of an array, and change with it
                self._reach.arrays.append((value, value.copy(), layout_of(value)))
                self._reach.mutable |= not self._compiled
        elif isinstance(value, np.dtype):
            self._dtype(value)
            if value.fields:  # which may be named anew, in place
                self._reach.dtypes.append((value, repr(value)))
        elif isinstance(value, enum.Enum):
            self._class(kind)
            self._put("member", value.name or repr(value))
        elif isinstance(value, types.CodeType):
            self._code(value)
        elif id(value) in self._met:
            self._put("again", str(self._met[id(value)]))
        else:
            self._met[id(value)] = len(self._met)
            self._reach.kept_alive.append(value)
            self._object(value)

    def _object(self, value: Any) -> None:
        """What has an identity: a function, a module, an array, a class, or an unknown object."""
        if isinstance(value, types.ModuleType):
            self._put("module", value.__name__)
            self._modules.append(value)
        elif isinstance(value, np.ndarray) and self._is_numbers(value):
            self._array(value)
        elif name := provenance.name_of_ours(value):
            self._put("ours", name)
            if self._compiled:
                self._read_by_ours(value)
        elif provenance.is_dispatcher(value):
            self._dispatcher(value)
        elif isinstance(value, types.FunctionType):
            self._function(value)
        elif name := provenance.name_of_numbas(value):
            self._put("numba's", name)
        elif (definition := provenance.intrinsic_of_ours(value)) is not None:
            self._put("intrinsic")
            self._parts(definition)
        elif type(value).__module__ == "llvmlite.ir.types":
            self._put("llvm's", str(value))
        elif called := c_functions.called(value):
            self._put("C's", called.words or repr(called))
            self._reach.watch(called, value)
            if not called.words:
                self._unkeyed(f"C's {called.symbol}", value)
        elif frozen := provenance.frozen_functions(value):
            self._frozen(value, frozen)
        elif isinstance(value, type):
            self._class(value)
        elif parts := provenance.kernel_parts(value):
            self._reach.mutable = True
            self._reach.names += [(value.variants, name, variant) for name, variant in value.variants.items()]
            self._items("kernel", parts)
        else:
            self._reach.mutable = True
            self._unkeyed(f"{type(value).__name__} {provenance.short_repr(value)}", value)
            if not self._compiled:
                self._inside(value)

    def _inside(self, value: Any) -> None:
        """The functions in an object that Python takes as it is, for what they read and what numba has compiled."""
        if self._depth == DEPTH:
            return
        self._depth += 1
        held = held_by(value)
        self._reach.containers.append((value, held))
        for item in held:
            self._value(item)
        self._depth -= 1

    def _frozen(self, value: Any, functions: list[types.FunctionType]) -> None:
        """An object in which numba keeps what its functions read: RuntimeError where that has changed since."""
        self._reach.mutable = True
        self._unkeyed(f"{type(value).__name__} {provenance.short_repr(value)}", value)
        for function in functions:  # to see when they change
            self._value(function)
        now = [reach_of(function, compiled=True).key for function in functions]
        if _frozen.setdefault(value, now) != now:
            keys = zip(functions, _frozen[value], now, strict=True)
            changed = [function for function, then, key in keys if then != key]
            name, kind = changed[0].__qualname__, type(value).__name__
            raise RuntimeError(
                f"{name} was compiled by numba ({kind}) when what it reads had other values than now, and numba keeps"
                " those; run its definition again"
            )

    def _items(self, kind: str, items: Any) -> None:
        self._put(kind, str(len(items)))
        for item in items:
            self._value(item)

    def _function(self, function: types.FunctionType) -> None:
        if self._compiled and (name := provenance.name_of_numbas(function)):
            self._put("numba's", name)
            return
        if self._compiled and provenance.is_known_to_numba(function):
            self._unkeyed(f"{function.__qualname__} has an overload", function)
            return
        if not self._compiled and provenance.is_installed(function):
            self._put("installed", f"{function.__module__}.{function.__qualname__}")
            for cell in function.__closure__ or ():  # a library's decorator closes over what it was given
                self._cell(cell)
            return
        self._parts(function)
        if not self._compiled and vars(function):  # its own attributes, which code may read and set
            self._reach.mutable = True
            self._inside(function)

    def _parts(self, function: types.FunctionType) -> None:
        """A function's code, what it closes over, its defaults, and the globals that it looks up."""
        code = function.__code__
        ours = provenance.is_our_code(function)  # these do not change, so they are not looked at before a run
        if not ours:
            self._reach.functions.append((function, code, function.__defaults__, function.__kwdefaults__))
            self._attributes.update(attributes_of(code))
            if not self._compiled:
                self._own_attributes(function)
            if keywords := function.__kwdefaults__:
                self._reach.names += [(keywords, name, value) for name, value in keywords.items()]
        self._code(code)
        self._value(function.__defaults__)
        self._items("keywords", [item for pair in sorted((function.__kwdefaults__ or {}).items()) for item in pair])
        for cell in function.__closure__ or ():
            self._cell(cell, watched=not ours)
        if ours and self._compiled:
            self._read_by_ours(function)
        if not ours:  # what Python runs of ours is imported by each worker
            for global_name in globals_of(code):
                self._name(function.__globals__, global_name)
            for module in [] if self._compiled else imported_by(function):
                self._value(module)
                if not provenance.is_fixed(module.__name__) and module not in self._reach.imported:
                    self._reach.imported.append(module)

    def _read_by_ours(self, value: Any) -> None:
        """What this library's code reads beside what its files say: a constant may have been set."""
        written_by = provenance.intrinsic_of_ours(value)  # what runs while numba compiles: its constants alone
        if isinstance(function := written_by or value, types.FunctionType) and provenance.is_our_code(function):
            for name in globals_of(function.__code__):
                read_value = function.__globals__.get(name)  # None for a builtin, which a later global would hide
                if written_by is None or type(read_value) in PLAIN_TYPES:
                    self._global_of_ours(function.__globals__, name)
                if isinstance(read_value, types.ModuleType) and provenance.is_ours(read_value.__name__):
                    for read in sorted(attributes_of(function.__code__) & vars(read_value).keys()):
                        self._global_of_ours(vars(read_value), read)

    def _global_of_ours(self, names: dict[str, Any], name: str) -> None:
        known = self._reach.ours.setdefault(id(names), (names, {}))[1]
        if name not in known:
            self._put("name", f"{names.get('__name__')} {name}")
            value = known[name] = names.get(name)
            if type(value) is np.ndarray and not value.flags.writeable:  # a table, which nobody writes to
                self._put("table", repr((value.dtype.str, value.shape, value.strides, value.tobytes())))
            else:
                self._value(value)

    def _own_attributes(self, function: types.FunctionType) -> None:
        """What Python finds without a name in the code: a function's attributes, and computed names."""
        self._reach.mutable |= bool(vars(function)) or not COMPUTED.isdisjoint(attributes_of(function.__code__))
        for value in vars(function).values():
            if type(value) not in PLAIN_TYPES:
                self._value(value)

    def _cell(self, cell: types.CellType, watched: bool = True) -> None:
        content = contents(cell)
        if watched:
            self._reach.cells.append((cell, content))
        self._put("cell")
        self._value_if_any(content)

    def _name(self, names: dict[str, Any], name: str) -> None:
        """A global as it is now; absent ones count, too, since a later one of that name hides a builtin."""
        value = names.get(name, MISSING)
        self._reach.names.append((names, name, value))
        self._put("name", name)
        if value is MISSING and name in (known := vars(builtins)):
            value = known[name]
            self._reach.names.append((known, name, value))
        self._value_if_any(value)

    def _value_if_any(self, value: Any) -> None:
        if value is MISSING:
            self._put("missing")
        else:
            self._value(value)

    def _code(self, code: types.CodeType) -> None:
        """The code without line numbers: an edit above the function must not change the key."""
        counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
        self._put("code", repr((code.co_name, counts)))
        for names in (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars):
            self._items("names", names)
        self._put("bytes", code.co_code)
        self._put("handlers", code.co_exceptiontable)
        self._items("constants", code.co_consts)

    def _modules_attributes(self) -> None:
        """Of each module that was met, every attribute whose name is in some code.

        The walk cannot always see which module an attribute is read from, because modules can be passed around. So
        every name is looked up in every module. What is found may bring further names and modules, and so on.
        """
        done: set[tuple[int, str]] = set()
        while todo := [
            (index, name)
            for index, module in enumerate(self._modules)
            if self._compiled or not provenance.is_fixed(module.__name__)
            for name in sorted(self._names_to_look_up(module))
            if (index, name) not in done
        ]:
            for index, name in todo:
                done.add((index, name))
                module = self._modules[index]
                self._put("of", str(index))
                if runs_code_for_attributes(module):
                    value = attribute_of(module, name)
                    self._reach.answers.append((module, name, value))
                    self._put("name", name)
                    self._value_if_any(value)
                else:
                    self._name(vars(module), name)
        for module in self._modules:
            if self._compiled or not provenance.is_fixed(module.__name__):
                self._reach.absent.append((vars(module), frozenset(self._attributes.difference(vars(module)))))

    def _names_to_look_up(self, module: types.ModuleType) -> set[str]:
        return self._attributes if runs_code_for_attributes(module) else self._attributes.intersection(vars(module))

    def _is_numbers(self, array: np.ndarray[Any, Any]) -> bool:
        """Whether an array's elements are all of it; to numba a subclass is a plain array."""
        kind = type(array)
        if array.dtype.hasobject or kind is np.ndarray:
            return not array.dtype.hasobject
        if self._compiled and (own := own_operations(kind)):
            raise ValueError(
                f"{provenance.short_repr(array)} is a {kind.__name__}, whose own {own} compiled code would not use;"
                " read an np.asarray of it, or run the 'python' variant"
            )
        return self._compiled

    def _array(self, array: np.ndarray[Any, Any]) -> None:
        self._put("array", type(array).__qualname__)
        self._dtype(array.dtype)
        layout = layout_of(array)
        self._put("layout", repr((array.shape, array.strides, array.flags.num & ~OWNDATA)))
        if not self._compiled:
            self._reach.mutable = True
        if array.nbytes > FROZEN_BYTES or (self._compiled and not array.flags.forc):
            self._unkeyed("an array that numba does not copy", array)
            self._put("there", repr(layout))
            self._reach.arrays.append((array, None, layout))
            return
        self._put("elements", array.tobytes())
        if self._compiled:
            self._reach.arrays.append((array, np.array(array, order="K", copy=True), layout))

    def _dtype(self, dtype: np.dtype[Any]) -> None:
        self._put("dtype", repr((dtype.str, dtype.descr if dtype.fields else (), dtype.itemsize, dtype.alignment)))
        for name, (inner, offset, *_) in sorted((dtype.fields or {}).items()):
            self._put("field", f"{name} {offset}")
            self._dtype(inner)
        if dtype.subdtype:
            self._put("of", repr(dtype.subdtype[1]))
            self._dtype(dtype.subdtype[0])

    def _class(self, value: type) -> None:
        """A class that is a list of names and values: a namedtuple, an enumeration. Any other is known by identity."""
        self._put("class", f"{value.__module__}.{value.__qualname__}")
        if issubclass(value, enum.Enum):
            self._items("bases", [base.__qualname__ for base in value.__mro__])
            named = value.__members__.items()
            self._items("members", [item for name, member in named for item in (name, member.value)])
        elif issubclass(value, tuple) and hasattr(value, "_fields"):
            self._items("fields", value._fields)
        elif not provenance.is_trusted(value.__module__):
            self._unkeyed(f"class {value.__qualname__}", value)
        if not self._compiled and not provenance.is_trusted(value.__module__):
            self._reach.mutable = True
            self._inside(value)

    def _dispatcher(self, dispatcher: Any) -> None:
        """A function that the user gave to numba: its code, its options, and the signatures that it is limited to."""
        self._reach.dispatchers.append(dispatcher)
        options = provenance.dispatcher_options(dispatcher)
        if options is None:
            self._unkeyed(f"{dispatcher.py_func.__qualname__} has options of its own", dispatcher)
        else:
            self._items("dispatcher", options)
        self._value(dispatcher.py_func)
