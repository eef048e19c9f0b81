"""Vector lanes for bodies that numba compiles: LLVM's own vector type, where the auto-vectoriser does not get there.

A `Vector` holds `lanes` numbers of one dtype, a `Mask` as many truth values. Both are ordinary values of a compiled
body: they live in registers, take + - * / and comparisons, and are gone with the function. Lanes are a constant of the
module or of an enclosing function:

    from kernels.vectors.operations import broadcast, fma, load, store
    from kernels.vectors.target import vector_width

    LANES = vector_width(np.float64)              # what one register holds here: 8, 4 or 2

    def axpy(lo, hi, out, a, x, y):               # compiled by kernels.compilation.compiler; cannot run as Python
        factor = broadcast(a, LANES)
        for i in range(lo, hi - LANES + 1, LANES):
            store(out, i, fma(factor, load(x, i, LANES), load(y, i, LANES)))

More lanes than a register holds are as good: LLVM splits such a vector over several registers, and the independent
halves hide each other's latency. Fewer are as right. Every operation rounds as the scalar one does; nothing is fused
but what `fma` says.
"""

# numba is untyped where it is extended.
# mypy: allow-untyped-calls, allow-untyped-decorators, allow-subclassing-any, disable-error-code="attr-defined"

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.core.datamodel.registry import register_default
from numba.core.errors import TypingError
from numba.extending import intrinsic, lower_builtin, type_callable
from numba.np.arrayobj import make_array

# ---------------------------------------------------------------- the types


class Vector(types.Type):
    """numba's type of `lanes` numbers of a dtype."""

    def __init__(self, dtype: Any, lanes: int) -> None:
        self.dtype, self.lanes = dtype, lanes
        super().__init__(name=f"Vector({dtype}, {lanes})")


class Mask(types.Type):
    """numba's type of `lanes` truth values, as a comparison of vectors gives them."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__(name=f"Mask({lanes})")


@register_default(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Vector) -> None:
        super().__init__(dmm, fe_type, ir.VectorType(dmm.lookup(fe_type.dtype).get_value_type(), fe_type.lanes))


@register_default(Mask)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Mask) -> None:
        super().__init__(dmm, fe_type, ir.VectorType(ir.IntType(1), fe_type.lanes))


def lanes_of(lanes: Any) -> int:
    """How many lanes are asked for: a constant, or as many as a vector has that is at hand."""
    if isinstance(lanes, Vector | Mask):
        return lanes.lanes
    if not isinstance(lanes, types.IntegerLiteral) or lanes.literal_value < 1:
        raise TypingError(f"lanes must be a constant of at least 1, not {lanes}; name it in the module")
    return int(lanes.literal_value)


def splat(builder: Any, scalar: Any, lanes: int) -> Any:
    """LLVM's way to say it: into lane 0, then shuffled everywhere."""
    kind = ir.VectorType(scalar.type, lanes)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.IntType(32)(0))
    return builder.shuffle_vector(
        first, ir.Constant(kind, ir.Undefined), ir.Constant(ir.VectorType(ir.IntType(32), lanes), None)
    )


def call_llvm(builder: Any, name: str, result: Any, *args: Any) -> Any:
    """Call one of LLVM's own intrinsics by its full name."""
    kind = ir.FunctionType(result, [x.type for x in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


def _suffix(kind: Any) -> str:
    """The type as LLVM's intrinsics spell it: v8f64."""
    names = {"double": "f64", "float": "f32"}
    return f"v{kind.count}{names.get(str(kind.element), str(kind.element))}"


# ---------------------------------------------------------------- memory


def address_of(context: Any, builder: Any, array_type: Any, array: Any, index: Any, kind: Any) -> Any:
    data = make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), ir.PointerType(kind))


def check_contiguous(array: Any) -> None:
    if not isinstance(array, types.Array) or array.layout not in "CF":
        raise TypingError(f"vectors are loaded from and stored to contiguous arrays, not {array}")


@intrinsic(prefer_literal=True)
def load(typingctx: Any, array: Any, index: Any, lanes: Any) -> Any:
    """`load(array, index, lanes)`: the elements index .. index + lanes of a contiguous array, aligned or not.

    Here and below, `lanes` may also be a vector: as many as it has.
    """
    check_contiguous(array)
    made = Vector(array.dtype, lanes_of(lanes))

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = context.get_value_type(made)
        value = builder.load(address_of(context, builder, sig.args[0], args[0], args[1], kind))
        value.align = context.get_abi_sizeof(kind.element)
        return value

    return made(array, types.intp, lanes), codegen


