"""The machine that numba compiles for: its vectors (kernels/vectors/operations.py) and what it does with them.

NUMBA_CPU_NAME and NUMBA_CPU_FEATURES count, and what they say is part of the compile cache's key.
"""

# numba is untyped where it is extended.
# mypy: allow-untyped-calls

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core.registry import cpu_target


def target_features() -> frozenset[str]:
    """LLVM's names of the instruction sets that numba compiles for: 'avx2', 'fma', 'neon' …"""
    listed = cpu_target.target_context.codegen().magic_tuple()[2]
    return frozenset(name[1:] for name in listed.split(",") if name.startswith("+"))


def vector_width(dtype: Any) -> int:
    """How many numbers of a dtype one vector register holds on the machine that numba compiles for."""
    features = target_features()
    # 16 bytes is what x86-64 and ARMv8 have at the least, and what LLVM can spell anywhere else.
    register = 64 if "avx512f" in features else 32 if "avx" in features else 16
    return max(1, register // int(np.dtype(dtype).itemsize))


def vector_registers() -> int:
    """How many vector registers there are: 32 with AVX-512 and on ARM, else 16."""
    return 32 if target_features() & {"avx512f", "neon"} else 16


def has_fma() -> bool:
    """Whether `fma` is one instruction; where it is not it is right, but a slow library call a lane."""
    return bool(target_features() & {"fma", "avx512f", "neon"})
