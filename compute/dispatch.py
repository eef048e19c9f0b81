"""execute: the steps of a run, in order. No other module puts them in an order.

Pools supply workers. `execute` plans, places the arrays, sends the lanes over the chunks, sends them again over what a
dead worker left unfinished, and finishes.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from compute import notebook_html
from compute.lanes.control import ControlArray
from compute.lanes.interrupts import InterruptWatch
from compute.lanes.loop import Job, Outcome, arguments_of, lane_of
from compute.memory.arena import Arena
from compute.memory.spool import ROW
from compute.progress import Tell, Teller, teller_of
from compute.timeline import Timeline
from kernels.definition import Kernel
from kernels.definition.arguments import guarded
from kernels.definition.notes import add_note
from kernels.definition.plan import Plan, surrounded
from kernels.vectors.memory import SMALL

# For a chunk whose worker dies. After one death it is retried; after three it is assumed to be the cause.
ATTEMPTS = 3


class Lanes(Protocol):
    """What `execute` needs of a pool."""

    arena: Arena
    die_together: bool  # whether one worker's death takes the others with it
    detailed: bool  # whether lanes record the system's figures of their threads (see compute.timeline.LaneTotals)
    pins: Sequence[int]  # the CPU of each lane, or nothing

    @property
    def workers(self) -> int:
        """How many lanes there are."""

    def make_ready(self, job: Job) -> None:
        """Called before `lanes`. Do here what must not happen while the progress thread runs, such as a fork."""

    def lanes(self, job: Job) -> Sequence[Outcome]:
        """Run the lane loop once in every worker; return when all have ended or died, the dead ones reaped."""

    def stop_lanes(self, job: Job) -> None:
        """After an interrupt: stop every lane and wait for it."""

    def repair(self) -> None:
        """Replace the workers that died."""

    def packed(self, kernel: Kernel, plan: Plan) -> Plan:
        """The plan of a kernel over items, with items and results in the form that the lanes can use."""

    def unpacked(self, job: Job) -> Any:
        """The output of a kernel over items, with the results as objects in the caller's process."""

    def put_result(self, job: Job, chunk: int, values: list[Any]) -> None:
        """Write the results of a chunk of a kernel over items, in place of its lane."""


@dataclass(frozen=True, eq=False)  # values may be arrays, which have no single answer
class Result:
    """A run's value, its seconds from call to value, and its timeline. It pickles, if its value does."""

    value: Any
    seconds: float
    record: Callable[[], Timeline] = field(repr=False)

    @functools.cached_property
    def timeline(self) -> Timeline:
        """What happened. It is made when it is first read."""
        return self.record()

    if not TYPE_CHECKING:  # a type checker is to find what a Result has not

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_") or name == "timeline":  # the latter's own error
                return object.__getattribute__(self, name)
            instead = f": write .value.{name}" if hasattr(self.value, name) else ""
            raise AttributeError(f"a Result has no {name}; it has .value, .seconds and .timeline{instead}")

        def __getitem__(self, key: Any) -> Any:
            raise TypeError("a Result is no value itself, and holds one; write .value after it")

    def _repr_html_(self) -> str:
        return notebook_html.render("run", self.value, self.seconds, self.timeline)

    def __reduce__(self) -> Any:
        return _restored, (self.value, self.seconds, self.timeline)


def _restored(value: Any, seconds: float, timeline: Timeline) -> Result:
    return Result(value, seconds, lambda: timeline)


class WorkerDied(RuntimeError):
    """A chunk whose worker died on every attempt, or a pool whose workers die before they work."""


def as_kernel(kernel: Any) -> Kernel:
    """The kernel itself; a TypeError with the remedy for a plain function, or what belongs elsewhere."""
    if not isinstance(kernel, Kernel):
        from kernels import REGISTRY
        from kernels.definition import misplaced

        raise TypeError(misplaced.no_kernel(kernel, REGISTRY))
    return kernel


