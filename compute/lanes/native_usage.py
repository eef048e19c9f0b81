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
    FILE,
    PIN,
    QUEUED,
    READINGS,
    THREAD,
    UNKNOWN,
)
from kernels.vectors import clocks

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


def begin(builder: Any, control: Any, line: Any) -> None:
    """Emit compute.lanes.usage.begin. control: the address of its words."""
    for k, value in enumerate(_readings(builder, control, line)):
        builder.store(value, _word(builder, control, line, BEFORE + k))


def end(builder: Any, control: Any, line: Any) -> None:
    """Emit compute.lanes.usage.end."""
    unknown = ir.Constant(_I64, UNKNOWN)
    for k, now in enumerate(_readings(builder, control, line)):
        place = _word(builder, control, line, QUEUED + k)
        was, former = builder.load(_word(builder, control, line, BEFORE + k)), builder.load(place)
        is_unknown = builder.or_(builder.icmp_signed("==", was, unknown), builder.icmp_signed("==", now, unknown))
        builder.store(builder.select(is_unknown, unknown, builder.sub(builder.add(former, now), was)), place)


def _word(builder: Any, control: Any, line: Any, word: int) -> Any:
    return builder.gep(control, [builder.add(line, ir.Constant(_I64, word))])


def _readings(builder: Any, control: Any, line: Any) -> list[Any]:
    """The thread's figures, in the order of the words from QUEUED on."""
    queued = _queued(builder, builder.load(_word(builder, control, line, FILE)))
    readings = [queued, *_switches_and_faults(builder), clocks.process_cpu(builder)]
    assert len(readings) == READINGS
    return readings


def _switches_and_faults(builder: Any) -> list[Any]:
    """Voluntary and involuntary switches and minor page faults of this thread, or UNKNOWN."""
    if not LINUX:
        return 3 * [ir.Constant(_I64, UNKNOWN)]
    used = cgutils.alloca_once(builder, ir.ArrayType(_I64, RUSAGE))
    failed = _call(builder, "getrusage", _I32, ir.Constant(_I32, RUSAGE_THREAD), builder.bitcast(used, _BYTES))
    succeeded = builder.icmp_signed("==", failed, ir.Constant(_I32, 0))
    words = [builder.load(cgutils.gep_inbounds(builder, used, 0, k)) for k in (NVCSW, NIVCSW, MINFLT)]
    return [builder.select(succeeded, word, ir.Constant(_I64, UNKNOWN)) for word in words]


def _queued(builder: Any, file: Any) -> Any:
    """ns that this thread waited for a CPU, the second number of its schedstat; UNKNOWN where there is no such number.

    file: as in a lane's line; nothing can be read from a wrong one.
    """
    if not LINUX:
        return ir.Constant(_I64, UNKNOWN)
    text = cgutils.alloca_once(builder, ir.ArrayType(ir.IntType(8), TEXT))
    ends = [cgutils.alloca_once(builder, _BYTES) for _ in range(2)]
    start, ten = builder.bitcast(text, _BYTES), ir.Constant(_I32, 10)
    builder.store(ir.Constant(text.type.pointee, None), text)
    descriptor = builder.trunc(builder.sub(file, ir.Constant(_I64, 1)), _I32)
    _call(builder, "pread", _I64, descriptor, start, ir.Constant(_I64, TEXT - 1), ir.Constant(_I64, 0))
    _call(builder, "strtoll", _I64, start, ends[0], ten)
    after = builder.load(ends[0])
    number = _call(builder, "strtoll", _I64, after, ends[1], ten)
    nothing = builder.icmp_unsigned("==", builder.load(ends[1]), after)
    return builder.select(nothing, ir.Constant(_I64, UNKNOWN), number)


def _call(builder: Any, name: str, result: Any, *args: Any) -> Any:
    """Call a function of the C library."""
    function = ir.FunctionType(result, [arg.type for arg in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, function, name), args)
