"""Kernels worth scaling: each an ordinary function on one core, and the same loop on any backend of `compute`.

Ready-made kernels are `count_primes`, `primes`, `mandelbrot`, `matmul`, `matvec`, `transpose`, `triad`, `fetch` and
`read`; `REGISTRY` has them by name, for the command line. `@kernel` and `each` make kernels of one's own, `Plan` is
what a planner returns, and `find` looks a kernel up by `module:name`.

definition/    what a kernel is, and what makes one of a function
compilation/   from a body to machine code, and when machine code may be used again
vectors/       vector operations, atomic words and caches for compiled bodies
sieve/         count_primes, primes
escape_time/   mandelbrot
matrix/        matmul, matvec
streams/       transpose, triad
waiting/       fetch, read
texts.py       text from outside, made visible in messages
"""

from kernels.definition import Kernel, find, kernel
from kernels.definition.each import each
from kernels.definition.plan import Plan
from kernels.escape_time.counts import mandelbrot
from kernels.matrix.matrix_product import matmul
from kernels.matrix.matrix_vector import matvec
from kernels.sieve.windows import count_primes, primes
from kernels.streams.scaled_sum import triad
from kernels.streams.transposition import transpose
from kernels.waiting.file_blocks import read
from kernels.waiting.requests import fetch

REGISTRY: dict[str, Kernel] = {
    each_kernel.name: each_kernel
    for each_kernel in (count_primes, primes, mandelbrot, matmul, matvec, transpose, triad, fetch, read)
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
