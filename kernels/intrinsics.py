"""Vector lanes for bodies that numba compiles: LLVM's own vector type, where the auto-vectoriser does not get there.

A `Vector` holds `lanes` numbers of one dtype, a `Mask` as many truth values. Both are ordinary values of a compiled
body: they live in registers, take + - * / and comparisons, and are gone with the function. Lanes are a constant of the
module or of an enclosing function:

    from kernels.intrinsics import broadcast, fma, load, store, vector_width

    LANES = vector_width(np.float64)              # what one register holds here: 8, 4 or 2

    def axpy(lo, hi, out, a, x, y):               # compiled by kernels.compilation; cannot run as Python
        factor = broadcast(a, LANES)
        for i in range(lo, hi - LANES + 1, LANES):
            store(out, i, fma(factor, load(x, i, LANES), load(y, i, LANES)))

More lanes than a register holds are as good: LLVM splits such a vector over several registers, and the independent
halves hide each other's latency. Fewer are as right. Every operation rounds as the scalar one does; nothing is fused
but what `fma` says. The width is that of the target numba compiles for (NUMBA_CPU_NAME and NUMBA_CPU_FEATURES count),
which is part of the compile cache's key.
"""

# numba is untyped where it is extended.
# mypy: allow-untyped-calls, allow-untyped-decorators

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.core.datamodel.registry import register_default
from numba.core.errors import TypingError
from numba.core.registry import cpu_target
from numba.extending import intrinsic, lower_builtin, type_callable
from numba.np.arrayobj import make_array

# ---------------------------------------------------------------- the machine


def target_features() -> frozenset[str]:
    """LLVM's names of the instruction sets that numba compiles for: 'avx2', 'fma', 'neon' …"""
    listed = cpu_target.target_context.codegen().magic_tuple()[2]
    return frozenset(name[1:] for name in listed.split(",") if name.startswith("+"))


def vector_width(dtype: Any) -> int:
    """How many numbers of a dtype one vector register holds on the machine that numba compiles for."""
    features = target_features()
    # 16 bytes is what x86-64 and ARMv8 have at the least, and what LLVM can spell anywhere else.
    register = 64 if "avx512f" in features else 32 if "avx" in features else 16
    return max(1, register // int(np.dtype(dtype).itemsize))


def vector_registers() -> int:
    """How many vector registers there are: 32 with AVX-512 and on ARM, else 16."""
    return 32 if target_features() & {"avx512f", "neon"} else 16


def has_fma() -> bool:
    """Whether `fma` is one instruction; where it is not it is right, but a slow library call a lane."""
    return bool(target_features() & {"fma", "avx512f", "neon"})


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


def _constant(lanes: Any) -> int:
    if not isinstance(lanes, types.IntegerLiteral) or lanes.literal_value < 1:
        raise TypingError(f"lanes must be a constant of at least 1, not {lanes}; name it in the module")
    return int(lanes.literal_value)


def _splat(builder: Any, scalar: Any, lanes: int) -> Any:
    """LLVM's way to say it: into lane 0, then shuffled everywhere."""
    kind = ir.VectorType(scalar.type, lanes)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.IntType(32)(0))
    return builder.shuffle_vector(
        first, ir.Constant(kind, ir.Undefined), ir.Constant(ir.VectorType(ir.IntType(32), lanes), None)
    )


def _call(builder: Any, name: str, result: Any, *args: Any) -> Any:
    """Call one of LLVM's own intrinsics by its full name."""
    kind = ir.FunctionType(result, [x.type for x in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


def _suffix(kind: Any) -> str:
    """The type as LLVM's intrinsics spell it: v8f64."""
    names = {"double": "f64", "float": "f32"}
    return f"v{kind.count}{names.get(str(kind.element), str(kind.element))}"


# ---------------------------------------------------------------- memory


def _place(context: Any, builder: Any, array_type: Any, array: Any, index: Any, kind: Any) -> Any:
    data = make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), ir.PointerType(kind))


