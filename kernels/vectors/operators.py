"""Python's operators on vectors and masks: importing this teaches numba + - * / << >> < <= == != & | ~ on them.

One operand may be a number of the vector's dtype; it goes into every lane. Operands of two types are a TypingError of
numba's. A NaN compares as in Python: only != is true of it.
"""

# numba is untyped where it is extended.
# mypy: allow-untyped-calls, allow-untyped-decorators

from __future__ import annotations

import operator
from typing import Any

import numba  # noqa: F401  # all of it, before a part: see kernels/compilation/importing.py
from numba.core import types
from numba.core.errors import TypingError
from numba.extending import lower_builtin, type_callable

from kernels.vectors.llvm import Mask, Vector, as_vectors, common_vector

_OPERANDS = ((Vector, Vector), (Vector, types.Number), (types.Number, Vector))


def _binary(function: Any, on_floats: str, on_integers: str, on_unsigned: str = "") -> None:
    """Teach numba an operator on two vectors of a type, and on a vector and a number of its dtype.

    LLVM's names for it: "" for floats where they have none, and for unsigned integers where it is that of signed ones.
    """

    @type_callable(function)
    def typing(context: Any) -> Any:
        def typer(a: Any, b: Any) -> Any:
            try:
                vector_type = common_vector(a, b)
            except TypingError:
                return None
            return vector_type if on_floats or not isinstance(vector_type.dtype, types.Float) else None

        return typer

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector_type = sig.return_type
        a, b = as_vectors(context, builder, vector_type, sig.args, args)
        if isinstance(vector_type.dtype, types.Float):
            return getattr(builder, on_floats)(a, b)
        return getattr(builder, on_integers if vector_type.dtype.signed else on_unsigned or on_integers)(a, b)

    for kinds in _OPERANDS:
        lower_builtin(function, *kinds)(lower)


for _function, _name in (("add", "add"), ("sub", "sub"), ("mul", "mul")):
    _binary(getattr(operator, _function), f"f{_name}", _name)
    _binary(getattr(operator, f"i{_function}"), f"f{_name}", _name)  # a += b, which here makes a new value too
_binary(operator.truediv, "fdiv", "sdiv", "udiv")
_binary(operator.lshift, "", "shl")
_binary(operator.rshift, "", "ashr", "lshr")


def _comparison(function: Any, sign: str) -> None:
    """Teach numba a comparison of vectors and numbers; a NaN compares as in Python (only != is true)."""

    @type_callable(function)
    def typing(context: Any) -> Any:
        def typer(a: Any, b: Any) -> Any:
            try:
                return Mask(common_vector(a, b).lanes)
            except TypingError:
                return None

        return typer

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector_type = common_vector(*sig.args)
        a, b = as_vectors(context, builder, vector_type, sig.args, args)
        if not isinstance(vector_type.dtype, types.Float):
            compare = builder.icmp_signed if vector_type.dtype.signed else builder.icmp_unsigned
            return compare(sign, a, b)
        return builder.fcmp_unordered(sign, a, b) if sign == "!=" else builder.fcmp_ordered(sign, a, b)

    for kinds in _OPERANDS:
        lower_builtin(function, *kinds)(lower)


for _function, _sign in (("lt", "<"), ("le", "<="), ("gt", ">"), ("ge", ">="), ("eq", "=="), ("ne", "!=")):
    _comparison(getattr(operator, _function), _sign)


def _logical(function: Any, name: str) -> None:
    """Teach numba an operator on two masks, and, bit by bit, on vectors of integers and numbers."""
    _binary(function, "", name)
    type_callable(function)(lambda context: lambda a, b: a if a == b and isinstance(a, Mask) else None)
    lower_builtin(function, Mask, Mask)(lambda context, builder, sig, args: getattr(builder, name)(*args))


_logical(operator.and_, "and_")
_logical(operator.or_, "or_")


@type_callable(operator.invert)
def _type_invert(context: Any) -> Any:
    return lambda mask: mask if isinstance(mask, Mask) else None


@lower_builtin(operator.invert, Mask)
def _lower_invert(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.not_(args[0])
