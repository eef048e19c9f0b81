"""What the suites have in common: which backends at which worker counts, and how large "small" is."""

from __future__ import annotations

from compute import Coroutines, Joblib, Prange, Processes, Serial, Threads, machine
from compute.backends.backend import Backend

WORKERS = sorted({1, min(2, machine.usable_cpus()), machine.usable_cpus()})
PARALLEL = [kind(workers) for kind in (Threads, Prange, Processes, Joblib) for workers in WORKERS]
ALL: list[Backend] = [Serial(), Coroutines(max(WORKERS)), *PARALLEL]

# About ten milliseconds on one core of 2020: long enough to see two workers, short enough for a hundred cases.
COMPILED_SIZES = {
    "count_primes": 10_000_000,
    "primes": 5_000_000,
    "mandelbrot": 150,
    "matmul": 256,
    "matvec": 2_000,
    "transpose": 1_500,
    "triad": 4_000_000,
}
# The python variants of the same kernels take about a hundred times as long an index.
PYTHON_SIZES = {
    "count_primes": 50_000,
    "primes": 50_000,
    "mandelbrot": 16,
    "matmul": 32,
    "matvec": 200,
    "transpose": 200,
    "triad": 50_000,
}


def size_of(kernel: str, variant: str) -> int:
    """A size at which this takes about ten milliseconds on one core."""
    return (PYTHON_SIZES if variant == "python" else COMPILED_SIZES)[kernel]