def _check_array(array: Any) -> None:
    if not isinstance(array, types.Array) or array.layout not in "CF":
        raise TypingError(f"vectors are loaded from and stored to contiguous arrays, not {array}")


@intrinsic(prefer_literal=True)
def load(typingctx: Any, array: Any, index: Any, lanes: Any) -> Any:
    """`load(array, index, lanes)`: the elements index .. index + lanes of a contiguous array, aligned or not."""
    _check_array(array)
    made = Vector(array.dtype, _constant(lanes))

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = context.get_value_type(made)
        value = builder.load(_place(context, builder, sig.args[0], args[0], args[1], kind))
        value.align = context.get_abi_sizeof(kind.element)
        return value

    return made(array, types.intp, lanes), codegen


@intrinsic
def store(typingctx: Any, array: Any, index: Any, vector: Any) -> Any:
    """`store(array, index, vector)`: put the lanes at index .. index + lanes of a contiguous array's memory."""
    _check_array(array)
    if not isinstance(vector, Vector) or vector.dtype != array.dtype:
        raise TypingError(f"cannot store {vector} in {array}")

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = context.get_value_type(vector)
        put = builder.store(args[2], _place(context, builder, sig.args[0], args[0], args[1], kind))
        put.align = context.get_abi_sizeof(kind.element)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), codegen


@intrinsic(prefer_literal=True)
def broadcast(typingctx: Any, scalar: Any, lanes: Any) -> Any:
    """`broadcast(scalar, lanes)`: the same number in every lane."""
    scalar = types.unliteral(scalar)
    made = Vector(scalar, _constant(lanes))

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _splat(builder, args[0], made.lanes)

    return made(scalar, lanes), codegen


@intrinsic(prefer_literal=True)
def ramp(typingctx: Any, lanes: Any) -> Any:
    """`ramp(lanes)`: 0.0, 1.0, 2.0 … in float64."""
    made = Vector(types.float64, _constant(lanes))

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return ir.Constant(context.get_value_type(made), [float(i) for i in range(made.lanes)])

    return made(lanes), codegen


# ---------------------------------------------------------------- arithmetic


def _binary(function: Any, on_floats: str, on_integers: str) -> None:
    """Teach numba an operator on two vectors of a type, and on a vector and a number of its dtype."""

    @type_callable(function)
    def typing(context: Any) -> Any:
        def typer(a: Any, b: Any) -> Any:
            made = a if isinstance(a, Vector) else b
            if isinstance(made, Vector) and all(x == made or types.unliteral(x) == made.dtype for x in (a, b)):
                return made
            return None

        return typer

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        made = sig.return_type
        a, b = (
            x if kind == made else _splat(builder, context.cast(builder, x, kind, made.dtype), made.lanes)
            for x, kind in zip(args, sig.args, strict=True)
        )
        return getattr(builder, on_floats if isinstance(made.dtype, types.Float) else on_integers)(a, b)

    for kinds in ((Vector, Vector), (Vector, types.Number), (types.Number, Vector)):
        lower_builtin(function, *kinds)(lower)


for _function, _name in (("add", "add"), ("sub", "sub"), ("mul", "mul")):
    _binary(getattr(operator, _function), f"f{_name}", _name)
    _binary(getattr(operator, f"i{_function}"), f"f{_name}", _name)  # a += b, which here makes a new value too
_binary(operator.truediv, "fdiv", "sdiv")


def _same(*vectors: Any) -> Any:
    if not all(isinstance(v, Vector) and v == vectors[0] for v in vectors):
        raise TypingError(f"needs vectors of one type, not {', '.join(map(str, vectors))}")
    return vectors[0]


@intrinsic
def fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """`fma(a, b, c)`: a·b + c, rounded once."""
    made = _same(a, b, c)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _call(builder, f"llvm.fma.{_suffix(args[0].type)}", args[0].type, *args)

    return made(a, b, c), codegen


