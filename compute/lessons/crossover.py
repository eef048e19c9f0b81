"""Lesson 10: which backend wins where tasks wait, where they compute, and in between."""

from __future__ import annotations

import asyncio
import functools
import math
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise

from compute import machine
from compute.backends.coroutines import Coroutines
from compute.backends.processes import Processes
from compute.backends.serial import Serial
from compute.backends.threads import Threads
from compute.lessons.lesson import Evidence, Figure, Judgement, Lesson, Picture, Series, Setting
from compute.lessons.opened import opened
from compute.lessons.rounds import enough, in_rounds, is_above, noting_crowds, ratio, too_crowded
from compute.scaling.formatting import percent
from compute.scaling.formatting import ratio as in_digits

TASKS = 24  # a lane for each, where lanes are cheap
LANES_A_CPU, MOST_PROCESSES = 2, 16  # so that some compute while others wait; each process takes 30 MB or more
SHARES = 0.0, 0.1, 0.25, 0.5, 1.0  # of a task's time for which it computes, when it runs alone
WHOLE, PART = 0.004, 2500  # s of a task alone; of a lesson's time, which that may be: six rounds of all shares then fit
FASTER = 1.1  # times as fast as another way: then it has won
LANES = "threads", "coroutines"  # many of them wait at a time in one interpreter

Speedups = Mapping[str, Sequence[Figure]]


def task(delay, n):
    if delay:
        time.sleep(delay)
    return sum(k * k for k in range(n))


async def task_awaiting(delay, n):
    if delay:
        await asyncio.sleep(delay)
    return sum(k * k for k in range(n))


def tasks_by(pool, f, delay, n):
    return pool.starmap(f, [(delay, n)] * TASKS)


@noting_crowds
def measure(setting: Setting) -> Evidence:
    """Seconds of all tasks by each way at each share: `samples[way][k]` are those of share k, by round."""
    cpus, whole = machine.usable_cpus(), min(WHOLE, setting.seconds / PART)
    processes = min(max(2, LANES_A_CPU * cpus), MOST_PROCESSES)
    backends = {"serial": Serial(), "threads": Threads(TASKS), "coroutines": Coroutines(TASKS)}
    with opened(backends | {"processes": Processes(processes)}) as (pools, missing):
        steps = enough(functools.partial(task, 0.0), 1000, whole)
        work = {share: ((1 - share) * whole, int(share * steps)) for share in SHARES}
        ways = {
            _way(name, share): functools.partial(
                tasks_by, pool, task_awaiting if name == "coroutines" else task, *work[share]
            )
            for name, pool in pools.items()
            for share in SHARES
        }
        answers = {_way(name, share): [task(0.0, work[share][1])] * TASKS for name in pools for share in SHARES}
        samples = in_rounds(ways, setting, answers=answers)
    return {
        "cpus": cpus,
        "gil": machine.has_gil(),
        "whole": whole,
        "shares": list(SHARES),
        "lanes": {"serial": 1, "threads": TASKS, "coroutines": TASKS, "processes": processes},
        "samples": {name: [samples[_way(name, share)] for share in SHARES] for name in pools},
        "missing": missing,
    }


def _way(name: str, share: float) -> str:
    return f"{name}, {share:.0%} computing"


def judge(evidence: Evidence) -> Judgement:
    shares, samples, lanes = evidence["shares"], evidence["samples"], evidence["lanes"]
    speedups = {
        name: [
            ratio(f"{lanes[name]} {name}, tasks computing {percent(share)}: speedup", *pair)
            for share, *pair in zip(shares, samples["serial"], taken, strict=True)
        ]
        for name, taken in samples.items()
        if name != "serial"
    }
    figures = [figure for k in range(len(shares)) for figure in (several[k] for several in speedups.values())]
    if "processes" not in samples or not any(name in samples for name in LANES):
        of, why = next(iter(evidence["missing"].items()))
        why = f"there are no {of} to compare with: {why}"
        return Judgement(None, "nothing was compared", why, tuple(figures), (_picture(shares, speedups),))
    versus = [_versus(samples, k) for k in range(len(shares))]
    waits_by_lanes, computes_by_processes = _beaten(versus[0]), is_above(versus[-1], FASTER)
    decided = (waits_by_lanes, computes_by_processes)
    crowd = None if all(decided) else too_crowded(evidence["crowded"])
    alone = evidence["cpus"] < 2 and not computes_by_processes  # a quiet machine would change nothing about that
    if (crossing := _crossing(shares, versus)) is not None:
        figures.append(Figure("processes win from tasks on that compute", crossing, "%"))
    return Judgement(
        None if crowd else False if False in decided else None if None in decided else True,
        _found(lanes, speedups, crossing),
        (None if alone else crowd) or _why(evidence, waits_by_lanes, computes_by_processes),
        tuple(figures),
        (_picture(shares, speedups),),
    )


