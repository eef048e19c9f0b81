"""Does the main job say the same twice? The A/A check of the whole report, also in `make proof`.

The main job runs twice, each time in a program of its own, and every cell of the one report is held against the same
cell of the other: their intervals are to overlap in 95 % of the cells. With one worker there is nothing to gain, so no
such cell may be off 1.0 by more than 5 % where its interval says that it is not noise. A quiet machine is wanted: what
disturbed the rounds stands in the table. Prints the table and keeps it in bench/results/. Three minutes.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from kept import keep

from compute import machine
from compute.scaling import statistics
from compute.scaling.dataset import Point
from compute.scaling.results import Scaling

WANTED = 0.95  # of the cells: such overlap of two 95 % intervals is expected in 99 % of them
OFF = 0.05  # of 1.0, for one worker
FEWEST = 8  # rounds of each cell
BUDGET, SHORT = 60.0, 0.5  # s of a run that counts, and of one that only compiles
STARTING = 8.0  # s beside the budget for Python, numba, loading kernels, and drawing the picture

Key = tuple[str, str, str, int]  # kernel, variant, backend, workers: sizes are chosen anew by each run


class Cell(NamedTuple):
    """What two runs said of one cell; apart: their ratio, less 1, where the ratio's own 95 % interval excludes 1."""

    key: Key
    first: Point
    second: Point
    agrees: bool
    apart: float | None

    @property
    def name(self) -> str:
        kernel, variant, backend, workers = self.key
        return f"{kernel} · {variant} · {backend} {workers}"


def cells(first: Sequence[Point], second: Sequence[Point]) -> list[Cell]:
    """Each cell of two reports, the baselines left out. ValueError where one has cells that the other lacks."""
    by_key = [{_key(p): p for p in points if not p.is_serial} for points in (first, second)]
    if differ := by_key[0].keys() ^ by_key[1].keys():
        raise ValueError(f"only one of the two runs has {', '.join(map(str, sorted(differ)))}")
    return [Cell(key, p, q := by_key[1][key], agree(p, q), apart(p, q)) for key, p in by_key[0].items()]


def _key(p: Point) -> Key:
    return p.kernel, p.variant, p.backend, p.workers


def agree(p: Point, q: Point) -> bool:
    """Whether both have an interval, and these overlap."""
    if p.speedup_ci is None or q.speedup_ci is None:
        return False
    return p.speedup_ci[0] <= q.speedup_ci[1] and q.speedup_ci[0] <= p.speedup_ci[1]


def apart(p: Point, q: Point) -> float | None:
    """How far q's speedup is from p's, where that is beyond both intervals taken together (Zou & Donner)."""
    if not (p.speedup and q.speedup and p.speedup_ci and q.speedup_ci):
        return None
    ratio = math.log(q.speedup / p.speedup)
    towards = (q.speedup_ci[0], p.speedup_ci[1]) if ratio > 0 else (q.speedup_ci[1], p.speedup_ci[0])
    reach = math.hypot(math.log(towards[0] / q.speedup), math.log(towards[1] / p.speedup))
    return math.expm1(ratio) if abs(ratio) > reach else None


def off_one(p: Point) -> bool:
    """Whether one worker is told to be more than OFF from 1.0, and the interval excludes 1.0."""
    if p.workers != 1 or p.speedup is None or p.speedup_ci is None:
        return False
    return abs(p.speedup - 1) > OFF and not p.speedup_ci[0] <= 1 <= p.speedup_ci[1]


def failures(found: Sequence[Cell], seconds: Sequence[float], budget: float) -> list[str]:
    """What of the promises did not hold, a line each."""
    agreeing = sum(cell.agrees for cell in found)
    lines = []
    if agreeing < WANTED * len(found):
        lines.append(f"{agreeing} of {len(found)} cells agree, and {WANTED:.0%} are wanted")
    for number, side in enumerate(("first", "second"), 1):
        points = [getattr(cell, side) for cell in found]
        lines += [
            f"run {number}: {cell.name} is {_figure(p)}" for cell, p in zip(found, points, strict=True) if off_one(p)
        ]
        if missing := sum(p.speedup_ci is None for p in points):
            lines.append(f"run {number}: {missing} cells have no interval")
        if (fewest := min(p.rounds or 0 for p in points)) < FEWEST:
            lines.append(f"run {number}: {fewest} rounds in some cells, and {FEWEST} are wanted")
    lines += [
        f"run {k} took {took:.0f} s, and {budget + STARTING:.0f} are wanted"
        for k, took in enumerate(seconds, 1)
        if took > budget + STARTING
    ]
    return lines


