"""numba's parallel region that runs lanes: compiled once, for all bodies, and called with a body's frame.

A frame holds the body's arguments, and the address of a function that runs one chunk on them (native_lane.py makes it).
It lies on the stack of the thread that calls the region, and all lanes read the same one.
This module imports numba, so only modules that are loaded for compiled code may import it.
"""

# mypy: disallow-untyped-decorators=False
# (numba's have no types)

from __future__ import annotations

from typing import Any

import numba  # all of it, before a part: see kernels/compilation/importing.py
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from compute.backends.prange import FAILED
from compute.lanes import native_loop
from compute.lanes.control import DETAILED, STOP
from compute.lanes.native_lane import Framed
from compute.lanes.native_loop import RAISED
from compute.lanes.native_usage import arrive, leave
from compute.lanes.translation import BYTES, WORD
from kernels.compilation import compiler, machine_code


def region(frame: Any, control: Any, lines: Any, cpus: Any, until: Any, states: Any) -> None:
    """Run the lane loop once for each state, side by side.

    frame: the frame's address. lines, cpus: for each lane where its line begins, and words for `arrive` and `leave`.
    """
    for me in numba.prange(len(states)):
        states[me] = noted(frame, control, lines[me], cpus[me], until)


def noted(frame: Any, control: Any, line: Any, cpus: Any, until: Any) -> Any:
    """Run one lane, and note the figures of its thread where these are asked for; its state, FAILED after an error."""
    if control[DETAILED] != 0:
        arrive(control, line, cpus)
    state = run_loop(frame, control, line, until)
    if state == RAISED:
        control[STOP] = 1
        state = FAILED
    if control[DETAILED] != 0:
        leave(control, line, cpus)
    return state


@intrinsic
def run_loop(_: Any, frame: Any, control: Any, line: Any, until: Any) -> Any:
    """The lane loop's state; RAISED where a chunk has raised."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        frame, control, line, until = args
        address = builder.inttoptr(frame, BYTES)
        return native_loop.call(context, builder, (sig.args[1], control), line, address, until)

    return types.int64(types.int64, control, types.int64, types.int64), emit


@intrinsic
def over_whole(context: Any, body: Any, out: Any, inputs: Any, others: Any) -> Any:
    """Run the region on a body whose chunks share the output. others: control, lines, cpus, until and states."""
    return _lanes(Framed(context, body, out, inputs, rows=False), others)


@intrinsic
def over_rows(context: Any, body: Any, out: Any, inputs: Any, others: Any) -> Any:
    """Run the region on a body each of whose chunks has a row of the output to itself."""
    return _lanes(Framed(context, body, out, inputs, rows=True), others)


def _lanes(framed: Framed, others: Any) -> Any:
    """The type of a kernel's region, and what writes its code."""
    dispatcher = compiler.compiled(region, parallel=True)
    takes = (types.int64, *others)
    dispatcher.compile(takes)
    code = dispatcher.overloads[takes]

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _, out, inputs, others = args
        frame = builder.ptrtoint(framed.emit(context, builder, out, inputs), WORD)
        machine_code.call_apart(context.active_code_library, code)
        values = [frame, *cgutils.unpack_tuple(builder, others, len(sig.args[3]))]
        context.call_internal(builder, code.fndesc, code.signature, values)
        return context.get_dummy_value()

    return types.void(framed.body, framed.out, framed.inputs, others), emit
