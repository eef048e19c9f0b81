"""Vectors by address, also past the caches, and small blocks of numbers that are copied and transposed in registers.

Past the caches means: with non-temporal stores, which write memory without reading it into a cache first.

Quick reference; names as in operations.py, whose `_u` (aligned to elements) becomes `_u_at` where an address is taken.
Addresses are intp, in bytes; strides count elements; `lanes`, `count`, `rows` and `past` are constants. Numbers are
float64, or of the dtype of an array that is given last (`of`): float32, int64 or complex128, too. A vector of complex
numbers has two lanes for each, side by side, and shuffles never part them.

    item_bytes(A), per_register(A), per_line(A)
                                        int   bytes of one of A's numbers; numbers to a register, to a cache line.
                                              Constants: one body is compiled for each dtype as if by hand
    load_u_at(address, lanes, of)       v     the numbers there
    store_u_at(address, v)                    puts v's lanes there
    stream_at(address, v)                     the same past the caches; the address is a multiple of v's size
    flush_stream()                            ends what was streamed; call it before the result is announced
    prefetch(address)                         asks for the cache line there; any address is allowed
    load_each(array, index, count)      tuple the unsigned integers index .. index + count of an array, as uint64
    and_bytes_at(address, distances, masks)   ANDs each of masks (uint8) into the byte at its distance
    opaque(x)                           x     an integer of which LLVM knows nothing
    times(v, s)                         v     v·s in numpy's order; s is a number of the array's dtype, complex too
    copy_row(source, target, count, of)       moves `count` numbers
    transpose_block(source, source_stride, target, target_stride, rows, past, of)
                                              writes `rows` rows of a register's numbers as columns

Addresses and strides let one compiled body serve arrays of every layout. A function that computes an address from an
array must keep that array alive while the address is used (an argument of the same function is).
"""

# numba is untyped where it is extended.
# mypy: allow-untyped-calls, allow-untyped-decorators, disable-error-code="attr-defined"

from __future__ import annotations

from typing import Any

import numba  # noqa: F401  # all of it, before a part: see kernels/compilation/importing.py
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.errors import TypingError
from numba.extending import intrinsic

import kernels.vectors.operators  # noqa: F401  # teaches numba + - * / < == & | ~ on vectors and masks
from kernels.vectors.caches import BYTES_PER_LINE
from kernels.vectors.llvm import (
    Vector,
    address_of,
    check_contiguous,
    emit_load,
    emit_shuffle,
    emit_store,
    emit_stream,
    literal,
    splat,
)
from kernels.vectors.target import vector_width

LANES = vector_width(np.float64)  # float64 to a register
VECTOR_BYTES = 8 * LANES

_word = ir.IntType(64)


