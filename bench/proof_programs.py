"""Does the verdict on a program name what was planted? `make proof-programs`, on a quiet machine, about ten minutes.

Each program of tests/program/planted has one known reason not to be N-fold, or none. Each is measured many times with
two workers, in shuffled order, as a user would.
"""

from __future__ import annotations

import os
import random
import sys
from collections import Counter
from pathlib import Path

from compute import machine
from compute.scaling.dataset import Point
from compute.scaling.programs import scale_command

ROOT = Path(__file__).parents[1]
PLANTED = ROOT / "tests/program/planted"
CASES = {  # program: the causes that are right
    "even": ("none", "imbalance"),  # halves that are alike end apart where the CPUs are not equally fast meanwhile
    "serial_part": ("serial fraction",),
    "deaf": ("workers ignored",),
    "turns": ("lock",),
    "crowd": ("oversubscription",),
    "stream": ("memory bandwidth", "none"),  # two CPUs may have the bandwidth for it
}
TIMES = 5  # each
ROUNDS = 6
LONG = (
    3  # times as long as in the tests: 0.2 s of two workers would hold 0.03 s of Python's own, a serial part by itself
)


def measure(name: str) -> Point:
    """The point of two workers."""
    words = [sys.executable, str(PLANTED / f"{name}.py"), "{workers}"]
    return scale_command(words, workers=[1, 2], rounds=ROUNDS, budget=120).points[-1]


def main() -> None:
    os.environ["PLANTED_TIMES"] = str(LONG)
    order = [name for name in CASES for _ in range(TIMES)]
    random.Random(0).shuffle(order)
    found: dict[str, list[Point]] = {name: [] for name in CASES}
    for number, name in enumerate(order, 1):
        print(f"{number}/{len(order)} {name}", file=sys.stderr, flush=True)
        found[name].append(measure(name))
    about = machine.describe()
    lines = [
        "# Does the verdict on a program name what was planted?",
        "",
        f"{about['model']}, {about['cpus']} usable CPUs, Python {about['python']}, {about['date']}. Two workers.",
        "",
        "| planted | named | otherwise | disturbed rounds | a verdict |",
        "|---|---|---|---|---|",
    ]
    for name, points in found.items():
        named = sum(p.cause in CASES[name] for p in points)
        otherwise = Counter(str(p.cause) for p in points if p.cause not in CASES[name])
        told = ", ".join(f"{cause} ({count})" for cause, count in otherwise.items()) or "–"
        disturbed = f"{sum(p.contaminated or 0 for p in points)} of {sum(p.rounds or 0 for p in points)}"
        lines.append(f"| {name}.py | {named} of {len(points)} | {told} | {disturbed} | {points[-1].verdict} |")
    text = "\n".join(lines) + "\n"
    (ROOT / "bench/results/proof-programs.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
