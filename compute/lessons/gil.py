"""Lesson 4: threads take turns at the GIL."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from typing import Any

from compute import machine
from compute.backends.pool import Pool
from compute.backends.threads import Threads
from compute.lessons.lesson import Evidence, Figure, Judgement, Lesson, Picture, Series, Setting
from compute.lessons.opened import opened
from compute.lessons.rounds import CROWDED, enough, in_rounds, is_above, noting_crowds, ratio, too_crowded
from compute.scaling.formatting import percent
from compute.scaling.formatting import seconds as seconds_in_words
from kernels import kernel

COUNTS = 1, 2, 4  # threads: four are more than many machines have CPUs, so taking turns at CPUs shows, too
INTERVALS = 0.0001, 0.005, 0.1  # s of sys.setswitchinterval: Python's own is the middle one
RUNS = 60  # in a lesson's time: six rounds with six ways, and some for the rest
SHORTEST = 0.1  # s of a run: twenty switches of the usual interval, so that every thread has its turns
OF_IT = 0.8  # of the lesson's time goes into rounds
OBSERVED = 3  # runs of each number of threads, in which lanes note what they wait for
FASTER = 1.25  # two threads over one: with more they did run side by side


@kernel(compiled=False, dtype=int)
def collatz(lo, hi, out, n):
    for i in range(lo, hi):
        number, steps = i + 1, 0
        while number != 1:
            number = number // 2 if number % 2 == 0 else 3 * number + 1
            steps += 1
        out[i] = steps


def steps_by(pool, n):
    return int(pool.run(collatz, n).value.sum())


@noting_crowds
def measure(setting: Setting) -> Evidence:
    """Seconds with each number of threads, and of two with other switch intervals; what lanes waited."""
    usual = sys.getswitchinterval()
    with opened({str(count): Threads(count) for count in COUNTS}) as (pools, _):
        n = enough(lambda size: steps_by(pools["1"], size), 256, max(setting.seconds / RUNS, SHORTEST))

        def switching_every(interval: float) -> object:
            sys.setswitchinterval(interval)
            try:
                return steps_by(pools["2"], n)
            finally:
                sys.setswitchinterval(usual)

        ways = {count: functools.partial(steps_by, pool, n) for count, pool in pools.items()}
        ways |= {_switched(interval): functools.partial(switching_every, interval) for interval in INTERVALS}
        samples = in_rounds(ways, setting, OF_IT, answer=steps_by(pools["1"], n))
        waited = {count: _waited(pool, n) for count, pool in pools.items()}
    evidence = {"n": n, "cpus": machine.usable_cpus(), "gil": machine.has_gil(), "usual_interval": usual}
    return evidence | {"samples": samples, "waited": waited}


def _switched(interval: float) -> str:
    return f"2, switching every {seconds_in_words(interval)}"


def _waited(pool: Pool, n: int) -> dict[str, float | None]:
    """Sums over the lanes of a run: seconds from start to end, on a CPU, waiting for a CPU; switches."""
    with pool.observed():
        lanes = [lane for _ in range(OBSERVED) for lane in pool.run(collatz, n).timeline.lanes]
    queued = [lane.queued for lane in lanes if lane.queued is not None]
    switches = [(lane.voluntary or 0) + (lane.involuntary or 0) for lane in lanes if lane.voluntary is not None]
    return {
        "wall": sum(lane.wall for lane in lanes) / OBSERVED,
        "cpu": sum(lane.cpu for lane in lanes) / OBSERVED,
        "queued": sum(queued) / OBSERVED if len(queued) == len(lanes) else None,
        "switches": round(sum(switches) / OBSERVED) if len(switches) == len(lanes) else None,
    }


def blocked(waited: Mapping[str, float | None]) -> float:
    """The share of the lanes' time in which they neither had a CPU nor waited for one, but for the GIL."""
    wall, cpu, queued = waited["wall"] or 0.0, waited["cpu"] or 0.0, waited["queued"] or 0.0
    return max(0.0, wall - cpu - queued) / wall if wall else 0.0


def judge(evidence: Evidence) -> Judgement:
    samples, cpus = evidence["samples"], evidence["cpus"]
    speedups = {name: ratio(_of(name), samples["1"], taken) for name, taken in samples.items() if name != "1"}
    two, shares = speedups["2"], {count: blocked(counted) for count, counted in evidence["waited"].items()}
    figures = [*speedups.values()]
    figures += [Figure(f"{_threads(count)}: of their time, blocked", share, "%") for count, share in shares.items()]
    figures += [
        Figure(f"{_threads(count)}: switches in a run", counted["switches"])
        for count, counted in evidence["waited"].items()
        if counted["switches"] is not None
    ]
    headline = f"two threads are {two.value:.2f} times as fast as one"
    side_by_side = is_above(two, FASTER) if cpus > 1 else None
    crowd = None if cpus < 2 or side_by_side is False else too_crowded(evidence["crowded"])
    return Judgement(
        None if side_by_side is None or crowd else not side_by_side,
        headline,
        crowd or _why(evidence, side_by_side, shares["2"]),
        tuple(figures),
        (_picture(samples, speedups, cpus),),
    )


def _of(name: str) -> str:
    count, comma, rest = name.partition(", ")
    return f"{_threads(count)}{comma}{rest}: speedup"


def _threads(count: str) -> str:
    return f"{count} thread{'s' * (count != '1')}"


def _why(evidence: Evidence, side_by_side: bool | None, share: float) -> str:
    if evidence["cpus"] < 2:
        return "with one usable CPU nothing can run side by side, with a GIL or without"
    if side_by_side is None:
        return f"the rounds do not tell whether two threads are {FASTER} times as fast as one; measure for longer"
    if not evidence["gil"]:
        return (
            "this interpreter has no GIL, so its threads run Python side by side"
            if side_by_side
            else "this interpreter has no GIL, and something else holds its threads up: shared objects, or other load"
        )
    if side_by_side:
        return "this interpreter has a GIL, and still they ran side by side: the loop must have let go of it"
    waited = evidence["waited"]["2"]
    queued = (waited["queued"] or 0.0) / waited["wall"]
    others = f", and queues for {percent(queued)} for a CPU that others have" if queued > CROWDED else ""
    return (
        f"one thread at a time runs Python; each of two is blocked by the GIL for {percent(share)} of its time{others}"
    )


def _picture(samples: Mapping[str, Any], speedups: Mapping[str, Figure], cpus: int) -> Picture:
    counts = tuple(name for name in samples if name.isdigit())
    measured = [speedups[count] for count in counts if count != "1"]
    return Picture(
        "Speedup of a loop in Python by threads, beside the ideal of as many CPUs",
        counts,
        (
            Series("threads", (1.0, *(f.value for f in measured)), (None, *(f.interval for f in measured))),
            Series("ideal", tuple(float(min(int(count), cpus)) for count in counts)),
        ),
        "threads",
        "speedup over one thread",
        "×",
        ideal=("ideal",),
    )


LESSON = Lesson(
    4,
    "gil",
    "Threads and the GIL",
    "Threads do not make CPU-bound Python code faster: they take turns at the GIL.",
    (collatz.variants["python"].source(), steps_by),
    measure,
    judge,
)
