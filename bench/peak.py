"""The most that one core computes: multiply-adds among registers, no memory. A kernel, so that lanes run it, too."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels import Plan, kernel
from kernels.vectors.operations import load_u, mul_add, reduce_sum, set_
from kernels.vectors.target import vector_width

# Vectors in flight: two units of four cycles each need eight. Twelve, their factor and their term fit 16 registers.
CHAINS = 12
LANES = vector_width(np.float64)
STEPS = 1 << 16  # multiply-adds of each vector to an index: 0.1 ms


def plan(indices: int) -> Plan:
    """So many indices of STEPS multiply-adds in CHAINS vectors; work in flop."""
    # From memory, so that no compiler knows what comes out. 0.5 and 1 keep the numbers where they are fast.
    numbers = np.full(CHAINS * LANES, 1.5)
    return Plan(indices, (numbers, 0.5, 1.0), shape=(), grain=8, work=2.0 * indices * STEPS * CHAINS * LANES)


@kernel(plan=plan, reduce=np.sum, unit="flop")
def peak(lo: int, hi: int, out: Any, numbers: Any, factor: float, term: float) -> None:
    """Iterate v = v·factor + term in CHAINS independent vectors; assign their sum, so that none is left out."""
    f, t = set_(factor, LANES), set_(term, LANES)
    a, b, c = load_u(numbers, 0, LANES), load_u(numbers, LANES, LANES), load_u(numbers, 2 * LANES, LANES)
    d, e, g = load_u(numbers, 3 * LANES, LANES), load_u(numbers, 4 * LANES, LANES), load_u(numbers, 5 * LANES, LANES)
    h, i, j = load_u(numbers, 6 * LANES, LANES), load_u(numbers, 7 * LANES, LANES), load_u(numbers, 8 * LANES, LANES)
    k, m, n = load_u(numbers, 9 * LANES, LANES), load_u(numbers, 10 * LANES, LANES), load_u(numbers, 11 * LANES, LANES)
    for _ in range((hi - lo) * STEPS):
        a, b, c = mul_add(a, f, t), mul_add(b, f, t), mul_add(c, f, t)
        d, e, g = mul_add(d, f, t), mul_add(e, f, t), mul_add(g, f, t)
        h, i, j = mul_add(h, f, t), mul_add(i, f, t), mul_add(j, f, t)
        k, m, n = mul_add(k, f, t), mul_add(m, f, t), mul_add(n, f, t)
    total = a + b + c + d + e + g + h + i + j + k + m + n
    out[0] = reduce_sum(total)