@intrinsic
def sqrt(typingctx: Any, vector: Any) -> Any:
    """`sqrt(vector)`: the square roots, correctly rounded."""
    made = _same(vector)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _call(builder, f"llvm.sqrt.{_suffix(args[0].type)}", args[0].type, *args)

    return made(vector), codegen


# ---------------------------------------------------------------- masks


def _comparison(function: Any, sign: str) -> None:
    """Teach numba a comparison of two vectors of a type; a NaN compares as in Python (only != is true)."""

    @type_callable(function)
    def typing(context: Any) -> Any:
        def typer(a: Any, b: Any) -> Any:
            return Mask(a.lanes) if isinstance(a, Vector) and a == b else None

        return typer

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if not isinstance(sig.args[0].dtype, types.Float):
            return builder.icmp_signed(sign, *args)
        return builder.fcmp_unordered(sign, *args) if sign == "!=" else builder.fcmp_ordered(sign, *args)

    lower_builtin(function, Vector, Vector)(lower)


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
    """`bit_count(word)`: how many bits of a uint64 are 1, as an int64."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _call(builder, "llvm.ctpop.i64", ir.IntType(64), args[0])

    return types.int64(types.uint64), codegen


@intrinsic
def lowest_bit(typingctx: Any, word: Any) -> Any:
    """`lowest_bit(word)`: the position of the lowest 1 of a uint64 that is not 0, as a uint64."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _call(builder, "llvm.cttz.i64", ir.IntType(64), args[0], ir.IntType(1)(1))

    return types.uint64(types.uint64), codegen


@intrinsic
def select(typingctx: Any, mask: Any, a: Any, b: Any) -> Any:
    """`select(mask, a, b)`: lanes of a where the mask is true, of b where it is not."""
    made = _same(a, b)
    if not isinstance(mask, Mask) or mask.lanes != made.lanes:
        raise TypingError(f"{mask} does not fit {made}")

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(*args)

    return made(mask, a, b), codegen


# ---------------------------------------------------------------- moving lanes


@intrinsic
def pack(typingctx: Any, array: Any, index: Any, mask: Any, vector: Any) -> Any:
    """`pack(array, index, mask, vector)`: store the lanes where the mask is true, one behind the other, from index on.

    Returns the index behind the last. What lies up to index + lanes may be overwritten with anything: leave that much
    room. For dtypes of 8 bytes.
    """
    _check_array(array)
    if not isinstance(vector, Vector) or vector.dtype != array.dtype or vector.dtype.bitwidth != 64:
        raise TypingError(f"cannot pack {vector} into {array}")
    if not isinstance(mask, Mask) or mask.lanes != vector.lanes:
        raise TypingError(f"{mask} does not fit {vector}")
    part = min(vector.lanes, vector_width(np.float64))

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        store_part = _pack_by_instruction if _squeeze_for(part) else _pack_by_scalars
        array, position, mask, vector = args
        for first in range(0, sig.args[3].lanes, part):
            lanes = ir.Constant(ir.VectorType(ir.IntType(32), part), list(range(first, first + part)))
            some = builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), lanes)
            where = builder.shuffle_vector(mask, ir.Constant(mask.type, ir.Undefined), lanes)

            def place(at: Any, kind: Any) -> Any:
                return _place(context, builder, sig.args[0], array, at, kind)

            position = store_part(builder, place, position, where, some)
        return position

    return types.intp(array, types.intp, mask, vector), codegen


def _pack_by_scalars(builder: Any, place: Any, position: Any, where: Any, some: Any) -> Any:
    """Every lane is stored; a lane that is not wanted is overwritten by the next."""
    for lane in range(some.type.count):
        number = ir.IntType(32)(lane)
        builder.store(builder.extract_element(some, number), place(position, some.type.element))
        wanted = builder.zext(builder.extract_element(where, number), position.type)
        position = builder.add(position, wanted)
    return position