def refuse_own_name(kernel: Kernel, args: tuple[Any, ...], name: str) -> None:
    """TypeError where a keyword of run's may have been meant for an input of the kernel."""
    takes = inspect.signature(as_kernel(kernel).planner)
    try:
        is_given = name in takes.bind_partial(*args).arguments
    except TypeError:  # too many arguments: the plan will say so
        return
    if name in takes.parameters and not is_given:
        raise TypeError(
            f"{name}= is run's own, and {kernel.name} has an input of that name; give that input by position, or"
            " rename it"
        )


def execute(
    pool: Lanes,
    kernel: Kernel,
    args: tuple[Any, ...],
    kw: dict[str, Any],
    watch: InterruptWatch,
    progress: Tell | bool | None = None,
) -> Result:
    """All the steps of a run on an open pool."""
    began = time.perf_counter()
    plan = kernel.plan(*args, **kw)
    planning = time.perf_counter() - began
    if plan.around is None:
        return _execute_plan(pool, kernel, plan, watch, progress, planning)
    with surrounded(plan) as whole:
        return _execute_plan(pool, kernel, whole, watch, progress, planning)


def _execute_plan(
    pool: Lanes, kernel: Kernel, plan: Plan, watch: InterruptWatch, progress: Tell | bool | None, planning: float
) -> Result:
    """The steps after planning."""
    sections = {"plan": planning}
    events: list[str] = []
    began = last = time.perf_counter()

    def section(name: str) -> None:
        nonlocal last
        now = time.perf_counter()
        sections[name], last = now - last, now

    job = place(pool, kernel, plan)
    section("transfer")
    dispatched = last
    if plan.chunks:
        teller = None if progress is None else teller_of(progress, kernel.name, watch)
        _run_all_chunks(pool, job, plan, events, watch, teller)
    section("dispatch")
    for k in kernel.inout:
        if job.inputs[k] is not plan.inputs[k]:
            np.copyto(plan.inputs[k], job.inputs[k])
    out = job.out
    if plan.dtype is object:
        out = pool.unpacked(job)
        now = time.perf_counter()
        sections["transfer"], last = sections["transfer"] + now - last, now
    value = kernel.finish(out, plan)
    section("finish")
    pool.arena.forget_idle()
    written = ControlArray(job.control.copy())  # a copy: the arena lends the original to the next run

    def timeline() -> Timeline:
        spans, lanes = written.spans(), written.totals()
        return Timeline(spans, lanes, sections, tuple(events), dispatched, written.sending, written.pickling)

    return Result(value, planning + last - began, timeline)


def place(pool: Lanes, kernel: Kernel, plan: Plan) -> Job:
    """Put a plan's arrays where the pool's lanes see them, and lay out the control array."""
    arena = pool.arena
    check_room(kernel, plan, pool.workers, arena)
    if plan.dtype is object:
        plan = pool.packed(kernel, plan)
    inputs = _placed(pool, plan.inputs)
    # Where a worker may die, out must not be an input too: a chunk that is run again would read what it wrote.
    target = plan.target
    if target is not None and not (arena.sees(target) and (arena.kind == "heap" or not plan.overwrites_an_input)):
        out = arena.empty(kernel.output_shape(plan), plan.dtype)
    else:
        out = kernel.allocate(plan, arena.empty)
    words = arena.empty(ControlArray.length(pool.workers, plan.chunks), np.int64)
    ControlArray(words).lay_out(plan, pool.workers, detailed=pool.detailed, pins=pool.pins)
    inputs = guarded(inputs, kernel.inout)
    return Job(kernel, lane_of(kernel, pool.workers, arguments_of(words, out, inputs)), words, out, inputs)


