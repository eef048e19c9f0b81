"""ask_for_large_pages: memory that compiled code takes for itself, in pages of 2 MiB where the system has them.

A page of 4 KiB costs as much at its first touch as clearing it four times, and each chunk's memory is new. numpy asks
for its own large arrays; numba's are malloc's, which does not ask.
"""

# numba is untyped where it is extended.
# mypy: allow-untyped-calls, allow-untyped-decorators

from __future__ import annotations

import mmap
from typing import Any

import numba  # noqa: F401  # all of it, before a part: see kernels/compilation/importing.py
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from kernels.vectors.llvm import check_contiguous

_WORD = ir.IntType(64)
_NUMBER = ir.IntType(32)


@intrinsic
def ask_for_large_pages(_: Any, array: Any) -> Any:
    """`ask_for_large_pages(array)`: before its memory is touched; nothing where the system does not know them."""
    check_contiguous(array)

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if not hasattr(mmap, "MADV_HUGEPAGE"):
            return context.get_dummy_value()
        made = make_array(sig.args[0])(context, builder, args[0])
        begin, size = builder.ptrtoint(made.data, _WORD), builder.mul(made.nitems, made.itemsize)
        end, page = builder.add(begin, size), ir.Constant(_WORD, mmap.PAGESIZE)
        first = builder.and_(builder.add(begin, builder.sub(page, _WORD(1))), builder.neg(page))
        with builder.if_then(builder.icmp_unsigned("<", first, end)):
            kind = ir.FunctionType(_NUMBER, [_WORD, _WORD, _NUMBER])
            advise = cgutils.get_or_insert_function(builder.module, kind, "madvise")
            builder.call(advise, [first, builder.sub(end, first), _NUMBER(mmap.MADV_HUGEPAGE)])
        return context.get_dummy_value()

    return types.void(array), emit
