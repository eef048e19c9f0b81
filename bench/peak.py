"""The most that one core computes: multiply-adds among registers, no memory. A kernel, so that lanes run it, too."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels import Plan, kernel
from kernels.vectors.blocks import sum_lanes
from kernels.vectors.operations import broadcast, fma, load
from kernels.vectors.target import has_fma, vector_width

# Vectors in flight: two units of four cycles each need eight. Twelve, their factor and their term fit 16 registers.
CHAINS = 12
LANES = vector_width(np.float64)
FUSED = has_fma()
STEPS = 1 << 16  # multiply-adds of each vector to an index: 0.1 ms


def plan(indices: int) -> Plan:
    """So many indices of STEPS multiply-adds in CHAINS vectors; work in flop."""
    # From memory, so that no compiler knows what comes out. 0.5 and 1 keep the numbers where they are fast.
    numbers = np.full(CHAINS * LANES, 1.5)
    return Plan(indices, (numbers, 0.5, 1.0), shape=(), grain=8, work=2.0 * indices * STEPS * CHAINS * LANES)


def step(v: Any, factor: Any, term: Any) -> Any:
    """One multiply-add; where the machine cannot fuse it, a product and a sum."""
    if FUSED:
        return fma(v, factor, term)
    return v * factor + term


@kernel(plan=plan, reduce=np.sum, unit="flop")
def peak(lo: int, hi: int, out: Any, numbers: Any, factor: float, term: float) -> None:
    """Iterate v = v·factor + term in CHAINS independent vectors; assign their sum, so that none is left out."""
    f, t = broadcast(factor, LANES), broadcast(term, LANES)
    a, b, c = load(numbers, 0, LANES), load(numbers, LANES, LANES), load(numbers, 2 * LANES, LANES)
    d, e, g = load(numbers, 3 * LANES, LANES), load(numbers, 4 * LANES, LANES), load(numbers, 5 * LANES, LANES)
    h, i, j = load(numbers, 6 * LANES, LANES), load(numbers, 7 * LANES, LANES), load(numbers, 8 * LANES, LANES)
    k, m, n = load(numbers, 9 * LANES, LANES), load(numbers, 10 * LANES, LANES), load(numbers, 11 * LANES, LANES)
    for _ in range((hi - lo) * STEPS):
        a, b, c = step(a, f, t), step(b, f, t), step(c, f, t)
        d, e, g = step(d, f, t), step(e, f, t), step(g, f, t)
        h, i, j = step(h, f, t), step(i, f, t), step(j, f, t)
        k, m, n = step(k, f, t), step(m, f, t), step(n, f, t)
    total = a + b + c + d + e + g + h + i + j + k + m + n
    out[0] = sum_lanes(total)
