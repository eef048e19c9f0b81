"""Which vectors the machine has that numba compiles for: the one place where SSE, AVX, AVX-512 or NEON is chosen.

| instruction sets | bytes of a register | registers | a·b + c in one rounding | lanes side by side (compress_store) |
|---|---|---|---|---|
| SSE2: any x86-64 | 16 | 16 | no | lane by lane |
| AVX | 32 | 16 | with FMA | lane by lane |
| AVX2 | 32 | 16 | with FMA | vpermps |
| AVX-512 | 64 | 32 | yes | vcompresspd |
| NEON: any ARMv8 | 16 | 32 | yes | lane by lane |

NUMBA_CPU_NAME and NUMBA_CPU_FEATURES count: they say what numba compiles for, and are part of the compile cache's key.
Sizes of caches, which change blocks and not instructions, are in caches.py.
"""

# numba is untyped where it is extended.
# mypy: allow-untyped-calls

from __future__ import annotations

from typing import Any

import numba  # noqa: F401  # all of it, before a part: see kernels/compilation/importing.py
import numpy as np
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target


def target_features() -> frozenset[str]:
    """LLVM's names of the instruction sets that numba compiles for: 'avx2', 'fma', 'neon' …"""
    # numba takes its locks in this order as it compiles. In the other order, two threads would wait for each other.
    with global_compiler_lock:
        listed = cpu_target.target_context.codegen().magic_tuple()[2]
    return frozenset(name[1:] for name in listed.split(",") if name.startswith("+"))


def vector_width(dtype: Any) -> int:
    """How many numbers of a dtype one vector register holds."""
    features = target_features()
    # 16 bytes is what x86-64 and ARMv8 have at the least, and what LLVM can spell anywhere else.
    register = 64 if "avx512f" in features else 32 if "avx" in features else 16
    return max(1, register // int(np.dtype(dtype).itemsize))


def vector_registers() -> int:
    """How many vector registers there are."""
    return 32 if target_features() & {"avx512f", "neon"} else 16


def has_fma() -> bool:
    """Whether a·b + c with one rounding is one instruction; where it is not, LLVM would call a slow function a lane."""
    return bool(target_features() & {"fma", "avx512f", "neon"})


def compress_instruction(lanes: int) -> str:
    """The instruction that moves chosen ones of so many doubles to the front of a register; "" where there is none."""
    features = target_features()
    if lanes == 8 and "avx512f" in features:
        return "vcompresspd"
    return "vpermps" if lanes == 4 and "avx2" in features else ""
