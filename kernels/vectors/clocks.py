"""Clocks that compiled code reads, as LLVM's IR: POSIX's clock_gettime, which the linker finds by its name.

Each of these emits the reading of one, in ns. It takes llvmlite alone, where atomics.py takes numba.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from llvmlite import ir

_I32, _I64 = ir.IntType(32), ir.IntType(64)


def _clock(name: str) -> Callable[[Any], Any]:
    clock = getattr(time, name, None)

    def emit(builder: Any) -> Any:
        if clock is None:  # Windows: lanes then keep totals that Python measures, and no spans
            return ir.Constant(_I64, 0)
        with builder.goto_entry_block():
            timespec = builder.alloca(ir.ArrayType(_I64, 2))
        function = builder.module.globals.get("clock_gettime") or ir.Function(
            builder.module, ir.FunctionType(_I32, [_I32, timespec.type]), "clock_gettime"
        )
        builder.call(function, [ir.Constant(_I32, clock), timespec])
        parts = (builder.gep(timespec, [ir.Constant(_I32, 0), ir.Constant(_I32, k)], inbounds=True) for k in (0, 1))
        seconds, nanoseconds = map(builder.load, parts)
        return builder.add(builder.mul(seconds, ir.Constant(_I64, 10**9)), nanoseconds)

    return emit


# The clock of time.perf_counter_ns, so that Python's readings and these stand on one axis.
monotonic = _clock("CLOCK_UPTIME_RAW" if hasattr(time, "CLOCK_UPTIME_RAW") else "CLOCK_MONOTONIC")
thread_cpu = _clock("CLOCK_THREAD_CPUTIME_ID")
process_cpu = _clock("CLOCK_PROCESS_CPUTIME_ID")
