"""Lesson 2: waits overlap."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Mapping
from typing import Any

from compute import machine
from compute.backends.coroutines import Coroutines
from compute.backends.pool import Pool
from compute.backends.processes import Processes
from compute.backends.serial import Serial
from compute.backends.threads import Threads
from compute.lessons.lesson import Evidence, Figure, Judgement, Lesson, Picture, Series, Setting
from compute.lessons.opened import opened
from compute.lessons.rounds import in_rounds, is_above, noting_crowds, ratio, seconds, too_crowded
from compute.scaling import statistics
from compute.scaling.formatting import listed
from compute.scaling.formatting import ratio as in_digits
from compute.scaling.formatting import seconds as in_words

WAITS = 100
WAIT = 0.01  # s of one wait, as for a server in the same town
PART = 1000  # one wait takes at most a thousandth of a lesson's time: a hundred in a row then fit six times
PROCESSES = 10  # each is an interpreter of 30 MB or more, so few programs have a hundred
NEAR = 0.5  # of N-fold: with less, something else than waiting limits the lanes
SERIAL = "one after the other"
LANES = {"threads", "coroutines"}  # many in one process


def wait(delay):
    time.sleep(delay)
    return delay


async def wait_awaiting(delay):
    await asyncio.sleep(delay)
    return delay


def waits_by(pool, f, delays):
    return pool.map(f, delays)


@noting_crowds
def measure(setting: Setting) -> Evidence:
    """Seconds of a hundred waits by each way, in interleaved rounds, and the CPU seconds that this process used."""
    lanes = {SERIAL: 1, "threads": WAITS, "coroutines": WAITS, "processes": PROCESSES}
    delays = [min(WAIT, setting.seconds / PART)] * WAITS
    backends = {SERIAL: Serial(), "threads": Threads(WAITS), "coroutines": Coroutines(WAITS)}
    cpu: dict[str, list[float]] = {}
    with opened(backends | {"processes": Processes(PROCESSES)}) as (pools, missing):

        def counted(name: str, pool: Pool) -> Any:
            began = time.process_time()
            given = waits_by(pool, wait_awaiting if name == "coroutines" else wait, delays)
            cpu.setdefault(name, []).append(time.process_time() - began)
            return given

        ways = {name: functools.partial(counted, name, pool) for name, pool in pools.items()}
        samples = in_rounds(ways, setting, answer=delays)
    return {
        "cpus": machine.usable_cpus(),
        "wait": delays[0],
        "lanes": {name: lanes[name] for name in pools},
        "samples": samples,
        "cpu": {name: used[1:] for name, used in cpu.items()},  # the first round only warmed up
        "missing": missing,
    }


def judge(evidence: Evidence) -> Judgement:
    samples, lanes = evidence["samples"], evidence["lanes"]
    overlaps = {
        name: ratio(f"{_of(name, count)}: overlap", samples[SERIAL], samples[name])
        for name, count in lanes.items()
        if name != SERIAL
    }
    near = {name: is_above(figure, NEAR * lanes[name]) for name, figure in overlaps.items()}
    far = [name for name, is_near in near.items() if is_near is False]
    untold = [name for name, is_near in near.items() if is_near is None]
    is_short = evidence["wait"] < WAIT  # then handing over may take longer than waiting
    crowd = too_crowded(evidence["crowded"]) if far or untold else None
    took = seconds(f"{WAITS} waits {SERIAL}", samples[SERIAL])
    fast = listed([f"{_of(name, lanes[name])} {in_digits(f.value)}" for name, f in overlaps.items()])
    return Judgement(
        None if crowd or (is_short if far else untold) or not overlaps.keys() >= LANES else not far,
        f"{WAITS} waits of {in_words(evidence['wait'])} take {in_words(took.value)} {SERIAL}; {fast} times as fast",
        (crowd or _why(evidence, far, untold))
        + "".join(f"; no {name} here: {why}" for name, why in evidence["missing"].items()),
        (took, *overlaps.values(), *_needed(evidence)),
        (_picture(overlaps, lanes),),
    )


def _of(name: str, count: int) -> str:
    return f"{count} {name}"


def _needed(evidence: Evidence) -> list[Figure]:
    """CPU seconds per wait, for lanes of this process."""
    return [
        seconds(f"{_of(name, evidence['lanes'][name])}: CPU for a wait", evidence["cpu"][name], WAITS)
        for name in ("threads", "coroutines")
        if name in evidence["cpu"]
    ]


def _why(evidence: Evidence, far: list[str], untold: list[str]) -> str:
    cpu = {name: statistics.median(used) for name, used in evidence["cpu"].items()}
    took = {name: statistics.median(samples) for name, samples in evidence["samples"].items()}
    if far and evidence["wait"] < WAIT:
        return f"waits of {in_words(evidence['wait'])} are hardly longer than handing over takes; measure for longer"
    if far:
        name = far[0]
        part = cpu[name] / took[name]
        lanes = _of(name, evidence["lanes"][name])
        if name != "processes" and part > NEAR:
            return f"the {lanes} computed for {in_words(cpu[name])} of {in_words(took[name])}: handing over took a CPU"
        return f"the {lanes} came late out of their waits: other load, or a coarse timer"
    if missing := LANES - cpu.keys():
        return f"without {listed(sorted(missing))} the statement cannot be told"
    if untold:
        return f"the rounds do not tell whether {listed(untold)} reach half of what is ideal; measure for longer"
    return (
        "who waits needs no CPU, so all wait at the same time, on however few CPUs:"
        f" {WAITS} threads used one for {in_words(cpu['threads'])}, coroutines for {in_words(cpu['coroutines'])}"
    )


def _picture(overlaps: Mapping[str, Figure], lanes: Mapping[str, int]) -> Picture:
    return Picture(
        f"How many of {WAITS} waits each way has at the same time",
        tuple(_of(name, lanes[name]) for name in overlaps),
        (
            Series.of("overlap", overlaps.values()),
            Series("ideal", tuple(float(lanes[name]) for name in overlaps)),
        ),
        y_label="waits at once",
        unit="×",
        ideal=("ideal",),
    )


LESSON = Lesson(
    2,
    "waits",
    "Waits overlap",
    "N threads, coroutines or processes have N waits at the same time, and so are near N-fold faster.",
    (wait, wait_awaiting, waits_by),
    measure,
    judge,
)
