"""Vectors for bodies that numba compiles, where LLVM does not make them of a plain loop by itself.

Quick reference. The names are Google Highway's (g3doc/quick_reference.md there), with `_` where Python has the name.
v, a, b, c are vectors; m is a mask; `array, index` is a place in a contiguous array, aligned to its elements.

    load_u(array, index, lanes)         v     the elements index .. index + lanes
    store_u(array, index, v)                  puts v's lanes there
    gather_index(array, indices)        v     the elements at indices, a vector of unsigned integers
    compress_store(array, index, v, m)  int   puts v's lanes where m is true there, side by side; how many (compress.py)
    set_(x, lanes)                      v     x in every lane
    iota(x, lanes)                      v     x, x + 1, x + 2 …, in float64
    a + b, a - b, a * b, a / b          v     lane by lane; one of the two may be a number
    mul_add(a, b, c)                    v     a·b + c, rounded once where the machine has an instruction for it
    min_(a, b)                          v     the smaller, of integers
    a & b, a | b                        v     bit by bit, of integers; b may be a number
    a << b, a >> b                      v     of integers; b, which may be a number, below their bits
    population_count(v)                 v     how many bits of each lane are 1, of integers
    reduce_sum(v)                       x     the sum of the lanes, halves added to halves
    bit_cast_u64(v)                     v     the same bits as lanes of uint64
    promote_to(array, v)                v     unsigned integers in the array's wider dtype, an integer or a float
    truncate_to(array, v)               v     the low bits of integers, in the array's dtype, which is no wider
    a < b, a <= b, a == b, a != b …     m     lane by lane; one of the two may be a number
    m & m, m | m, ~m                    m     lane by lane
    first_n(n, lanes)                   m     true in the first n lanes
    all_true(m), all_false(m)           bool
    count_true(m)                       int   how many lanes are true
    if_then_else(m, a, b)               v     a where m is true, b where it is not; one of the two may be a number
    vec_from_mask(m)                    v     int64 lanes with all bits 1 (which is -1) where m is true, else 0

By address, past the caches, and whole blocks: blocks.py. How many lanes a register has: target.py. Memory in large
pages: large_pages.py.

Vectors and masks are ordinary values of a compiled body: they live in registers and are gone with the function. `lanes`
is a constant of the module or of an enclosing function, or a vector that has as many. More lanes than a register holds
are as good: LLVM splits such a vector over several registers, whose operations do not wait for each other. Every
operation rounds as numpy's does, lane by lane; nothing but mul_add is fused.

    LANES = vector_width(np.float64)  # of kernels.vectors.target: 8, 4 or 2

    def axpy(lo, hi, out, a, x, y):  # kernels.compilation.compiler compiles it; it cannot run as Python
        factor = set_(a, LANES)
        for i in range(lo, hi - LANES + 1, LANES):
            store_u(out, i, mul_add(factor, load_u(x, i, LANES), load_u(y, i, LANES)))
"""

# numba is untyped where it is extended.
# mypy: allow-untyped-calls, allow-untyped-decorators, disable-error-code="attr-defined"

from __future__ import annotations

from typing import Any

import numba  # noqa: F401  # all of it, before a part: see kernels/compilation/importing.py
from llvmlite import ir
from numba.core import types
from numba.core.errors import TypingError
from numba.extending import intrinsic

import kernels.vectors.operators  # noqa: F401  # teaches numba + - * / < == & | ~ on vectors and masks
from kernels.vectors.llvm import (
    Mask,
    Vector,
    address_of,
    as_vectors,
    call_llvm,
    check_contiguous,
    common_vector,
    emit_load,
    emit_mul_add,
    emit_shuffle,
    emit_store,
    lanes_of,
    splat,
    suffix,
)

# ---------------------------------------------------------------- memory


@intrinsic(prefer_literal=True)
def load_u(typingctx: Any, array: Any, index: Any, lanes: Any) -> Any:
    """`load_u(array, index, lanes)`: the elements index .. index + lanes of a contiguous array, as a vector."""
    check_contiguous(array)
    vector_type = Vector(array.dtype, lanes_of(lanes))

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = context.get_value_type(vector_type)
        return emit_load(builder, address_of(context, builder, sig.args[0], args[0], args[1], kind), kind)

    return vector_type(array, types.intp, lanes), codegen


@intrinsic
def store_u(typingctx: Any, array: Any, index: Any, vector: Any) -> Any:
    """`store_u(array, index, vector)`: put the lanes at index .. index + lanes of a contiguous array's memory."""
    check_contiguous(array)
    if not isinstance(vector, Vector) or vector.dtype != array.dtype:
        raise TypingError(f"cannot store {vector} in {array}")

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = context.get_value_type(vector)
        emit_store(builder, args[2], address_of(context, builder, sig.args[0], args[0], args[1], kind))
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), codegen


