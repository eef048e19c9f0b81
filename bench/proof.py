"""Does the verdict name what was planted, and does the ledger find its seconds? `make proof`.

Each cause of bench/planted.py is planted many times, in shuffled order, and measured as a user would; a table says how
often the verdict named it, and what it said otherwise. A cause that the machine does not always let be planted (memory
that is short) counts where it took just before the run and just after it, as gauges tell that no verdict sees; else
the run is told apart and another one made. Then known seconds are planted in runs, and the ledger's entries held
against them. Prints the tables and keeps them in bench/results/, with machine and date. About ten minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable

with contextlib.suppress(ImportError):  # there is none on a free-threaded 3.13
    import numba  # noqa: F401 (before anything is planted: it counts the CPUs when it is imported)

import planted
from kept import keep
from planted import CASES, Case

from compute import Prange, Processes, Serial, Threads, machine, scale
from compute.scaling import ledger
from compute.scaling.statistics import paired_ratio
from kernels import Plan, kernel

RUNS = 20
ROUNDS = 10  # and so an interval that is narrow enough to say something
WANTED = 0.95  # of the runs of a cause
MOST = 4  # times as many are made at most: what takes in a quarter of them still gives its number
SECONDS = 0.2  # that are planted: long against a clock tick and a wake-up


def verdicts(runs: int, cases: list[Case]) -> list[str]:
    """Plant every cause until it took so many times; lines of a table."""
    missing = {case.name: why for case in cases if (why := _impossible(case))}
    cases = [case for case in cases if case.name not in missing]
    said: dict[str, Counter[str]] = {case.name: Counter() for case in cases}
    without: dict[str, Counter[str]] = {case.name: Counter() for case in cases}  # where it did not take
    sentences: dict[str, str] = {}
    order = [case for case in cases for _ in range(runs)]
    random.Random(0).shuffle(order)
    for case in itertools.chain(order, *(itertools.repeat(case, (MOST - 1) * runs) for case in cases)):
        if said[case.name].total() == runs:
            continue
        before = case.took()
        with case.around():
            on = [case.on, *case.beside]
            scaling = scale(case.kernel, *case.args(), on=on, variants=[case.variant], rounds=ROUNDS)
        point = next(p for p in scaling.points if (p.backend, p.workers) == (case.on.name, case.on.workers))
        took = case.took() and before
        (said if took else without)[case.name][point.cause or "nothing"] += 1
        if took and (point.cause == case.cause or case.name not in sentences):
            sentences[case.name] = f"{point.speedup:.2f}×: {point.verdict}"
    lines = ["| planted | named | otherwise | where it did not take | a verdict |", "|---|---|---|---|---|"]
    for case in cases:
        named, taken = said[case.name][case.cause], said[case.name].total()
        others = Counter({cause: count for cause, count in said[case.name].items() if cause != case.cause})
        flag = "" if named >= WANTED * taken and taken == runs else " !"
        lines.append(
            f"| {case.name} | {named} of {taken}{flag} | {_counts(others)} | {_counts(without[case.name])} |"
            f" {sentences.get(case.name, '–')} |"
        )
    return lines + [f"| {name} | not planted: {why} | – | – | – |" for name, why in missing.items()]


def _counts(causes: Counter[str]) -> str:
    return ", ".join(f"{cause} {count}" for cause, count in causes.items()) or "–"


def _impossible(case: Case) -> str:
    """Why a cause cannot be planted here; empty where it can."""
    try:
        with case.around():
            case.kernel.held_to(case.variant)
            return ""
    except (OSError, ValueError) as error:
        return str(error)


def waits(seconds: list[float]) -> Plan:
    time.sleep(seconds[-1])
    return Plan(len(seconds) - 1, (seconds,), grain=1)


@kernel(plan=waits, compiled=False)
def sleeps(lo, hi, out, seconds):
    """Wait as long as the chunk's entry says: blocked, and idle for the lane that has less of it."""
    time.sleep(seconds[lo])
    out[lo] = 0.0


def found(chunks: list[float], serially: float) -> tuple[dict[str, float], float]:
    """The ledger of a run on two threads with these seconds planted, and the run's core-seconds."""
    with Threads(2).open() as pool:
        pool.warm(sleeps, [*chunks, 0.0])
        with pool.observed():
            result = pool.run(sleeps, [*chunks, serially])
    entries = ledger.entries(result.timeline, result.seconds, 2, useful=result.timeline.cpu)
    return entries, 2 * result.seconds