def _figure(p: Point) -> str:
    interval = f" [{p.speedup_ci[0]:.3f}, {p.speedup_ci[1]:.3f}]" if p.speedup_ci else ""
    return f"{p.speedup:.3f}{interval}"


def table(found: Sequence[Cell]) -> list[str]:
    """The cells as lines of Markdown, what does not hold marked with !."""
    lines = ["| cell | rounds | first | second | |", "|---|---|---|---|---|"]
    for cell in found:
        first, second = cell.first, cell.second
        marks = ["! apart"] * (not cell.agrees) + ["! off 1.0"] * (off_one(first) or off_one(second))
        figures = f"{first.rounds}, {second.rounds} | {_figure(first)} | {_figure(second)}"
        lines.append(f"| {cell.name} | {figures} | {' '.join(marks)} |")
    return lines


def summary(found: Sequence[Cell], runs: Sequence[Scaling]) -> list[str]:
    """What the cells say together."""
    agreeing = sum(cell.agrees for cell in found)
    told_apart = sum(cell.apart is not None for cell in found)
    points = [p for cell in found for p in (cell.first, cell.second)]
    alone = [off_one(p) for p in points if p.workers == 1]
    widths = [(p.speedup_ci[1] - p.speedup_ci[0]) / 2 / p.speedup for p in points if p.speedup_ci and p.speedup]
    disturbed = [f"{sum(bool(met.get('marked')) for met in run.conditions)} of {len(run.conditions)}" for run in runs]
    return [
        f"- intervals overlap in {agreeing} of {len(found)} cells ({agreeing / len(found):.1%}; {WANTED:.0%} wanted)",
        f"- the ratio of the two runs is told from 1 in {told_apart} of {len(found)} (one in twenty is expected)",
        f"- one worker is told to be off 1.0 by more than {OFF:.0%} in {sum(alone)} of {len(alone)}",
        *(f"- an interval reaches {statistics.median(widths):.1%} to either side, in the median" for _ in widths[:1]),
        f"- rounds that something disturbed: {', '.join(disturbed)}",
    ]


def measured(budget: float) -> tuple[Scaling, float]:
    """The report of the main job, run as a program of its own in an empty folder, and the seconds that it took."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        words = [sys.executable, "-m", "compute", "--budget", f"{budget}s"]
        done = subprocess.run(words, cwd=folder, stdout=subprocess.DEVNULL)
        took = time.perf_counter() - began
        if done.returncode:
            raise SystemExit(f"the main job ended with {done.returncode}; what it printed is above")
        return Scaling.from_json(Path(folder) / "nfold-report.json"), took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds of each of the two runs")
    asked = parser.parse_args()
    told = machine.describe()
    measured(SHORT)  # compiles what has changed, which is in no budget
    (first, took_first), (second, took_second) = measured(asked.budget), measured(asked.budget)
    found = cells(first.points, second.points)
    wrong = failures(found, [took_first, took_second], asked.budget)
    lines = [
        "# Does the main job say the same twice?",
        "",
        f"{told['model']}, {told['cpus']} usable CPUs, {told['platform']}; Python {told['python']},"
        f" numba {told['numba']}; {told['date']}; load {told['load'] and told['load'][0]}.",
        f"Two runs of `nfold --budget {asked.budget:g}s`, which took {took_first:.0f} s and {took_second:.0f} s.",
        "",
        *summary(found, [first, second]),
        *(f"- ! {line}" for line in wrong),
        "",
        *table(found),
        "",
    ]
    print("\n".join(lines))
    keep("again", lines, told)


if __name__ == "__main__":
    main()
