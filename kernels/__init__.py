"""Kernels worth scaling: each an ordinary function on one core, and the same loop on any backend of `compute`."""

from kernels.definition import Kernel, find, kernel
from kernels.definition.each import each
from kernels.definition.plan import Plan
from kernels.escape_time.counts import mandelbrot
from kernels.matrix.matrix_product import matmul
from kernels.matrix.matrix_vector import matvec
from kernels.sieve.windows import count_primes, primes
from kernels.streams.scaled_sum import triad
from kernels.streams.transposition import transpose
from kernels.waiting.blocks import read
from kernels.waiting.requests import fetch

REGISTRY: dict[str, Kernel] = {
    made.name: made for made in (count_primes, primes, mandelbrot, matmul, matvec, transpose, triad, fetch, read)
}

__all__ = [
    "REGISTRY",
    "Kernel",
    "Plan",
    "count_primes",
    "each",
    "fetch",
    "find",
    "kernel",
    "mandelbrot",
    "matmul",
    "matvec",
    "primes",
    "read",
    "transpose",
    "triad",
]
