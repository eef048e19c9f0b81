"""Lesson 1: what a task is bound by, from its CPU seconds per second."""

from __future__ import annotations

import asyncio
import functools
import inspect
import socket
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from compute.lanes import usage
from compute.lanes.awaiting import off_the_loop
from compute.lessons.lesson import Evidence, Figure, Judgement, Lesson, Picture, Series, Setting, Task
from compute.lessons.rounds import in_rounds, is_above
from compute.scaling import statistics
from compute.scaling.formatting import listed, percent
from compute.scaling.verify import WrongAnswer
from kernels.waiting.server import served

CPU_BOUND, IO_BOUND, MIXED = "CPU-bound", "I/O-bound", "mixed"
KNOWN = {"squares": CPU_BOUND, "unpack": CPU_BOUND, "sleep": IO_BOUND, "reply": IO_BOUND, "both": MIXED}
COMPUTES, WAITS = 0.8, 0.1  # of its time on a CPU: more is CPU-bound, less is I/O-bound, as in `advise`
WAIT = 0.01  # s until the server replies, as one in the same town; `both` and sleep wait as long
UNPACKED = 2**23  # bytes: unpacking them takes some milliseconds
OWN = 0.4  # of a lesson's time, for the reader's own task

Cost = Mapping[str, float]


def squares():
    return sum(k * k for k in range(300_000))


def unpack(packed):
    return len(zlib.decompress(packed))


def reply(server):
    server.sendall(b"7\n")
    return server.recv(100)


def both():
    time.sleep(0.01)
    return squares()


def cpu_and_wall(task):
    cpu, wall = time.process_time(), time.perf_counter()
    task()
    return time.process_time() - cpu, time.perf_counter() - wall


def measure(setting: Setting) -> Evidence:
    """What each call of each task costs. The reader's own task comes first, because it may fail."""
    own = None if setting.task is None else _own(setting.task, setting)
    with served(WAIT) as (port,), socket.create_connection(("127.0.0.1", port)) as server:
        tasks: dict[str, Callable[[], Any]] = {
            "squares": squares,
            "unpack": functools.partial(unpack, zlib.compress(bytes(UNPACKED), 1)),
            "sleep": functools.partial(time.sleep, WAIT),
            "reply": functools.partial(reply, server),
            "both": both,
        }
        _check({name: task() for name, task in tasks.items()})
        costs: dict[str, list[Cost]] = {name: [] for name in tasks}
        ways = {name: functools.partial(_note, task, costs[name]) for name, task in tasks.items()}
        in_rounds(ways, setting, 1.0 if own is None else 1.0 - OWN)
    return {
        "tasks": {name: noted[1:] for name, noted in costs.items()},
        "own": own,
    }  # the first call of each only warmed up


def _check(given: Mapping[str, object]) -> None:
    sum_of_squares = sum(k * k for k in range(300_000))
    right = {"squares": sum_of_squares, "unpack": UNPACKED, "sleep": None, "reply": b"49\n", "both": sum_of_squares}
    for name, value in given.items():
        if value != right[name]:
            raise WrongAnswer(f"{name} gave {value!r}, not {right[name]!r}: its time would say nothing")


def _note(task: Callable[[], object], costs: list[Cost]) -> None:
    """Add what a call costs: seconds of CPU, of wall time, of queueing for a CPU, and CPU of processes it started."""
    queued, childrens = usage.queued(), _childrens()
    cpu, wall = cpu_and_wall(task)
    costs.append({"cpu": cpu, "wall": wall, "queued": usage.queued() - queued, "children": _childrens() - childrens})


def _childrens() -> float:
    """CPU seconds of processes that this one has started and that have ended."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _own(task: Task, setting: Setting) -> dict[str, Any]:
    """The reader's own task: called once to warm up, once more at least, and again for its part of the time."""
    deadline, costs = time.perf_counter() + OWN * setting.seconds, list[Cost]()
    call = _plain(task.call) if inspect.iscoroutinefunction(task.call) else task.call
    setting.say(f"{task.name} · warming")
    call()
    while not costs or (time.perf_counter() < deadline and len(costs) < statistics.MOST_ROUNDS):
        setting.say(f"{task.name} · call {len(costs) + 1}")
        _note(call, costs)
    return {"name": task.name, "calls": costs}


def _plain(f: Callable[[], Any]) -> Callable[[], object]:
    """A coroutine function as a plain one, on a loop of its own. A Ctrl-C ends it at once."""
    return lambda: off_the_loop(lambda: [asyncio.run(f())])


