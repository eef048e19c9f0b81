"""The parallel region that runs lanes on numba's threads, in machine code, once a process for all bodies.

numba takes 0.7 s to compile a `prange` of its own. So this calls the function by which numba's parallel code reaches
its threads, whichever library these are of. It gives each lane a *row* of words: the lane's frame, where its line
begins, its state, and what `arrive` needs. As each lane has a frame of its own, an exception is where its lane left it,
and is raised when all lanes have ended. What lanes do is written below in what translation.py knows.
This module imports numba, so only modules that are loaded for compiled code may import it.
"""

# mypy: disallow-untyped-decorators=False
# (numba's have no types)

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numba  # all of it, before a part: see kernels/compilation/importing.py
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.ufunc import parallel

from compute.backends.prange import FAILED
from compute.lanes import interrupts, native_loop, native_usage
from compute.lanes.control import CURRENT, DETAILED, INSIDE, STOP, WORDS_PER_LINE
from compute.lanes.loop import FOREVER
from compute.lanes.native_lane import Framed, raise_from
from compute.lanes.native_loop import CHUNK, RAISED
from compute.lanes.native_words import PARTS
from compute.lanes.translation import BYTES, WORD, WORDS, inner_functions, translate
from kernels.compilation import emitted, linking, machine_code, provenance

SYMBOL = "nfold_region"
STATUS_AT = 2  # of a row's 32-bit words, where its frame has the status
# The words of a row, behind those of its frame.
LINE, STATE, CPUS = native_loop.FRAME_WORDS, native_loop.FRAME_WORDS + 1, native_loop.FRAME_WORDS + 2
ROW = WORDS_PER_LINE  # words, so that no two lanes write to one cache line
IDENT = CPUS + native_usage.SETS  # while the lane runs: its thread, as threading.get_ident tells it
assert IDENT < ROW
NONE = -1  # the place of no row
OF_PYTHON = -1  # the status of a chunk in which Python has raised; numba keeps that for the chunk's thread alone
_REGION = ir.FunctionType(WORD, [WORDS, WORDS, WORD, CHUNK.as_pointer(), BYTES, WORD])
_LANES = ir.FunctionType(ir.VoidType(), [BYTES.as_pointer(), WORDS, WORDS, BYTES])  # a ufunc's loop, as numpy has it


def make_region(
    begin: Callable[..., Any],
    side_by_side: Callable[..., Any],
    run: Callable[..., Any],
    store: Callable[..., Any],
    arrive: Callable[..., Any],
    leave: Callable[..., Any],
    place: Callable[..., Any],
    ident: Callable[..., Any],
) -> tuple[Callable[..., Any], ...]:
    """The region, and what each lane of it does."""

    def region(control, rows, lanes, chunk, arguments, until):  # type: ignore[no-untyped-def]
        """Run so many lanes side by side. Where in rows the one begins that has raised in the lowest chunk; or NONE."""
        at = 0
        while at < ROW * lanes:
            begin(place(rows, at), chunk, arguments)
            at += ROW
        side_by_side(control, rows, lanes, until)
        at, first, lowest = 0, NONE, FOREVER
        while at < ROW * lanes:
            if rows[at + STATE] == FAILED and control[rows[at + LINE] + CURRENT] < lowest:
                first, lowest = at, control[rows[at + LINE] + CURRENT]
            at += ROW
        return first

    def lane(control, row, until):  # type: ignore[no-untyped-def]
        """Run one lane, and note the figures of its thread where these are asked for; FAILED after an error."""
        line = row[LINE]
        row[IDENT] = ident()
        if control[DETAILED] != 0:
            arrive(control, line, place(row, CPUS))
        state = run(control, line, row, until)
        if state == RAISED:
            store(control, STOP, 1)
            store(control, line + INSIDE, 0)
            state = FAILED
        if control[DETAILED] != 0:
            leave(control, line, place(row, CPUS))
        row[STATE], row[IDENT] = state, 0
        return state

    return region, lane


def raised_in_python(row: Any) -> bool:
    """Whether Python has raised what ended a row's lane, as it can inside `objmode`."""
    return bool(row.view(np.int32)[STATUS_AT] == OF_PYTHON)


@intrinsic
def over_whole(context: Any, body: Any, out: Any, inputs: Any, others: Any) -> Any:
    """Run the region on a body whose chunks share the output. others: control, rows, how many lanes, and until."""
    return _lanes(Framed(context, body, out, inputs, rows=False), others)


@intrinsic
def over_rows(context: Any, body: Any, out: Any, inputs: Any, others: Any) -> Any:
    """Run the region on a body each of whose chunks has a row of the output to itself."""
    return _lanes(Framed(context, body, out, inputs, rows=True), others)


