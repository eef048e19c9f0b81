"""The micro-kernel of matmul: one block of the product in vector registers, as one piece of LLVM IR.

The scheme is that of GotoBLAS (Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", ACM TOMS 34,
2008) and BLIS: ROWS x COLUMNS accumulators stay in registers while a loop over the depth takes a column of ROWS numbers
from a packed sliver of A and a row of COLUMNS from a packed sliver of B. Written with vector values in the compiled
Python, the accumulators would be two dozen variables; written here, they are a loop over Python lists.
"""

# mypy: allow-untyped-calls, allow-untyped-decorators

from __future__ import annotations

from typing import Any

import numba  # noqa: F401  # all of it, before a part: see kernels/compilation/importing.py
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from kernels.vectors.blocks import Numbers, constant
from kernels.vectors.llvm import emit_load, emit_mul_add, emit_prefetch, emit_store, splat
from kernels.vectors.target import vector_registers

# The block's accumulators fill the registers: 24 of 32, or 12 of 16. Beside them B's row takes a register for each
# vector, and A's numbers take two (with one, LLVM spilled an accumulator, at half the speed). These are enough
# independent sums to hide the latency (2 units x 4 cycles), and few loads to each product. GFLOP/s on Zen 5:
#   registers   lanes       ROWS x VECTORS   GFLOP/s   peak   other blocks
#   32          8           8 x 3            120       122
#   16          4           6 x 2            59        61     4 x 3: 31
#   16          2, no FMA   6 x 2            21               4 x 2: 18
ROWS, VECTORS = (8, 3) if vector_registers() >= 32 else (6, 2)
columns_of = constant(lambda numbers: VECTORS * numbers.lanes)  # of a block of an array's numbers
rows_of = constant(lambda numbers: ROWS)


@intrinsic
def multiply_block(typingctx: Any, a: Any, b: Any, depth: Any, c: Any, stride: Any, add: Any, of: Any) -> Any:
    """`multiply_block(a, b, depth, c, stride, add, of)`: c = (c if add else 0) + a·b for one block of `of`'s dtype.

    a, b and c are addresses: of a sliver of depth x ROWS numbers, one of depth x COLUMNS, and the block's first
    element, with `stride` elements from row to row. depth is at least 1.
    """
    return _multiply(VECTORS, of)


@intrinsic
def multiply_strip(typingctx: Any, a: Any, b: Any, depth: Any, c: Any, stride: Any, add: Any, of: Any) -> Any:
    """The same for the columns of one vector, where b and c are: what a block costs that few columns are left for."""
    return _multiply(1, of)


def _multiply(vectors: int, of: Any) -> Any:
    """The signature, and what emits the code, for so many of a block's vectors."""
    numbers = Numbers(of)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        number, index, lanes = numbers.kind, ir.IntType(64), numbers.lanes
        vector, columns = numbers.vector(lanes), VECTORS * lanes
        a, b, depth, c, stride, add, _ = args
        a, b, c = (builder.inttoptr(address, ir.PointerType(number)) for address in (a, b, c))

        before = builder.block
        loop, done = (builder.append_basic_block(f"block.{name}") for name in ("depth", "done"))
        builder.branch(loop)
        builder.position_at_end(loop)
        step = builder.phi(index)
        sums = [[builder.phi(vector) for _ in range(vectors)] for _ in range(ROWS)]
        at_a = builder.gep(a, [builder.mul(step, index(ROWS))])
        at_b = builder.gep(b, [builder.mul(step, index(columns))])
        row = [emit_load(builder, builder.gep(at_b, [index(v * lanes)]), vector) for v in range(vectors)]
        added = []
        for r in range(ROWS):
            factor = splat(builder, builder.load(builder.gep(at_a, [index(r)])), lanes)
            added.append([emit_mul_add(builder, factor, row[v], sums[r][v]) for v in range(vectors)])
        # c is read and written after the loop, and mostly not in L2 by then. Each step asks for a line of it, and
        # further ones for the last line again. All at once they kept a and b waiting (1 %).
        ahead = builder.select(builder.icmp_unsigned("<", step, index(ROWS * vectors)), step, index(ROWS * vectors - 1))
        ahead_row, ahead_vector = builder.urem(ahead, index(ROWS)), builder.udiv(ahead, index(ROWS))
        place = builder.add(builder.mul(stride, ahead_row), builder.mul(ahead_vector, index(lanes)))
        emit_prefetch(builder, builder.gep(c, [place]))
        following = builder.add(step, index(1))
        step.add_incoming(index(0), before)
        step.add_incoming(following, loop)
        zero = ir.Constant(vector, [0.0] * lanes)
        for r in range(ROWS):
            for v in range(vectors):
                sums[r][v].add_incoming(zero, before)
                sums[r][v].add_incoming(added[r][v], loop)
        builder.cbranch(builder.icmp_signed("<", following, depth), loop, done)

        builder.position_at_end(done)
        with builder.if_else(add) as (adding, fresh):
            for branch, is_added in ((adding, True), (fresh, False)):
                with branch:
                    for r in range(ROWS):
                        for v in range(vectors):
                            address = builder.gep(c, [builder.add(builder.mul(stride, index(r)), index(v * lanes))])
                            value = added[r][v]
                            if is_added:
                                value = builder.fadd(emit_load(builder, address, vector), value)
                            emit_store(builder, value, address)
        return context.get_dummy_value()

    intp = types.intp
    return types.void(intp, intp, intp, intp, intp, types.boolean, of), codegen
