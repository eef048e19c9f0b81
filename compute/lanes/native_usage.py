"""compute.lanes.usage for compiled lanes: the same figures, by calls to the C library, without the GIL.

The functions are found by the linker, by name, so that compiled callers can be cached. This module imports numba, so
only modules that are loaded for compiled code may import it. All readings exist on Linux only; elsewhere the process's
CPU time is known, and nothing is pinned.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from typing import Any

import numba  # noqa: F401  # all of it, before a part: see kernels/compilation/importing.py
from llvmlite import ir
from numba.core import cgutils

from compute.lanes.control import (
    BEFORE,
    FILE,
    PIN,
    QUEUED,
    READINGS,
    THREAD,
    UNKNOWN,
)
from compute.lanes.translation import WORD, WORDS, inner_functions, translate
from kernels.vectors import clocks

LINUX = sys.platform == "linux" and sys.maxsize > 2**32  # the structures below are those of its 64-bit ABI

SETS = 16  # words of a CPU set: 1,024 CPUs
PATH = b"/proc/thread-self/schedstat\0"
_I32, _I64 = ir.IntType(32), ir.IntType(64)
_BYTES = ir.IntType(8).as_pointer()
RUSAGE_THREAD, RUSAGE, MINFLT, NVCSW, NIVCSW = 1, 18, 8, 16, 17  # words of the structure, and where in it they are
TEXT = 96  # bytes: a schedstat has 62 at the most


def make_visits(
    opened: Callable[[], int],
    close: Callable[[int], int],
    thread: Callable[[], int],
    affinity: Callable[[Any], int],
    set_affinity: Callable[[Any], int],
    set_to_one: Callable[[int], int],
    of_one: Callable[[int, int], int],
) -> tuple[Callable[..., Any], ...]:
    """arrive and leave, in what translation.py knows. affinity and those below it: 0 where the system agrees.

    former: SETS words for what `leave` needs, a bit for each CPU; zero where nothing was pinned.
    """

    def arrive(control, line, former):  # type: ignore[no-untyped-def]
        """compute.lanes.usage.arrive for a thread that Python does not know."""
        control[line + FILE] = UNKNOWN
        file = opened()
        if file >= 0:
            control[line + FILE] = file + 1
        control[line + THREAD] = thread()
        pin = control[line + PIN]
        is_pinned, goes_back, k = 0, 0, 0
        if pin != 0 and pin <= 64 * SETS and affinity(former) >= 0:
            is_pinned = 1
            while k < SETS:
                if former[k] != of_one(pin - 1, k):
                    goes_back = 1
                k += 1
            if goes_back != 0 and set_to_one(pin - 1) != 0:
                is_pinned, goes_back = 0, 0
        if is_pinned == 0:
            control[line + PIN] = 0
        k = 0
        while k < SETS and goes_back == 0:
            former[k] = 0
            k += 1
        return 0

    def leave(control, line, former):  # type: ignore[no-untyped-def]
        """compute.lanes.usage.leave, but the file that `arrive` opened is closed: it is not kept for the thread."""
        if control[line + FILE] > 0:
            close(control[line + FILE] - 1)
        k = 0
        while k < SETS:
            if former[k] != 0:
                set_affinity(former)
                break
            k += 1
        return 0

    return arrive, leave


def emit_visits(module: ir.Module) -> dict[str, Callable[..., Any]]:
    """arrive and leave, put into a module, as operations that call them."""

    def emitted(definition: ast.FunctionDef) -> Callable[..., Any]:
        kind = ir.FunctionType(WORD, [WORDS, WORD, WORDS])
        function = ir.Function(module, kind, f"nfold_{definition.name}")
        names = [argument.arg for argument in definition.args.args]
        translate(definition, function, dict(zip(names, function.args, strict=True)), globals(), _VISITS)
        return lambda builder, *given: builder.call(function, given)

    names = "arrive", "leave"
    return {name: emitted(of) for name, of in zip(names, inner_functions(make_visits, *names), strict=True)}


def _of_c(name: str, *kinds: Any) -> Callable[..., Any]:
    """An operation that calls a function of C with words; one that gives -1 where it is not."""

    def emit(builder: Any, *words: Any) -> Any:
        if not LINUX:
            return ir.Constant(_I64, -1)
        return builder.sext(_call(builder, name, _I32, *map(builder.trunc, words, kinds)), _I64)

    return emit


def _opened(builder: Any) -> Any:
    """The number of this thread's schedstat, opened; below 0 where it cannot be."""
    if not LINUX:
        return ir.Constant(_I64, -1)
    path = cgutils.global_constant(builder.module, "schedstat", cgutils.make_bytearray(PATH))
    return builder.sext(_call(builder, "open", _I32, builder.bitcast(path, _BYTES), ir.Constant(_I32, 0)), _I64)


def _on_cpus(name: str) -> Callable[..., Any]:
    return lambda builder, words: _of_this_thread(builder, name, words)


def _set_to_one(builder: Any, cpu: Any) -> Any:
    """Let this thread run on this CPU alone; not 0 where the system refuses."""
    words = cgutils.alloca_once(builder, ir.ArrayType(_I64, SETS))
    for k in range(SETS):
        builder.store(_of_one(builder, cpu, ir.Constant(_I64, k)), cgutils.gep_inbounds(builder, words, 0, k))
    return _of_this_thread(builder, "sched_setaffinity", words)


def _of_one(builder: Any, cpu: Any, k: Any) -> Any:
    """Word k of the set that has this CPU alone."""
    of, bit = builder.udiv(cpu, ir.Constant(_I64, 64)), builder.urem(cpu, ir.Constant(_I64, 64))
    is_its = builder.icmp_signed("==", of, k)
    return builder.select(is_its, builder.shl(ir.Constant(_I64, 1), bit), ir.Constant(_I64, 0))


def _of_this_thread(builder: Any, name: str, words: Any) -> Any:
    if not LINUX:
        return ir.Constant(_I64, -1)
    here, size = ir.Constant(_I32, 0), ir.Constant(_I64, 8 * SETS)
    return builder.sext(_call(builder, name, _I32, here, size, builder.bitcast(words, _BYTES)), _I64)


_VISITS: dict[str, Callable[..., Any]] = {
    "opened": _opened,
    "close": _of_c("close", _I32),
    "thread": _of_c("gettid"),
    "affinity": _on_cpus("sched_getaffinity"),
    "set_affinity": _on_cpus("sched_setaffinity"),
    "set_to_one": _set_to_one,
    "of_one": _of_one,
}


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
