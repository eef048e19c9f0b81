"""Give each lane that Python runs its own copies of the objects that it uses, where there is no GIL.

Using a Python object changes its reference count, which is in the object itself. Without a GIL, lanes that use one
object do so on several cores at once, and at each use its cache line moves from core to core. Loops over one shared
array took longer on two threads than on one.
"""

from __future__ import annotations

import operator
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.compilation import provenance
from kernels.compilation.parts import MISSING, globals_of
from kernels.compilation.reach_snapshot import contents

NUMBERS = frozenset((float, int, complex))
IMMORTAL = 1 << 30  # references, as they are told of an object that is not counted any more


def apart(lane: Callable[..., int]) -> Callable[..., int]:
    """The lane function with objects of its own in the place of the arrays and numbers that it is given."""

    def lane_apart(control: Any, line: int, out: Any, inputs: tuple[Any, ...], until: int) -> int:
        return lane(own(control), line, own(out), own(inputs), until)

    return lane_apart


def own(value: Any) -> Any:
    """Another object of the same value, to the bit: a view of an array, a copy of a number, a tuple of such.

    Anything else is given back as it is.
    """
    kind = type(value)
    if kind is np.ndarray:
        return value.view()
    if kind in NUMBERS:
        return operator.neg(operator.neg(value))  # a sum with 0, a product with 1 may change a zero's or a NaN's bits
    if kind is tuple:
        return tuple([own(item) for item in value])
    return value.copy() if isinstance(value, np.number) else value


def settle_constants(body: Any) -> None:
    """Have numbers written in a body's code, and in that of the functions that it names, be counted no more.

    A free-threaded Python does so by itself, but 3.13 not with the code of modules that are imported. Code that is
    made again, by `replace`, has such constants. From 3.14 on, a constant is not counted where it is used.
    """
    if sys.version_info >= (3, 14):
        return
    functions, met = [body], set()
    for function in functions:
        if not isinstance(function, types.FunctionType) or function in met or _is_others(function):
            continue
        met.add(function)
        code = function.__code__
        if any(type(constant) in NUMBERS and sys.getrefcount(constant) < IMMORTAL for constant in code.co_consts):
            function.__code__ = code.replace()
        functions += [function.__globals__.get(name, MISSING) for name in globals_of(code)]
        functions += [contents(cell) for cell in function.__closure__ or ()]


def _is_others(function: types.FunctionType) -> bool:
    """Whether it is a library's, whose objects are none of ours."""
    return provenance.is_installed(function) and not provenance.is_our_code(function)
