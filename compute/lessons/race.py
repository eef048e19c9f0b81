"""Lesson 9: two threads add to one counter, and some of their updates are lost."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from operator import add
from typing import Any

import numpy as np

from compute import machine
from compute.lanes import interrupts
from compute.lessons.lesson import Evidence, Figure, Judgement, Lesson, Picture, Series, Setting
from compute.lessons.rounds import enough, in_rounds, seconds
from compute.scaling.verify import WrongAnswer
from kernels.compilation import importing
from kernels.definition import numba_is_here

atomics: Any = None  # kernels.vectors.atomics, which needs numba: imported where it is compiled

THREADS = 2
RUN, LEAST = 0.01, 0.03  # of the lesson's time, and s at least, for one run: Python switches threads every 5 ms
PLAIN, CALL, LOCK, ATOMIC = "+=", "through a call", "with a lock", "atomic add, compiled"
GUARDED = LOCK, ATOMIC


class Counter:
    def __init__(self) -> None:
        self.value = 0
        self.lock = threading.Lock()


def in_one_line(counter, times):
    for _ in range(times):
        counter.value += 1


def through_a_call(counter, times):
    for _ in range(times):
        counter.value = add(counter.value, 1)


def with_a_lock(counter, times):
    for _ in range(times):
        with counter.lock:
            counter.value = add(counter.value, 1)


def atomically(words, times):
    for _ in range(times):
        atomics.fetch_add(words, 0, 1)


def measure(setting: Setting) -> Evidence:
    """Seconds and lost updates of each way, by round; how many updates a run of it makes."""
    adds: dict[str, Callable[[int], int]] = {
        PLAIN: functools.partial(_counted, in_one_line),
        CALL: functools.partial(_counted, through_a_call),
        LOCK: functools.partial(_counted, with_a_lock),
    }
    if numba_is_here():
        adds[ATOMIC] = functools.partial(_counted_in_words, _compiled())
    length = max(RUN * setting.seconds, LEAST)
    times = {name: enough(counted, 1000, length) for name, counted in adds.items()}
    lost: dict[str, list[int]] = {name: [] for name in adds}

    def run(name: str) -> None:
        made = THREADS * times[name]
        kept = adds[name](times[name])
        if not 0 < kept <= made:
            raise WrongAnswer(f"{name}: {made} updates made {kept}, which no lost update explains")
        lost[name].append(made - kept)

    samples = in_rounds({name: functools.partial(run, name) for name in adds}, setting)
    return {
        "gil": machine.has_gil(),
        "cpus": machine.usable_cpus(),
        "updates": {name: THREADS * count for name, count in times.items()},
        "lost": {name: counts[1:] for name, counts in lost.items()},  # the first run warmed up
        "samples": samples,
    }


def _counted(add_all: Callable[[Counter, int], None], times: int) -> int:
    """The counter after every thread has added that often."""
    counter = Counter()
    _by_threads(lambda: add_all(counter, times))
    return counter.value


def _counted_in_words(add_all: Callable[[Any, int], None], times: int) -> int:
    words = np.zeros(1, np.int64)
    _by_threads(lambda: add_all(words, times))
    return int(words[0])


def _by_threads(work: Callable[[], None]) -> None:
    start = threading.Barrier(THREADS)

    def begin() -> None:
        start.wait()
        work()

    threads = [threading.Thread(target=begin) for _ in range(THREADS)]
    with interrupts.put_off():  # the threads end within moments, and none may be left behind
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _compiled() -> Callable[[Any, int], None]:
    global atomics
    with importing.whole():
        from kernels.vectors import atomics

    made: Callable[[Any, int], None] = importing.compiler().compiled(atomically)
    made(np.zeros(1, np.int64), 1)
    return made


def judge(evidence: Evidence) -> Judgement:
    lost = {name: sum(counts) for name, counts in evidence["lost"].items()}
    guarded = sum(lost[name] for name in GUARDED if name in lost)
    figures = [_share(name, evidence) for name in lost]
    figures += [
        seconds(f"{name}: an update", samples, evidence["updates"][name])
        for name, samples in evidence["samples"].items()
    ]
    return Judgement(
        False if guarded else True if lost[PLAIN] or lost[CALL] else None,
        _found(evidence, lost),
        _why(evidence, lost, guarded),
        tuple(figures),
        tuple(_pictures(evidence, figures)),
    )


def _share(name: str, evidence: Evidence) -> Figure:
    """The share of all updates that were lost. It was counted, so it has no interval."""
    counts = evidence["lost"][name]
    return Figure(f"{name}: updates lost", sum(counts) / (evidence["updates"][name] * len(counts)), "%")


def _found(evidence: Evidence, lost: Mapping[str, int]) -> str:
    made = {name: evidence["updates"][name] * len(counts) for name, counts in evidence["lost"].items()}
    guarded = [name for name in GUARDED if name in lost]
    words = {LOCK: "with a lock", ATOMIC: "with an atomic add"}
    return (
        f"of {made[CALL]:,} updates through a call {_number(lost[CALL])} were lost, of {made[PLAIN]:,} with +="
        f" {_number(lost[PLAIN])}; {' and '.join(words[name] for name in guarded)}"
        f" {_number(sum(lost[name] for name in guarded))} of {sum(made[name] for name in guarded):,}"
    )


def _number(count: int) -> str:
    return f"{count:,}" if count else "none"


def _why(evidence: Evidence, lost: Mapping[str, int], guarded: int) -> str:
    if guarded:
        return "an update was lost that was guarded, which must not be: the lock or the atomic add is broken here"
    return _cause(evidence, lost) + (
        "" if ATOMIC in lost else ". The atomic add was not tried: it needs numba's compiler, which is not here"
    )


def _cause(evidence: Evidence, lost: Mapping[str, int]) -> str:
    update = "an update reads, adds and writes, and what another thread writes between is overwritten"
    if not (lost[PLAIN] or lost[CALL]):
        return (
            f"{update}; that no thread came between in {len(evidence['lost'][PLAIN])} rounds promises nothing, so"
            " measure for longer"
        )
    if not evidence["gil"]:
        how = "two threads do so at the same moment" if evidence["cpus"] > 1 else "a thread may lose its CPU between"
        return f"{update}. This interpreter has no GIL: {how}{', also within +=' if lost[PLAIN] else ''}"
    if lost[PLAIN]:
        return f"{update}. The GIL does not keep other threads out: it is handed over between these steps, also of +="
    return (
        f"{update}. The GIL does not keep other threads out. Since 3.10 this interpreter hands it over only at calls"
        " and where loops jump back, so a += without a call happens to be whole here; no document promises it, and"
        " without a GIL it is not"
    )


def _pictures(evidence: Evidence, figures: Sequence[Figure]) -> list[Picture]:
    names = tuple(evidence["lost"])
    return [
        Picture(
            about,
            names,
            (Series.of(name, these),),
            "",
            label,
            unit,
            logarithmic,
        )
        for about, name, label, unit, logarithmic, these in (
            ("Updates lost of those that two threads made", "lost", "updates lost", "%", "", figures[: len(names)]),
            ("What an update costs, two threads making them", "cost", "time", "s", "y", figures[len(names) :]),
        )
    ]


LESSON = Lesson(
    9,
    "race",
    "A race for one counter",
    "Threads that change one variable without a lock lose updates; with a lock, or an atomic add, none is lost.",
    (in_one_line, through_a_call, with_a_lock, atomically),
    measure,
    judge,
)
