"""Pickle the user's functions, classes and modules by value for worker processes, on top of cloudpickle.

Pickled by name, a function would be imported again by the worker: from a file that may have been edited since, with
globals as the file sets them and not as the caller has set them. So the user's own functions are pickled by value, with
the globals that they read, and with the attributes that they read of the user's modules. What pip has installed, and
this library, is pickled by name. Large arrays are put into memory that the worker can see, once.

In a worker, a class is one object for everything that is sent, and so is a module that a body imports itself. When they
are unpickled, their attributes (methods among them) are set as they are in the caller. A pickle that does this is
called *patching*: it changes objects that other code in the worker uses as well. So a worker keeps only the latest
patching code. To run an older one it is unpickled again, so that the attributes are set again.
"""

from __future__ import annotations

import enum
import functools
import importlib
import io
import marshal
import pickle
import sys
import types
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import cloudpickle
import numpy as np
from cloudpickle.cloudpickle import _class_setstate, _dynamic_class_reduce

from compute.backends import reducers
from compute.memory.segments import ArrayRef, Segment
from kernels.compilation import provenance
from kernels.compilation.bounded import MADE, Bounded
from kernels.compilation.parts import COMPUTED, MISSING, attribute_of, builtins_of
from kernels.compilation.reach import reach_of
from kernels.compilation.reach_snapshot import contents
from kernels.definition import Kernel
from kernels.definition.arguments import is_generator
from kernels.texts import visible

LARGE = 2**16  # bytes from which an array is put into a segment: below, a copy in the message costs less
_PLAIN = (int, float, complex, bool, str, bytes, type(None), np.generic, np.ndarray)


def packed(
    value: Any, attributes: frozenset[str], place: Callable[[Any], ArrayRef], is_input: bool = False
) -> tuple[bytes, bool]:
    """A value as bytes for `unpacked` in a worker, and whether they are patching (see above).

    attributes: the names that its code reads of modules and classes. place: puts a large array into a segment.
    is_input: whether it is an input, whose locks are the caller's; what a body reaches gets locks of the worker's own.
    """
    file = io.BytesIO()
    pickler = Pickler(file, attributes, place, is_input)
    pickler.dump(value)
    return file.getvalue(), pickler.is_patching


def plainly_packed(value: Any, place: Callable[[Any], ArrayRef]) -> bytes:
    """As `packed`, in about half the time, for objects of this library that contain arrays, numbers and text."""
    file = io.BytesIO()
    _PlainPickler(file, place).dump(value)
    return file.getvalue()


def attributes_of(values: Iterable[Any]) -> frozenset[str]:
    """The names that functions among the values read of modules."""
    functions = [value for value in values if isinstance(value, types.FunctionType)]
    return frozenset().union(*(reach_of(function, compiled=False).attributes for function in functions))


def unpacked(content: bytes, segments: dict[tuple[int, int], Segment]) -> Any:
    """What was packed, in a worker that has this table of segments."""
    return _ByValueUnpickler(io.BytesIO(content), segments).load()


class _PlainPickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, place: Callable[[Any], ArrayRef]) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._place = place

    def persistent_id(self, obj: Any) -> tuple[Any, ...] | None:
        return _place_of(obj, self._place)


