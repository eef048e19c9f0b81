"""compute.lanes.usage for compiled lanes: the same figures, by calls to the C library, without the GIL.

The functions are found by the linker, by name, so that compiled callers can be cached. This module imports numba, so
only modules that are loaded for compiled code may import it. All readings exist on Linux only; elsewhere the process's
CPU time is known, and nothing is pinned.
"""

# mypy: disallow-untyped-decorators=False
# (numba's have no types)

from __future__ import annotations

import sys
from typing import Any

import numba  # noqa: F401  # all of it, before a part: see kernels/compilation/importing.py
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from compute.lanes.control import (
    BEFORE,
    FAULTS,
    FILE,
    INVOLUNTARY,
    PIN,
    PROCESS_CPU,
    QUEUED,
    READINGS,
    THREAD,
    UNKNOWN,
    VOLUNTARY,
)
from kernels.vectors import atomics

LINUX = sys.platform == "linux" and sys.maxsize > 2**32  # the structures below are those of its 64-bit ABI

SETS = 16  # words of a CPU set: 1,024 CPUs
PATH = b"/proc/thread-self/schedstat\0"
_close = types.ExternalFunction("close", types.intc(types.intc))
_gettid = types.ExternalFunction("gettid", types.intc())


def arrive(control: Any, line: Any, former: Any) -> None:
    """compute.lanes.usage.arrive for a thread that Python does not know.

    former: SETS words for what `leave` needs, a bit for each CPU; zero where nothing was pinned.
    """
    for k in range(SETS):
        former[k] = 0
    control[line + FILE] = UNKNOWN
    if LINUX:
        file = open_schedstat()
        if file >= 0:
            control[line + FILE] = file + 1
        control[line + THREAD] = _gettid()
        pin = control[line + PIN]
        if pin != 0 and (pin > 64 * SETS or affinity(former) < 0 or not pinned(former, pin - 1)):
            control[line + PIN] = 0
            for k in range(SETS):
                former[k] = 0


