"""Which mathematical functions of C this process has, which is a part of every key of compiled code.

LLVM computes what it can while it compiles: of `sin(0.5)` its code holds the number that C's sin gave in that process.
Another version of the C library may give another, and so may a library that LD_PRELOAD puts before it.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
from contextlib import suppress

from kernels.compilation import digests
from kernels.compilation.native_code import PAGE, c_libraries

# LLVM calls these, as of ConstantFolding.cpp; of float32 it computes in float64.
FOLDED = (
    "acos", "asin", "atan", "atan2", "ceil", "cos", "cosh", "erf", "exp", "exp10", "exp2", "fabs", "floor", "fmod",
    "ilogb", "log", "log10", "log1p", "log2", "logb", "pow", "remainder", "round", "sin", "sinh", "sqrt", "tan", "tanh",
    "trunc",
)  # fmt: skip


class _Found(ctypes.Structure):
    """C's Dl_info: the library that an address lies in, and where that begins; a symbol, and where that lies."""

    _fields_ = (("file", ctypes.c_char_p), ("begin", ctypes.c_void_p), ("_name", ctypes.c_char_p),
                ("_address", ctypes.c_void_p))  # fmt: skip


@functools.cache
def identity() -> str:
    """Where these functions lie in which libraries: within one, the CPU and GLIBC_TUNABLES choose among versions."""
    try:
        process = ctypes.CDLL(None)
        where = process.dladdr
    except (TypeError, OSError, AttributeError):  # a system that does not say: its own version stands for them
        return platform.version()
    where.argtypes = ctypes.c_void_p, ctypes.POINTER(_Found)
    places: dict[tuple[bytes, int], list[tuple[str, int]]] = {}
    for name in FOLDED:
        functions = [getattr(library, name) for library in (process, *c_libraries()) if hasattr(library, name)]
        address, home = ctypes.cast(functions[0], ctypes.c_void_p).value if functions else None, _Found()
        if address and where(address, ctypes.byref(home)):
            places.setdefault((home.file, home.begin), []).append((name, address - home.begin))
    described = repr([(functions, _about(*library)) for library, functions in places.items()])
    return digests.sha256(described.encode()).hexdigest()


def _about(file: bytes, begin: int) -> tuple[object, ...]:
    """What tells a library in memory from others: its first page, with a number of its build, and its file.

    The file may have been replaced since it was loaded; the page is of the one that runs.
    """
    state: tuple[object, ...] = (platform.version(),)  # where the system has libraries without files
    with suppress(OSError):
        status = os.stat(file)
        state = status.st_size, status.st_mtime_ns
    return file, *state, ctypes.string_at(begin, PAGE)
