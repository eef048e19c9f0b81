"""Functions of C that compiled code calls by their names: numba's `types.ExternalFunction`."""

from __future__ import annotations

import ctypes
import sys
from typing import Any, NamedTuple

from kernels.compilation import provenance


class Called(NamedTuple):
    """A function of C, as code finds it that is compiled now.

    words: its name and its types, for any process that has such a one; "" where the types have no words, or where
    it was given to LLVM by its address (`llvmlite.binding.add_symbol`), which another process may not do.
    """

    symbol: str
    address: int
    words: str

    def is_current(self) -> bool:
        """Whether LLVM still finds the same by its name; asked before each run."""
        import llvmlite.binding as llvm

        return int(llvm.address_of_symbol(self.symbol) or 0) == self.address


def called(value: Any) -> Called | None:
    """What a value is if it is such a function; a ValueError where there is none of that name."""
    known: Any = sys.modules.get("numba.core.types")
    if known is None or type(value) is not known.ExternalFunction:
        return None
    if not (address := _address_of(value.symbol)):  # LLVM would end the process
        raise ValueError(
            f"there is no function of C named {value.symbol} in this process; load its library with"
            " llvmlite.binding.load_library_permanently first, or give its address to llvmlite.binding.add_symbol"
        )
    kinds = (value.sig.return_type, *value.sig.args)
    words = [str(kind) if kind == known.voidptr else provenance.types_in_words(kind) for kind in kinds]
    is_anywhere = None not in words and address == _of_libraries(value.symbol)
    return Called(value.symbol, address, repr((value.symbol, words)) if is_anywhere else "")


def _address_of(symbol: str) -> int:
    import llvmlite.binding as llvm
    import numba  # noqa: F401  # all of it, before a part: see kernels/compilation/importing.py
    from numba.core.registry import cpu_target

    _ = cpu_target.target_context  # with its compiler, LLVM begins to look in the libraries of this process
    return int(llvm.address_of_symbol(symbol) or 0)


def _of_libraries(symbol: str) -> int:
    """Where a library that this process has loaded has a function; 0 where none has, or the system does not say."""
    try:
        return ctypes.cast(getattr(ctypes.CDLL(None), symbol), ctypes.c_void_p).value or 0
    except (TypeError, OSError, AttributeError):
        return 0