def pinned(former: Any, cpu: Any) -> bool:
    """Pin this thread, which has the CPUs of `former`, to one; False if refused. `former` is zero if it was there."""
    was_there = True
    for k in range(SETS):
        wanted = np.int64(1) << (cpu % 64) if k == cpu // 64 else np.int64(0)
        was_there = was_there and former[k] == wanted
    if not was_there:
        return bool(set_to_one(cpu) == 0)
    former[cpu // 64] = 0
    return True


def leave(control: Any, line: Any, former: Any) -> None:
    """compute.lanes.usage.leave, but the file that `arrive` opened is closed: it is not kept for the thread."""
    if LINUX:
        if control[line + FILE] > 0:
            _close(control[line + FILE] - 1)
        for k in range(SETS):
            if former[k] != 0:
                set_affinity(former)
                break


def begin(control: Any, line: Any) -> None:
    """compute.lanes.usage.begin."""
    at = line + BEFORE - QUEUED
    control[at + QUEUED] = queued(control[line + FILE])
    control[at + VOLUNTARY], control[at + INVOLUNTARY], control[at + FAULTS] = switches_and_faults()
    control[at + PROCESS_CPU] = atomics.process_cpu_ns()


def end(control: Any, line: Any) -> None:
    """compute.lanes.usage.end."""
    voluntary, involuntary, faults = switches_and_faults()
    process_cpu = atomics.process_cpu_ns()
    now = queued(control[line + FILE]), voluntary, involuntary, faults, process_cpu
    # A loop: a function of the word would be compiled once for each number that is written in a call of it.
    for k in range(READINGS):
        was, word = control[line + BEFORE + k], line + QUEUED + k
        control[word] = UNKNOWN if was == UNKNOWN or now[k] == UNKNOWN else control[word] + now[k] - was


# The rest are intrinsics, because every kernel's lane has them in it: as Python that numba compiles, with arrays for
# buffers and a loop over the text, they made compiling a small kernel a third longer; like this, a tenth.

_I32, _I64 = ir.IntType(32), ir.IntType(64)
_BYTES = ir.IntType(8).as_pointer()
RUSAGE_THREAD, RUSAGE, MINFLT, NVCSW, NIVCSW = 1, 18, 8, 16, 17  # words of the structure, and where in it they are
TEXT = 96  # bytes: a schedstat has 62 at the most


@intrinsic
def open_schedstat(_: Any) -> Any:
    """The number of this thread's schedstat, opened; below 0 where it cannot be."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        path = context.insert_const_bytes(builder.module, PATH)
        return builder.sext(_call(builder, "open", _I32, path, ir.Constant(_I32, 0)), _I64)

    return types.int64(), emit


@intrinsic
def affinity(_: Any, former: Any) -> Any:
    """Put this thread's CPUs into SETS words; below 0 where the system does not tell."""
    return types.int64(former), _on_cpus("sched_getaffinity")


@intrinsic
def set_affinity(_: Any, former: Any) -> Any:
    """Let this thread run on the CPUs of SETS words; not 0 where the system refuses."""
    return types.int64(former), _on_cpus("sched_setaffinity")


def _on_cpus(name: str) -> Any:
    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        words = make_array(sig.args[0])(context, builder, args[0]).data
        return _of_this_thread(builder, name, builder.bitcast(words, _BYTES))

    return emit


@intrinsic
def set_to_one(_: Any, cpu: Any) -> Any:
    """Let this thread run on this CPU alone; not 0 where the system refuses."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        words = cgutils.alloca_once(builder, ir.ArrayType(_I64, SETS))
        builder.store(ir.Constant(words.type.pointee, None), words)
        of, bit = builder.udiv(args[0], ir.Constant(_I64, 64)), builder.urem(args[0], ir.Constant(_I64, 64))
        builder.store(builder.shl(ir.Constant(_I64, 1), bit), cgutils.gep_inbounds(builder, words, 0, of))
        return _of_this_thread(builder, "sched_setaffinity", builder.bitcast(words, _BYTES))

    return types.int64(types.int64), emit


def _of_this_thread(builder: Any, name: str, words: Any) -> Any:
    here, size = ir.Constant(_I32, 0), ir.Constant(_I64, 8 * SETS)
    return builder.sext(_call(builder, name, _I32, here, size, words), _I64)


@intrinsic
def switches_and_faults(_: Any) -> Any:
    """Voluntary and involuntary switches and minor page faults of this thread, or UNKNOWN."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if not LINUX:
            return context.make_tuple(builder, sig.return_type, 3 * [ir.Constant(_I64, UNKNOWN)])
        used = cgutils.alloca_once(builder, ir.ArrayType(_I64, RUSAGE))
        failed = _call(builder, "getrusage", _I32, ir.Constant(_I32, RUSAGE_THREAD), builder.bitcast(used, _BYTES))
        succeeded = builder.icmp_signed("==", failed, ir.Constant(_I32, 0))
        words = [builder.load(cgutils.gep_inbounds(builder, used, 0, k)) for k in (NVCSW, NIVCSW, MINFLT)]
        known = [builder.select(succeeded, word, ir.Constant(_I64, UNKNOWN)) for word in words]
        return context.make_tuple(builder, sig.return_type, known)

    return types.UniTuple(types.int64, 3)(), emit


@intrinsic
def queued(_: Any, file: Any) -> Any:
    """ns that this thread waited for a CPU, the second number of its schedstat; UNKNOWN where there is no such number.

    file: as in a lane's line; nothing can be read from a wrong one.
    """

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if not LINUX:
            return ir.Constant(_I64, UNKNOWN)
        text = cgutils.alloca_once(builder, ir.ArrayType(ir.IntType(8), TEXT))
        ends = [cgutils.alloca_once(builder, _BYTES) for _ in range(2)]
        start, ten = builder.bitcast(text, _BYTES), ir.Constant(_I32, 10)
        builder.store(ir.Constant(text.type.pointee, None), text)
        descriptor = builder.trunc(builder.sub(args[0], ir.Constant(_I64, 1)), _I32)
        _call(builder, "pread", _I64, descriptor, start, ir.Constant(_I64, TEXT - 1), ir.Constant(_I64, 0))
        _call(builder, "strtoll", _I64, start, ends[0], ten)
        after = builder.load(ends[0])
        number = _call(builder, "strtoll", _I64, after, ends[1], ten)
        nothing = builder.icmp_unsigned("==", builder.load(ends[1]), after)
        return builder.select(nothing, ir.Constant(_I64, UNKNOWN), number)

    return types.int64(types.int64), emit


def _call(builder: Any, name: str, result: Any, *args: Any) -> Any:
    """Call a function of the C library."""
    function = ir.FunctionType(result, [arg.type for arg in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, function, name), args)