class Numbers:
    """The numbers of an array's type as vectors hold them; float64 where no array is given.

    dtype: numba's, of a lane.   parts: lanes to a number.   kind: LLVM's type of a lane.
    """

    def __init__(self, of: Any = None) -> None:
        dtype = types.float64 if of in (None, types.none) else of.dtype
        self.parts = 2 if dtype == types.complex128 else 1
        self.dtype = types.float64 if self.parts == 2 else dtype
        kinds = {types.float64: ir.DoubleType(), types.float32: ir.FloatType(), types.int64: _word}
        if self.dtype not in kinds:
            raise TypingError(f"vectors by address hold float64, float32, int64 or complex128, not {dtype}")
        self.kind = kinds[self.dtype]
        self.bytes = self.dtype.bitwidth // 8 * self.parts
        self.lanes = max(1, VECTOR_BYTES // self.bytes)  # numbers to a register

    def vector(self, count: int) -> Any:
        """LLVM's type of a vector of so many numbers."""
        return ir.VectorType(self.kind, count * self.parts)

    def power_of_two(self, most: int) -> int:
        """The largest power of two that is no more than that or a register's numbers."""
        return min(self.lanes, 1 << (most.bit_length() - 1))

    def places(self, builder: Any, address: Any, stride: Any, count: int) -> list[Any]:
        """Pointers to `count` numbers, `stride` numbers apart."""
        first = builder.inttoptr(address, ir.PointerType(self.kind))
        return [builder.gep(first, [builder.mul(stride, _word(i * self.parts))]) for i in range(count)]


def emit_transpose(builder: Any, rows: list[Any], parts: int = 1) -> list[Any]:
    """The columns of a block whose rows are vectors; the rows a power of two, no more than a vector's numbers.

    At distance 1, 2, 4 …, each pair of rows swaps the squares of that side that lie across the diagonal (Eklundh,
    1972), which the hardware does with one shuffle for each row. Lanes that are `parts` of one number stay together.
    """
    numbers, count = rows[0].type.count // parts, len(rows)

    def lanes(chosen: list[int]) -> list[int]:
        return [number * parts + part for number in chosen for part in range(parts)]

    distance = 1
    while distance < count:
        swapped = list(rows)
        for i in range(count):
            if i & distance:
                continue
            a, b = rows[i], rows[i + distance]
            near = lanes([n if not n & distance else numbers + n - distance for n in range(numbers)])
            far = lanes([n + distance if not n & distance else numbers + n for n in range(numbers)])
            swapped[i], swapped[i + distance] = emit_shuffle(builder, a, b, near), emit_shuffle(builder, a, b, far)
        rows = swapped
        distance *= 2
    if count == numbers:
        return rows
    return [
        emit_shuffle(
            builder, rows[c % count], rows[c % count], lanes(list(range(c - c % count, c - c % count + count)))
        )
        for c in range(numbers)
    ]


def constant(function: Any) -> Any:
    """An intrinsic of an array that is a constant of its dtype's `Numbers`."""

    @intrinsic
    def value_of(typingctx: Any, of: Any) -> Any:
        if not isinstance(of, types.Array):
            return None
        value = function(Numbers(of))

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return _word(value)

        return types.literal(value)(of), codegen

    return value_of


item_bytes = constant(lambda numbers: numbers.bytes)
per_register = constant(lambda numbers: numbers.lanes)
per_line = constant(lambda numbers: BYTES_PER_LINE // numbers.bytes)


@intrinsic(prefer_literal=True)
def transpose_block(
    typingctx: Any,
    source: Any,
    source_stride: Any,
    target: Any,
    target_stride: Any,
    rows: Any,
    past: Any,
    of: Any = None,
) -> Any:
    """`transpose_block(source, source_stride, target, target_stride, rows, past, of)`: transpose rows of a register.

    Source and target are addresses; strides count elements from row to row. `rows` is a constant of any size: it is
    done in powers of two. Where `past` is True, the rows of the target are whole vectors, and go past the caches.
    """
    count, emit, numbers = literal(rows, "rows"), emit_stream if literal(past, "past") else emit_store, Numbers(of)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        sources = numbers.places(builder, args[0], args[1], count)
        targets = numbers.places(builder, args[2], args[3], numbers.lanes)
        line, done = numbers.vector(numbers.lanes), 0
        while done < count:
            side = numbers.power_of_two(count - done)
            lines = [emit_load(builder, place, line) for place in sources[done : done + side]]
            columns = emit_transpose(builder, lines, numbers.parts)
            for place, column in zip(targets, columns, strict=True):
                emit(builder, column, builder.gep(place, [_word(done * numbers.parts)]))
            done += side
        return context.get_dummy_value()

    intp = types.intp
    return types.void(intp, intp, intp, intp, rows, past, of or types.none), codegen


@intrinsic(prefer_literal=True)
def copy_row(typingctx: Any, source: Any, target: Any, count: Any, of: Any = None) -> Any:
    """`copy_row(source, target, count, of)`: move a constant count of numbers from one address to another."""
    size, numbers = literal(count, "count"), Numbers(of)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        done = 0
        while done < size:
            some = numbers.power_of_two(size - done)
            here, there = (numbers.places(builder, address, _word(done), 2)[1] for address in args[:2])
            emit_store(builder, emit_load(builder, here, numbers.vector(some)), there)
            done += some
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, count, of or types.none), codegen


@intrinsic(prefer_literal=True)
def load_u_at(typingctx: Any, address: Any, lanes: Any, of: Any = None) -> Any:
    """`load_u_at(address, lanes, of)`: so many numbers there, as a vector."""
    count, numbers = literal(lanes, "lanes"), Numbers(of)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        place = builder.inttoptr(args[0], ir.PointerType(numbers.kind))
        return emit_load(builder, place, numbers.vector(count))

    return Vector(numbers.dtype, count * numbers.parts)(types.intp, lanes, of or types.none), codegen


@intrinsic
def times(typingctx: Any, vector: Any, s: Any) -> Any:
    """`times(v, s)`: each number of v times s, every product and sum rounded by itself, in numpy's order.

    A complex s takes v's lanes for real and imaginary parts: (x·s.real − y·s.imag) + (y·s.real + x·s.imag)j.
    """
    if not isinstance(vector, Vector):
        return None

    def real(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.fmul(args[0], splat(builder, args[1], vector.lanes))

    def complex_(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        v, parts = args[0], context.make_complex(builder, s, value=args[1])
        crossed = emit_shuffle(builder, v, v, [lane ^ 1 for lane in range(vector.lanes)])
        signs = ir.Constant(v.type, [-1.0, 1.0] * (vector.lanes // 2))  # -(y·s.imag) and y·(-s.imag) are the same bits
        straight = builder.fmul(v, splat(builder, parts.real, vector.lanes))
        across = builder.fmul(crossed, builder.fmul(signs, splat(builder, parts.imag, vector.lanes)))
        return builder.fadd(straight, across)

    return vector(vector, s), complex_ if isinstance(s, types.Complex) else real


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
        emit(builder, args[1], builder.inttoptr(args[0], ir.PointerType(args[1].type.element)))
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


@intrinsic(prefer_literal=True)
def load_each(typingctx: Any, array: Any, index: Any, count: Any) -> Any:
    """`load_each(array, index, count)`: a constant count of unsigned integers from index on, a tuple of uint64."""
    size = literal(count, "count")

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        loaded = [_load_unsigned(context, builder, sig.args[0], args[0], args[1], k) for k in range(size)]
        return context.make_tuple(builder, sig.return_type, loaded)

    return types.UniTuple(types.uint64, size)(array, types.intp, count), codegen


@intrinsic
def and_bytes_at(typingctx: Any, address: Any, distances: Any, masks: Any) -> Any:
    """`and_bytes_at(address, distances, masks)`: AND each of masks into the byte at its distance from the address.

    masks is a tuple of uint8. distances is one of uint64, which stay in registers, or an array of unsigned integers,
    each of which is loaded right before it is needed.
    """
    if not isinstance(masks, types.UniTuple) or masks.dtype != types.uint8:
        raise TypingError(f"and_bytes_at takes a tuple of uint8 as masks, not {masks}")

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        for k, mask in enumerate(cgutils.unpack_tuple(builder, args[2], masks.count)):
            if isinstance(distances, types.Array):
                distance = _load_unsigned(context, builder, distances, args[1], _word(0), k)
            else:
                distance = builder.extract_value(args[1], k)
            place = builder.inttoptr(builder.add(args[0], distance), mask.type.as_pointer())
            builder.store(builder.and_(builder.load(place), mask), place)
        return context.get_dummy_value()

    return types.void(types.uint64, distances, masks), codegen


def _load_unsigned(context: Any, builder: Any, array_type: Any, array: Any, index: Any, k: int) -> Any:
    """The unsigned integer k places behind an array's index, in 64 bits."""
    check_contiguous(array_type)
    kind = context.get_value_type(array_type.dtype)
    place = address_of(context, builder, array_type, array, builder.add(index, _word(k)), kind)
    return builder.zext(builder.load(place), _word)


@intrinsic
def opaque(typingctx: Any, x: Any) -> Any:
    """`opaque(x)`: x, an integer; but LLVM cannot tell, and computes what follows from it as it is written."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = args[0].type
        return builder.asm(ir.FunctionType(kind, [kind]), "", "=r,0", [args[0]], False)

    return x(x), codegen
