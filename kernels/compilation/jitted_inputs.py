"""Compile `@njit` functions among a kernel's inputs again when something that they read has changed.

numba freezes what a function reads when it first compiles it. Inputs are to read what the caller has at the moment of
the run, as a body does. kernels.definition.arguments calls this for every plan.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy as np

from kernels.compilation import provenance
from kernels.compilation.jitted_in_lanes import renew
from kernels.compilation.parts import DEPTH, held_by, with_items
from kernels.compilation.reach import reach_of

_ATOMS = (int, float, complex, bool, str, bytes, type(None), np.ndarray)


def as_they_are_now(value: Any, compiled: bool) -> Any:
    """The value for a run: stale `@njit` functions are compiled again, and so are those that plain functions call.

    numba gives every compiled function a type of its own, and that type refers to the code as it was first compiled. So
    for a compiled body a stale function is replaced, not changed in place.
    """
    if "numba" not in sys.modules:
        return value
    if not compiled:
        renew([dispatcher for function in _functions_in(value, set(), 0) for dispatcher in _called_by(function)])
    return _renewed(value)


def _called_by(function: Any) -> list[Any]:
    """The functions that numba has compiled among a function and all that it reaches."""
    itself = [function] if provenance.is_dispatcher(function) else []
    plain = function.py_func if itself else function
    return itself + (reach_of(plain, compiled=False).dispatchers if isinstance(plain, types.FunctionType) else [])


def _renewed(value: Any) -> Any:
    if isinstance(value, tuple):
        return with_items(value, [_renewed(item) for item in value])
    if not provenance.is_dispatcher(value):
        return value
    from kernels.compilation.compiler import renewed

    return renewed(value)


def _functions_in(value: Any, met: set[int], depth: int) -> Iterator[Any]:
    """Functions in Python's containers and in objects of a user's class, and methods of such a class."""
    if type(value) in _ATOMS or id(value) in met or depth > DEPTH:
        return
    met.add(id(value))
    if provenance.is_dispatcher(value) or isinstance(value, types.FunctionType):
        yield value
        return
    for held in value if isinstance(value, tuple) else held_by(value):
        if type(held) not in _ATOMS:
            yield from _functions_in(held, met, depth + 1)
