"""π by throwing darts: a reduction, with random numbers that are the same on every backend.

Each chunk throws its own darts with a generator that is seeded by the chunk's first index, and hands back one number.
How the darts are cut into chunks does not depend on who runs them, so neither does the result. This holds for compiled
code, in which each thread has a generator: as Python, `np.random` is one for all threads, who would seed it in between.
"""

import math

import numpy as np

from compute import Processes, Serial, Threads, run
from kernels import kernel


@kernel(reduce=sum)
def hits(lo, hi, out, darts, seed):
    """How many of the darts hit the quarter of a circle; out[0] is this chunk's own part of the answer."""
    np.random.seed(seed + lo)
    found = 0.0
    for _ in range(lo, hi):
        x, y = np.random.random(), np.random.random()
        found += x * x + y * y < 1
    out[0] = found


DARTS = 10_000_000
for backend in (Serial(), Threads(2), Processes(2)):
    result = run(hits, DARTS, 7, on=backend, variant="nogil")
    pi = 4 * result.value / DARTS
    print(f"{backend!r:13} {result.value:.0f} hits: {pi:.6f}, off by {abs(pi - math.pi):.6f}")
