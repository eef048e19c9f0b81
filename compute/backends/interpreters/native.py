"""Compiled lanes by their C address: what a subinterpreter needs to call one, without numba and numpy.

numba's functions are called as C functions whose arguments are laid flat: an array is its data's address, its extents
and strides; a tuple is its items. (`numba.core.callconv`: before them stand the places of the result and of the error.)
"""

from __future__ import annotations

import ctypes
import re
from typing import Any, NamedTuple

import numpy as np

from compute.backends.backend import Refused
from compute.lanes import interrupts
from kernels.compilation import importing
from kernels.compilation.bounded import MADE, Bounded
from kernels.compilation.native_code import CODES, NativeCode, flat, raised

# Functions that need Python, and the GIL of whatever interpreter they find: print, objmode, BLAS by way of scipy,
# random numbers. A name of C's, of LLVM's or of numba's own runtime is none of these.
HARMLESS = "attempt_nocopy|sdiv|srem|udiv|urem|frexp|ldexp|gamma"  # of numba's functions in C: they only compute
# What numba puts around a function, for Python and for C to call it, and what it makes of an exception's arguments when
# that is raised in Python. None of these is called there.
WRAPPERS = "_ZN7cpython", "cfunc.", "__excinfo_unwrap_args"
NEEDS_PYTHON = re.compile(rf'@"?((?:_?Py[A-Z_]|_?numba_(?!{HARMLESS}))\w*)')


class CannotBeCalled(Refused):
    """Compiled code that cannot be called from a subinterpreter; the text says why, and the remedy."""


class Entry(NamedTuple):
    """A compiled function's address, the types of its flat arguments (see CODES; "P" for addresses), and these."""

    address: int
    codes: str
    values: list[Any]


def entry_of(name: str, dispatcher: Any, arguments: tuple[Any, ...]) -> Entry:
    """The entry of a compiled function for these arguments, which the caller keeps until it has returned.

    dispatcher: numba's, or a NativeCode.
    CannotBeCalled where its code needs Python, or where an argument is more than numbers and arrays.
    """
    if isinstance(dispatcher, NativeCode):
        return Entry(dispatcher.address, dispatcher.codes, flat(arguments))
    kinds = tuple(map(dispatcher.typeof_pyval, arguments))
    key = id(dispatcher), kinds
    if (known := _known.get(key)) is None or known[0] is not dispatcher:
        with interrupts.put_off():
            known = _known[key] = dispatcher, *_compiled(name, dispatcher, kinds)
    values: list[Any] = []
    for value, kind in zip(arguments, kinds, strict=True):
        _lay_flat(name, value, kind, values)
    _, address, codes = known
    if len(codes) != len(values):
        raise CannotBeCalled(f"{name} takes its inputs in a form that is not known here; run it on Threads")
    return Entry(address, codes, values)


def raise_from(lane: Any, status: int, error: int) -> None:
    """Raise, here, what a compiled lane has raised there. status, error: what its C function left."""
    if isinstance(lane, NativeCode):
        raise raised(status, ctypes.c_void_p(error))
    from compute.lanes.native_lane import raised_elsewhere

    importing.compiler().compiled(raised_elsewhere)(status, error)


_known: Bounded[Any, tuple[Any, int, str]] = Bounded(MADE)


def _compiled(name: str, dispatcher: Any, kinds: tuple[Any, ...]) -> tuple[int, str]:
    from kernels.compilation import machine_code

    dispatcher.compile(kinds)
    result = dispatcher.overloads[kinds]
    libraries = [result.library, *(inner.library for inner in machine_code.called_apart(result.library))]
    needed = next(filter(None, map(_python_in, libraries)), "")
    if result.objectmode or result.lifted or needed:
        what = "objmode" if result.objectmode or result.lifted else needed
        raise CannotBeCalled(
            f"{name}'s machine code calls Python ({what}: print, objmode, BLAS or random numbers), which it may not do"
            " in a subinterpreter; run it on Threads or Processes"
        )
    address = result.library.get_pointer_to_function(result.fndesc.llvm_func_name)
    types = map(str, dispatcher.targetctx.get_arg_packer(kinds).argument_types)
    return address, "".join("P" if kind.endswith(("*", "ptr")) else CODES[kind] for kind in types)


def _python_in(library: Any) -> str:
    """A function of Python's that the code calls itself; or ""."""
    for function in library._get_module_for_linking().functions:
        is_own = not function.is_declaration and not function.name.startswith(WRAPPERS)
        if is_own and (match := NEEDS_PYTHON.search(str(function))):
            return match[1]
    return ""


def _lay_flat(name: str, value: Any, kind: Any, into: list[Any]) -> None:
    """Put an argument behind the others, as numba's functions take it."""
    from numba import types

    if isinstance(value, np.ndarray) and isinstance(kind, types.Array):
        # Nobody counts references there: the first two would be who owns the memory.
        into += [None, None, value.size, value.itemsize, value.ctypes.data, *value.shape, *value.strides]
    elif isinstance(kind, types.BaseTuple):
        for item, of in zip(value, kind, strict=True):
            _lay_flat(name, item, of, into)
    elif isinstance(kind, types.Boolean | types.Integer):
        into.append(int(value))
    elif isinstance(kind, types.Float):
        into.append(float(value))
    elif isinstance(kind, types.Complex):
        into += [float(value.real), float(value.imag)]
    elif isinstance(kind, types.NoneType | types.Dispatcher):
        into.append(None)
    else:
        raise CannotBeCalled(
            f"{name} is given a {type(value).__name__}, and a subinterpreter takes numbers, arrays and tuples of them;"
            " run it on Threads or Processes"
        )
