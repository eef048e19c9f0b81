"""The speedup of two workers at about one second of serial work, in interleaved rounds.

Prints a table and keeps it in bench/results/, with the machine and the date. Targets on two idle CPUs, on threads,
processes and joblib: at least 1.9 for count_primes and mandelbrot, 1.85 for matmul; python on threads stays near 1.0.
"""

from __future__ import annotations

import random
import statistics
from contextlib import ExitStack
from dataclasses import replace
from typing import NamedTuple

from configurations import label
from kept import keep

import kernels
from compute import Joblib, Processes, Serial, Threads, machine
from compute.dispatch import Result
from compute.scaling.calibration import calibrate
from compute.timeline import LaneTotals

ROUNDS = 9
SECONDS = 1.0
ASKED = [
    *((name, "nogil", [Threads(2), Processes(2), Joblib(2)]) for name in ("count_primes", "mandelbrot", "matmul")),
    ("count_primes", "python", [Threads(2)]),
    ("mandelbrot", "python", [Threads(2)]),
]
# A second of the whole set, compiled, is an image of 1.3 GB. Serial pays for its fresh pages alone, more than for the
# computing, which made "speedups" of 4. Deep in the valley between its heart and its head a second is 3 MB: 14,000
# to 20,000 iterations a pixel, which no shortcut saves.
VALLEY = -0.7499999975 + 2.2e-4j, 4e-9, 20_000  # center, width, max_iter: as far as the check follows a pixel
VIEWED = {("mandelbrot", "nogil"): lambda size: ((size, size), *VALLEY)}


class Ran(NamedTuple):
    """What is kept of a result: not its value, of which a second of matmul has 115 MB."""

    seconds: float
    lanes: tuple[LaneTotals, ...]


def _ran(result: Result) -> Ran:
    return Ran(result.seconds, result.timeline.lanes)


def measure(name, variant, backends):
    """Rows of (kernel, size, variant, backend, seconds, speedup, cpu per wall): medians over interleaved rounds."""
    kernel = kernels.REGISTRY[name].held_to(variant)
    kernel = replace(kernel, example=VIEWED.get((name, variant), kernel.example))
    size = calibrate(kernel, SECONDS, variant)
    args = kernel.example(size)
    with ExitStack() as stack:
        pools = {backend: stack.enter_context(backend.open()) for backend in [Serial(), *backends]}
        for pool in pools.values():
            pool.warm(kernel, *args)
            kernel.check(pool.run(kernel, *args).value, *args)
        rounds = []
        for _ in range(ROUNDS):
            order = random.sample(list(pools), len(pools))
            rounds.append({backend: _ran(pools[backend].run(kernel, *args)) for backend in order})
    for backend in pools:
        seconds = [results[backend].seconds for results in rounds]
        speedups = [results[Serial()].seconds / results[backend].seconds for results in rounds]
        shares = [lane.cpu / lane.wall for results in rounds for lane in results[backend].lanes]
        median = statistics.median
        yield name, size, variant, label(backend), median(seconds), median(speedups), median(shares)


def main() -> None:
    told = machine.describe()
    lines = [
        f"{told['model']}, {told['cpus']} usable CPUs, {told['platform']}; Python {told['python']},"
        f" numba {told['numba']}, joblib {told['joblib']}; {told['date']};"
        f" load before it {told['load'][0] if told['load'] else 'unknown'}.",
        f"Medians of {ROUNDS} interleaved rounds; speedup is the median of the rounds' own ratios to Serial().",
        f"mandelbrot, compiled, is a view {VALLEY[1]} wide around {VALLEY[0]}: a small image with a second of work.",
        "",
        "| kernel | size | variant | backend | seconds | speedup | CPU per wall of a lane |",
        "|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    for asked in ASKED:
        for name, size, variant, backend, seconds, speedup, share in measure(*asked):
            lines.append(f"| {name} | {size} | {variant} | {backend} | {seconds:.3f} | {speedup:.2f} | {share:.2f} |")
            print(lines[-1], flush=True)
    keep("speedup", ["# Speedup of two workers", "", *lines, ""], told)


if __name__ == "__main__":  # spawned workers import this file
    main()
