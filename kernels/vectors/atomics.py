"""Atomic int64 words, a clock and a pause for compiled code, which numba itself does not offer (numba#2988).

Each works on element `index` of a one-dimensional int64 array, in the heap or in memory that processes share, with the
GIL released. The instructions are LLVM's (atomicrmw, load/store atomic); the clocks are those of clocks.py. This module
imports numba, so only modules that are loaded for compiled code may import it.
"""

from __future__ import annotations

from typing import Any

import numba  # noqa: F401  # all of it, before a part: see kernels/compilation/importing.py
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from kernels.vectors import clocks


def _word(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    """The address of args[0][args[1]]."""
    array = make_array(sig.args[0])(context, builder, args[0])
    return cgutils.get_item_pointer(context, builder, sig.args[0], array, [args[1]], wraparound=False)


def _is_words(array: Any) -> bool:
    return isinstance(array, types.Array) and array.ndim == 1 and array.dtype == types.int64


@intrinsic
def fetch_add(_: Any, words: Any, index: Any, value: Any) -> Any:
    """Add `value` to words[index]; return what was there before. With +1 no two callers get the same number."""
    if not _is_words(words):
        return None

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", _word(context, builder, sig, args), args[2], ordering="acq_rel")

    return types.int64(words, types.intp, types.int64), emit


@intrinsic
def load(_: Any, words: Any, index: Any) -> Any:
    """words[index], and everything that the thread which released it had stored before (acquire)."""
    if not _is_words(words):
        return None

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load_atomic(_word(context, builder, sig, args), ordering="acquire", align=8)

    return types.int64(words, types.intp), emit


@intrinsic
def store(_: Any, words: Any, index: Any, value: Any) -> Any:
    """words[index] = value, after everything that this thread stored before it (release)."""
    if not _is_words(words):
        return None

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store_atomic(args[2], _word(context, builder, sig, args), ordering="release", align=8)
        return context.get_dummy_value()

    return types.void(words, types.intp, types.int64), emit


def _reading(emit: Any) -> Any:
    @intrinsic
    def read(_: Any) -> Any:
        return types.int64(), lambda context, builder, sig, args: emit(builder)

    return read


monotonic_ns, thread_cpu_ns = map(_reading, (clocks.monotonic, clocks.thread_cpu))


@intrinsic
def pause(_: Any) -> Any:
    """Tell the core that this is a spin: the other hardware thread gets its units (x86 only; nothing elsewhere)."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if context.codegen().magic_tuple()[0].startswith("x86_64"):
            function = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, function, "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()

    return types.void(), emit