def _pack_by_instruction(builder: Any, place: Any, position: Any, where: Any, some: Any) -> Any:
    """The wanted lanes are moved to the front of a register, which is stored whole."""
    lanes = some.type.count
    number = builder.zext(builder.bitcast(where, ir.IntType(lanes)), position.type)
    floats = builder.bitcast(some, ir.VectorType(ir.DoubleType(), lanes))
    front = builder.bitcast(_squeeze_for(lanes)(builder, floats, where, number), some.type)
    builder.store(front, place(position, some.type)).align = 8
    return builder.add(position, _call(builder, "llvm.ctpop.i64", position.type, number))


def _squeeze_for(lanes: int) -> Any:
    """How the wanted lanes of so many doubles come to the front in one instruction, or None where there is none."""
    features = target_features()
    if lanes == 8 and "avx512f" in features:
        return _squeeze_avx512
    return _squeeze_avx2 if lanes == 4 and "avx2" in features else None


def _squeeze_avx512(builder: Any, floats: Any, where: Any, number: Any) -> Any:
    # Into a register: storing with the same instruction (vcompresspd to memory) is microcode on Zen 4.
    return _call(builder, "llvm.x86.avx512.mask.compress.v8f64", floats.type, floats, ir.Constant(floats.type, None), where)


def _squeeze_avx2(builder: Any, floats: Any, where: Any, number: Any) -> Any:
    """A permutation looked up by the mask: AVX2 moves 4-byte lanes by variable positions, so each double is two."""
    row = ir.VectorType(ir.IntType(32), 8)
    rows = []
    for mask in range(16):
        wanted = [lane for lane in range(4) if mask >> lane & 1] + [0] * 4
        rows.append(ir.Constant(row, [2 * lane + half for lane in wanted[:4] for half in (0, 1)]))
    table = cgutils.global_constant(builder.module, "permutations", ir.Constant(ir.ArrayType(row, 16), rows))
    order = builder.load(builder.gep(table, [ir.IntType(64)(0), number]))
    halves = builder.bitcast(floats, ir.VectorType(ir.FloatType(), 8))
    return builder.bitcast(_call(builder, "llvm.x86.avx2.permps", halves.type, halves, order), floats.type)


@intrinsic
def halves(typingctx: Any, vector: Any) -> Any:
    """`halves(vector)`: its lower and its upper lanes, as two vectors."""
    if not isinstance(vector, Vector) or vector.lanes % 2:
        raise TypingError(f"halves takes a vector of an even number of lanes, not {vector}")
    made = Vector(vector.dtype, vector.lanes // 2)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        nothing = ir.Constant(args[0].type, ir.Undefined)
        kind = ir.VectorType(ir.IntType(32), made.lanes)
        parts = [
            builder.shuffle_vector(args[0], nothing, ir.Constant(kind, list(range(first, first + made.lanes))))
            for first in (0, made.lanes)
        ]
        return context.make_tuple(builder, sig.return_type, parts)

    return types.UniTuple(made, 2)(vector), codegen


@intrinsic
def joined(typingctx: Any, lower: Any, upper: Any) -> Any:
    """`joined(lower, upper)`: one vector of the lanes of two."""
    _same(lower, upper)
    made = Vector(lower.dtype, 2 * lower.lanes)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ir.VectorType(ir.IntType(32), made.lanes)
        return builder.shuffle_vector(*args, ir.Constant(kind, list(range(made.lanes))))

    return made(lower, upper), codegen


@intrinsic
def as_int32(typingctx: Any, vector: Any) -> Any:
    """`as_int32(vector)`: floats that are whole numbers within int32, as such."""
    made = Vector(types.int32, vector.lanes)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.fptosi(args[0], context.get_value_type(made))

    return made(vector), codegen


@intrinsic
def count_where(typingctx: Any, counts: Any, mask: Any) -> Any:
    """`count_where(counts, mask)`: int64 counts, one more in the lanes where the mask is true."""
    if not isinstance(counts, Vector) or counts.dtype != types.int64:
        raise TypingError(f"counts must be a vector of int64, not {counts}")

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.sub(args[0], builder.sext(args[1], args[0].type))  # true is -1 when widened with its sign

    return counts(counts, mask), codegen
