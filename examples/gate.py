"""A gate for continuous integration: fail where a kernel scales worse than this machine allows.

    python gate.py --least 0.6

A bare speedup is no good for a gate: a machine that is shared gives less on a bad day. So each speedup is held against
the ceiling, which two controls measured in the same rounds, and the upper end of its interval decides: only what is too
slow beyond doubt fails. What the verdict puts down to noise is not judged. Exit code 0 or 1.
"""

import argparse
import sys

from compute import scale
from kernels import mandelbrot

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--least", type=float, default=0.6, help="of the ceiling, for each backend")
parser.add_argument("--budget", type=float, default=3.0, help="seconds for all rounds")
parser.add_argument("--json", help="where to keep the figures, for `nfold report`")
asked = parser.parse_args()

scaling = scale(
    mandelbrot, (1000, 1000), on=["threads", "processes"], workers=[1, 2], variants=["nogil"], budget=asked.budget
)
if asked.json:
    scaling.to_json(asked.json)

failed = False
for point in scaling.points:
    if point.workers < 2 or not point.ceiling:
        continue
    highest = point.speedup_ci[1] if point.speedup_ci else point.speedup  # an interval takes six rounds
    reached = highest / point.ceiling
    if reached >= asked.least:
        word = "ok"
    elif point.cause in ("noise", "inconclusive"):
        word = "not judged"
    else:
        word, failed = "FAILED", True
    print(f"{word}: {point.backend} on {point.workers} workers reaches at most {reached:.0%} of the ceiling")
    if word != "ok":
        print(f"    {point.verdict}")
sys.exit(1 if failed else 0)
