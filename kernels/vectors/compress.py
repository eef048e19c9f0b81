"""compress_store: the lanes of a vector that a mask chooses, stored side by side.

target.py chooses the instruction for it. Where there is none, every lane is stored by itself.
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

from kernels.vectors.llvm import Mask, Vector, address_of, call_llvm, check_contiguous, emit_shuffle, emit_store
from kernels.vectors.target import compress_instruction, vector_width


@intrinsic
def compress_store(typingctx: Any, array: Any, index: Any, vector: Any, mask: Any) -> Any:
    """`compress_store(array, index, vector, mask)`: store the lanes where the mask is true side by side from index on.

    Returns how many those are. What lies up to index + lanes may be overwritten with anything: leave that much room.
    For dtypes of 8 bytes.
    """
    check_contiguous(array)
    if not isinstance(vector, Vector) or vector.dtype != array.dtype or vector.dtype.bitwidth != 64:
        raise TypingError(f"cannot compress {vector} into {array}")
    if not isinstance(mask, Mask) or mask.lanes != vector.lanes:
        raise TypingError(f"{mask} does not fit {vector}")
    part = min(vector.lanes, vector_width(np.float64))  # lanes of a register

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        store_part = _store_register if compress_instruction(part) else _store_each_lane
        array, index, vector, mask = args
        end = index
        for first in range(0, sig.args[2].lanes, part):
            lanes = list(range(first, first + part))
            values = emit_shuffle(builder, vector, ir.Constant(vector.type, ir.Undefined), lanes)
            wanted = emit_shuffle(builder, mask, ir.Constant(mask.type, ir.Undefined), lanes)

            def place(at: Any, kind: Any) -> Any:
                return address_of(context, builder, sig.args[0], array, at, kind)

            end = store_part(builder, place, end, values, wanted)
        return builder.sub(end, index)

    return types.intp(array, types.intp, vector, mask), codegen


def _store_each_lane(builder: Any, place: Any, end: Any, values: Any, wanted: Any) -> Any:
    """Every lane is stored; a lane that is not wanted is overwritten by the next. Returns the new end."""
    for lane in range(values.type.count):
        number = ir.IntType(32)(lane)
        builder.store(builder.extract_element(values, number), place(end, values.type.element))
        end = builder.add(end, builder.zext(builder.extract_element(wanted, number), end.type))
    return end


def _store_register(builder: Any, place: Any, end: Any, values: Any, wanted: Any) -> Any:
    """The wanted lanes are moved to the front of a register, which is stored whole. Returns the new end."""
    lanes = values.type.count
    bits = builder.zext(builder.bitcast(wanted, ir.IntType(lanes)), end.type)
    floats = builder.bitcast(values, ir.VectorType(ir.DoubleType(), lanes))
    if compress_instruction(lanes) == "vcompresspd":
        # Into a register: storing with the same instruction (vcompresspd to memory) is microcode on Zen 4.
        zeros = ir.Constant(floats.type, None)
        front = call_llvm(builder, "llvm.x86.avx512.mask.compress.v8f64", floats.type, floats, zeros, wanted)
    else:
        front = _permuted(builder, floats, bits)
    emit_store(builder, builder.bitcast(front, values.type), place(end, values.type))
    return builder.add(end, call_llvm(builder, "llvm.ctpop.i64", end.type, bits))


def _permuted(builder: Any, floats: Any, bits: Any) -> Any:
    """A permutation looked up by the mask: AVX2 moves 4-byte lanes by variable positions, so each double is two."""
    row = ir.VectorType(ir.IntType(32), 8)
    rows = []
    for mask in range(16):
        wanted = [lane for lane in range(4) if mask >> lane & 1] + [0] * 4
        rows.append(ir.Constant(row, [2 * lane + half for lane in wanted[:4] for half in (0, 1)]))
    table = cgutils.global_constant(builder.module, "permutations", ir.Constant(ir.ArrayType(row, 16), rows))
    order = builder.load(builder.gep(table, [ir.IntType(64)(0), bits]))
    halves = builder.bitcast(floats, ir.VectorType(ir.FloatType(), 8))
    return builder.bitcast(call_llvm(builder, "llvm.x86.avx2.permps", halves.type, halves, order), floats.type)
