"""Inside a lane a function compiled with parallel=True runs serially: all CPUs have lanes already.

Started from a lane, numba's own threads can end the process: its workqueue aborts when two threads launch at once
(numba#8563), OpenMP in a process that was forked after its first use, and code from a cache finds no threads started.
So lanes never launch any: where a body, compiled or not, names such a function, directly or by way of others, it gets
the same function compiled without `parallel`.

A function that is found only while a body runs (in a dictionary, as an object's attribute, by an import in the body) is
not seen here, nor is what numba.vectorize makes with target="parallel".
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

from kernels.compilation import provenance
from kernels.compilation.parts import codes_of
from kernels.compilation.reach import reach_of

# Modules beside Python's and ours whose functions launch nothing: looking through them would take seconds.
LIBRARIES = {"scipy", "pandas"}

_twins: dict[int, tuple[Any, Any]] = {}  # by id, beside the original, which so keeps its id


def interpreted(function: Callable[..., Any]) -> Callable[..., Any]:
    """A body for the interpreter: itself, or a twin whose names lead to functions that launch no threads.

    The same object for as long as what the body reaches is the same: a twin holds what it was made from.
    """
    if "numba" not in sys.modules or not isinstance(function, types.FunctionType):
        return function
    reach = reach_of(function, compiled=False)
    known = _bodies.get(id(function))
    if known is None or known[1] is not reach:
        if known is not None:
            _twins.clear()
        known = _bodies[id(function)] = function, reach, without_parallel(function)
    made: Callable[..., Any] = known[2]
    return made


_bodies: dict[int, tuple[Any, Any, Any]] = {}


def without_parallel(value: Any) -> Any:
    """The value itself; for a dispatcher, function or module that leads to numba's threads, a twin that does not."""
    if id(value) in _twins:
        return _twins[id(value)][1]
    if not _launches(value):
        return value
    if isinstance(value, types.ModuleType):
        _twins[id(value)] = value, _Module(value)
    elif isinstance(value, types.FunctionType):
        _twins[id(value)] = value, _twin(value, _Names(value.__globals__))
    else:
        _compile_alone(value)
    return _twins[id(value)][1]


def _compile_alone(dispatcher: Any) -> None:
    import numba

    function = dispatcher.py_func
    names = dict(function.__globals__)
    options = {k: v for k, v in dispatcher.targetoptions.items() if k not in ("parallel", "nopython")}
    _twins[id(dispatcher)] = dispatcher, numba.njit(**options)(_twin(function, names))
    # After the entry above: a function may call itself, or its caller.
    names.update({name: without_parallel(names[name]) for name in _names(function.__code__) & names.keys()})


def _twin(function: types.FunctionType, names: dict[str, Any]) -> types.FunctionType:
    cells = tuple(types.CellType(without_parallel(value)) for value in _closed(function))
    if len(cells) < len(function.__closure__ or ()):  # one that is not bound yet
        cells = function.__closure__ or ()
    made = types.FunctionType(function.__code__, names, function.__name__, function.__defaults__, cells)
    made.__kwdefaults__ = function.__kwdefaults__
    made.__module__, made.__qualname__ = function.__module__, function.__qualname__
    return made


def _launches(value: Any) -> bool:
    """Whether a value leads, by the names in its code, to a function that was compiled with parallel=True."""
    seen: set[int] = set()
    waiting = [*vars(value).values()] if _is_module(value) else [value]
    while waiting:
        met = waiting.pop()
        if id(met) in seen:
            continue
        seen.add(id(met))
        if provenance.is_dispatcher(met):
            if met.targetoptions.get("parallel"):
                return True
            met = met.py_func
        if isinstance(met, types.FunctionType) and not _is_librarys(met.__globals__.get("__name__")):
            waiting += _met(met)
    return False


def _is_module(value: Any) -> bool:
    return isinstance(value, types.ModuleType) and not _is_librarys(value.__name__)


def _is_librarys(module: str | None) -> bool:
    return provenance.is_fixed(module or "") or (module or "").partition(".")[0] in LIBRARIES


def _met(function: types.FunctionType) -> Iterator[Any]:
    """What a function's code names: globals, what it closes over, and attributes of modules among them."""
    names = _names(function.__code__)
    for value in [*_closed(function), *(function.__globals__.get(name) for name in names)]:
        if _is_module(value):
            yield from (vars(value).get(name) for name in names)
        else:
            yield value


def _closed(function: types.FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not bound yet
            return


def _names(code: types.CodeType) -> set[str]:
    return {name for inner in codes_of(code) for name in inner.co_names}


class _Names(dict[str, Any]):
    """A function's globals, looked up when they are needed."""

    def __init__(self, of: dict[str, Any]) -> None:
        builtins = {"__builtins__": of["__builtins__"]} if "__builtins__" in of else {}
        super().__init__(__name__=of.get("__name__"), **builtins)
        self._of = of
        self._found: dict[str, tuple[Any, Callable[..., Any]]] = {}

    def __missing__(self, name: str) -> Any:
        value = self._of[name]
        if name not in self._found or self._found[name][0] is not value:
            self._found[name] = value, without_parallel(value)
        return self._found[name][1]


class _Module(types.ModuleType):
    """A module, whose attributes are looked up when they are needed."""

    def __init__(self, of: types.ModuleType) -> None:
        super().__init__(of.__name__, of.__doc__)
        self._of = of

    def __getattr__(self, name: str) -> Any:
        return without_parallel(getattr(self._of, name))