def _versus(samples: Mapping[str, Sequence[Sequence[float]]], k: int) -> Figure:
    """How many times as fast processes are as the better of the lanes in one interpreter, at share k."""
    return min(
        (ratio(name, samples[name][k], samples["processes"][k]) for name in LANES if name in samples),
        key=lambda f: f.value,
    )


def _beaten(versus: Figure) -> bool | None:
    """Whether processes are beaten there, by more than FASTER."""
    above = is_above(versus, 1 / FASTER)
    return None if above is None else not above


def _crossing(shares: Sequence[float], versus: Sequence[Figure]) -> float | None:
    """The share from which on processes win: between two that were measured, on a logarithmic scale; None for none."""
    logs = [math.log(figure.value) for figure in versus]
    if logs[-1] <= 0:
        return None
    for (low, below), (high, above) in reversed(list(pairwise(zip(shares, logs, strict=True)))):
        if below <= 0 < above:
            return low + (high - low) * -below / (above - below)
    return 0.0


def _found(lanes: Mapping[str, int], speedups: Speedups, crossing: float | None) -> str:
    here = [name for name in LANES if name in speedups]
    waits, computes = (max(here, key=lambda name: speedups[name][k].value) for k in (0, -1))
    return (
        f"tasks that wait are {in_digits(speedups[waits][0].value)} times as fast by {lanes[waits]} {waits} and"
        f" {in_digits(speedups['processes'][0].value)} by {lanes['processes']} processes; tasks that compute"
        f" {in_digits(speedups[computes][-1].value)} by {computes} and"
        f" {in_digits(speedups['processes'][-1].value)} by processes"
        + ("" if crossing is None else f", which win from {percent(crossing)} computing on")
    )


def _why(evidence: Evidence, waits_by_lanes: bool | None, computes_by_processes: bool | None) -> str:
    if evidence["cpus"] < 2 and not computes_by_processes:
        return "with one usable CPU nothing computes side by side, by whatever lanes"
    if computes_by_processes is False:
        if not evidence["gil"]:
            return "this interpreter has no GIL, so its threads compute side by side, without what a process costs"
        return "processes got no second CPU: other load, or handing over took more than such tasks are long"
    if waits_by_lanes is False:
        return f"{evidence['lanes']['processes']} processes wait as well as {TASKS} lanes here: these came late"
    if None in (waits_by_lanes, computes_by_processes):
        return f"the rounds do not tell whether one way is {FASTER} times as fast as the other; measure for longer"
    return (
        "all lanes of one interpreter wait at a time, and one of them computes, so they are 1 / share faster at best;"
        f" {evidence['lanes']['processes']} processes have no more waits than that at a time, and compute on"
        f" {evidence['cpus']} CPUs"
    )


def _picture(shares: Sequence[float], speedups: Speedups) -> Picture:
    measured = [Series.of(n, fs) for n, fs in speedups.items()]
    return Picture(
        f"Speedup of {TASKS} tasks by the share of their time for which they compute",
        tuple(100 * share for share in shares),
        (*measured, Series("serial", (1.0,) * len(shares))),
        "% of a task's time for which it computes",
        "speedup over one after the other",
        "×",
        logarithmic="y",
        ideal=("serial",),
    )


LESSON = Lesson(
    10,
    "crossover",
    "Where threads stop and processes begin",
    "Where tasks wait, threads and coroutines win; the more they compute, the less; where they compute, processes win.",
    (task, task_awaiting, tasks_by),
    measure,
    judge,
)
