"""numba's types of vectors and masks, and the pieces of LLVM's IR that the operations are made of.

`Vector(dtype, lanes)` is LLVM's `<lanes x dtype>`, and `Mask(lanes)` its `<lanes x i1>`. Bodies never name these types:
the operations (operations.py) return them. Everything here runs while numba compiles, and is for those who write
operations: `builder` is llvmlite's IRBuilder, and a function called `emit_…` adds instructions to it.
"""

# numba is untyped where it is extended.
# mypy: allow-untyped-calls, allow-subclassing-any, disable-error-code="attr-defined"

from __future__ import annotations

from typing import Any

import numba  # noqa: F401  # all of it, before a part: see kernels/compilation/importing.py
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.core.datamodel.registry import register_default
from numba.core.errors import TypingError
from numba.np.arrayobj import make_array

from kernels.vectors.target import has_fma


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


def literal(value: Any, name: str) -> int:
    """The value of an argument that must be a constant of the program."""
    if not isinstance(value, types.IntegerLiteral | types.BooleanLiteral):
        raise TypingError(f"{name} must be a constant, not {value}; name it in the module")
    return int(value.literal_value)


def splat(builder: Any, scalar: Any, lanes: int) -> Any:
    """The same number in every lane: LLVM puts it into lane 0 and shuffles that everywhere."""
    kind = ir.VectorType(scalar.type, lanes)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.IntType(32)(0))
    return builder.shuffle_vector(
        first, ir.Constant(kind, ir.Undefined), ir.Constant(ir.VectorType(ir.IntType(32), lanes), None)
    )


def call_llvm(builder: Any, name: str, result: Any, *args: Any) -> Any:
    """Call one of LLVM's intrinsics by its full name."""
    kind = ir.FunctionType(result, [x.type for x in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


def suffix(kind: Any) -> str:
    """The type as LLVM's intrinsics spell it: v8f64."""
    names = {"double": "f64", "float": "f32"}
    return f"v{kind.count}{names.get(str(kind.element), str(kind.element))}"


def common_vector(*operands: Any) -> Any:
    """The one type of vector among the operands; the others must be numbers of its dtype."""
    vector_type = next((x for x in operands if isinstance(x, Vector)), None)
    if vector_type is None or not all(x == vector_type or types.unliteral(x) == vector_type.dtype for x in operands):
        raise TypingError(f"needs vectors of one type, and numbers of its dtype, not {', '.join(map(str, operands))}")
    return vector_type


def as_vectors(context: Any, builder: Any, vector_type: Any, kinds: Any, values: Any) -> list[Any]:
    """The operands as vectors: a number goes into every lane."""
    return [
        x
        if kind == vector_type
        else splat(builder, context.cast(builder, x, kind, vector_type.dtype), vector_type.lanes)
        for x, kind in zip(values, kinds, strict=True)
    ]


def address_of(context: Any, builder: Any, array_type: Any, array: Any, index: Any, kind: Any) -> Any:
    """The address of an array's element, as a pointer to `kind`."""
    data = make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), ir.PointerType(kind))


def check_contiguous(array: Any) -> None:
    """TypingError where the elements of an array's type do not lie one behind another."""
    if not isinstance(array, types.Array) or array.layout not in "CF":
        raise TypingError(f"vectors are loaded from and stored to contiguous arrays, not {array}")


def emit_load(builder: Any, place: Any, kind: Any) -> Any:
    """Load a vector of a type of LLVM's; the place is a multiple of an element's size."""
    value = builder.load(builder.bitcast(place, ir.PointerType(kind)))
    value.align = element_bytes(kind)
    return value


def emit_store(builder: Any, value: Any, place: Any) -> None:
    """Store a vector; the place is a multiple of an element's size."""
    builder.store(value, builder.bitcast(place, ir.PointerType(value.type))).align = element_bytes(value.type)


def emit_stream(builder: Any, value: Any, place: Any) -> None:
    """Store a vector past the caches; the place is a multiple of the vector's size."""
    stored = builder.store(value, builder.bitcast(place, ir.PointerType(value.type)))
    stored.align = value.type.count * element_bytes(value.type)
    stored.set_metadata("nontemporal", builder.module.add_metadata([ir.IntType(32)(1)]))


def emit_prefetch(builder: Any, place: Any) -> None:
    """Have the cache line of an address brought in, to be written."""
    number, byte = ir.IntType(32), ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(function, [builder.bitcast(place, byte), number(1), number(3), number(1)])


def element_bytes(kind: Any) -> int:
    """Bytes of one element of a vector's type."""
    return {"double": 8, "float": 4}.get(str(kind.element)) or kind.element.width // 8


def emit_shuffle(builder: Any, a: Any, b: Any, lanes: list[int]) -> Any:
    """The chosen lanes of a, and (counted on) of b."""
    chosen = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes)
    return builder.shuffle_vector(a, b, chosen)


def emit_mul_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a·b + c of vectors of floats: rounded once where the machine has an instruction for it, else twice."""
    if has_fma():
        return call_llvm(builder, f"llvm.fma.{suffix(c.type)}", c.type, a, b, c)
    return builder.fadd(builder.fmul(a, b), c)
