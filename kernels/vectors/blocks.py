"""Small blocks of float64 moved through vector registers, by address: copied, transposed, streamed past the caches.

Addresses and strides let one compiled body serve arrays of every layout; whoever computes an address from an array
keeps that array alive while it is used (an argument of the same function is).
"""

# mypy: allow-untyped-calls, allow-untyped-decorators

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.errors import TypingError
from numba.extending import intrinsic

from kernels.vectors.operations import Vector
from kernels.vectors.target import vector_width

LANES = vector_width(np.float64)
VECTOR = LANES * 8  # bytes

_number, _word = ir.DoubleType(), ir.IntType(64)


def _vector(lanes: int) -> Any:
    return ir.VectorType(_number, lanes)


def read(builder: Any, place: Any, lanes: int) -> Any:
    """LLVM's load of a vector, aligned or not."""
    value = builder.load(builder.bitcast(place, ir.PointerType(_vector(lanes))))
    value.align = 8
    return value


def write(builder: Any, value: Any, place: Any) -> None:
    """LLVM's store of a vector, aligned or not."""
    builder.store(value, builder.bitcast(place, ir.PointerType(value.type))).align = 8


def stream(builder: Any, value: Any, place: Any) -> None:
    """A store that goes past the caches; the place is a multiple of the vector's size."""
    put = builder.store(value, builder.bitcast(place, ir.PointerType(value.type)))
    put.align = value.type.count * 8
    put.set_metadata("nontemporal", builder.module.add_metadata([ir.IntType(32)(1)]))


def shuffle(builder: Any, a: Any, b: Any, lanes: list[int]) -> Any:
    """The chosen lanes of a, and (counted on) of b."""
    mask = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes)
    return builder.shuffle_vector(a, b, mask)


def transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """The columns of a block whose rows are vectors; the rows a power of two, no more than lanes.

    At distance 1, 2, 4 …, each pair of rows swaps the squares of that side that lie across the diagonal (Eklundh,
    1972), which the hardware does with one shuffle for each row.
    """
    lanes, count = rows[0].type.count, len(rows)
    distance = 1
    while distance < count:
        swapped = list(rows)
        for i in range(count):
            if i & distance:
                continue
            a, b = rows[i], rows[i + distance]
            near = [lane if not lane & distance else lanes + lane - distance for lane in range(lanes)]
            far = [lane + distance if not lane & distance else lanes + lane for lane in range(lanes)]
            swapped[i], swapped[i + distance] = shuffle(builder, a, b, near), shuffle(builder, a, b, far)
        rows = swapped
        distance *= 2
    if count == lanes:
        return rows
    return [
        shuffle(builder, rows[c % count], rows[c % count], list(range(c - c % count, c - c % count + count)))
        for c in range(lanes)
    ]


def _literal(value: Any, name: str) -> int:
    if not isinstance(value, types.IntegerLiteral | types.BooleanLiteral):
        raise TypingError(f"{name} must be a constant, not {value}; name it in the module")
    return int(value.literal_value)


def _places(builder: Any, address: Any, stride: Any, count: int) -> list[Any]:
    first = builder.inttoptr(address, ir.PointerType(_number))
    return [builder.gep(first, [builder.mul(stride, _word(i))]) for i in range(count)]


@intrinsic(prefer_literal=True)
def transpose_block(
    typingctx: Any, source: Any, source_stride: Any, target: Any, target_stride: Any, rows: Any, past: Any
) -> Any:
    """`transpose_block(source, source_stride, target, target_stride, rows, past)`: rows x LANES numbers, turned.

    Source and target are addresses; strides count elements from row to row. `rows` is a constant of any size: it is
    done in powers of two. `past` as for `store_at`, of rows that are whole vectors.
    """
    count, put = _literal(rows, "rows"), stream if _literal(past, "past") else write

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        sources = _places(builder, args[0], args[1], count)
        targets = _places(builder, args[2], args[3], LANES)
        done = 0
        while done < count:
            side = _power_of_two(count - done)
            columns = transposed(builder, [read(builder, place, LANES) for place in sources[done : done + side]])
            for place, column in zip(targets, columns, strict=True):
                put(builder, column, builder.gep(place, [_word(done)]))
            done += side
        return context.get_dummy_value()

    intp = types.intp
    return types.void(intp, intp, intp, intp, rows, past), codegen


@intrinsic(prefer_literal=True)
def copy_row(typingctx: Any, source: Any, target: Any, count: Any) -> Any:
    """`copy_row(source, target, count)`: move a constant count of numbers from one address to another."""
    numbers = _literal(count, "count")

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        done = 0
        while done < numbers:
            lanes = _power_of_two(numbers - done)
            here, there = (_places(builder, address, _word(done), 2)[1] for address in args[:2])
            write(builder, read(builder, here, lanes), there)
            done += lanes
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, count), codegen


def _power_of_two(most: int) -> int:
    """The largest power of two that is no more than that or a vector's lanes."""
    return min(LANES, 1 << (most.bit_length() - 1))


@intrinsic(prefer_literal=True)
def load_at(typingctx: Any, address: Any, lanes: Any) -> Any:
    """`load_at(address, lanes)`: the numbers there, as a Vector."""
    count = _literal(lanes, "lanes")

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return read(builder, builder.inttoptr(args[0], ir.PointerType(_number)), count)

    return Vector(types.float64, count)(types.intp, lanes), codegen


@intrinsic
def sum_lanes(typingctx: Any, vector: Any) -> Any:
    """`sum_lanes(vector)`: the sum of its lanes (a power of two of them), halves added to halves."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value = args[0]
        while value.type.count > 1:
            half = value.type.count // 2
            low, high = (shuffle(builder, value, value, list(range(k, k + half))) for k in (0, half))
            value = builder.fadd(low, high)
        return builder.extract_element(value, ir.IntType(32)(0))

    return types.float64(vector), codegen


@intrinsic(prefer_literal=True)
def store_at(typingctx: Any, address: Any, vector: Any, past: Any) -> Any:
    """`store_at(address, vector, past)`: put a Vector there; where `past` is True past the caches, at a whole vector.

    Past the caches, memory is written without being read first. Whoever stores so calls `finish_stores` afterwards.
    """
    put = stream if _literal(past, "past") else write

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        put(builder, args[1], builder.inttoptr(args[0], ir.PointerType(_number)))
        return context.get_dummy_value()

    return types.void(types.intp, vector, past), codegen


@intrinsic
def finish_stores(typingctx: Any) -> Any:
    """`finish_stores()`: what was stored past the caches is there before whatever follows; a release is not enough."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def prefetch(typingctx: Any, address: Any) -> Any:
    """`prefetch(address)`: ask for the cache line at an address; one that is not the program's is ignored."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag])
        call = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(call, [builder.inttoptr(args[0], byte), flag(0), flag(3), flag(1)])
        return context.get_dummy_value()

    return types.void(types.intp), codegen
