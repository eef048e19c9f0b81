"""Lesson 8: what it costs to hand data over to a thread, a coroutine, a process: by size."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np

from compute import machine
from compute.lessons import handing
from compute.lessons.handing import ARENA, COPYING, PIPE, THREAD, WAYS
from compute.lessons.lesson import Evidence, Figure, Judgement, Lesson, Picture, Series, Setting
from compute.lessons.rounds import FEWEST, in_rounds, is_above, noting_crowds, ratio, seconds, too_crowded
from compute.scaling import formatting

SIZES = 1_000, 32_000, 1_000_000, 16_000_000, 256_000_000  # bytes: from a message to more than any cache
SAMPLE = 0.005  # s of one timed call at least, of a lesson of ten seconds
SETTING_UP = (
    0.2  # of a lesson's time: an array is left out if making it takes longer, as the system has to find its pages
)
GROWS = 3.0  # times as long for the largest size as for the least: then handing over depends on the amount of data
TELLING = 1_000_000  # bytes: copying fewer takes less than waking a process does


@noting_crowds
def measure(setting: Setting) -> Evidence:
    """Seconds of a hand-over, by way, size and round; what was left out, and why."""
    with ExitStack() as stack:
        try:
            return _measured(setting, stack)
        except BaseException as error:
            traceback.clear_frames(error.__traceback__)  # they refer to arrays in memory that is about to be unmapped
            raise


def _measured(setting: Setting, stack: ExitStack) -> Evidence:
    began = time.perf_counter()
    setting.say("starting processes")
    batches = stack.enter_context(handing.opened())
    left_to_us = max(setting.seconds - (time.perf_counter() - began), setting.seconds / 2)
    trials, sample = _Trials(left_to_us), SAMPLE * min(setting.seconds / 10, 1)
    left, heap = [], np.empty(0, np.int64)  # type: ignore[var-annotated]
    for size in SIZES:
        for way in WAYS:
            if any(way == gone["way"] for gone in left):
                continue
            setting.say(f"{way} · {formatting.in_bytes(size)}")
            try:
                why = handing.obstacle(way, size) or trials.too_long(way, size)
                if why is None:
                    started = time.perf_counter()
                    heap = heap if heap.nbytes == size else np.arange(size // 8)
                    array, what = handing.home(way, heap, stack)
                    trials.add(way, size, partial(batches[way], array, what), time.perf_counter() - started, sample)
            except (OSError, MemoryError) as error:
                why = str(error)
            if why is not None:
                left.append({"way": way, "size": size, "why": why})
    samples = in_rounds(trials.ways, setting, max(0.0, left_to_us - trials.spent) / setting.seconds)
    taken: dict[str, dict[str, list[float]]] = {way: {} for way in WAYS}
    for (way, size), (name, count) in trials.known.items():
        taken[way][str(size)] = [each / count for each in samples[name]]
    return {"cpus": machine.usable_cpus(), "seconds": taken, "left": left}


class _Trials:
    """The hand-overs that a lesson has time for: each way at each size is tried before it is timed."""

    def __init__(self, budget: float) -> None:
        self.ways: dict[str, Callable[[], object]] = {}
        self.known: dict[tuple[str, int], tuple[str, int]] = {}  # by way and size: its name, hand-overs to a sample
        self._budget, self._began = budget, time.perf_counter()
        self._round = 0.0  # s that a round takes
        self._latest: dict[str, tuple[int, float, float]] = {}  # of each way: size, s of setting it up, s of one

    @property
    def spent(self) -> float:
        """Seconds until now."""
        return time.perf_counter() - self._began

    def too_long(self, way: str, size: int) -> str | None:
        """Why there is no time for it, if its time grows with the size; None where there is."""
        if way not in self._latest or size <= TELLING:  # these are always measured: the judgement needs them
            return None
        before, setting_up, took = self._latest[way]
        set_up, run = setting_up * size / before, took * size / before
        rounds = (self._round + run) * (FEWEST + 1)  # one of them only warms up
        if self.spent + set_up + 2 * run + rounds > self._budget or set_up > SETTING_UP * self._budget:
            return "the lesson has no time for it"
        return None

    def add(self, way: str, size: int, batch: Callable[[int], object], setting_up: float, sample: float) -> None:
        """Try it, and add it to what is timed."""
        batch(1)
        began = time.perf_counter()
        batch(1)
        took = time.perf_counter() - began
        count = max(1, int(sample / took))
        name = f"{way} · {formatting.in_bytes(size)}"
        self.ways[name], self.known[way, size] = partial(batch, count), (name, count)
        self._round += took * count
        self._latest[way] = size, setting_up, took


# ---------------------------------------------------------------- judging


def judge(evidence: Evidence) -> Judgement:
    measured = {way: {int(size): taken for size, taken in by.items()} for way, by in evidence["seconds"].items() if by}
    least, most = _sizes(measured)
    grows = {way: ratio(way, measured[way][most], measured[way][least]) for way in (THREAD, PIPE) if most > least}
    thread, pipe = (is_above(grows[way], GROWS) if way in grows else None for way in (THREAD, PIPE))
    if pipe is False and most < TELLING:
        pipe = None
    holds = None if thread is None or pipe is None else pipe and not thread
    crowd = None if holds else too_crowded(evidence["crowded"])
    figures = [figure for way, by in measured.items() for figure in _figures(way, by)]
    return Judgement(
        None if crowd else holds,
        _found(measured, most),
        f"{crowd or _why(holds, thread)}{_left_out(evidence)}",
        tuple(figures),
        (_picture(measured),) if measured else (),
    )


def _sizes(measured: Mapping[str, Mapping[int, Any]]) -> tuple[int, int]:
    """The smallest and the largest size at which both a thread and a pipe were measured; 0 where there is none."""
    both = measured.get(THREAD, {}).keys() & measured.get(PIPE, {}).keys()
    return min(both, default=0), max(both, default=0)


def _figures(way: str, by: Mapping[int, Any]) -> Iterator[Figure]:
    for size in dict.fromkeys((min(by), max(by))):
        yield seconds(f"{way}: {formatting.in_bytes(size)}", by[size])
    if way in COPYING:
        size = max(by)
        took = seconds(way, by[size])
        ends = took.interval and (size / took.interval[1], size / took.interval[0])
        yield Figure(f"{way}: rate at {formatting.in_bytes(size)}", size / took.value, "B/s", ends)


def _found(measured: Mapping[str, Mapping[int, Any]], size: int) -> str:
    if not size:
        return "hand-overs could not be compared"
    times = {way: formatting.seconds(seconds(way, by[size]).value) for way, by in measured.items() if size in by}
    parts = [f"{times[THREAD]} to reach a thread", f"{times[PIPE]} to reach a process through a pipe"]
    if ARENA in times:
        parts.append(f"{times[ARENA]} where they lie in nfold's shared memory")
    return f"{formatting.in_bytes(size)} take {formatting.listed(parts)}"


def _why(holds: bool | None, thread: bool | None) -> str:
    if holds:
        return (
            "a thread and a coroutine are given a reference. A process has memory of its own: what goes through a pipe,"
            " a Queue or a Manager is pickled, copied into the system and out of it again, a Manager's twice. What lies"
            " in shared memory or in a mapped file stays there, and only its name is sent"
        )
    if holds is None:
        return "the rounds do not tell whether a hand-over takes longer for more data; measure for longer"
    if thread:
        return "a reference has one size, so what grew for threads is something else that this lesson does not see"
    return "a pipe copies what it carries; why that took no longer for more of it, this lesson does not see"


def _left_out(evidence: Evidence) -> str:
    """What was not measured: by reason, the sizes and ways."""
    reasons: dict[tuple[str, int], list[str]] = {}
    for gone in evidence["left"]:
        reasons.setdefault((gone["why"], gone["size"]), []).append(gone["way"])
    return "".join(
        f". Left out from {formatting.in_bytes(size)} on:"
        f" {'all' if len(ways) == len(WAYS) else formatting.listed(ways)} ({why})"
        for (why, size), ways in reasons.items()
    )


def _picture(measured: Mapping[str, Mapping[int, Any]]) -> Picture:
    sizes = sorted({size for by in measured.values() for size in by})
    series = []
    for way, by in measured.items():
        points = [seconds(way, by[size]) if size in by else None for size in sizes]
        series.append(
            Series(way, tuple(p.value if p else None for p in points), tuple(p.interval if p else None for p in points))
        )
    return Picture(
        "What it takes to hand data over, by its size",
        tuple(map(float, sizes)),
        tuple(series),
        "size",
        "time of a hand-over",
        "s",
        "xy",
        x_unit="B",
    )


LESSON = Lesson(
    8,
    "space",
    "What handing data over costs",
    "Threads and coroutines share memory, so handing over takes as long for any size; to a process data is copied,"
    " unless it lies in shared memory.",
    (
        handing.hand_over,
        handing.look,
        handing.look_into_shared_memory,
        handing.look_into_a_file,
        handing.hand_over_by_nfold,
    ),
    measure,
    judge,
)
