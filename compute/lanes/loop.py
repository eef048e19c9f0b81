"""The one loop that every worker runs: take a ticket, run that chunk's body, mark it done, until none is left."""

from __future__ import annotations

import inspect
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from compute.lanes import objects, ordering, shared_words, usage
from compute.lanes.control import (
    CPU,
    CURRENT,
    DETAILED,
    DONE,
    FILE,
    GRAIN,
    INSIDE,
    MARK,
    N_INDICES,
    N_LANES,
    N_TICKETS,
    NEXT,
    ORDER,
    PROCESS,
    RECORDS,
    SPANS,
    START,
    STARTED,
    STOP,
    STOPPED,
    TAKEN,
    THREAD,
    WORDS_PER_SPAN,
    ControlArray,
    Words,
    line_of,
)
from compute.machine import has_gil
from kernels.compilation import importing, ready
from kernels.compilation.bounded import MADE, Bounded
from kernels.definition import Kernel, numba_is_here
from kernels.definition.bodies import nothing_returned
from kernels.definition.variant import checks

SPAN_FLOOR = 100_000  # ns: a span costs two clock reads, about 0.4 us, which is under 0.5 % of chunks this long
TRIAL = 8  # chunks after which a lane knows whether its chunks are long enough to be recorded
STRIDE = 64  # chunks at most between looks at the clock where chunks are not recorded; one where they are long
FOREVER = 2**62  # ns
SLICE = 50_000_000  # ns that the caller's own lane stays away from Python, where Ctrl-C is waiting
EXHAUSTED, SLICE_OVER, TOLD_TO_STOP = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Job:
    """What a lane needs: the lane function, the arrays, and the control; the lane's own views of them.

    Inputs are read-only but for those that the kernel's bodies may write to.

    kernel: a Kernel held to one variant; None in a worker process, which is sent the lane function alone.
    """

    kernel: Any
    lane: Callable[..., int]
    control: Words
    out: np.ndarray[Any, Any]
    inputs: tuple[Any, ...]

    @property
    def lanes(self) -> int:
        return int(self.control[N_LANES])


def make_lane(
    body: Callable[..., Any], target: Callable[..., Any], take: Callable[..., Any], parts: Mapping[Any, Any]
) -> Callable[..., int]:
    """The lane loop around a body. native_loop.py makes machine code of this source, once for all bodies.

    So `lane` is written in what translation.py knows: whole numbers, words, and calls of these parts by their names.

    lane(control, line, out, inputs, until) runs chunks until no ticket is left, it is told to stop, or (after a chunk)
    the clock is past `until`; it may be called again to go on. line: where the lane's own words begin, as `line_of`
    says; until: ns. It returns EXHAUSTED, TOLD_TO_STOP or SLICE_OVER.

    Where the lane's line names a FILE, `begin` and `end` note what the system knows of the thread. They are called in
    here: a thread that comes back to Python may first wait for the GIL, and that wait is no part of the lane's work.
    """
    # Compiled code finds each by its name.
    load, store, enter = parts["load"], parts["store"], parts["enter"]
    clock, cpu_clock, begin, end = parts["clock"], parts["cpu_clock"], parts["begin"], parts["end"]

    def lane(control, line, out, inputs, until):  # type: ignore[no-untyped-def]
        # int(): a body run as Python gets Python's integers, not numpy's slow and overflowing ones.
        tickets, grain, indices = int(control[N_TICKETS]), int(control[GRAIN]), int(control[N_INDICES])
        done, order, spans = int(control[DONE]), int(control[ORDER]), int(control[SPANS])
        mark = int(control[line + MARK])
        recording = control[line + RECORDS] != 0
        noting = control[line + FILE] != 0
        if noting:
            begin(control, line)
        began = last = clock()
        cpu_began = cpu_last = cpu_clock()
        if control[line + START] == 0:
            control[line + START] = began
        control[line + STARTED] = began
        # Before STOP is looked at. Whoever has set that looks at INSIDE next: one of the two sees the other, or a lane
        # would begin a chunk on arrays that are taken away. A processor may let a load overtake a plain store.
        enter(control, line)
        taken, look, stride = 0, 1, 1
        state = EXHAUSTED
        while True:
            if load(control, STOP) != 0:
                state = TOLD_TO_STOP
                break
            ticket = int(take(control, line))
            if ticket >= tickets:
                break
            chunk = ticket
            if order != 0:
                chunk = int(control[order + ticket])
            store(control, line + CURRENT, chunk + 1)
            lo = chunk * grain
            nothing_returned(body(lo, min(lo + grain, indices), target(out, chunk), *inputs))
            store(control, done + chunk, mark)
            store(control, line + CURRENT, 0)
            taken += 1
            if recording:
                now, cpu_now = clock(), cpu_clock()
                span = spans + WORDS_PER_SPAN * chunk
                control[span], control[span + 1], control[span + 2] = last, now, cpu_now - cpu_last
                last, cpu_last = now, cpu_now
                if control[line + TAKEN] + taken == TRIAL and last - control[line + START] < TRIAL * SPAN_FLOOR:
                    recording, look = False, taken + 1
                    control[line + RECORDS] = 0
            elif taken == look:
                now = clock()
                stride = min(2 * stride, STRIDE) if now - last < SPAN_FLOOR else 1
                last, look = now, taken + stride
            else:
                continue
            control[line + STARTED] = last
            if last > until:
                state = SLICE_OVER
                break
        control[line + TAKEN] += taken
        control[line + CPU] += cpu_clock() - cpu_began
        control[line + STOPPED] = clock()
        if noting:
            end(control, line)
        store(control, line + INSIDE, 0)
        return state

    return lane


