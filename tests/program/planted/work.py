"""What the planted programs compute: seconds of one CPU, in steps that a busy machine does not shorten.

PLANTED_TIMES in the environment makes all of it so many times longer: beside little work, starting and ending Python is
a serial part of its own.
"""

import os

TIMES = int(os.environ.get("PLANTED_TIMES", "1"))


def spin(steps: int) -> int:
    """So many steps of a loop in Python."""
    x = 0
    for i in range(steps):
        x += i * i
    return x


STEPS = 12_000_000 * TIMES  # about 0.4 s on one core
