"""The lane of a compiled body: the arguments in memory, and the lane loop that runs the body's chunks on them.

A frame has the address of a function that runs one chunk, what that returned, numba's error, and the address of the
arguments of the body. The body is called by its name (`machine_code.call_apart`), without being linked. This module
imports numba, so only modules that are loaded for compiled code may import it.
"""

# mypy: disallow-untyped-decorators=False
# (numba's have no types)

from __future__ import annotations

import operator
from typing import Any

import numba  # noqa: F401  # all of it, before a part: see kernels/compilation/importing.py
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.callconv import excinfo_ptr_t
from numba.core.errors import NumbaError
from numba.core.typing.templates import fold_arguments
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, make_view

from compute.lanes import native_loop
from compute.lanes.native_loop import CHUNK, FRAME, RAISED, STATUS
from compute.lanes.translation import BYTES, WORD
from kernels.compilation import compiler, machine_code
from kernels.definition.bodies import RETURNED


@intrinsic
def over_whole(context: Any, body: Any, control: Any, line: Any, out: Any, inputs: Any, until: Any) -> Any:
    """Run the loop on a body whose chunks share the output."""
    return _lane(Framed(context, body, out, inputs, rows=False), control)


@intrinsic
def over_rows(context: Any, body: Any, control: Any, line: Any, out: Any, inputs: Any, until: Any) -> Any:
    """Run the loop on a body each of whose chunks has a row of the output to itself."""
    return _lane(Framed(context, body, out, inputs, rows=True), control)


def _lane(framed: Framed, control: Any) -> Any:
    """The type of a lane, and what writes its code."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _, control, line, out, inputs, until = args
        frame = cgutils.alloca_once(builder, FRAME)
        native_loop.emit_frame(builder, frame, *framed.emit(context, builder, out, inputs))
        state = native_loop.call(context, builder, (sig.args[1], control), line, frame, until)
        with builder.if_then(builder.icmp_signed("==", state, ir.Constant(WORD, RAISED)), likely=False):
            raise_from(context, builder, frame)
        return state

    return types.int64(framed.body, control, types.int64, framed.out, framed.inputs, types.int64), emit


@intrinsic
def _raised_elsewhere(_: Any, status: Any, error: Any) -> Any:
    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        status, error = args
        _raise(context, builder, builder.trunc(status, STATUS), builder.inttoptr(error, excinfo_ptr_t))
        builder.position_at_end(builder.append_basic_block())
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit


def raised_elsewhere(status: int, error: int) -> None:
    """Raise what compiled code has raised that was called without numba, which left this status and this address."""
    _raised_elsewhere(status, error)


def raise_from(context: Any, builder: Any, frame: Any) -> None:
    """Emit that what a chunk has raised is raised here, as its frame has it."""
    _raise(context, builder, *(builder.load(native_loop.part_of(builder, frame, k)) for k in (1, 2)))


def _raise(context: Any, builder: Any, code: Any, error: Any) -> None:
    # As numba's own `raise`. Without the mark, numba would count references to the arrays as the lane begins, and give
    # them back only where it ends without an error: the arrays would never be freed.
    store = builder.store(error, context.call_conv._get_excinfo_argument(builder.function))
    store.set_metadata("numba_exception_output", builder.module.add_metadata([ir.IntType(1)(1)]))
    builder.ret(code)


class Framed:
    """A body as it is called with arguments of these types, which lie in memory one behind another.

    rows: whether each chunk is given its own row of the output.
    """

    def __init__(self, context: Any, body: Any, out: Any, inputs: Any, *, rows: bool) -> None:
        self.body, self.out, self.inputs, self._rows = body, out, inputs, rows
        row = context.resolve_function_type(operator.getitem, (out, types.slice2_type), {}) if rows else None
        self._target = row.return_type if row else out
        try:
            self._called = context.resolve_function_type(body, (types.int64, types.int64, self._target, *inputs), {})
        except NumbaError as error:
            raise compiler.InAPart(error) from error

    def emit(self, context: Any, builder: Any, out: Any, inputs: Any) -> tuple[Any, Any]:
        """Emit what a frame takes: the function that runs one chunk, and the arguments' address, on the stack."""
        values = [out, *cgutils.unpack_tuple(builder, inputs, len(self.inputs))]
        shape = ir.LiteralStructType([value.type for value in values])
        arguments = cgutils.alloca_once(builder, shape)
        for k, value in enumerate(values):
            builder.store(value, _part(builder, arguments, k))
        return self._chunk(context, builder.module, shape), builder.bitcast(arguments, BYTES)

    def _chunk(self, context: Any, module: Any, shape: Any) -> Any:
        """The function that runs one chunk, on arguments that lie in memory in this shape."""
        function = ir.Function(module, CHUNK, module.get_unique_name("chunk"))
        function.linkage = "internal"
        builder = ir.IRBuilder(function.append_basic_block())
        _, _, arguments, chunk, lo, hi = function.args
        parts = builder.bitcast(arguments, shape.as_pointer())
        out, *inputs = (builder.load(_part(builder, parts, k)) for k in range(len(shape.elements)))
        if self._rows:
            out = self._row(context, builder, out, chunk)
        code = self.body.dispatcher.overloads[tuple(self._called.args)]
        machine_code.call_apart(context.active_code_library, code)
        values = _folded(context, builder, self._called, [lo, hi, out, *inputs])
        result = context.call_internal(builder, code.fndesc, self._called, values)
        _refuse_a_value(context, builder, self._called.return_type, result)
        if not builder.block.is_terminated:
            builder.ret(ir.Constant(STATUS, 0))
        return function

    def _row(self, context: Any, builder: Any, out: Any, chunk: Any) -> Any:
        """out[chunk : chunk + 1]."""
        kind = self.out
        array = make_array(kind)(context, builder, out)
        extents, strides = (cgutils.unpack_tuple(builder, part, kind.ndim) for part in (array.shape, array.strides))
        data = cgutils.pointer_add(builder, array.data, builder.mul(chunk, strides[0]), array.data.type)
        length = ir.Constant(WORD, 1)
        view = make_view(context, builder, kind, array, self._target, data, [length, *extents[1:]], strides)
        return view._getvalue()


def _part(builder: Any, of: Any, k: int) -> Any:
    return cgutils.gep_inbounds(builder, of, 0, k)


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