PLANTED: dict[str, Callable[[], tuple[dict[str, float], float, str, float]]] = {
    "blocked": lambda: (*found([SECONDS, SECONDS], 0.0), "blocked", 2 * SECONDS),
    "idle": lambda: (*found([2 * SECONDS, SECONDS], 0.0), "idle", SECONDS),
    "serial": lambda: (*found([0.01, 0.01], SECONDS), "serial", 2 * SECONDS),
}


def seconds_found(runs: int) -> list[str]:
    """How far the ledger is from planted seconds, and what it leaves unexplained; lines of a table."""
    lines = ["| planted | seconds | found, median | farthest off | unexplained, most |", "|---|---|---|---|---|"]
    for name, plant in PLANTED.items():
        rows = [plant() for _ in range(runs)]
        truth = rows[0][3]
        values = [entries[entry] for entries, _, entry, _ in rows]
        off = max(abs(value - truth) / truth for value in values)
        left = max(abs(entries["unexplained"]) / whole for entries, whole, _, _ in rows)
        flag = " !" if off > 0.05 or left > 0.03 else ""
        lines.append(f"| {name} | {truth:.3f} | {statistics.median(values):.4f} | {off:.1%}{flag} | {left:.2%} |")
    lefts = []
    for backend in (Serial(), Threads(2)):
        with backend.open() as pool:
            pool.warm(planted.healthy, planted.STEPS)
            for _ in range(runs):
                with pool.observed():
                    result = pool.run(planted.healthy, planted.STEPS)
                entries = ledger.entries(result.timeline, result.seconds, backend.workers, result.timeline.cpu)
                lefts.append(abs(entries["unexplained"]) / (backend.workers * result.seconds))
    lines.append(f"| nothing | – | – | – | {max(lefts):.2%} |")
    return lines


def observing(rounds: int = 60) -> list[str]:
    """What the lanes' statistics cost: observed runs against plain ones, in turns; lines of a table."""
    lines = ["| backend | run | observed / plain | 95 % |", "|---|---|---|---|"]
    for backend in (Serial(), Threads(2), Prange(2), Processes(2)):
        with backend.open() as pool:
            pool.warm(planted.healthy, planted.STEPS)
            plain, observed = [], []
            for _ in range(rounds):
                plain.append(pool.run(planted.healthy, planted.STEPS).seconds)
                with pool.observed():
                    observed.append(pool.run(planted.healthy, planted.STEPS).seconds)
        ratio, interval = paired_ratio(observed, plain)
        assert interval is not None
        run = 1000 * statistics.median(plain)
        lines.append(f"| {backend} | {run:.1f} ms | {ratio:.4f} | {interval[0]:.4f} – {interval[1]:.4f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="of each cause")
    parser.add_argument("--only", action="append", help="cases whose names begin like this; nothing else, nothing kept")
    asked = parser.parse_args()
    if asked.only:
        print("\n".join(verdicts(asked.runs, [case for case in CASES if case.name.startswith(tuple(asked.only))])))
        return
    told = machine.describe()
    began = time.perf_counter()
    lines = [
        "# Does the verdict name what was planted?",
        "",
        f"{told['model']}, {told['cpus']} usable CPUs, {told['platform']}; Python {told['python']}"
        f"{'' if told['gil'] else ' without a GIL'},"
        f" numba {told['numba']}; {told['date']}; load {told['load'] and told['load'][0]}.",
        f"Two workers, {ROUNDS} rounds a run, {asked.runs} runs a cause, in shuffled order; ! marks what missed:"
        f" {WANTED:.0%} of the runs, 5 % of the seconds, 3 % unexplained.",
        "",
        *verdicts(asked.runs, list(CASES)),
        "",
        f"Memory counts as saturated where two lanes of the triad got under {planted.SHORT} times what one gets, in"
        " gauges just before a run and just after it; a verdict has its own.",
        "",
        "## Planted seconds in the ledger",
        "",
        *seconds_found(asked.runs),
        "",
        "## What observing a run costs (target: 0.5 %)",
        "",
        *observing(),
        "",
        f"Took {time.perf_counter() - began:.0f} s.",
        "",
    ]
    print("\n".join(lines))
    keep("proof", lines, told)


if __name__ == "__main__":  # spawned workers import this file
    main()
