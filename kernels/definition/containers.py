"""Make arrays inside of inputs read-only: in tuples, lists, dictionaries and objects of a user's class.

Inputs are read-only to bodies. That includes the arrays in a named tuple, a list or an object, and the list itself: on
threads the caller would see what a body puts into it, and on processes not.
"""

from __future__ import annotations

import array
import collections
import copy
import types
from collections.abc import Iterator
from typing import Any

import numpy as np

from kernels.compilation import provenance
from kernels.compilation.parts import attributes_in

ATOMS = frozenset((int, float, complex, bool, str, bytes, type(None)))
_DICTIONARIES = (dict, collections.OrderedDict, collections.defaultdict)
# A body gets a copy of these: they contain no arrays, and can be written to. np.void is a record, a view of an array.
_COPIED = (set, bytearray, array.array, np.void)
_OWN_WAYS = ("__copy__", "__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__getattribute__")


def read_only(value: Any, met: dict[int, Any] | None = None) -> Any:
    """The value as a body gets it: read-only views in place of arrays, copies in place of their containers.

    Objects whose class defines its own copying are left as they are, and so are objects of numba's and of libraries'
    classes.
    """
    kind = type(value)
    if kind in ATOMS:
        return value
    if kind in _COPIED:
        return copy.copy(value)
    if kind is memoryview:
        return value.toreadonly()
    met = {} if met is None else met
    if id(value) in met:
        return met[id(value)]
    protected: Any
    if isinstance(value, np.ndarray):
        protected = met[id(value)] = value.copy() if value.dtype.kind == "O" else value.view()
        if value.dtype.kind == "O":
            for index, item in enumerate(value.flat):
                protected.flat[index] = read_only(item, met)
        protected.flags.writeable = False
        return protected
    if kind is list or kind is collections.deque:
        protected = met[id(value)] = copy.copy(value)
        for index, item in enumerate(value):
            if type(item) not in ATOMS:
                protected[index] = read_only(item, met)
        return protected
    if kind in _DICTIONARIES:
        protected = met[id(value)] = copy.copy(value)
        for name, item in value.items():
            if type(item) not in ATOMS:
                protected[name] = read_only(item, met)
        return protected
    met[id(value)] = value
    return _rebuilt(value, met)


def _rebuilt(value: Any, met: dict[int, Any]) -> Any:
    """A tuple or a plain object whose parts went through `read_only`; itself where that changes none of them."""
    kind = type(value)
    own = _attributes(value) if _is_plain(kind) else {}
    parts = {name: read_only(part, met) for name, part in own.items()}
    changed = {name: part for name, part in parts.items() if part is not own[name]}
    if isinstance(value, tuple):
        items = [read_only(part, met) for part in value]
        if not changed and all(part is was for part, was in zip(items, value, strict=True)):
            return value
        rebuilt = tuple.__new__(kind, items)
    elif not changed:
        return value
    else:
        try:
            rebuilt = types.SimpleNamespace() if kind is types.SimpleNamespace else object.__new__(kind)
        except TypeError:  # one that holds more than its attributes, such as an exception
            return value
    met[id(value)] = rebuilt
    for name, part in parts.items():
        if name in getattr(value, "__dict__", ()):
            vars(rebuilt)[name] = part  # not by setattr, where a property of that name would be called
        else:
            object.__setattr__(rebuilt, name, part)
    return rebuilt


def arrays_in(value: Any, met: set[int] | None = None) -> Iterator[np.ndarray[Any, Any]]:
    """Every array of numbers that an input leads to, itself included."""
    met = set() if met is None else met
    if type(value) in ATOMS or id(value) in met:
        return
    met.add(id(value))
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        yield value
        return
    parts = [*_attributes(value).values()]
    if isinstance(value, np.ndarray):
        parts += value.flat
    elif isinstance(value, dict):
        parts += value.values()
    elif isinstance(value, tuple | list | collections.deque) or type(value).__module__ == "numba.typed.typedlist":
        parts += value
    elif type(value).__module__ == "numba.typed.typeddict":
        parts += value.values()
    for part in parts:
        yield from arrays_in(part, met)


def _attributes(value: Any) -> dict[str, Any]:
    """The attributes of an object of a user's class, or of a namespace, slots included; none of any other."""
    kind = type(value)
    if isinstance(value, type) or (provenance.is_fixed(kind.__module__) and kind is not types.SimpleNamespace):
        return {}
    return attributes_in(value)


def _is_plain(kind: type) -> bool:
    """Whether objects of a class are no more than their parts."""
    inherits = all(getattr(kind, way, None) is getattr(object, way, None) for way in _OWN_WAYS)
    return inherits or kind is types.SimpleNamespace or issubclass(kind, tuple)
