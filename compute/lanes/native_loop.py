"""The lane loop in machine code, once a process for all bodies, and the lane of one body, which runs that loop on it.

Compiled around each body, the loop took five times as long to compile as a small body does. So it is compiled apart
(translation.py makes it of its Python source) and calls a body's chunk by an address. A lane makes its *frame* on the
stack: that address, where numba keeps an error, and the arguments of its body. It calls the loop by name, SYMBOL; LLVM
finds it in this process, and an image for processes without numba has it inside (`kernels.compilation.linking`). This
module imports numba, so only modules that are loaded for compiled code may import it.
"""

# mypy: disallow-untyped-decorators=False
# (numba's have no types)

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numba  # noqa: F401  # all of it, before a part: see kernels/compilation/importing.py
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.callconv import excinfo_ptr_t
from numba.core.errors import NumbaError, TypingError
from numba.core.registry import cpu_target
from numba.core.typing.templates import fold_arguments
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, make_view

from compute.lanes import native_usage
from compute.lanes.control import TICKET
from compute.lanes.translation import BYTES, WORD, WORDS, inner_function, translate
from kernels.compilation import compiler, kept_code, linking, machine_code, provenance
from kernels.definition.bodies import RETURNED
from kernels.vectors import atomics

SYMBOL = "nfold_lane_loop"
RAISED = -1  # what the loop returns where a chunk has raised; its frame says what
_STATUS = ir.IntType(32)
_LOOP = ir.FunctionType(WORD, [WORDS, WORD, BYTES, WORD])  # control, line, frame, until
# A chunk has numba's own convention: where to put its result (it has none) and its error, then the arguments.
_CHUNK = ir.FunctionType(_STATUS, [BYTES.as_pointer(), excinfo_ptr_t.as_pointer(), BYTES, WORD, WORD, WORD])
# What every frame begins with: the chunk's function, the status that it returned, its error.
_HEAD = [_CHUNK.as_pointer(), _STATUS, excinfo_ptr_t]


# ---------------------------------------------------------------- the loop


@functools.cache
def load() -> None:
    """Have the loop in this process, where LLVM finds it by its name. Lanes from elsewhere need that, too."""
    with provenance.numbas_lock():
        path = kept_code.path_of(SYMBOL, repr(_constants()), "", (), cpu_target.target_context)
        object_code = path and kept_code.read(path)
        if not object_code:
            object_code = linking.object_code_of(_module())
            if path:
                kept_code.write(path, object_code)
        llvm.add_symbol(SYMBOL, linking.loaded(object_code, SYMBOL))
        linking.provide(SYMBOL, object_code)


def _constants() -> list[tuple[str, int]]:
    """The numbers that the loop reads, as they are now."""
    from compute.lanes import control, loop

    numbers = {**vars(control), **vars(loop)}
    return sorted((name, value) for name, value in numbers.items() if name.isupper() and type(value) is int)


def _module() -> ir.Module:
    from compute.lanes.loop import make_lane

    module = ir.Module(SYMBOL)
    module.triple = llvm.get_process_triple()
    function = ir.Function(module, _LOOP, SYMBOL)
    control, line, frame, until = function.args
    given = {"control": control, "line": line, "out": frame, "inputs": (), "until": until}
    translate(inner_function(make_lane, "lane"), function, given, make_lane.__globals__, _OPERATIONS)
    return module


def _word(builder: Any, words: Any, index: Any) -> Any:
    return builder.gep(words, [index])


def _take(builder: Any, control: Any, line: Any) -> Any:
    ticket = _word(builder, control, ir.Constant(WORD, TICKET))
    return builder.atomic_rmw("add", ticket, ir.Constant(WORD, 1), ordering="acq_rel")


def _run_chunk(builder: Any, lo: Any, hi: Any, target: tuple[Any, Any]) -> Any:
    """Call the frame's chunk; a bit: whether it has raised."""
    frame, chunk = target
    head = builder.bitcast(frame, ir.LiteralStructType(_HEAD).as_pointer())
    function, status, error = (cgutils.gep_inbounds(builder, head, 0, k) for k in range(3))
    nothing = cgutils.alloca_once(builder, BYTES)
    code = builder.call(builder.load(function), [nothing, error, frame, chunk, lo, hi])
    builder.store(code, status)
    return builder.icmp_signed("!=", code, ir.Constant(_STATUS, 0))


def _leave_if(builder: Any, has_raised: Any) -> None:
    with builder.if_then(has_raised, likely=False):
        builder.ret(ir.Constant(WORD, RAISED))


_OPERATIONS: dict[str, Callable[..., Any]] = {
    "int": lambda builder, value: value,
    "min": lambda builder, one, other: builder.select(builder.icmp_signed("<", one, other), one, other),
    "take": _take,
    "load": lambda builder, words, index: builder.load_atomic(_word(builder, words, index), "acquire", 8),
    "store": lambda builder, words, index, new: builder.store_atomic(new, _word(builder, words, index), "release", 8),
    "clock": atomics.emit_monotonic,
    "cpu_clock": atomics.emit_thread_cpu,
    "begin": native_usage.begin,
    "end": native_usage.end,
    "target": lambda builder, frame, chunk: (frame, chunk),
    "body": _run_chunk,
    "nothing_returned": _leave_if,
}


# ---------------------------------------------------------------- the lane of a body


@intrinsic
def over_whole(context: Any, body: Any, control: Any, line: Any, out: Any, inputs: Any, until: Any) -> Any:
    """Run the loop on a body whose chunks share the output."""
    return _lane(context, (body, control, line, out, inputs, until), rows=False)