def _place_of(obj: Any, place: Callable[[Any], ArrayRef]) -> tuple[Any, ...] | None:
    """Where workers find a large array; None for anything else."""
    if type(obj) is np.ndarray and obj.nbytes >= LARGE and not obj.dtype.hasobject:
        return tuple(place(obj))
    return None


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    def __init__(
        self, file: io.BytesIO, attributes: frozenset[str], place: Callable[[Any], ArrayRef], is_input: bool
    ) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._attributes, self._place, self._is_input = attributes, place, is_input
        self.is_patching = False

    def persistent_id(self, obj: Any) -> tuple[Any, ...] | None:
        return _place_of(obj, self._place)

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, types.FunctionType) and not provenance.is_installed(obj):
            return self._function(obj)
        if type(obj) is functools.partial and not self._is_input:
            name = getattr(obj.func, "__qualname__", type(obj.func).__name__)
            _warn_of_generators(name, [*(("an argument", x) for x in obj.args), *obj.keywords.items()])
        if isinstance(obj, type):
            if type(obj).__module__.startswith("numba.experimental.jitclass"):
                raise TypeError(f"{obj.__qualname__} is a jitclass, which Python in another process cannot have")
            return self._class(obj)
        if isinstance(obj, Imported):
            self.is_patching = True
            return importlib.import_module, (obj.module.__name__,), self._read(obj.module), None, None, _set_module
        if isinstance(obj, types.CodeType):
            return marshal.loads, (_marshalled(obj),)  # cloudpickle's own form has no file, which tracebacks show
        if isinstance(obj, types.ModuleType) and not provenance.is_trusted(obj.__name__):
            return self._module(obj)
        if reduction := reducers.reduction_of(obj, self._is_input):
            return reduction
        if isinstance(obj, Kernel) and not provenance.is_ours(obj.module):
            return obj.by_value()
        return super().reducer_override(obj)

    def _function(self, function: types.FunctionType) -> Any:
        """cloudpickle's own form of a function by value; a global that does not pickle is imported by the worker."""
        make, arguments, (state, slots), *rest = self._dynamic_function_reduce(function)
        globals_ = {
            name: self._or_by_name(function.__module__, name, value) for name, value in slots["__globals__"].items()
        }
        enclosed = zip(function.__code__.co_freevars, map(contents, function.__closure__ or ()), strict=True)
        _warn_of_generators(function.__qualname__, [*globals_.items(), *enclosed])
        globals_ |= {name: value for name, value in builtins_of(function).items() if self._obstacle(value) is None}
        return make, arguments, (state, slots | {"__globals__": globals_}), *rest

    def _or_by_name(self, module: str, name: str, value: Any) -> Any:
        if module == "__main__" or isinstance(value, (*_PLAIN, types.FunctionType, types.ModuleType, type)):
            return value
        if type(value) in reducers.LOCKS:
            return reducers.OwnLock(type(value))
        error = self._obstacle(value)
        if error is None:
            return value
        if name.rpartition(".")[2] in self._attributes:
            _warn_of(f"{module}.{name}", value, error)
        return _ByName(module, name)

    def _obstacle(self, value: Any) -> Exception | None:
        """Why a value cannot be sent, or None."""
        try:
            packed(value, self._attributes, self._place, self._is_input)
        except Exception as error:
            return error
        return None

    def _module(self, module: types.ModuleType) -> Any:
        """The attributes that the code reads of a module, as they are now; the worker imports the module for others."""
        if provenance.is_ours(module.__name__):
            return NotImplemented
        return _View, (module.__name__,), self._read(module), None, None, _fill_view

    def _read(self, module: types.ModuleType) -> tuple[dict[str, Any], tuple[str, ...] | None]:
        """The attributes that the code reads of a module, and all names in it.

        Of modules that are not the user's, only plain values are read. None instead of names where they are not known:
        of such modules, and of one with a `__getattr__` of its own.
        """
        is_users = not provenance.is_installed(module)
        computed = is_users and not COMPUTED.isdisjoint(self._attributes)
        read = {
            name: self._or_by_name(module.__name__, name, value)
            for name in sorted(self._attributes)
            if (value := attribute_of(module, name)) is not MISSING
            and (is_users or isinstance(value, (*_PLAIN, types.ModuleType)))
        }
        if computed:
            read |= {
                name: self._or_by_name(module.__name__, name, value)
                for name, value in vars(module).items()
                if name not in read and not name.startswith("__") and not isinstance(value, types.ModuleType)
            }
        return read, tuple(sorted(vars(module))) if is_users and "__getattr__" not in vars(module) else None

    def _class(self, kind: type) -> Any:
        """A class by value. If a worker can import it, the worker's class is changed to match."""
        reduction = _dynamic_class_reduce(kind) if _is_made_by_hand(kind.__module__) else super().reducer_override(kind)
        if reduction is not NotImplemented:
            self.is_patching = True
            if len(reduction) == 6 and not issubclass(kind, enum.Enum):
                return *reduction[:-1], _fill_class
            return reduction
        if provenance.is_fixed(kind.__module__):
            return reduction
        if provenance.is_installed(kind) or _is_made_in_c(kind):
            return self._installed_class(kind)
        self.is_patching = True
        make, arguments = _dynamic_class_reduce(kind)[:2]
        state = {
            name: self._or_by_name(kind.__module__, f"{kind.__qualname__}.{name}", value)
            for name, value in vars(kind).items()
            if _is_sent(kind, name, value)
        }
        identity = kind.__module__, kind.__qualname__, _shape(kind), make, arguments
        return _class_like, identity, state, None, None, _set_class_state

    def _installed_class(self, kind: type) -> Any:
        """By name, with the plain attributes that the code reads, since the user may have set them."""
        read = {
            name: value
            for name, value in vars(kind).items()
            if name in self._attributes and not name.startswith("__") and isinstance(value, _PLAIN)
        }
        bases = [base for base in kind.__bases__ if not provenance.is_fixed(base.__module__)]
        if issubclass(kind, enum.Enum) or not (read or bases):
            return NotImplemented
        self.is_patching |= bool(read)
        return _imported, (kind.__module__, kind.__qualname__), (read, bases), None, None, _set_of_class


