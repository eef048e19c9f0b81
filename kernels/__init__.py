"""Kernels worth scaling: each an ordinary function on one core, and the same loop on any backend of `compute`."""

from kernels.definition import Kernel, find, kernel
from kernels.escape_time import mandelbrot
from kernels.matrix import matmul, matvec
from kernels.plan import Plan
from kernels.sieve import count_primes, primes
from kernels.streams import transpose, triad

REGISTRY: dict[str, Kernel] = {
    made.name: made for made in (count_primes, primes, mandelbrot, matmul, matvec, transpose, triad)
}

__all__ = [
    "REGISTRY",
    "Kernel",
    "Plan",
    "count_primes",
    "find",
    "kernel",
    "mandelbrot",
    "matmul",
    "matvec",
    "primes",
    "transpose",
    "triad",
]
