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
on_demand.py   imports a name's module when the name is first used
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kernels.on_demand import getter

if TYPE_CHECKING:
    from kernels.definition import Kernel as Kernel
    from kernels.definition import Plan as Plan
    from kernels.definition import find as find
    from kernels.definition import kernel as kernel
    from kernels.definition.each import each as each
    from kernels.escape_time.counts import mandelbrot as mandelbrot
    from kernels.matrix.matrix_product import matmul as matmul
    from kernels.matrix.matrix_vector import matvec as matvec
    from kernels.sieve.windows import count_primes as count_primes
    from kernels.sieve.windows import primes as primes
    from kernels.streams.scaled_sum import triad as triad
    from kernels.streams.transposition import transpose as transpose
    from kernels.waiting.file_blocks import read as read
    from kernels.waiting.requests import fetch as fetch

    REGISTRY: dict[str, Kernel]

_READY_MADE = {  # in the order in which they are listed
    "count_primes": "sieve.windows",
    "primes": "sieve.windows",
    "mandelbrot": "escape_time.counts",
    "matmul": "matrix.matrix_product",
    "matvec": "matrix.matrix_vector",
    "transpose": "streams.transposition",
    "triad": "streams.scaled_sum",
    "fetch": "waiting.requests",
    "read": "waiting.file_blocks",
}
_HOMES = _READY_MADE | {
    "Kernel": "definition",
    "Plan": "definition",
    "each": "definition.each",
    "find": "definition",
    "kernel": "definition",
}

__all__ = sorted([*_HOMES, "REGISTRY"])

_value_of = getter(__name__, _HOMES)


def __getattr__(name: str) -> Any:
    if name == "REGISTRY":  # of two threads that come at once, both get the same one
        return globals().setdefault(name, {ready_made: _value_of(ready_made) for ready_made in _READY_MADE})
    return _value_of(name)


def __dir__() -> list[str]:
    return __all__