@intrinsic
def store(typingctx: Any, array: Any, index: Any, vector: Any) -> Any:
    """`store(array, index, vector)`: put the lanes at index .. index + lanes of a contiguous array's memory."""
    check_contiguous(array)
    if not isinstance(vector, Vector) or vector.dtype != array.dtype:
        raise TypingError(f"cannot store {vector} in {array}")

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = context.get_value_type(vector)
        put = builder.store(args[2], address_of(context, builder, sig.args[0], args[0], args[1], kind))
        put.align = context.get_abi_sizeof(kind.element)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), codegen


@intrinsic
def as_words(typingctx: Any, vector: Any) -> Any:
    """`as_words(vector)`: the same bits as a vector of uint64."""
    made = Vector(types.uint64, vector.lanes * vector.dtype.bitwidth // 64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(made))

    return made(vector), codegen


@intrinsic
def cast_for(typingctx: Any, array: Any, vector: Any) -> Any:
    """`cast_for(array, vector)`: a vector of unsigned integers in the array's integer dtype, to be stored there."""
    if not isinstance(array.dtype, types.Integer) or not isinstance(vector.dtype, types.Integer) or vector.dtype.signed:
        raise TypingError(f"cannot cast {vector} for {array}")
    made = Vector(array.dtype, vector.lanes)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = context.get_value_type(made)
        return (builder.zext if made.dtype.bitwidth > vector.dtype.bitwidth else builder.trunc)(args[1], kind)

    return made(array, vector), codegen


@intrinsic(prefer_literal=True)
def broadcast(typingctx: Any, scalar: Any, lanes: Any) -> Any:
    """`broadcast(scalar, lanes)`: the same number in every lane."""
    scalar = types.unliteral(scalar)
    made = Vector(scalar, lanes_of(lanes))

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return splat(builder, args[0], made.lanes)

    return made(scalar, lanes), codegen


@intrinsic(prefer_literal=True)
def ramp(typingctx: Any, lanes: Any) -> Any:
    """`ramp(lanes)`: 0.0, 1.0, 2.0 … in float64."""
    made = Vector(types.float64, lanes_of(lanes))

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return ir.Constant(context.get_value_type(made), [float(i) for i in range(made.lanes)])

    return made(lanes), codegen


# ---------------------------------------------------------------- arithmetic


_OPERANDS = ((Vector, Vector), (Vector, types.Number), (types.Number, Vector))


def _binary(function: Any, on_floats: str, on_integers: str) -> None:
    """Teach numba an operator on two vectors of a type, and on a vector and a number of its dtype."""

    @type_callable(function)
    def typing(context: Any) -> Any:
        def typer(a: Any, b: Any) -> Any:
            try:
                return _common(a, b)
            except TypingError:
                return None

        return typer

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        made = sig.return_type
        a, b = _widened(context, builder, made, sig.args, args)
        return getattr(builder, on_floats if isinstance(made.dtype, types.Float) else on_integers)(a, b)

    for kinds in _OPERANDS:
        lower_builtin(function, *kinds)(lower)


for _function, _name in (("add", "add"), ("sub", "sub"), ("mul", "mul")):
    _binary(getattr(operator, _function), f"f{_name}", _name)
    _binary(getattr(operator, f"i{_function}"), f"f{_name}", _name)  # a += b, which here makes a new value too
_binary(operator.truediv, "fdiv", "sdiv")


def _common(*operands: Any) -> Any:
    """The one type of vector among the operands; the others must be numbers of its dtype."""
    made = next((x for x in operands if isinstance(x, Vector)), None)
    if made is None or not all(x == made or types.unliteral(x) == made.dtype for x in operands):
        raise TypingError(f"needs vectors of one type, and numbers of its dtype, not {', '.join(map(str, operands))}")
    return made


def _widened(context: Any, builder: Any, made: Any, kinds: Any, values: Any) -> list[Any]:
    """The operands as vectors: a number goes into every lane."""
    return [
        x if kind == made else splat(builder, context.cast(builder, x, kind, made.dtype), made.lanes)
        for x, kind in zip(values, kinds, strict=True)
    ]


@intrinsic
def fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """`fma(a, b, c)`: a·b + c, rounded once."""
    made = _common(a, b, c)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        operands = _widened(context, builder, made, sig.args, args)
        return call_llvm(builder, f"llvm.fma.{_suffix(operands[0].type)}", operands[0].type, *operands)

    return made(a, b, c), codegen


@intrinsic
def lesser(typingctx: Any, a: Any, b: Any) -> Any:
    """`lesser(a, b)`: lane by lane the smaller of two vectors of integers."""
    made = _common(a, b)
    if not isinstance(made.dtype, types.Integer):
        raise TypingError(f"lesser takes integers, which have no NaN, not {made}")
    name = "smin" if made.dtype.signed else "umin"

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        operands = _widened(context, builder, made, sig.args, args)
        return call_llvm(builder, f"llvm.{name}.{_suffix(operands[0].type)}", operands[0].type, *operands)

    return made(a, b), codegen


# ---------------------------------------------------------------- masks


def _comparison(function: Any, sign: str) -> None:
    """Teach numba a comparison of vectors and numbers; a NaN compares as in Python (only != is true)."""

    @type_callable(function)
    def typing(context: Any) -> Any:
        def typer(a: Any, b: Any) -> Any:
            try:
                return Mask(_common(a, b).lanes)
            except TypingError:
                return None

        return typer

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        made = _common(*sig.args)
        a, b = _widened(context, builder, made, sig.args, args)
        if not isinstance(made.dtype, types.Float):
            return builder.icmp_signed(sign, a, b)
        return builder.fcmp_unordered(sign, a, b) if sign == "!=" else builder.fcmp_ordered(sign, a, b)

    for kinds in _OPERANDS:
        lower_builtin(function, *kinds)(lower)


for _function, _sign in (("lt", "<"), ("le", "<="), ("gt", ">"), ("ge", ">="), ("eq", "=="), ("ne", "!=")):
    _comparison(getattr(operator, _function), _sign)


def _logical(function: Any, name: str) -> None:
    """Teach numba an operator on two masks, or, bit by bit, on two vectors of integers."""

    def is_bits(kind: Any) -> bool:
        return isinstance(kind, Mask) or (isinstance(kind, Vector) and isinstance(kind.dtype, types.Integer))

    @type_callable(function)
    def typing(context: Any) -> Any:
        return lambda a, b: a if a == b and is_bits(a) else None

    for kind in (Mask, Vector):
        lower_builtin(function, kind, kind)(lambda context, builder, sig, args: getattr(builder, name)(*args))


_logical(operator.and_, "and_")
_logical(operator.or_, "or_")


@type_callable(operator.invert)
def _type_invert(context: Any) -> Any:
    return lambda mask: mask if isinstance(mask, Mask) else None


@lower_builtin(operator.invert, Mask)
def _lower_invert(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.not_(args[0])


@intrinsic
def bits(typingctx: Any, mask: Any) -> Any:
    """`bits(mask)`: the truth values as a uint64, lane 0 in the lowest bit; up to 64 lanes. 0 where none is true."""
    if not isinstance(mask, Mask) or mask.lanes > 64:
        raise TypingError(f"bits takes a mask of up to 64 lanes, not {mask}")

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return (
            builder.zext(builder.bitcast(args[0], ir.IntType(mask.lanes)), ir.IntType(64))
            if mask.lanes < 64
            else (builder.bitcast(args[0], ir.IntType(64)))
        )

    return types.uint64(mask), codegen


@intrinsic
def bit_count(typingctx: Any, word: Any) -> Any:
    """`bit_count(word)`: how many bits of a uint64, or of all lanes of a vector of uint64, are 1, as an int64."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if not isinstance(word, Vector):
            return call_llvm(builder, "llvm.ctpop.i64", ir.IntType(64), args[0])
        suffix = _suffix(args[0].type)
        counts = call_llvm(builder, f"llvm.ctpop.{suffix}", args[0].type, args[0])
        return call_llvm(builder, f"llvm.vector.reduce.add.{suffix}", ir.IntType(64), counts)

    if isinstance(word, Vector) and word.dtype == types.uint64:
        return types.int64(word), codegen
    return types.int64(types.uint64), codegen


@intrinsic
def select(typingctx: Any, mask: Any, a: Any, b: Any) -> Any:
    """`select(mask, a, b)`: lanes of a where the mask is true, of b where it is not."""
    made = _common(a, b)
    if not isinstance(mask, Mask) or mask.lanes != made.lanes:
        raise TypingError(f"{mask} does not fit {made}")

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(args[0], *_widened(context, builder, made, sig.args[1:], args[1:]))

    return made(mask, a, b), codegen
