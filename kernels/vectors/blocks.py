"""Vectors by address, also past the caches, and small blocks of float64 that are copied and transposed in registers.

Past the caches means: with non-temporal stores, which write memory without reading it into a cache first.

Quick reference; names as in operations.py, whose `_u` (aligned to elements) becomes `_u_at` where an address is taken.
Addresses are intp, in bytes; strides count elements; `lanes`, `count`, `rows` and `past` are constants.

    load_u_at(address, lanes)           v     the float64 there
    store_u_at(address, v)                    puts v's lanes there
    stream_at(address, v)                     the same past the caches; the address is a multiple of v's size
    flush_stream()                            ends what was streamed; call it before the result is announced
    prefetch(address)                         asks for the cache line there; any address is allowed
    copy_row(source, target, count)           moves `count` numbers
    transpose_block(source, source_stride, target, target_stride, rows, past)
                                              writes `rows` rows of LANES numbers as LANES rows of `rows` numbers

Addresses and strides let one compiled body serve arrays of every layout. A function that computes an address from an
array must keep that array alive while the address is used (an argument of the same function is).
"""

# numba is untyped where it is extended.
# mypy: allow-untyped-calls, allow-untyped-decorators

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

import kernels.vectors.operators  # noqa: F401  # teaches numba + - * / < == & | ~ on vectors and masks
from kernels.vectors.llvm import Vector, emit_load, emit_shuffle, emit_store, emit_stream, literal
from kernels.vectors.target import vector_width

LANES = vector_width(np.float64)  # float64 to a register
VECTOR_BYTES = 8 * LANES

_number, _word = ir.DoubleType(), ir.IntType(64)


def _vector(lanes: int) -> Any:
    return ir.VectorType(_number, lanes)


def emit_transpose(builder: Any, rows: list[Any]) -> list[Any]:
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
            swapped[i], swapped[i + distance] = emit_shuffle(builder, a, b, near), emit_shuffle(builder, a, b, far)
        rows = swapped
        distance *= 2
    if count == lanes:
        return rows
    return [
        emit_shuffle(builder, rows[c % count], rows[c % count], list(range(c - c % count, c - c % count + count)))
        for c in range(lanes)
    ]


def _places(builder: Any, address: Any, stride: Any, count: int) -> list[Any]:
    first = builder.inttoptr(address, ir.PointerType(_number))
    return [builder.gep(first, [builder.mul(stride, _word(i))]) for i in range(count)]


@intrinsic(prefer_literal=True)
def transpose_block(
    typingctx: Any, source: Any, source_stride: Any, target: Any, target_stride: Any, rows: Any, past: Any
) -> Any:
    """`transpose_block(source, source_stride, target, target_stride, rows, past)`: transpose rows x LANES numbers.

    Source and target are addresses; strides count elements from row to row. `rows` is a constant of any size: it is
    done in powers of two. Where `past` is True, the rows of the target are whole vectors, and go past the caches.
    """
    count, emit = literal(rows, "rows"), emit_stream if literal(past, "past") else emit_store

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        sources = _places(builder, args[0], args[1], count)
        targets = _places(builder, args[2], args[3], LANES)
        done = 0
        while done < count:
            side = _power_of_two(count - done)
            lines = [emit_load(builder, place, _vector(LANES)) for place in sources[done : done + side]]
            columns = emit_transpose(builder, lines)
            for place, column in zip(targets, columns, strict=True):
                emit(builder, column, builder.gep(place, [_word(done)]))
            done += side
        return context.get_dummy_value()

    intp = types.intp
    return types.void(intp, intp, intp, intp, rows, past), codegen


@intrinsic(prefer_literal=True)
def copy_row(typingctx: Any, source: Any, target: Any, count: Any) -> Any:
    """`copy_row(source, target, count)`: move a constant count of numbers from one address to another."""
    numbers = literal(count, "count")

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        done = 0
        while done < numbers:
            lanes = _power_of_two(numbers - done)
            here, there = (_places(builder, address, _word(done), 2)[1] for address in args[:2])
            emit_store(builder, emit_load(builder, here, _vector(lanes)), there)
            done += lanes
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, count), codegen


def _power_of_two(most: int) -> int:
    """The largest power of two that is no more than that or a vector's lanes."""
    return min(LANES, 1 << (most.bit_length() - 1))


@intrinsic(prefer_literal=True)
def load_u_at(typingctx: Any, address: Any, lanes: Any) -> Any:
    """`load_u_at(address, lanes)`: the float64 there, as a vector."""
    count = literal(lanes, "lanes")

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return emit_load(builder, builder.inttoptr(args[0], ir.PointerType(_number)), _vector(count))

    return Vector(types.float64, count)(types.intp, lanes), codegen


@intrinsic
def store_u_at(typingctx: Any, address: Any, vector: Any) -> Any:
    """`store_u_at(address, vector)`: put the lanes there."""
    return types.void(types.intp, vector), _storing(emit_store)


@intrinsic
def stream_at(typingctx: Any, address: Any, vector: Any) -> Any:
    """`stream_at(address, vector)`: put the lanes there past the caches; the address is a multiple of their size.

    Memory is then written without being read first. Call `flush_stream` afterwards.
    """
    return types.void(types.intp, vector), _storing(emit_stream)


def _storing(emit: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        emit(builder, args[1], builder.inttoptr(args[0], ir.PointerType(_number)))
        return context.get_dummy_value()

    return codegen


@intrinsic
def flush_stream(typingctx: Any) -> Any:
    """`flush_stream()`: what was streamed is in memory before whatever follows; a release store is not enough."""

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
