"""Many runs over one large array: it is put into shared memory once, and no run copies it.

Worker processes cannot see an ordinary array of the caller's, so each run would copy it for them. `shared.array` puts
it where they see it; with `out=` the result is written there, too. The workers stay warm between runs.
"""

import numpy as np

from compute import Processes, shared
from kernels import Plan, kernel


@kernel(reduce=sum)
def total(lo, hi, out, values):
    part = 0.0
    for i in range(lo, hi):
        part += values[i]
    out[0] = part


@kernel(reduce=sum)
def squared_distance(lo, hi, out, values, middle):
    part = 0.0
    for i in range(lo, hi):
        part += (values[i] - middle) ** 2
    out[0] = part


def same_length(values, middle, spread, out=None):
    """elementwise: each result needs its own element alone, so out may be the array itself."""
    return Plan(len(values), (values, middle, spread), out=out, elementwise=True)


@kernel(plan=same_length)
def standard_score(lo, hi, out, values, middle, spread):
    for i in range(lo, hi):
        out[i] = (values[i] - middle) / spread


values = shared.array(np.random.default_rng(3).normal(170, 8, 4_000_000))  # heights in cm, 32 MB

with Processes(2).open() as pool:

    def mean_and_spread():
        middle = pool.run(total, values).value / len(values)
        return middle, (pool.run(squared_distance, values, middle).value / len(values)) ** 0.5

    middle, spread = mean_and_spread()
    print(f"measured: mean {middle:.2f} cm, standard deviation {spread:.2f} cm")
    scores = pool.run(standard_score, values, middle, spread, out=values).value  # in place
    print(f"the result is the very array: {scores is values}")
    middle, spread = mean_and_spread()
    print(f"scores: mean {abs(middle):.2f}, standard deviation {spread:.2f}")
