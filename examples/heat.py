"""Heat spreads through a plate: a stencil on all CPUs, on whatever is fastest for it on this machine.

A scientist's loop. `advise` measures a step on threads and on processes (two seconds here; more time gives a surer
answer), and the two hundred steps then run on its choice. The plate does not depend on the choice: it is the same to
the bit everywhere.
"""

import numpy as np

from compute import advise, shared
from kernels import Plan, kernel

SIDE, STEPS = 400, 200


def hot_spot(side):
    """A cold plate with a hot square in the middle, in memory that worker processes see as well."""
    plate = shared.array(np.zeros((side, side)))
    plate[side // 4 : -side // 4, side // 4 : -side // 4] = 100.0
    return plate


def rows_of(plate, out=None):
    """An index is a row; the result has the plate's shape, and may be put into an array of the caller's."""
    return Plan(len(plate), (plate,), shape=plate.shape, out=out)


@kernel(plan=rows_of, example=lambda side: (hot_spot(side),), cost=lambda side: side**2, unit="cell")
def step(lo, hi, out, plate):
    rows, columns = plate.shape
    for i in range(lo, hi):
        for j in range(columns):
            if 0 < i < rows - 1 and 0 < j < columns - 1:
                around = plate[i - 1, j] + plate[i + 1, j] + plate[i, j - 1] + plate[i, j + 1]
                out[i, j] = plate[i, j] + 0.2 * (around - 4 * plate[i, j])
            else:
                out[i, j] = plate[i, j]  # the rim keeps its temperature


advice = advise(step, hot_spot(SIDE), on=["threads", "processes"], budget=2)
print(f"fastest here: {advice.use.on!r} with the {advice.use.variant} variant")

plate, after = hot_spot(SIDE), shared.empty((SIDE, SIDE))
with advice.use.on.open() as pool:
    for _ in range(STEPS):
        pool.run(step, plate, variant=advice.use.variant, out=after)
        plate, after = after, plate
print(f"after {STEPS} steps: {plate.min():.2f} to {plate.max():.2f} degrees, {plate.mean():.4f} on average")

alone = hot_spot(SIDE)
for _ in range(STEPS):
    alone = step(alone)  # called like a function, a kernel runs on this thread alone
print(f"the same on one core: {np.array_equal(plate, alone)}")