class Imported:
    """Stands for a module that a body imports itself: the worker's own module, with the caller's attributes."""

    def __init__(self, module: types.ModuleType) -> None:
        self.module = module


def _is_sent(kind: type, name: str, value: Any) -> bool:
    """Whether an entry of a class's dictionary is a user's (a method, a number) and not one of Python's machinery."""
    if isinstance(value, types.MemberDescriptorType | types.GetSetDescriptorType) or name == "_abc_impl":
        return False
    is_code = isinstance(value, types.FunctionType | staticmethod | classmethod | property)
    if issubclass(kind, enum.Enum):
        return is_code and not name.startswith("_")
    return not name.startswith("__") or (is_code and not name.startswith("__annot")) or name == "__hash__"


def _is_made_in_c(kind: type) -> bool:
    """Whether a class cannot be rebuilt from its dictionary, or changed: one of ctypes, or of a compiled module."""
    heap, immutable = 1 << 9, 1 << 8  # of CPython's Py_TPFLAGS
    return type(kind).__module__ == "_ctypes" or kind.__flags__ & (heap | immutable) != heap


def _shape(kind: type) -> tuple[Any, ...]:
    """The parts of a class that cannot be changed once it exists."""
    members = {name: member.value for name, member in kind.__members__.items()} if issubclass(kind, enum.Enum) else None
    return type(kind), kind.__bases__, vars(kind).get("__slots__"), members


def _class_like(module: str, name: str, shape: tuple[Any, ...], make: Callable[..., type], arguments: Any) -> type:
    """The class that an import gives in this worker; where it cannot be changed to match, a new class replaces it.

    So a class is one object in this worker, whether it comes by value or by an import.
    """
    *above, last = name.split(".")
    holder: Any = functools.reduce(getattr, above, importlib.import_module(module))
    imported = vars(holder).get(last)
    if isinstance(imported, type) and _shape(imported) == shape:
        return imported
    replacement = make(*arguments)
    setattr(holder, last, replacement)
    return replacement


def _set_class_state(kind: type, state: dict[str, Any]) -> None:
    """Make a class's own entries those of the state."""
    for name in [] if issubclass(kind, enum.Enum) else list(vars(kind)):
        if name not in state and _is_sent(kind, name, vars(kind)[name]):
            delattr(kind, name)
    for name, value in state.items():
        if vars(kind).get(name, MISSING) is not value:
            setattr(kind, name, value)