def _lanes(framed: Framed, others: Any) -> Any:
    """The type of a kernel's region, and what writes its code."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _, out, inputs, others = args
        machine_code.need(context.active_code_library, load)
        load()
        control, rows, lanes, until = cgutils.unpack_tuple(builder, others, len(sig.args[3]))
        control, rows = (
            native_loop.words_of(context, builder, *of) for of in zip(sig.args[3][:2], (control, rows), strict=True)
        )
        called = framed.emit(context, builder, out, inputs)
        region = cgutils.get_or_insert_function(builder.module, _REGION, SYMBOL)
        first = builder.call(region, [control, rows, lanes, *called, until])
        with builder.if_then(builder.icmp_signed("!=", first, ir.Constant(WORD, NONE)), likely=False):
            raise_from(context, builder, builder.gep(rows, [first]))
        return context.get_dummy_value()

    return types.void(framed.body, framed.out, framed.inputs, others), emit


@functools.cache
@interrupts.put_off()
def launch() -> None:
    """Have numba's threads; a ValueError says why there are none. Ask before compiling, which would wrap it up."""
    try:
        parallel._launch_threads()
    except ValueError as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ValueError(
            f"numba has no threads here: {reason} (NUMBA_THREADING_LAYER={numba.config.THREADING_LAYER}); set it to"
            " workqueue, or use Threads"
        ) from error


@functools.cache
def load() -> None:
    """Have the region in this process, where LLVM finds it by its name, with numba's threads and the lane loop."""
    with provenance.numbas_lock():
        native_loop.load()
        launch()
        object_code = emitted.kept(SYMBOL, emitted.numbers_of(_numbers()), _object_code)
        llvm.add_symbol(SYMBOL, linking.loaded(object_code, SYMBOL))


def _numbers() -> dict[str, Any]:
    return {**vars(native_usage), **globals()}


def _object_code() -> bytes:
    module = ir.Module(SYMBOL)
    module.triple = llvm.get_process_triple()
    region, lane = inner_functions(make_region, "region", "lane")
    visits = native_usage.emit_visits(module)
    one_lane = ir.Function(module, ir.FunctionType(WORD, [WORDS, WORDS, WORD]), f"{SYMBOL}_lane")
    operations = (
        PARTS
        | visits
        | {
            "run": native_loop.emit_call,
            "place": lambda builder, words, at: builder.gep(words, [at]),
            "ident": _ident,
        }
    )
    _translated(lane, one_lane, operations)
    many_lanes = _several(module, one_lane)
    operations |= {
        "begin": native_loop.emit_frame,
        "side_by_side": lambda builder, *given: _side_by_side(builder, many_lanes, *given),
    }
    _translated(region, ir.Function(module, _REGION, SYMBOL), operations)
    return linking.object_code_of(module, speed=0)  # all the time is spent in the loop, which is not in it


def _translated(definition: Any, function: ir.Function, operations: Any) -> None:
    given = {argument.arg: value for argument, value in zip(definition.args.args, function.args, strict=True)}
    translate(definition, function, given, _numbers(), operations)


def _ident(builder: Any) -> Any:
    if not hasattr(os, "fork"):  # Windows, where it has another name
        return ir.Constant(WORD, 0)
    return builder.call(cgutils.get_or_insert_function(builder.module, ir.FunctionType(WORD, []), "pthread_self"), [])


def _several(module: ir.Module, lane: ir.Function) -> ir.Function:
    """What numba's threads call: it runs the lanes of some rows, one of them as a rule."""
    function = ir.Function(module, _LANES, f"{SYMBOL}_lanes")
    builder = ir.IRBuilder(function.append_basic_block())
    places, counts, steps, data = function.args
    rows, count = builder.load(places), builder.load(counts)
    control, until = (builder.load(part) for part in _parts(builder, data))
    with cgutils.for_range(builder, count) as loop:
        row = builder.gep(rows, [builder.mul(loop.index, builder.load(steps))])
        builder.call(lane, [control, builder.bitcast(row, WORDS), until])
    builder.ret_void()
    return function


def _parts(builder: Any, data: Any) -> Any:
    """What all lanes are given: places for control and until."""
    shared = builder.bitcast(data, ir.LiteralStructType([WORDS, WORD]).as_pointer())
    return [cgutils.gep_inbounds(builder, shared, 0, k) for k in (0, 1)]


def _side_by_side(builder: Any, several: ir.Function, control: Any, rows: Any, lanes: Any, until: Any) -> None:
    """Call numba's threads as its own parallel code does (numba/np/ufunc/parallel.py, build_gufunc_kernel)."""
    data = builder.bitcast(cgutils.alloca_once(builder, ir.LiteralStructType([WORDS, WORD])), BYTES)
    for part, value in zip(_parts(builder, data), (control, until), strict=True):
        builder.store(value, part)
    given = [builder.bitcast(rows, BYTES), lanes, ir.Constant(WORD, 8 * ROW)]  # of one array: where, how long, step
    places = [cgutils.alloca_once_value(builder, value) for value in given]
    kind = ir.FunctionType(ir.VoidType(), [BYTES] * 5 + [cgutils.intp_t] * 3)
    launch = cgutils.get_or_insert_function(builder.module, kind, "numba_parallel_for")
    dimensions, arrays = (ir.Constant(cgutils.intp_t, number) for number in (0, 1))
    pointers = [builder.bitcast(place, BYTES) for place in (several, *places)]
    builder.call(launch, [*pointers, data, dimensions, arrays, lanes])
