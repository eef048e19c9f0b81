"""Vector lanes that come and go: what `escape_time_lanes` needs beside `intrinsics` to keep its lanes busy."""

# numba is untyped where it is extended.
# mypy: allow-untyped-calls, allow-untyped-decorators, disable-error-code="attr-defined"

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.errors import TypingError
from numba.extending import intrinsic

from kernels.vectors.operations import Mask, Vector, address_of, call_llvm, check_contiguous, lanes_of, splat
from kernels.vectors.target import target_features, vector_width


@intrinsic(prefer_literal=True)
def leading(typingctx: Any, count: Any, lanes: Any) -> Any:
    """`leading(count, lanes)`: a mask that is true in the first `count` lanes; in all where count is more."""
    made = Mask(lanes_of(lanes))

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ir.VectorType(args[0].type, made.lanes)
        return builder.icmp_signed("<", ir.Constant(kind, list(range(made.lanes))), splat(builder, args[0], made.lanes))

    return made(types.intp, lanes), codegen


@intrinsic
def pack(typingctx: Any, array: Any, index: Any, mask: Any, vector: Any) -> Any:
    """`pack(array, index, mask, vector)`: store the lanes where the mask is true, one behind the other, from index on.

    Returns the index behind the last. What lies up to index + lanes may be overwritten with anything: leave that much
    room. For dtypes of 8 bytes.
    """
    check_contiguous(array)
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
                return address_of(context, builder, sig.args[0], array, at, kind)

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
    return builder.add(position, call_llvm(builder, "llvm.ctpop.i64", position.type, number))


def _squeeze_for(lanes: int) -> Any:
    """How the wanted lanes of so many doubles come to the front in one instruction, or None where there is none."""
    features = target_features()
    if lanes == 8 and "avx512f" in features:
        return _squeeze_avx512
    return _squeeze_avx2 if lanes == 4 and "avx2" in features else None


def _squeeze_avx512(builder: Any, floats: Any, where: Any, number: Any) -> Any:
    # Into a register: storing with the same instruction (vcompresspd to memory) is microcode on Zen 4.
    return call_llvm(
        builder, "llvm.x86.avx512.mask.compress.v8f64", floats.type, floats, ir.Constant(floats.type, None), where
    )


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
    return builder.bitcast(call_llvm(builder, "llvm.x86.avx2.permps", halves.type, halves, order), floats.type)


@intrinsic
def as_int32(typingctx: Any, vector: Any) -> Any:
    """`as_int32(vector)`: integers that fit, in 4 bytes each."""
    made = Vector(types.int32, vector.lanes)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.trunc(args[0], context.get_value_type(made))

    return made(vector), codegen


@intrinsic
def count_where(typingctx: Any, counts: Any, mask: Any) -> Any:
    """`count_where(counts, mask)`: int64 counts, one more in the lanes where the mask is true."""
    if not isinstance(counts, Vector) or counts.dtype != types.int64:
        raise TypingError(f"counts must be a vector of int64, not {counts}")

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.sub(args[0], builder.sext(args[1], args[0].type))  # true is -1 when widened with its sign

    return counts(counts, mask), codegen