def _whole(out: Any, chunk: Any) -> Any:
    return out


def _own_row(out: Any, chunk: Any) -> Any:
    return out[chunk : chunk + 1]


def take_in_turn(control: Any, line: Any) -> Any:
    """Where lanes have no counter in common: lane k of N takes tickets k, k + N, k + 2N …"""
    ticket = control[line + NEXT]
    control[line + NEXT] = ticket + control[N_LANES]
    return ticket


# What Python's lane loop is made of beside its body, by make_lane's names. Lanes elsewhere take these, too.
PYTHON_PARTS: dict[str, Callable[..., Any]] = {
    "load": ordering.load,
    "store": ordering.store,
    "enter": ordering.enter,
    "clock": time.perf_counter_ns,
    "cpu_clock": time.thread_time_ns,
    "begin": usage.begin,
    "end": usage.end,
}
TARGETS = {False: _whole, True: _own_row}  # by whether the kernel reduces


def compiled_source(body: Callable[..., Any], reduces: bool) -> Callable[..., int]:
    """The lane to compile for a body; reduces: whether each chunk has a row of the output to itself."""
    with importing.whole():
        from compute.lanes import native_lane
    loop = native_lane.over_rows if reduces else native_lane.over_whole

    def lane(control, line, out, inputs, until):  # type: ignore[no-untyped-def]
        return loop(body, control, line, out, inputs, until)

    return lane


def python_lane(body: Callable[..., Any], reduces: bool, alone: bool, together: bool = False) -> Callable[..., int]:
    """The lane loop around a body that Python runs.

    alone: whether it is the only lane. together: whether all lanes are in this process.
    """
    if alone:
        take: Callable[..., Any] = take_in_turn
    elif numba_is_here():
        take = shared_words.calls().take
    else:
        take = ordering.take if together else take_in_turn
    target = TARGETS[reduces]
    if inspect.iscoroutinefunction(body):
        from compute.lanes.awaiting import AwaitingLane

        return AwaitingLane(body, target, take, (usage.begin, usage.end), be_a_lane)
    lane = make_lane(body, target, take, PYTHON_PARTS | ordering.parts(alone))
    if alone or not together or has_gil():
        return lane
    objects.settle_constants(body)
    return objects.apart(lane)


_sources: Bounded[tuple[Any, int, bool], tuple[Any, Callable[..., Any]]] = Bounded(MADE)
_python_lanes: Bounded[tuple[int, bool, bool], tuple[Any, Callable[..., int]]] = Bounded(MADE)


