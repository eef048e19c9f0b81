"""The lane loop in machine code, once a process for all bodies.

Compiled around each body, the loop took five times as long to compile as a small body does. So it is compiled apart:
translation.py makes it of its Python source. It calls a body's chunk by an address, which it finds in a *frame*, with
that of the body's arguments (native_lane.py lays them out). Lanes call the loop by name, SYMBOL: LLVM finds it in this
process, and an image for processes without numba has it inside (`kernels.compilation.linking`). This module imports
numba, so only modules that are loaded for compiled code may import it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numba  # noqa: F401  # all of it, before a part: see kernels/compilation/importing.py
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.callconv import excinfo_ptr_t
from numba.np.arrayobj import make_array

from compute.lanes import native_usage
from compute.lanes.control import INSIDE, TICKET
from compute.lanes.native_words import PARTS
from compute.lanes.translation import BYTES, WORD, WORDS, inner_functions, translate
from kernels.compilation import emitted, linking, machine_code, provenance
from kernels.vectors import clocks

SYMBOL = "nfold_lane_loop"
RAISED = -1  # what the loop returns where a chunk has raised; its frame says what
STATUS = ir.IntType(32)
_LOOP = ir.FunctionType(WORD, [WORDS, WORD, BYTES, WORD])  # control, line, frame, until
# A chunk has numba's own convention: where to put its result (it has none) and its error, then where the arguments are.
CHUNK = ir.FunctionType(STATUS, [BYTES.as_pointer(), excinfo_ptr_t.as_pointer(), BYTES, WORD, WORD, WORD])
# A frame: the chunk's function, the status that it returned, its error, and the address of the body's arguments.
FRAME = ir.LiteralStructType([CHUNK.as_pointer(), STATUS, excinfo_ptr_t, BYTES])
FRAME_WORDS = 4


@functools.cache
def load() -> None:
    """Have the loop in this process, where LLVM finds it by its name. Lanes from elsewhere need that, too."""
    with provenance.numbas_lock():
        object_code = emitted.kept(SYMBOL, _constants(), lambda: linking.object_code_of(_module()))
        llvm.add_symbol(SYMBOL, linking.loaded(object_code, SYMBOL))
        linking.provide(SYMBOL, object_code)


def call(context: Any, builder: Any, control: tuple[Any, Any], line: Any, frame: Any, until: Any) -> Any:
    """Emit a call of the loop: its state, or RAISED. control: the array's type, and the array. frame: its address."""
    machine_code.need(context.active_code_library, load)
    load()
    return emit_call(builder, words_of(context, builder, *control), line, frame, until)


def words_of(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    """The address of an array's words."""
    if not (isinstance(kind, types.Array) and kind.ndim == 1 and kind.dtype == types.int64):
        raise TypeError(f"words are an array of int64, not {kind}")
    return builder.bitcast(make_array(kind)(context, builder, array).data, WORDS)


def emit_call(builder: Any, words: Any, line: Any, frame: Any, until: Any) -> Any:
    """The same where the loop is loaded and the words are had by their address."""
    loop = cgutils.get_or_insert_function(builder.module, _LOOP, SYMBOL)
    return builder.call(loop, [words, line, builder.bitcast(frame, BYTES), until])


def emit_frame(builder: Any, frame: Any, chunk: Any, arguments: Any) -> None:
    """Emit what a frame holds as its lane begins."""
    for k, value in ((0, chunk), (3, arguments)):
        builder.store(value, part_of(builder, frame, k))


def part_of(builder: Any, frame: Any, k: int) -> Any:
    """The place of a part of a frame, which is had by its address."""
    return cgutils.gep_inbounds(builder, builder.bitcast(frame, FRAME.as_pointer()), 0, k)


def _constants() -> list[tuple[str, int]]:
    """The numbers that the loop reads, as they are now."""
    from compute.lanes import control, loop

    return emitted.numbers_of(vars(control), vars(loop))


def _module() -> ir.Module:
    from compute.lanes.loop import make_lane

    module = ir.Module(SYMBOL)
    module.triple = llvm.get_process_triple()
    function = ir.Function(module, _LOOP, SYMBOL)
    control, line, frame, until = function.args
    given = {"control": control, "line": line, "out": frame, "inputs": (), "until": until}
    (definition,) = inner_functions(make_lane, "lane")
    translate(definition, function, given, make_lane.__globals__, _OPERATIONS)
    return module


def _take(builder: Any, control: Any, line: Any) -> Any:
    return PARTS["add"](builder, control, ir.Constant(WORD, TICKET), ir.Constant(WORD, 1))


def _enter(builder: Any, control: Any, line: Any) -> None:
    PARTS["store"](builder, control, builder.add(line, ir.Constant(WORD, INSIDE)), ir.Constant(WORD, 1))
    PARTS["fence"](builder)


def _run_chunk(builder: Any, lo: Any, hi: Any, target: tuple[Any, Any]) -> Any:
    """Call the frame's chunk; a bit: whether it has raised."""
    frame, chunk = target
    function, status, error, arguments = (part_of(builder, frame, k) for k in range(FRAME_WORDS))
    nothing = cgutils.alloca_once(builder, BYTES)
    code = builder.call(builder.load(function), [nothing, error, builder.load(arguments), chunk, lo, hi])
    has_raised = builder.icmp_signed("!=", code, ir.Constant(STATUS, 0))
    with builder.if_then(has_raised, likely=False):
        builder.store(code, status)
    return has_raised


def _leave_if(builder: Any, has_raised: Any) -> None:
    with builder.if_then(has_raised, likely=False):
        builder.ret(ir.Constant(WORD, RAISED))


_OPERATIONS: dict[str, Callable[..., Any]] = {
    **PARTS,
    "int": lambda builder, value: value,
    "min": lambda builder, one, other: builder.select(builder.icmp_signed("<", one, other), one, other),
    "take": _take,
    "enter": _enter,
    "cpu_clock": clocks.thread_cpu,
    "begin": native_usage.begin,
    "end": native_usage.end,
    "target": lambda builder, frame, chunk: (frame, chunk),
    "body": _run_chunk,
    "nothing_returned": _leave_if,
}