def check_room(kernel: Kernel, plan: Plan, lanes: int, arena: Arena) -> None:
    """MemoryError where a run's arrays do not fit together into what is free, before the first of them is made.

    They are the output, the control array and copies of the inputs that the lanes do not see.
    """
    control = 8 * ControlArray.length(lanes, plan.chunks)
    arrays = [x for x in plan.inputs if isinstance(x, np.ndarray)] if arena.kind != "heap" else []
    output = kernel.output_bytes(plan)
    if plan.dtype is object and arena.kind != "heap":
        output *= ROW  # results come back in rows of words
    if output + control + sum(x.nbytes for x in arrays) < SMALL:
        return  # nearly always, and in a microsecond
    if output and kernel.fills_out(plan) and plan.target is not None and arena.sees(plan.target):
        output = 0
    size = output + control + sum(arena.bytes_to_place(x) for x in arrays)
    arena.check_room(size, "use a smaller size, or a larger grain" if control > size // 2 else "use a smaller size")


def _placed(pool: Lanes, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        pool.arena.place(x, pool.workers, pool.pins)
        if isinstance(x, np.ndarray)
        else _placed(pool, x)
        if type(x) is tuple
        else x
        for x in inputs
    )


def warm(pool: Lanes, kernel: Kernel, args: tuple[Any, ...], kw: dict[str, Any], watch: InterruptWatch) -> float:
    """Make every worker load the kernel for arguments like these, without running a chunk; return the seconds."""
    began = time.perf_counter()
    with surrounded(kernel.plan(*args, **kw)) as plan:
        job = place(pool, kernel, plan)
        ControlArray(job.control).offer([])
        _pass(pool, job, plan, watch)
    pool.arena.forget_idle()
    return time.perf_counter() - began


def _run_all_chunks(
    pool: Lanes, job: Job, plan: Plan, events: list[str], watch: InterruptWatch, teller: Teller | None
) -> None:
    """Send the lanes over the chunks, and again over those that were lost with their worker."""
    control = ControlArray(job.control)
    # Looked up before the lanes run: after a long run, nothing that is needed here is in the cache any more.
    done, chunks = control.done, plan.chunks
    attempts: dict[int, int] = {}
    suspects: list[int] = []
    finished = 0  # chunks so far
    idle = 0  # passes in a row in which no chunk was finished and no worker died
    while True:
        deaths = _pass(pool, job, plan, watch, teller)
        if not deaths and len(done.nonzero()[0]) == chunks:  # faster than done.all()
            return
        missing = np.flatnonzero(done == 0)
        idle = 0 if deaths or chunks - len(missing) > finished else idle + 1
        finished = chunks - len(missing)
        if idle == ATTEMPTS:
            raise RuntimeError(
                f"{getattr(pool, 'backend', pool)!r} came back {ATTEMPTS} times with no chunk done and no worker dead;"
                " its pool's `lanes` must run every lane of the job"
            )
        if job.kernel.timeout is not None:
            _end_late_items(pool, job, plan, deaths)
            missing = np.flatnonzero(done == 0)
        events += [_describe_death(death, plan) for death in deaths]
        if len(missing):
            _refuse_to_repeat(deaths, done, job.kernel, plan)
        for lost, death in _blamed(deaths, missing).items():
            attempts[lost] = attempts.get(lost, 0) + 1
            if attempts[lost] == ATTEMPTS:
                raise _hopeless(lost, death, job.kernel, plan)
        if not len(missing):
            return
        if pool.die_together:  # it is not known whose chunk it was: the suspects are retried one at a time
            suspects += [death.chunk for death in deaths if death.chunk is not None]
            suspects = [chunk for chunk in suspects if done[chunk] == 0]
        control.offer(suspects[:1] or missing)


def _end_late_items(pool: Lanes, job: Job, plan: Plan, deaths: list[Outcome]) -> None:
    """A TimeoutError for each item whose worker was killed because of it: raised, or kept as the item's result."""
    control = ControlArray(job.control)
    for death in deaths:
        if death.chunk is None or not death.is_late or control.done[death.chunk]:
            continue
        error = job.kernel.late(plan, death.chunk)
        if not job.kernel.returns_errors:
            raise error
        pool.put_result(job, death.chunk, [error])
        control.done[death.chunk] = death.lane + 1


def _refuse_to_repeat(deaths: list[Outcome], done: Any, kernel: Kernel, plan: Plan) -> None:
    """WorkerDied where a chunk that had begun cannot be run again, because its body writes to what it reads."""
    begun = [death for death in deaths if death.chunk is not None and done[death.chunk] == 0]
    if begun and not kernel.is_repeatable:
        raise WorkerDied(
            f"{_describe_death(begun[0], plan, then='')}, and {kernel.name} was made with retry=False: nobody"
            " knows what it had done by then, so nothing is run again"
        )
    if kernel.inout and begun:
        names = ", ".join(kernel.inputs[k] for k in kernel.inout)
        raise WorkerDied(
            f"{_describe_death(begun[0], plan, then='')}, and {kernel.name} writes to its input {names}: what that"
            f" holds now is not known, so nothing is run again; make {names} anew before another run"
        )


def _blamed(deaths: list[Outcome], missing: Any) -> dict[int, Outcome]:
    """The chunks blamed for the deaths of a pass, each once, however many workers died in that pass."""
    blamed = {death.chunk: death for death in deaths if death.chunk is not None}
    # A lane that died between taking a ticket and beginning its chunk has not written which chunk it had. Where all
    # deaths were of this kind, the first missing chunk is blamed: without counting attempts, this could go on for ever.
    return blamed or {int(chunk): death for chunk, death in zip(missing[:1], deaths, strict=False)}


def _pass(pool: Lanes, job: Job, plan: Plan, watch: InterruptWatch, teller: Teller | None = None) -> list[Outcome]:
    """Run every lane once over the chunks that the control array offers. Returns the deaths; the dead are replaced."""
    watch.stop = ControlArray(job.control).stop
    try:
        watch.raise_lost()
        pool.make_ready(job)
        outcomes = pool.lanes(job) if teller is None else teller.during(pool.lanes, job)
    except BaseException as error:  # usually a Ctrl-C
        ControlArray(job.control).stop()
        pool.stop_lanes(job)
        if isinstance(error, Exception) and (explained := job.kernel.explained(error)) is not error:
            raise explained from None
        raise
    deaths = [outcome for outcome in outcomes if outcome.death]
    if deaths:
        pool.repair()
    for outcome in outcomes:
        if outcome.error is not None:
            raise _explained(outcome, job.kernel, plan)
    watch.raise_lost()
    return deaths


def _hopeless(chunk: int, death: Outcome, kernel: Kernel, plan: Plan) -> WorkerDied:
    lo, hi = plan.bounds(chunk)
    return WorkerDied(
        f"chunk {chunk} (indices {lo}..{hi}) of {kernel.name} was tried {ATTEMPTS} times, and each time its worker died"
        f" ({death.death}); run it on Serial() to see why"
    )


def _describe_death(death: Outcome, plan: Plan, then: str = ", which was run again") -> str:
    where = "between chunks"
    if death.chunk is not None:
        lo, hi = plan.bounds(death.chunk)
        where = f"in chunk {death.chunk} (indices {lo}..{hi}){then}"
    return f"the worker of lane {death.lane} died ({death.death}) {where}"


def _explained(outcome: Outcome, kernel: Kernel, plan: Plan) -> BaseException:
    # Taken out of the outcome: the traceback holds the frames that hold the outcome. If the outcome held the error in
    # turn, all of them would live until the next garbage collection.
    error, outcome.error = outcome.error, None
    assert error is not None
    if isinstance(error, Exception):
        error = kernel.explained(error)
    if outcome.chunk is not None:
        lo, hi = plan.bounds(outcome.chunk)
        add_note(error, f"in chunk {outcome.chunk} (indices {lo}..{hi}) of {kernel.name}, variant {kernel.variant!r}")
    return error
