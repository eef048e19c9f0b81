"""Several ways of doing the same, timed: each once a round, in shuffled order; and figures made of the rounds."""

from __future__ import annotations

import asyncio
import functools
import gc
import random
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from compute.lanes import interrupts, usage
from compute.lanes.awaiting import off_the_loop
from compute.lessons.lesson import Evidence, Figure, Setting
from compute.scaling import statistics
from compute.scaling.formatting import percent
from compute.scaling.verify import WrongAnswer

FEWEST = statistics.FEWEST_ROUNDS  # with fewer a median has no interval
MOST = 25  # rounds: a lesson should be short, and its effects are large
SECONDS_OF_A_WAY = 0.02  # of one timed call, at least, where its size can be chosen
TIMES, PATIENCE = 3, 30.0  # times the setting's seconds, and s at least: after that no further round begins
TRIES = 3  # calls of each size that `enough` tries
CROWDED = 0.2  # of its time a computing thread queues for a CPU: with more, others decide what speedups show
LOOK = 0.1  # s for which such a thread is watched: a wait in the queue takes a few milliseconds


def in_rounds(
    ways: Mapping[str, Callable[[], Any]],
    setting: Setting,
    share: float = 1.0,
    *,
    answer: Any = None,
    answers: Mapping[str, Any] | None = None,
    tells: bool = False,
    most: int = MOST,
) -> dict[str, list[float]]:
    """The seconds of each way, by round: `{"threads": [0.1, …], …}`. Each way is called once untimed before.

    share:   the part of the setting's seconds that this may take. At least FEWEST rounds are made, unless a busy
             machine takes TIMES as long for them. Figures then have no intervals, and nothing can be told.
    answer:  what every call must return, if it is not None.
    answers: that of each way, where they differ.
    tells:   whether a call returns the seconds itself, such as those of a wait that only it can see.
    WrongAnswer where a call returns something else.
    """
    deadline = time.perf_counter() + share * setting.seconds
    given_up = time.perf_counter() + max(TIMES * setting.seconds, PATIENCE)
    right = dict.fromkeys(ways, answer) | dict(answers or {})
    for name, way in ways.items():
        setting.say(f"{name} · warming")
        _timed(name, way, right[name], tells)
    samples: dict[str, list[float]] = {name: [] for name in ways}
    order, shuffle, latest = list(ways), random.Random(0), 0.0
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()  # a collection would count for the way in which it happens
    try:
        for done in range(most):
            began = time.perf_counter()
            if began + latest > (deadline if done >= FEWEST else given_up) and done:
                break
            shuffle.shuffle(order)
            for name in order:
                setting.say(f"{name} · round {done + 1}")
                samples[name].append(_timed(name, ways[name], right[name], tells))
            latest = time.perf_counter() - began
    finally:
        if was_enabled:
            gc.enable()
    return samples


def _timed(name: str, way: Callable[[], Any], answer: Any, tells: bool) -> float:
    began = time.perf_counter()
    value = way()
    seconds = time.perf_counter() - began
    if tells:
        return float(value)
    _check(name, value, answer)
    return seconds


def _check(name: str, value: object, answer: Any) -> None:
    if answer is not None and value != answer:
        raise WrongAnswer(f"{name} gave {value!r}, not {answer!r}: its time would say nothing")


def ratio(name: str, above: Sequence[float], below: Sequence[float]) -> Figure:
    """How many times as long `above` took as `below`, from the rounds' own ratios: how much faster `below` is."""
    value, interval = statistics.paired_ratio(above, below)
    return Figure(name, value, "×", interval)


def seconds(name: str, samples: Sequence[float], each: int = 1) -> Figure:
    """The median of the samples, each divided by `each`: how many of the same one sample holds."""
    interval = statistics.median_interval(samples)
    ends = None if interval is None else (interval[0] / each, interval[1] / each)
    return Figure(name, statistics.median(samples) / each, "s", ends)


def is_above(figure: Figure, limit: float) -> bool | None:
    """Whether a figure is above the limit; None where its interval holds the limit, or where it has no interval."""
    if figure.interval is None:
        return None
    low, high = figure.interval
    return True if low > limit else False if high < limit else None


def enough(run: Callable[[int], object], size: int = 1, seconds: float = SECONDS_OF_A_WAY, most: int = 2**40) -> int:
    """A size at which run(size) takes about so many seconds. Sizes double until it is near, then grow in proportion.

    The first call is not timed, as it may import, compile or wake something. Of each size the quickest of a few calls
    counts, as others may delay one.
    """
    run(size)
    while True:
        took = min(_seconds_of(run, size) for _ in range(TRIES))
        if took >= seconds or size >= most:
            return min(size, most)
        grown = int(size * seconds / took) + 1
        if took >= seconds / 2:
            return min(grown, most)
        size = grown if took >= seconds / 8 else 2 * size


def _seconds_of(run: Callable[[int], object], size: int) -> float:
    began = time.perf_counter()
    run(size)
    return time.perf_counter() - began


def awaited(coroutine: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> Any:
    """The value of `await coroutine(*args)` on an event loop of its own, in a notebook as well.

    A Ctrl-C is raised when it has ended, so it is for short ones. Interrupted, asyncio.run may leave its loop open.
    """
    with interrupts.put_off():
        [value] = off_the_loop(lambda: [asyncio.run(coroutine(*args))])
    return value


def crowding() -> float:
    """The share of its time for which a computing thread now queues for a CPU that others have; 0.0 where unknown.

    Beside many others, several threads get more of the CPUs than one does, even if they take turns. No interval shows
    that.
    """
    began, queued = time.perf_counter(), usage.queued()
    while (took := time.perf_counter() - began) < LOOK:
        pass
    return (usage.queued() - queued) / took


def noting_crowds(measure: Callable[[Setting], Evidence]) -> Callable[[Setting], Evidence]:
    """A lesson's `measure` that adds "crowded" to the evidence: `crowding` before or after, whichever is more."""

    @functools.wraps(measure)
    def measured(setting: Setting) -> Evidence:
        before = crowding()
        evidence = measure(setting)
        return {**evidence, "crowded": max(before, crowding())}

    return measured


def too_crowded(share: float) -> str | None:
    """Why measurements on such a crowded machine cannot refute a statement; None where it is not crowded."""
    if share <= CROWDED:
        return None
    return (
        f"others have the CPUs, for which even one thread queues for {percent(share)} of its time, so ratios say"
        " nothing; hold it again when it is quiet"
    )
