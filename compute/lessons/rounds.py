"""Several ways of doing the same, timed: each once a round in shuffled order, and ratios of those rounds."""

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
from compute.scaling.verify import WrongAnswer
from compute.scaling.words import percent

FEWEST = statistics.FEWEST_ROUNDS  # below it a median has no interval
MOST = 25  # rounds: a lesson wants to be short, and its effects are large
SECONDS_OF_A_WAY = 0.02  # that one timed call is to take at least, where its size can be chosen
TIMES, PATIENCE = 3, 30.0  # of the setting's seconds, and s at least, after which a round is not begun any more
TRIES = 3  # calls of each size that `enough` tries
CROWDED = 0.2  # of the time of a thread that computes, in a queue for a CPU: others then decide what speedups say
LOOK = 0.1  # s for which one is watched: a queue is a few milliseconds long


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

    share: of the setting's seconds that this may take; FEWEST rounds are made in any case, unless a busy machine takes
    TIMES as long for them: then they have no intervals, and nothing can be told. answer: what every call has
    to return, where it is not None; answers: that of each way, where they differ. A WrongAnswer, before anything is
    told, where one does not. tells: what a call returns are the seconds themselves, such as those of a wait that only
    it sees.
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
    gc.disable()  # a collection in the middle of one way would be its figure
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
    """How many times as long `above` took as `below`, from rounds that pair: how much faster `below` is."""
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
    """A size from which on run(size) takes about so many seconds: doubled, and in proportion when it is near.

    It is called once untimed before: what a first call imports, compiles or wakes would be taken for work. Of each size
    the quickest of a few calls counts: one that others held up would be taken for a large one.
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
    """What `await coroutine(*args)` gives, on an event loop of its own: in a notebook, too, where one is running.

    A Ctrl-C is raised when it has ended, so it is for what is short: cut off, asyncio.run may leave its loop open.
    """
    with interrupts.put_off():
        [value] = off_the_loop(lambda: [asyncio.run(coroutine(*args))])
    return value


def crowding() -> float:
    """The share of its time for which a thread that computes queues for a CPU that others have, at this moment.

    Beside many others, more threads get more of the CPUs than one does, side by side or not, and no interval tells.
    0.0 where the system does not tell.
    """
    began, queued = time.perf_counter(), usage.queued()
    while (took := time.perf_counter() - began) < LOOK:
        pass
    return (usage.queued() - queued) / took


def noting_crowds(measure: Callable[[Setting], Evidence]) -> Callable[[Setting], Evidence]:
    """A lesson's `measure` whose evidence has "crowded", too: the worse of two looks, before it and after it."""

    @functools.wraps(measure)
    def measured(setting: Setting) -> Evidence:
        before = crowding()
        evidence = measure(setting)
        return {**evidence, "crowded": max(before, crowding())}

    return measured


def too_crowded(share: float) -> str | None:
    """Why a machine so crowded cannot refute a statement; None where it is not."""
    if share <= CROWDED:
        return None
    return (
        f"others have the CPUs, for which even one thread queues for {percent(share)} of its time, so ratios say"
        " nothing; hold it again when it is quiet"
    )
