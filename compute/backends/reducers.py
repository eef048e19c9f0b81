"""Reducers for objects that do not pickle, or that would carry stale state to a worker.

These are locks, functions under `lru_cache` or `njit`, ContextVars, and numba's typed containers. `reduction_of`
returns what `__reduce__` would: a function to call in the worker, and its arguments.
"""

from __future__ import annotations

import contextvars
import functools
import threading
import types
from collections.abc import Callable
from typing import Any

from kernels.compilation import provenance
from kernels.compilation.bounded import MADE, Bounded
from kernels.compilation.reach import reach_of

Reduction = tuple[Callable[..., Any], tuple[Any, ...]]
LOCKS: dict[type, Callable[[], Any]] = {
    type(threading.Lock()): threading.Lock,
    type(threading.RLock()): threading.RLock,
}


def reduction_of(obj: Any, is_input: bool) -> Reduction | None:
    """How a worker makes the object again; None for one that pickles in its own way.

    is_input: whether it is an input, or a part of one. A lock that is passed as an input is meant to be shared, which
    is impossible across processes, so it is not replaced. A lock that a body reaches is replaced in each worker.
    """
    if provenance.is_dispatcher(obj):
        reach = reach_of(obj.py_func, compiled=True)
        return _dispatcher, (reach.key, obj.py_func, provenance.dispatcher_parts(obj))
    if isinstance(obj, functools._lru_cache_wrapper) and not provenance.is_installed(obj):
        return _remembering, (obj.__wrapped__, obj.cache_parameters())
    if type(obj) in LOCKS and not is_input:
        return LOCKS[type(obj)], ()
    if type(obj) is functools.cached_property:  # which holds a lock in Python 3.11
        return _cached_property, (obj.func, obj.attrname)
    if isinstance(obj, contextvars.ContextVar):
        return _context_variable, (obj.name, _value_of(obj))
    if type(obj).__module__ == "numba.typed.typeddict":
        return _filled_dict, (obj._numba_type_.key_type, obj._numba_type_.value_type, dict(obj.items()))
    if type(obj).__module__ == "numba.typed.typedlist":
        return _filled_list, (obj._numba_type_.item_type, list(obj))
    return None


class OwnLock:
    """Stands for a lock; a worker makes one of its own."""

    def __init__(self, kind: type) -> None:
        self._kind = kind

    def __reduce__(self) -> Reduction:
        return LOCKS[self._kind], ()


def _dispatcher(key: str, function: types.FunctionType, parts: tuple[Any, ...]) -> Any:
    """A user's compiled helper, made again once for each key: numba takes each dispatcher for a type of its own.

    numba's unpickling would return an existing dispatcher with old globals.
    """
    identity = key, repr(parts)
    if (dispatcher := _dispatchers.get(identity)) is None:
        from kernels.compilation.compiler import adopt

        dispatcher = _dispatchers[identity] = adopt(provenance.dispatcher_again(function, parts))
    return dispatcher


_dispatchers: Bounded[tuple[str, str], Any] = Bounded(MADE)


def _remembering(function: Any, parameters: dict[str, Any]) -> Any:
    """A function under a new, empty `lru_cache`."""
    return functools.lru_cache(**parameters)(function)


def _cached_property(function: Any, name: str) -> Any:
    cached: Any = functools.cached_property(function)
    cached.attrname = name
    return cached


def _value_of(variable: contextvars.ContextVar[Any]) -> tuple[Any, ...]:
    """A tuple of its value in the caller's context; an empty one where it has none."""
    try:
        return (variable.get(),)
    except LookupError:
        return ()


def _context_variable(name: str, value: tuple[Any, ...]) -> contextvars.ContextVar[Any]:
    """A ContextVar with this default value."""
    return contextvars.ContextVar(name, default=value[0]) if value else contextvars.ContextVar(name)


def _filled_dict(key_type: Any, value_type: Any, items: dict[Any, Any]) -> Any:
    import numba  # noqa: F401  # all of it, before a part: see kernels/compilation/importing.py
    from numba.typed import Dict

    typed = Dict.empty(key_type, value_type)
    for key, value in items.items():
        typed[key] = value
    return typed


def _filled_list(item_type: Any, items: list[Any]) -> Any:
    import numba  # noqa: F401  # all of it, before a part: see kernels/compilation/importing.py
    from numba.typed import List

    typed = List.empty_list(item_type)
    for item in items:
        typed.append(item)
    return typed
