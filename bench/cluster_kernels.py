"""What is run on a Dask cluster to measure it, by cluster.py and on hosts with slow links (tests/cluster/hosts.py)."""

from __future__ import annotations

import numpy as np

from kernels import Plan, kernel


@kernel(plan=lambda n: Plan(n, (), grain=1))
def nothing(lo, hi, out):
    out[lo] = lo


@kernel(plan=lambda x: Plan(len(x), (x,), grain=2**14), reduce=np.sum)
def read(lo, hi, out, x):
    part = 0.0
    for i in range(lo, hi):
        part += x[i]
    out[0] = part


@kernel(plan=lambda x, steps: Plan(len(x), (x, steps), shape=x.shape, grain=256))
def iterated(lo, hi, out, x, steps):
    """A kernel of one's own that computes: steps of the logistic map for each element."""
    for i in range(lo, hi):
        y = x[i]
        for _ in range(steps):
            y = 3.9 * y * (1.0 - y)
        out[i] = y
