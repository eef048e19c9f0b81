"""What the suites have in common: which backends at which worker counts, and how large "small" is."""

from __future__ import annotations

from compute import Coroutines, Joblib, Prange, Processes, Serial, Threads, machine
from compute.backends.backend import Backend

WORKERS = sorted({1, min(2, machine.usable_cpus()), machine.usable_cpus()})
PARALLEL = [kind(workers) for kind in (Threads, Prange, Processes, Joblib) for workers in WORKERS]
ALL: list[Backend] = [Serial(), Coroutines(max(WORKERS)), *PARALLEL]

# Up to ten milliseconds on one core of 2024: long enough to see two workers, short enough for a hundred cases.
COMPILED_SIZES = {
    "count_primes": 100_000_000,
    "primes": 10_000_000,
    "mandelbrot": 150,
    "matmul": 600,
    "matvec": 3_000,
    "transpose": 2_000,
    "triad": 2_000,
}
PYTHON_SIZES = {
    "count_primes": 3_000_000,
    "primes": 3_000_000,
    "mandelbrot": 24,
    "matmul": 30,
    "matvec": 200,
    "transpose": 200,
    "triad": 150,
}


def size_of(kernel: str, variant: str) -> int:
    """A size at which this takes up to ten milliseconds on one core."""
    return (PYTHON_SIZES if variant == "python" else COMPILED_SIZES)[kernel]


def label(backend: Backend) -> str:
    """A backend for a table: `Processes(2)`."""
    return f"{type(backend).__name__}({backend.workers})"