def computing(name: str, calls: Sequence[Cost]) -> Figure:
    """The share of its time for which a task had a CPU. Time in which it queued for one does not count.

    A task with threads of its own may use more CPU seconds than its time has. The system's count of queueing includes
    moments before and after the task, so no more is taken off than the time that was not on a CPU.
    """
    times = [(cost["cpu"], min(cost["wall"], max(cost["wall"] - cost["queued"], cost["cpu"]))) for cost in calls]
    shares = [cpu / own if own > 0 else 1.0 for cpu, own in times]
    return Figure(name, statistics.median(shares), "%", statistics.median_interval(shares))


def kind(figure: Figure) -> str | None:
    """What that share says; None where its interval contains COMPUTES or WAITS, or where it has none."""
    computes, waits = is_above(figure, COMPUTES), is_above(figure, WAITS)
    if computes:
        return CPU_BOUND
    if waits is False:
        return IO_BOUND
    return MIXED if waits and computes is False else None


def judge(evidence: Evidence) -> Judgement:
    shares = {name: computing(f"{name}: of its time on a CPU", calls) for name, calls in evidence["tasks"].items()}
    kinds = {name: kind(figure) for name, figure in shares.items()}
    wrong = [name for name, kind_found in kinds.items() if kind_found not in (None, KNOWN[name])]
    untold = [name for name, kind_found in kinds.items() if kind_found is None]
    figures, own = list(shares.values()), ""
    if task := evidence["own"]:
        figures.append(computing(f"{task['name']}: of its time on a CPU", task["calls"]))
        shares[task["name"]] = figures[-1]
        own = f"; {_of_own(task, figures[-1])}"
    return Judgement(
        False if wrong else None if untold else True,
        _found(kinds) + own,
        _why(shares, wrong, untold),
        tuple(figures),
        (_picture(shares),),
    )


def _found(kinds: Mapping[str, str | None]) -> str:
    """`squares and unpack are CPU-bound, sleep and reply I/O-bound, both is mixed`"""
    groups = {
        word: [name for name, kind_found in kinds.items() if kind_found == word]
        for word in (CPU_BOUND, IO_BOUND, MIXED)
    }
    groups["of an uncertain kind"] = [name for name, kind_found in kinds.items() if kind_found is None]
    by_kind = {word: names for word, names in groups.items() if names}
    return ", ".join(f"{listed(names)} {'is' if len(names) == 1 else 'are'} {word}" for word, names in by_kind.items())


def _of_own(task: Mapping[str, Any], figure: Figure) -> str:
    """What the reader's own task is bound by, and which way of running it helps."""
    calls, share = task["calls"], figure.value
    kind_found = kind(figure)
    few = ""
    if kind_found is None:
        kind_found = CPU_BOUND if share > COMPUTES else IO_BOUND if share < WAITS else MIXED
        few = f" by the look of {len(calls)} call{'s' * (len(calls) != 1)}"
    childrens = statistics.median([cost["children"] / cost["wall"] for cost in calls])
    if childrens > WAITS and kind_found != CPU_BOUND:
        return f"{task['name']} waits for processes of its own, which compute for {percent(childrens)} of its time"
    advice = {
        CPU_BOUND: "CPUs are what it needs, from processes or from code without the GIL",
        IO_BOUND: "threads or coroutines overlap its waits",
        MIXED: f"lanes overlap its waits, up to {1 / max(share, 0.01):.1f}-fold on one CPU",
    }
    return f"{task['name']} is {kind_found}{few}: it computes for {percent(share)} of its time, so {advice[kind_found]}"


def _why(shares: Mapping[str, Figure], wrong: Sequence[str], untold: Sequence[str]) -> str:
    if wrong:
        return (
            f"{listed([f'{name} is known to be {KNOWN[name]}' for name in wrong])}: other threads of this process"
            " compute as well, or somebody outside this system takes the CPU"
        )
    if untold:
        return f"the rounds do not tell on which side of a line {listed(list(untold))} is; measure for longer"
    return (
        f"whoever waits has no CPU meanwhile: sleep has one for {percent(shares['sleep'].value)} of its time, squares"
        f" for {percent(shares['squares'].value)}"
    )


def _picture(shares: Mapping[str, Figure]) -> Picture:
    return Picture(
        "How much of its time each task is on a CPU",
        tuple(shares),
        (Series.of("CPU", shares.values()),),
        y_label="CPU seconds a second",
        unit="%",
    )


LESSON = Lesson(
    1,
    "kinds",
    "What a task is bound by",
    "A task is CPU-bound, I/O-bound or mixed, and its CPU seconds a second tell which: near 1, near 0, or between.",
    (squares, unpack, reply, both, cpu_and_wall),
    measure,
    judge,
    takes_task=True,
)
