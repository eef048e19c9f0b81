"""Lesson 6: what a switch between coroutines, threads, processes costs, and how much memory each takes."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import psutil

from compute import machine
from compute.lanes import usage
from compute.lessons.footprint import bytes_of_one
from compute.lessons.fresh import fresh_python
from compute.lessons.lesson import Evidence, Figure, Judgement, Lesson, Picture, Series, Setting
from compute.lessons.rounds import awaited, enough, in_rounds, is_above, noting_crowds, ratio, seconds, too_crowded
from compute.scaling.formatting import listed, three_digits
from compute.scaling.formatting import seconds as in_words

resource: Any
try:
    import resource
except ImportError:  # Windows
    resource = None

RUN = 0.03  # s of one run: thousands of switches, so that the call itself does not count
TOKEN = b"x"
OF_THE_SYSTEM = 0.1  # the system's switches per handover: with fewer, the system has no part in handing over
TWICE = 1.5  # the system's switches per handover: with more, each handover takes two of them
# How many of each a program may have: the memory of so many is shown.
MANY = {"coroutine": 10_000, "thread": 1000, "process": 100}


def answer(get, put):
    while token := get():
        put(token)


def hand_over(get, put, turns):
    token = b"x"
    for _ in range(turns):
        put(token)
        token = get()
    return token


async def hand_over_by_await(turns):
    for _ in range(turns):
        await asyncio.sleep(0)


@dataclass(frozen=True)
class Partner:
    """The other side, which answers each token. id: that of its thread or process in the system."""

    get: Callable[[], bytes]
    put: Callable[[bytes], Any]
    id: int
    process: bool = False


@contextlib.contextmanager
def a_thread() -> Iterator[Partner]:
    there, here = SimpleQueue[bytes](), SimpleQueue[bytes]()
    thread = threading.Thread(target=answer, args=(there.get, here.put))
    try:
        thread.start()
        yield Partner(here.get, there.put, thread.native_id or 0)
    finally:
        there.put(b"")
        if thread.is_alive():
            thread.join()


@contextlib.contextmanager
def a_process() -> Iterator[Partner]:
    serve = "answer(lambda: os.read(0, 1), lambda token: os.write(1, token))"
    with fresh_python([answer], serve, ["os"]) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        get, put = process.stdout.fileno(), process.stdin.fileno()
        yield Partner(functools.partial(os.read, get, 1), functools.partial(os.write, put), process.pid, process=True)


@noting_crowds
def measure(setting: Setting) -> Evidence:
    """Seconds of a switch, by round; how often the system switched for it; how many bytes one of each takes."""
    missing: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        runs: dict[str, Callable[[int], Any]] = {"coroutines": _two_coroutines}
        children: dict[str, int] = {}
        for name, partners in ("threads", a_thread), ("processes", a_process):
            for where, cpu in _places().items():
                try:
                    partner = stack.enter_context(partners())
                except (OSError, RuntimeError) as error:
                    missing[name] = str(error)
                    break
                runs[name + where] = _with(partner, cpu)
                if partner.process:
                    children[name + where] = partner.id
        turns = {name: enough(run, 64, min(RUN, setting.seconds / 100)) for name, run in runs.items()}
        ways = {name: functools.partial(run, turns[name]) for name, run in runs.items()}
        taken = in_rounds(ways, setting, 0.8, answer=TOKEN)
        system = {name: _system_switches(way, turns[name], children.get(name)) for name, way in ways.items()}
    setting.say("memory")
    return {
        "samples": {name: [s / (2 * turns[name]) for s in samples] for name, samples in taken.items()},
        "system": system,
        "bytes": {kind: size for kind in MANY if (size := bytes_of_one(kind)) is not None},
        "missing": missing,
        "gil": machine.has_gil(),
    }


def _two_coroutines(turns: int) -> bytes:
    async def both() -> None:
        await asyncio.gather(hand_over_by_await(turns), hand_over_by_await(turns))

    awaited(both)
    return TOKEN


def _places() -> dict[str, int | None]:
    """The CPU that both sides are pinned to, by name: none, and one CPU for both where there are several."""
    cpus = machine.allowed_cpus()
    return {"": None} | ({", on one CPU": cpus[-1]} if len(cpus) > 1 and hasattr(os, "sched_setaffinity") else {})


def _with(partner: Partner, cpu: int | None) -> Callable[[int], bytes]:
    """A function that hands over to a partner `turns` times, with both pinned to that CPU."""
    hand_over(partner.get, partner.put, 1)  # the first one waits until a process has started
    if cpu is not None:
        usage.pin_to(cpu, partner.id)

    def run(turns: int) -> bytes:
        with usage.held_to(cpu):
            given: bytes = hand_over(partner.get, partner.put, turns)
        return given

    return run


def _system_switches(run: Callable[[], Any], turns: int, child: int | None) -> float | None:
    """How often the system switched threads, per handover of a run; None where it does not tell."""
    if resource is None:
        return None

    def so_far() -> int:
        own = resource.getrusage(resource.RUSAGE_SELF)
        return int(own.ru_nvcsw + own.ru_nivcsw) + (sum(psutil.Process(child).num_ctx_switches()) if child else 0)

    try:
        before = so_far()
        run()
        return (so_far() - before) / (2 * turns)
    except psutil.Error:
        return None


def judge(evidence: Evidence) -> Judgement:
    samples, system = evidence["samples"], evidence["system"]
    costs = {name: seconds(f"{name}: a switch", taken) for name, taken in samples.items()}
    threads = [name for name in costs if name.startswith("threads")]
    figures = [
        *costs.values(),
        *(Figure(f"{n}: switches by the system", s) for n, s in system.items() if s is not None),
    ]
    figures += [Figure(f"memory for one {kind} that waits", size, "B") for kind, size in evidence["bytes"].items()]
    if not threads:
        return Judgement(None, "there were no threads to compare with", evidence["missing"]["threads"], tuple(figures))
    cheapest = min(threads, key=lambda name: costs[name].value)
    times = ratio(f"{cheapest}: over coroutines", samples[cheapest], samples["coroutines"])
    cheaper = is_above(times, 1.0)
    needed = system["coroutines"] is not None and system["coroutines"] > OF_THE_SYSTEM
    shown = [name for name in ("coroutines", cheapest, "processes") if name in costs]
    switches = listed([f"two {name} {in_words(costs[name].value)}" for name in shown])
    holds = False if needed else cheaper
    crowd = None if holds else too_crowded(evidence["crowded"])
    return Judgement(
        None if crowd else holds,
        f"a switch takes {switches}",
        (crowd or _why(evidence, cheapest, cheaper, needed))
        + "".join(f"; no {n}: {why}" for n, why in evidence["missing"].items()),
        (times, *figures),
        tuple(_pictures(costs, evidence["bytes"])),
    )


def _why(evidence: Evidence, cheapest: str, cheaper: bool | None, needed: bool) -> str:
    system = evidence["system"]
    own, others = (None if system[n] is None else three_digits(system[n]) for n in ("coroutines", cheapest))
    if needed:
        return f"the system switched {own} times for each handover between coroutines: this thread was not left alone"
    if cheaper is None:
        return "the rounds do not tell whether coroutines are cheaper than threads; measure for longer"
    counted = (
        "" if own is None else f", with {own} switches by the system for each handover, where theirs take {others}"
    )
    if not cheaper:
        return f"threads are as cheap here as coroutines, which hand over within one thread{counted}"
    convoy = evidence["gil"] and (system[cheapest] or 0.0) > TWICE
    again = ": one that wakes may find the GIL taken, and sleep again" if convoy else ""
    return f"coroutines need no other thread to wake: they hand over within one{counted}{again}"


def _pictures(costs: Mapping[str, Figure], sizes: Mapping[str, float]) -> Iterator[Picture]:
    yield Picture(
        "What one switch takes",
        tuple(costs),
        (Series.of("a switch", costs.values()),),
        y_label="a switch",
        unit="s",
        logarithmic="y",
    )
    if sizes:
        yield Picture(
            "Memory that many take while they wait, from what one takes here",
            tuple(f"{MANY[kind]:,} {kind}{'es' if kind == 'process' else 's'}" for kind in sizes),
            (Series("memory", tuple(MANY[kind] * size for kind, size in sizes.items())),),
            y_label="memory",
            unit="B",
            logarithmic="y",
        )


LESSON = Lesson(
    6,
    "switching",
    "What switching costs",
    "Coroutines switch more cheaply than threads, and need no support from the operating system.",
    (hand_over_by_await, answer, hand_over),
    measure,
    judge,
)
