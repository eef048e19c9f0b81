"""Atomic int64 words, a clock and a pause for compiled code, which numba itself does not offer (numba#2988).

Each works on element `index` of a one-dimensional int64 array, in the heap or in memory that processes share, with the
GIL released. The instructions are LLVM's (atomicrmw, load/store atomic); the clock is POSIX clock_gettime, which the
linker finds by name, so that compiled callers can be cached. This module imports numba, so only modules that are loaded
for compiled code may import it.
"""

from __future__ import annotations

import time
from typing import Any

import numba  # noqa: F401  # all of it, before a part: see kernels/compilation/importing.py
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

_I64 = ir.IntType(64)


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


def _clock(name: str) -> tuple[Any, Any]:
    """A function that emits the reading of a clock in ns, and the same as an operation of compiled code."""
    clock = getattr(time, name, None)

    def emit(builder: Any) -> Any:
        if clock is None:  # Windows: lanes then keep totals that Python measures, and no spans
            return ir.Constant(_I64, 0)
        timespec = cgutils.alloca_once(builder, ir.ArrayType(_I64, 2))
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.IntType(32), [ir.IntType(32), timespec.type]), "clock_gettime"
        )
        builder.call(function, [ir.Constant(ir.IntType(32), clock), timespec])
        seconds, nanoseconds = (builder.load(cgutils.gep_inbounds(builder, timespec, 0, k)) for k in (0, 1))
        return builder.add(builder.mul(seconds, ir.Constant(_I64, 10**9)), nanoseconds)

    @intrinsic
    def read(_: Any) -> Any:
        return types.int64(), lambda context, builder, sig, args: emit(builder)

    return emit, read


# The clock of time.perf_counter_ns, so that Python's readings and these stand on one axis.
emit_monotonic, monotonic_ns = _clock("CLOCK_UPTIME_RAW" if hasattr(time, "CLOCK_UPTIME_RAW") else "CLOCK_MONOTONIC")
emit_thread_cpu, thread_cpu_ns = _clock("CLOCK_THREAD_CPUTIME_ID")
emit_process_cpu, process_cpu_ns = _clock("CLOCK_PROCESS_CPUTIME_ID")


@intrinsic
def pause(_: Any) -> Any:
    """Tell the core that this is a spin: the other hardware thread gets its units (x86 only; nothing elsewhere)."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if context.codegen().magic_tuple()[0].startswith("x86_64"):
            function = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, function, "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()

    return types.void(), emit