@intrinsic
def over_rows(context: Any, body: Any, control: Any, line: Any, out: Any, inputs: Any, until: Any) -> Any:
    """Run the loop on a body each of whose chunks has a row of the output to itself."""
    return _lane(context, (body, control, line, out, inputs, until), rows=True)


def _lane(context: Any, arguments: tuple[Any, ...], rows: bool) -> Any:
    """The type of a lane, and what writes its code: body, control, line, out, inputs and until, as numba's types."""
    body, control, _, out, inputs, _ = arguments
    if not (isinstance(control, types.Array) and control.ndim == 1 and control.dtype == types.int64):
        raise TypingError(f"a control array holds int64 words, not {control}")
    row = context.resolve_function_type(operator.getitem, (out, types.slice2_type), {}).return_type if rows else None
    try:
        called = context.resolve_function_type(body, (types.int64, types.int64, row or out, *inputs), {})
    except NumbaError as error:
        raise compiler.InAPart(error) from error

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        machine_code.need(context.active_code_library, load)
        load()
        _, control, line, out, inputs, until = args
        values = [out, *cgutils.unpack_tuple(builder, inputs, len(sig.args[4]))]
        kinds = [sig.args[3], *sig.args[4]]
        shape = ir.LiteralStructType([*_HEAD, *(value.type for value in values)])
        frame = cgutils.alloca_once(builder, shape)
        builder.store(_chunk(context, builder, shape, kinds, (body, called, row)), _part(builder, frame, 0))
        for k, value in enumerate(values):
            builder.store(value, _part(builder, frame, len(_HEAD) + k))
        words = builder.bitcast(make_array(sig.args[1])(context, builder, control).data, WORDS)
        loop = cgutils.get_or_insert_function(builder.module, _LOOP, SYMBOL)
        state = builder.call(loop, [words, line, builder.bitcast(frame, BYTES), until])
        with builder.if_then(builder.icmp_signed("==", state, ir.Constant(WORD, RAISED)), likely=False):
            code, error = (builder.load(_part(builder, frame, k)) for k in (1, 2))
            status = context.call_conv._get_return_status(builder, code, error)
            context.call_conv.return_status_propagate(builder, status)
        return state

    return types.int64(body, control, types.int64, out, inputs, types.int64), emit


def _part(builder: Any, frame: Any, k: int) -> Any:
    return cgutils.gep_inbounds(builder, frame, 0, k)


def _chunk(context: Any, builder: Any, shape: Any, kinds: list[Any], of: tuple[Any, Any, Any]) -> Any:
    """The function that runs one chunk of a body, on the arguments in a frame.

    shape: of the frame. kinds: the types of what is in it behind its head. of: the body, how it is called, and the type
    of its row of the output; None where it takes the output.
    """
    body, called, row = of
    function = ir.Function(builder.module, _CHUNK, builder.module.get_unique_name("chunk"))
    function.linkage = "internal"
    inside = ir.IRBuilder(function.append_basic_block())
    _, _, frame, chunk, lo, hi = function.args
    parts = inside.bitcast(frame, shape.as_pointer())
    out, *inputs = (inside.load(_part(inside, parts, len(_HEAD) + k)) for k in range(len(kinds)))
    if row is not None:
        out = _row(context, inside, (kinds[0], out), row, chunk)
    code = body.dispatcher.overloads[tuple(called.args)]
    machine_code.call_apart(context.active_code_library, code)
    arguments = _folded(context, inside, called, [lo, hi, out, *inputs])
    result = context.call_internal(inside, code.fndesc, called, arguments)
    _refuse_a_value(context, inside, called.return_type, result)
    if not inside.block.is_terminated:
        inside.ret(ir.Constant(_STATUS, 0))
    return function


def _row(context: Any, builder: Any, of: tuple[Any, Any], row: Any, chunk: Any) -> Any:
    """out[chunk : chunk + 1]. of: out's type, and out. row: the type of that."""
    kind, out = of
    array = make_array(kind)(context, builder, out)
    extents, strides = (cgutils.unpack_tuple(builder, part, kind.ndim) for part in (array.shape, array.strides))
    data = cgutils.pointer_add(builder, array.data, builder.mul(chunk, strides[0]), array.data.type)
    view = make_view(context, builder, kind, array, row, data, [ir.Constant(WORD, 1), *extents[1:]], strides)
    return view._getvalue()


def _folded(context: Any, builder: Any, called: Any, values: list[Any]) -> Any:
    """The arguments of a call as numba's function takes them: with defaults, and a tuple for `*inputs`."""
    if called.pysig is None:
        return values

    def default(index: int, parameter: Any, value: Any) -> Any:
        return context.get_constant_generic(builder, called.args[index], value)

    def rest(index: int, parameter: Any, values: Any) -> Any:
        return cgutils.make_anonymous_struct(builder, values)

    return fold_arguments(called.pysig, values, {}, lambda index, parameter, value: value, default, rest)


def _refuse_a_value(context: Any, builder: Any, kind: Any, result: Any) -> None:
    """What `nothing_returned` does: raise an error, and end the block, where a body returned something."""
    if kind == types.none:
        return
    if not isinstance(kind, types.Optional):
        context.call_conv.return_user_exc(builder, ValueError, (RETURNED,))
        return
    is_value = cgutils.as_bool_bit(builder, context.make_helper(builder, kind, value=result).valid)
    with builder.if_then(is_value, likely=False):
        context.call_conv.return_user_exc(builder, ValueError, (RETURNED,))