@intrinsic
def gather_index(typingctx: Any, array: Any, indices: Any) -> Any:
    """`gather_index(array, indices)`: the elements of a contiguous array at these unsigned indices, as a vector."""
    check_contiguous(array)
    if not isinstance(indices, Vector) or not isinstance(indices.dtype, types.Integer) or indices.dtype.signed:
        raise TypingError(f"gather_index takes a vector of unsigned integers, not {indices}")
    vector_type = Vector(array.dtype, indices.lanes)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = context.get_value_type(vector_type)
        gathered = ir.Constant(kind, ir.Undefined)
        for lane in range(indices.lanes):
            number = ir.IntType(32)(lane)
            index = builder.zext(builder.extract_element(args[1], number), ir.IntType(64))
            place = address_of(context, builder, sig.args[0], args[0], index, kind.element)
            gathered = builder.insert_element(gathered, builder.load(place), number)
        return gathered

    return vector_type(array, indices), codegen


# ---------------------------------------------------------------- making and converting


@intrinsic(prefer_literal=True)
def set_(typingctx: Any, scalar: Any, lanes: Any) -> Any:
    """`set_(scalar, lanes)`: the same number in every lane."""
    scalar = types.unliteral(scalar)
    vector_type = Vector(scalar, lanes_of(lanes))

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return splat(builder, args[0], vector_type.lanes)

    return vector_type(scalar, lanes), codegen


@intrinsic(prefer_literal=True)
def iota(typingctx: Any, first: Any, lanes: Any) -> Any:
    """`iota(first, lanes)`: first, first + 1, first + 2 … in float64."""
    vector_type = Vector(types.float64, lanes_of(lanes))

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        counting = ir.Constant(context.get_value_type(vector_type), [float(i) for i in range(vector_type.lanes)])
        return builder.fadd(counting, splat(builder, args[0], vector_type.lanes))

    return vector_type(types.float64, lanes), codegen


