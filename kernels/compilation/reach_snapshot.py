"""Reach: the result of reach.py's walk.

It remembers each object and where it was found. So `is_current` can check in microseconds whether anything has changed.
"""

from __future__ import annotations

import functools
import operator
import types
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kernels.compilation import provenance
from kernels.compilation.c_functions import Called
from kernels.compilation.parts import MISSING, PLAIN_TYPES, attribute_of, held_by, layout_of, same_bytes


@dataclass(eq=False, repr=False)
class Reach:
    """All that one function reached at one moment.

    What is known of the function:

    key:         a hash of the values. What has no value to hash enters by its identity; `unkeyed` then says what it is.
    unkeyed:     why the key means nothing in another process; empty where it means the same in every one.
    mutable:     something that is reached may change in place without this noticing (a list, an object of a class).
    attributes:  every name in its code that may be an attribute's.
    dispatchers: functions in it that the user has given to numba.
    imported:    the user's modules that its code imports itself, where Python runs it.

    What `is_current` compares, each with what was there at that moment:

    arrays:     (array, its elements or None, its layout).
    names:      (dictionary, name, value): globals, builtins, attributes of modules.
    ours:       by its id, the dictionary of a module of this library, and what was found there under which names.
    absent:     (dictionary, names): names that were looked up in a module and not found.
    answers:    (module, name, value) for modules that run code of the user's when an attribute is read.
    dtypes:     (structured dtype, its text): its fields may be renamed in place.
    cells:      (closure cell, its contents).
    functions:  (function, code, defaults, keyword defaults).
    containers: (object, the objects that it contained).
    called:     functions of C that are called by their names.
    registered: how many entries numba's registries had.

    kept_alive: objects whose id is in the key, so that no other object gets it.
    """

    key: str = ""
    unkeyed: str = ""
    mutable: bool = False
    attributes: frozenset[str] = frozenset()
    dispatchers: list[Any] = field(default_factory=list)
    imported: list[types.ModuleType] = field(default_factory=list)
    arrays: list[tuple[Any, Any, Any]] = field(default_factory=list)
    names: list[tuple[dict[str, Any], str, Any]] = field(default_factory=list)
    ours: dict[int, tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=dict)
    absent: list[tuple[dict[str, Any], frozenset[str]]] = field(default_factory=list)
    answers: list[tuple[types.ModuleType, str, Any]] = field(default_factory=list)
    dtypes: list[tuple[np.dtype[Any], str]] = field(default_factory=list)
    called: list[Called] = field(default_factory=list)
    cells: list[tuple[types.CellType, Any]] = field(default_factory=list)
    functions: list[tuple[types.FunctionType, Any, Any, Any]] = field(default_factory=list)
    containers: list[tuple[Any, list[Any]]] = field(default_factory=list)
    registered: int = 0
    kept_alive: list[Any] = field(default_factory=list)

    def is_current(self) -> bool:
        """Whether nothing of it has been replaced, or changed in place, since."""
        for names, name, value in self.names:
            if names.get(name, MISSING) is not value:
                return False
        for function, code, defaults, keywords in self.functions:
            if (
                function.__code__ is not code
                or function.__defaults__ is not defaults
                or function.__kwdefaults__ is not keywords
            ):
                return False
        for cell, value in self.cells:
            if contents(cell) is not value:
                return False
        for array, frozen, layout in self.arrays:
            if layout_of(array) != layout or not (frozen is None or same_bytes(array, frozen)):
                return False
        for names, absent in self.absent:
            if not names.keys().isdisjoint(absent):  # the other way round it would go through the whole module
                return False
        for module, name, value in self.answers:
            if not _is_same(attribute_of(module, name), value):
                return False
        for dtype, words in self.dtypes:
            if repr(dtype) != words:
                return False
        for container, contained in self.containers:
            if len(now := held_by(container)) != len(contained) or not all(map(operator.is_, now, contained)):
                return False
        if not all(function.is_current() for function in self.called):
            return False
        return self.ours_are_current() and self.registered == provenance.registrations()

    def watch(self, called: Called, value: Any) -> None:
        """Look before each run whether a function of C is still the same; not those of this library's own code."""
        if not any(value is held_value for _, held in self.ours.values() for held_value in held.values()):
            self.called.append(called)

    def ours_are_current(self) -> bool:
        """Whether nothing in this library's modules that it reached has been replaced since."""
        return all(values.is_current() for values in self._found)

    @functools.cached_property
    def _found(self) -> list[Found]:  # made when the walk is over
        return [Found(names, values) for names, values in self.ours.values()]


class Found:
    """What a module held under some names, None where it had nothing. Looked at in 25 ns a name."""

    def __init__(self, names: dict[str, Any], values: dict[str, Any]) -> None:
        present = [name for name in values if name in names]
        self._names, self._absent = names, frozenset(values).difference(present)
        self._values = tuple(values[name] for name in [*present, *present[:1]])
        self._get = (
            operator.itemgetter(*present, *present[:1]) if present else _nothing
        )  # of one name it gives no tuple

    def is_current(self) -> bool:
        """Whether it still has these very objects under these names."""
        try:
            are_there = all(map(operator.is_, self._get(self._names), self._values))
        except KeyError:
            return False
        return are_there and self._names.keys().isdisjoint(self._absent)


def _nothing(names: dict[str, Any]) -> tuple[Any, ...]:
    return ()


def _is_same(a: Any, b: Any) -> bool:
    return a is b or (type(a) is type(b) and type(a) in PLAIN_TYPES and exact_form(a) == exact_form(b))


def exact_form(value: Any) -> bytes | str:
    """A plain value as bytes or text, such that two different values of one type differ."""
    if isinstance(value, float | complex):
        return np.array(value).tobytes()  # -0.0 and every nan as they are
    return value if isinstance(value, bytes | str) else repr(value)


def contents(cell: types.CellType) -> Any:
    """What a cell holds, or MISSING."""
    try:
        return cell.cell_contents
    except ValueError:  # not yet assigned
        return MISSING