def _fill_class(kind: type, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """cloudpickle's state setter for a class that no worker can import; it also removes what is not in the state."""
    for name in list(vars(kind)):
        if name not in state[0] and _is_sent(kind, name, vars(kind)[name]):
            type.__delattr__(kind, name)
    _class_setstate(kind, state)


def _set_attributes(holder: Any, read: dict[str, Any]) -> None:
    for name, value in read.items():
        if vars(holder).get(name, MISSING) is not value:
            setattr(holder, name, value)


def _set_module(module: types.ModuleType, state: tuple[dict[str, Any], tuple[str, ...] | None]) -> None:
    read, names = state
    if names is not None and module.__name__ != "__main__":
        for name in [name for name, value in vars(module).items() if not isinstance(value, types.ModuleType)]:
            if name not in names and not name.startswith("__"):
                delattr(module, name)
    _set_attributes(module, read)


def _set_of_class(kind: type, state: tuple[dict[str, Any], list[type]]) -> None:
    _set_attributes(kind, state[0])  # those of its bases were set when these were unpacked


def _is_made_by_hand(name: str) -> bool:
    """Whether a module comes from no file or loader, so that no worker can import it."""
    module = sys.modules.get(name)
    return module is not None and name != "__main__" and module.__spec__ is None and not hasattr(module, "__file__")


_codes: Bounded[int, tuple[types.CodeType, bytes]] = Bounded(16 * MADE)


def _marshalled(code: types.CodeType) -> bytes:
    """A code object's bytes, the same each time: marshal's result depends on the reference counts of its constants."""
    known = _codes.get(id(code))
    if known is None:
        known = _codes[id(code)] = code, marshal.dumps(code)
    return known[1]


class _ByValueUnpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, segments: dict[tuple[int, int], Segment]) -> None:
        super().__init__(file)
        self._segments = segments

    def persistent_load(self, pid: Any) -> Any:
        *place, is_copy = pid if len(pid) > len(ArrayRef._fields) else (*pid, False)
        array = ArrayRef(*place).open(self._segments)
        array.flags.writeable = not is_copy  # all workers share one copy, so none may write to it
        return array


_warned_of: set[tuple[str, int]] = set()


def _warn_of(path: str, value: Any, error: Exception) -> None:
    """A RuntimeWarning, once, for a value that a body reads and that a worker has to import for itself."""
    if (path, id(value)) not in _warned_of:
        _warned_of.add((path, id(value)))
        warnings.warn(
            f"{visible(path)}, a {type(value).__name__}, cannot be sent to worker processes"
            f" ({type(error).__name__}: {error}): each has its own, as an import makes it, and sees nothing that was"
            " set since; run on threads, or have the body read plain values",
            RuntimeWarning,
            stacklevel=2,
        )


def _warn_of_generators(function: str, read: Iterable[tuple[str, Any]]) -> None:
    """A RuntimeWarning, once, for each generator of random numbers that is read, itself or by a method (`gauss`)."""
    for name, value in read:
        owner = value.__self__ if isinstance(value, types.MethodType | types.BuiltinMethodType) else value
        kind = type(owner).__name__  # the system's own generator cannot be sent, which its error says
        if is_generator(owner) and kind != "SystemRandom" and (name, id(owner)) not in _warned_of:
            _warned_of.add((name, id(owner)))
            warnings.warn(
                f"{visible(function)} draws from {visible(name)}, a {kind} of which each worker process has a copy:"
                " several draw the same numbers; say seed= for one of its own for each item (docs/items.md), or make"
                " one in the body, of the chunk's first index",
                RuntimeWarning,
                stacklevel=2,
            )


class _ByName:
    """Stands for a global that does not pickle: the worker imports its module and takes the one there."""

    def __init__(self, module: str, name: str) -> None:
        self._path = module, name

    def __reduce__(self) -> Any:
        return _imported, self._path


def _imported(module: str, name: str) -> Any:
    value: Any = importlib.import_module(module)
    for part in name.split("."):
        value = getattr(value, part)
    return value


class _View(types.ModuleType):
    """A module of the caller's in a worker: the attributes that were sent, and those of an import for the rest."""

    def __getattr__(self, name: str) -> Any:
        names = vars(self).get(_NAMES)
        if names is not None and name not in names and f"{self.__name__}.{name}" not in sys.modules:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(self.__name__), name)


_NAMES = "names that it has in the caller"


def _fill_view(view: _View, state: tuple[dict[str, Any], tuple[str, ...] | None]) -> None:
    read, names = state
    vars(view).update(read, **{_NAMES: names})