@intrinsic
def bit_cast_u64(typingctx: Any, vector: Any) -> Any:
    """`bit_cast_u64(vector)`: the same bits as a vector of uint64."""
    vector_type = Vector(types.uint64, vector.lanes * vector.dtype.bitwidth // 64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(vector_type))

    return vector_type(vector), codegen


@intrinsic
def promote_to(typingctx: Any, array: Any, vector: Any) -> Any:
    """`promote_to(array, vector)`: unsigned integers in the array's dtype, which is wider, to be stored there."""
    is_float = isinstance(array.dtype, types.Float)
    if not (isinstance(vector.dtype, types.Integer) and (is_float or isinstance(array.dtype, types.Integer))):
        raise TypingError(f"cannot convert {vector} for {array}; it must hold integers")
    if vector.dtype.signed or array.dtype.bitwidth <= vector.dtype.bitwidth:
        raise TypingError(f"cannot promote {vector} for {array}; it must be unsigned, and narrower")
    vector_type = Vector(array.dtype, vector.lanes)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        convert = builder.uitofp if is_float else builder.zext
        return convert(args[1], context.get_value_type(vector_type))

    return vector_type(array, vector), codegen


@intrinsic
def truncate_to(typingctx: Any, array: Any, vector: Any) -> Any:
    """`truncate_to(array, vector)`: the low bits of integers in the array's dtype, no wider, to be stored there."""
    if not isinstance(array.dtype, types.Integer) or not isinstance(vector.dtype, types.Integer):
        raise TypingError(f"cannot convert {vector} for {array}; both must hold integers")
    if array.dtype.bitwidth > vector.dtype.bitwidth:
        raise TypingError(f"cannot truncate {vector} for {array}, which is wider")
    vector_type = Vector(array.dtype, vector.lanes)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.trunc(args[1], context.get_value_type(vector_type))  # of equal widths, nothing

    return vector_type(array, vector), codegen


# ---------------------------------------------------------------- arithmetic


@intrinsic
def mul_add(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """`mul_add(a, b, c)`: a·b + c, rounded once where the machine has an instruction for it, else twice."""
    vector_type = common_vector(a, b, c)
    if not isinstance(vector_type.dtype, types.Float):
        raise TypingError(f"mul_add takes floats, not {vector_type}")

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return emit_mul_add(builder, *as_vectors(context, builder, vector_type, sig.args, args))

    return vector_type(a, b, c), codegen


@intrinsic
def min_(typingctx: Any, a: Any, b: Any) -> Any:
    """`min_(a, b)`: lane by lane the smaller of two vectors of integers."""
    vector_type = common_vector(a, b)
    if not isinstance(vector_type.dtype, types.Integer):
        raise TypingError(f"min_ takes integers, which have no NaN, not {vector_type}")
    name = "smin" if vector_type.dtype.signed else "umin"

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        operands = as_vectors(context, builder, vector_type, sig.args, args)
        return call_llvm(builder, f"llvm.{name}.{suffix(operands[0].type)}", operands[0].type, *operands)

    return vector_type(a, b), codegen


@intrinsic
def population_count(typingctx: Any, vector: Any) -> Any:
    """`population_count(vector)`: how many bits of each lane are 1, of integers."""
    if not isinstance(vector, Vector) or not isinstance(vector.dtype, types.Integer):
        raise TypingError(f"population_count takes a vector of integers, not {vector}")

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return call_llvm(builder, f"llvm.ctpop.{suffix(args[0].type)}", args[0].type, args[0])

    return vector(vector), codegen


@intrinsic
def reduce_sum(typingctx: Any, vector: Any) -> Any:
    """`reduce_sum(vector)`: the sum of its lanes in their dtype; floats (a power of two of them), halves to halves."""
    is_float = isinstance(vector.dtype, types.Float)
    if is_float and vector.lanes & (vector.lanes - 1):
        raise TypingError(f"reduce_sum takes a power of two of floats, not {vector}")

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value = args[0]
        if not is_float:
            return call_llvm(builder, f"llvm.vector.reduce.add.{suffix(value.type)}", value.type.element, value)
        while value.type.count > 1:
            half = value.type.count // 2
            low, high = (emit_shuffle(builder, value, value, list(range(k, k + half))) for k in (0, half))
            value = builder.fadd(low, high)
        return builder.extract_element(value, ir.IntType(32)(0))

    return vector.dtype(vector), codegen


# ---------------------------------------------------------------- masks


@intrinsic(prefer_literal=True)
def first_n(typingctx: Any, count: Any, lanes: Any) -> Any:
    """`first_n(count, lanes)`: a mask that is true in the first `count` lanes; in all where count is more."""
    mask_type = Mask(lanes_of(lanes))

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ir.VectorType(args[0].type, mask_type.lanes)
        return builder.icmp_signed(
            "<", ir.Constant(kind, list(range(mask_type.lanes))), splat(builder, args[0], mask_type.lanes)
        )

    return mask_type(types.intp, lanes), codegen


def _word(builder: Any, mask: Any) -> Any:
    """A mask as one integer of as many bits, lane 0 the lowest."""
    return builder.bitcast(mask, ir.IntType(mask.type.count))


def _check_mask(name: str, mask: Any) -> None:
    if not isinstance(mask, Mask):
        raise TypingError(f"{name} takes a mask, not {mask}")


@intrinsic
def all_true(typingctx: Any, mask: Any) -> Any:
    """`all_true(mask)`: whether every lane is true."""
    _check_mask("all_true", mask)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        word = _word(builder, args[0])
        return builder.icmp_unsigned("==", word, word.type((1 << word.type.width) - 1))

    return types.boolean(mask), codegen


@intrinsic
def all_false(typingctx: Any, mask: Any) -> Any:
    """`all_false(mask)`: whether no lane is true."""
    _check_mask("all_false", mask)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        word = _word(builder, args[0])
        return builder.icmp_unsigned("==", word, word.type(0))

    return types.boolean(mask), codegen


@intrinsic
def count_true(typingctx: Any, mask: Any) -> Any:
    """`count_true(mask)`: how many lanes are true, of up to 64, as an int64."""
    _check_mask("count_true", mask)
    if mask.lanes > 64:
        raise TypingError(f"count_true takes a mask of up to 64 lanes, not {mask}")

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        wide, word = ir.IntType(64), _word(builder, args[0])
        return call_llvm(builder, "llvm.ctpop.i64", wide, word if mask.lanes == 64 else builder.zext(word, wide))

    return types.int64(mask), codegen


@intrinsic
def vec_from_mask(typingctx: Any, mask: Any) -> Any:
    """`vec_from_mask(mask)`: int64 lanes of which all bits are 1 (which is -1) where the mask is true, else 0."""
    _check_mask("vec_from_mask", mask)
    vector_type = Vector(types.int64, mask.lanes)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.sext(args[0], context.get_value_type(vector_type))

    return vector_type(mask), codegen


@intrinsic
def if_then_else(typingctx: Any, mask: Any, a: Any, b: Any) -> Any:
    """`if_then_else(mask, a, b)`: lanes of a where the mask is true, of b where it is not."""
    vector_type = common_vector(a, b)
    if not isinstance(mask, Mask) or mask.lanes != vector_type.lanes:
        raise TypingError(f"{mask} does not fit {vector_type}")

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(args[0], *as_vectors(context, builder, vector_type, sig.args[1:], args[1:]))

    return vector_type(mask, a, b), codegen