def source_of(kernel: Kernel, make: Callable[[Any, bool], Callable[..., Any]] = compiled_source) -> Callable[..., Any]:
    """What to compile for a kernel held to a compiled variant: the same function for the same body.

    make: makes it of a body, and of whether it reduces; a lane where left out.
    """
    # Asked for at each run: where a body is named by a text, its module may have another function of that name by now.
    body, reduces = kernel.variants[kernel.variant].source(), kernel.reduce is not None
    known = _sources.get((make, id(body), reduces))
    if known is None:  # an entry holds its body, so that no other object gets its id
        known = _sources[make, id(body), reduces] = body, make(body, reduces)
    return known[1]


def by_numba(
    kernel: Kernel, ready_as: str = "", make: Callable[[Any, bool], Callable[..., Any]] = compiled_source
) -> Any:
    """numba's dispatcher of what `source_of` gives. ready_as: as for `compiler.compiled`."""
    options = checks(kernel.variants[kernel.variant].source(), kernel.reduce is not None)
    return importing.compiler().compiled(source_of(kernel, make), ready_as, **options)


def arguments_of(control: Words, out: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """What the first lane of a job is called with; every lane's arguments are of these types."""
    return control, line_of(0), out, inputs, FOREVER


def lane_of(kernel: Kernel, lanes: int, arguments: tuple[Any, ...]) -> Callable[..., int]:
    """The lane function of a kernel's chosen variant, as all that its body reaches is now.

    arguments: of `arguments_of`, or such as these. A compiled lane takes their types alone.
    """
    variant, reduces = kernel.variants[kernel.variant], kernel.reduce is not None
    if variant.compiled:
        name = f"lane {variant.function}{' reduces' * reduces}" if variant.is_ours else ""
        lane: Callable[..., int] = (
            ready.function(name, lambda: by_numba(kernel, name), arguments) if name else by_numba(kernel)
        )
        return lane
    body = variant.load()
    key = id(body), reduces, lanes == 1
    known = _python_lanes.get(key)
    if known is None:
        known = _python_lanes[key] = body, python_lane(body, reduces, lanes == 1, together=True)
    return known[1]


@dataclass(slots=True)  # making a frozen one takes 0.7 us, and every lane of every run makes one
class Outcome:
    """How one lane's part of a pass ended: well, with an error in a chunk, or with its worker's death.

    is_late: whether the worker was killed because its chunk took longer than it may.
    """

    lane: int
    error: BaseException | None = None
    chunk: int | None = None
    death: str | None = None
    is_late: bool = False


_inside = threading.local()


def inside_a_lane() -> bool:
    """Whether this thread is a lane at this moment: what it starts in turn runs serially."""
    return getattr(_inside, "lane", False)


def be_a_lane(inside: bool) -> bool:
    """Note that this thread is a lane from now on, or that it is none; what it was."""
    was, _inside.lane = inside_a_lane(), inside
    return was


def mark_worker(job: Job, me: int) -> int:
    """Write who runs a lane: this process and this thread. Returns where the lane's line begins."""
    line: int = line_of(me)
    job.control[line + PROCESS], job.control[line + THREAD] = os.getpid(), threading.get_native_id()
    return line


def run_lane(job: Job, me: int, until: Callable[[], int] = lambda: FOREVER) -> Outcome:
    """Run a lane to its end on this thread; an error in a body stops every lane and comes back as the outcome."""
    line, was_inside = mark_worker(job, me), inside_a_lane()
    former = set[int]()
    try:
        _inside.lane = True
        lane = job.lane
        if job.control[DETAILED]:
            usage.arrive(job.control, line, former)
        while lane(job.control, line, job.out, job.inputs, until()) == SLICE_OVER:
            pass
    except BaseException as error:
        job.control[STOP] = 1
        control = ControlArray(job.control)
        control.left(me)
        return Outcome(me, error, control.current(me))
    finally:
        # A plain assignment: a Ctrl-C could come at a call, and this thread would count as a lane for good.
        _inside.lane = was_inside
        if former:
            usage.leave(job.control, line, former)
    return Outcome(me)


def in_slices() -> int:
    """`until` for a lane on the caller's own thread: it comes back to Python often enough for Ctrl-C."""
    return time.perf_counter_ns() + SLICE
