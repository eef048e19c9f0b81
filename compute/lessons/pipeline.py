"""Lesson 11: stages that feed each other, as threads, as coroutines, as processes."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import multiprocessing.connection
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from compute import machine
from compute.lanes import interrupts
from compute.lessons.fresh import fresh_python
from compute.lessons.lesson import Evidence, Figure, Judgement, Lesson, Picture, Series, Setting
from compute.lessons.rounds import awaited, enough, in_rounds, is_above, noting_crowds, ratio, seconds, too_crowded
from compute.scaling.formatting import listed
from compute.scaling.formatting import ratio as in_digits
from compute.scaling.formatting import seconds as in_words

STAGES = 3
RUN = 0.05  # s of one run
ROOM = 64  # items that may wait between two stages, where they do not go one by one
FEWEST_ITEMS = 2 * STAGES  # so that all stages work at the same time for a while
ONE, LIGHT, WAITING, HEAVY = "light, one by one", "light", "waiting", "heavy"
KINDS = {ONE: ("light", 1), LIGHT: ("light", ROOM), WAITING: ("wait", ROOM), HEAVY: ("heavy", ROOM)}  # work, room
COROUTINES, THREADS, PROCESSES = "coroutines", "threads", "processes"


def stage(work, get, put):
    for item in iter(get, None):
        put(work(item))
    put(None)


async def awaiting_stage(work, get, put):
    while (item := await get()) is not None:
        await put(await work(item))
    await put(None)


def light(item):
    return item + 1


def heavy(item):
    for _ in range(20_000):  # an even number of times: it is the same again
        item ^= 1
    return item + 1


def wait(item):
    time.sleep(0.005)
    return item + 1


async def awaiting_wait(item):
    await asyncio.sleep(0.005)
    return item + 1


def awaiting(f: Callable[..., Any]) -> Callable[..., Any]:
    """The same as a coroutine function, which awaits nothing."""

    async def call(*args: Any) -> Any:
        return f(*args)

    return call


WORKS = {"light": light, "heavy": heavy, "wait": wait}
AWAITING_WORKS = {"light": awaiting(light), "heavy": awaiting(heavy), "wait": awaiting_wait}


def as_threads(work: str, n: int, room: int) -> int:
    """The sum of n items that have gone through all stages, each on a thread of its own."""
    links = [queue.Queue[Any](room) for _ in range(STAGES - 1)]
    made: list[Any] = []
    gets = [_items(n), *(link.get for link in links)]
    puts = [*(link.put for link in links), made.append]
    stages = [threading.Thread(target=stage, args=(WORKS[work], *ends)) for ends in zip(gets, puts, strict=True)]
    with interrupts.put_off():  # a Ctrl-C between two starts would leave stages that wait forever
        try:
            for thread in reversed(stages):
                thread.start()
        except RuntimeError:  # no thread could be started for one of them: end those that were
            for link in links:
                link.put(None)
            raise
        finally:
            for thread in stages:
                if thread.is_alive():
                    thread.join()
    return sum(made[:-1])


def as_coroutines(work: str, n: int, room: int) -> int:
    """The same as coroutines of one event loop."""
    made: list[Any] = []

    async def all_stages() -> None:
        links = [asyncio.Queue[Any](room) for _ in range(STAGES - 1)]
        gets = [awaiting(_items(n)), *(link.get for link in links)]
        puts = [*(link.put for link in links), awaiting(made.append)]
        stages = [awaiting_stage(AWAITING_WORKS[work], *ends) for ends in zip(gets, puts, strict=True)]
        await asyncio.gather(*stages)

    awaited(all_stages)
    return sum(made[:-1])


def _items(n: int) -> Callable[[], int | None]:
    """A function that returns 0 … n - 1, one a call, and then None."""
    return iter([*range(n), None]).__next__


def serve(place, works):
    """A stage as a process: for each (work, n) that arrives on `line`, run that stage, until the line is closed."""
    get = multiprocessing.connection.Connection(0, writable=False).recv
    put = multiprocessing.connection.Connection(1, readable=False).send
    try:
        while True:
            work, n = get()
            if place != "last":
                put((work, n))
            made: list[int] = []
            source = iter([*range(n), None]).__next__ if place == "first" else get
            stage(works[work], source, made.append if place == "last" else put)
            if place == "last":
                put(sum(made[:-1]))
    except (EOFError, OSError):  # a neighbouring stage has ended
        os._exit(0)


@contextlib.contextmanager
def as_processes() -> Iterator[Callable[[str, int], int]]:
    """A function that runs n items through the same stages as processes, connected by pipes."""
    works = "{" + ", ".join(f"{name!r}: {name}" for name in WORKS) + "}"
    functions: list[Callable[..., Any]] = [*WORKS.values(), stage, serve]
    imports = ["multiprocessing.connection", "os", "time"]
    with contextlib.ExitStack() as stack:
        processes: list[Any] = []
        # From the last to the first, as they end in the other order: when one ends, its pipe ends the next one.
        for place in ("last", *["middle"] * (STAGES - 2), "first"):
            output = {"stdout": processes[-1].stdin} if processes else {}
            processes.append(
                stack.enter_context(fresh_python(functions, f"serve({place!r}, {works})", imports, **output))
            )
            for pipe in output.values():
                pipe.close()  # our copy, so that only the stage before it can write to it
        first, last = (os.dup(pipe.fileno()) for pipe in (processes[-1].stdin, processes[0].stdout))
        to_first = stack.enter_context(multiprocessing.connection.Connection(first, readable=False))
        from_last = stack.enter_context(multiprocessing.connection.Connection(last, writable=False))

        def run(work: str, n: int) -> int:
            to_first.send((work, n))
            given: int = from_last.recv()
            return given

        yield run


@noting_crowds
def measure(setting: Setting) -> Evidence:
    """Seconds for one item, by kind of stages, way and round."""
    missing: dict[str, str] = {}
    counts: dict[str, int] = {}
    run = min(RUN, setting.seconds / 150)
    with contextlib.ExitStack() as stack:
        through: Callable[[str, int], int] | None = None
        try:
            through = stack.enter_context(as_processes())
        except (OSError, RuntimeError) as error:
            missing[PROCESSES] = str(error)
        ways: dict[tuple[str, str], Callable[[], int]] = {}
        for kind, (work, room) in KINDS.items():
            setting.say(kind)
            n = counts[kind] = enough(functools.partial(_coroutines_of, work, room), FEWEST_ITEMS, run)
            ways[kind, COROUTINES] = functools.partial(as_coroutines, work, n, room)
            ways[kind, THREADS] = functools.partial(as_threads, work, n, room)
            if through is not None and room > 1:  # the room in a pipe cannot be chosen
                ways[kind, PROCESSES] = functools.partial(through, work, n)
        taken = in_rounds(
            {f"{kind}: {way}": do for (kind, way), do in ways.items()},
            setting,
            answers={f"{kind}: {way}": _sum(counts[kind]) for kind, way in ways},
        )
    samples: dict[str, dict[str, list[float]]] = {kind: {} for kind in KINDS}
    for kind, way in ways:
        samples[kind][way] = [s / counts[kind] for s in taken[f"{kind}: {way}"]]
    evidence = {"samples": samples, "missing": missing, "cpus": machine.usable_cpus(), "gil": machine.has_gil()}
    return evidence


def _coroutines_of(work: str, room: int, n: int) -> int:
    return as_coroutines(work, n, room)


def _sum(n: int) -> int:
    """The sum of n items, to each of which every stage has added one."""
    return n * (n - 1) // 2 + STAGES * n


def judge(evidence: Evidence) -> Judgement:
    samples = evidence["samples"]
    costs = {
        (kind, way): seconds(f"{kind} stages as {way}: an item", taken)
        for kind, ways in samples.items()
        for way, taken in ways.items()
    }
    times = {
        (kind, way): ratio(f"{kind} stages as {way}: over coroutines", taken, samples[kind][COROUTINES])
        for kind, ways in samples.items()
        for way, taken in ways.items()
        if way != COROUTINES
    }
    dearer = {at: is_above(times[at], 1.0) for at in ((ONE, THREADS), (LIGHT, PROCESSES)) if at in times}
    lost = [at for at, is_dearer in dearer.items() if is_dearer is False]
    untold = [at for at, is_dearer in dearer.items() if is_dearer is None]
    in_turn, pipelined = (
        listed([f"{in_words(costs[kind, way].value)} as {way}" for way in samples[kind]]) for kind in (ONE, LIGHT)
    )
    crowd = too_crowded(evidence["crowded"]) if lost or untold else None
    return Judgement(
        None if crowd or (untold and not lost) else not lost,
        f"an item goes through {STAGES} light stages in {in_turn}, one by one, "
        f"and in {pipelined} with room between them",
        "; ".join(
            [
                crowd or _why(evidence, lost, untold),
                *_elsewhere(times),
                *(f"no {n}: {w}" for n, w in evidence["missing"].items()),
            ]
        ),
        (*times.values(), *costs.values()),
        (_picture(costs),),
    )


def _why(evidence: Evidence, lost: list[tuple[str, str]], untold: list[tuple[str, str]]) -> str:
    if lost:
        kind, way = lost[0]
        apart = (
            "which run side by side on their CPUs, while coroutines share one"
            if way == PROCESSES or not evidence["gil"]
            else "between which the system switches as cheaply here as the event loop does"
        )
        return f"{kind} stages cost no more as {way}, {apart}"
    if untold:
        pairs = listed([f"{kind} stages cost more as {way}" for kind, way in untold])
        return f"the rounds do not tell whether {pairs}; measure for longer"
    return "coroutines hand an item on by a call within one thread, where the others lock, wake and copy"


def _elsewhere(times: Mapping[tuple[str, str], Figure]) -> Iterator[str]:
    """How the ways compare where stages seldom hand over, and where they wait or compute."""
    for kind, ways, where in (
        (LIGHT, [THREADS], f"with room for {ROOM} items between stages, so that they seldom switch"),
        (WAITING, [THREADS, PROCESSES], "where stages wait"),
        (HEAVY, [THREADS, PROCESSES], "where they compute"),
    ):
        shown = [f"{way} take {in_digits(times[kind, way].value)} ×" for way in ways if (kind, way) in times]
        if shown:
            yield f"{where}, {listed(shown)} as long as coroutines"


def _picture(costs: Mapping[tuple[str, str], Figure]) -> Picture:
    kinds = tuple(dict.fromkeys(kind for kind, _ in costs))
    ways = tuple(dict.fromkeys(way for _, way in costs))
    return Picture(
        f"What one item takes to go through {STAGES} stages",
        kinds,
        tuple(
            Series(
                way,
                tuple(costs[kind, way].value if (kind, way) in costs else None for kind in kinds),
                tuple(costs[kind, way].interval if (kind, way) in costs else None for kind in kinds),
            )
            for way in ways
        ),
        "stages",
        "an item",
        "s",
        logarithmic="y",
    )


LESSON = Lesson(
    11,
    "pipeline",
    "Stages that feed each other",
    "Where stages feed each other, coroutines are the cheaper way: they hand over explicitly, without the system.",
    (stage, awaiting_stage),
    measure,
    judge,
)
