"""scale() and scale_all(): open all pools and gauges, prepare a Trial for each work, share the budget among their
rounds.

In a round every configuration runs once, in shuffled order, on pools that are open and warm. What drifts over seconds
(clock speed, neighbours, temperature) slows all configurations of a round alike, so it cancels in their ratio. Sources:
hyperfine#21 and zenbench for the interleaving, pyperf and Hoefler & Belli for the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from compute import backends, drawing, machine
from compute.backends.backend import Backend
from compute.backends.pool import Pool
from compute.dispatch import as_kernel
from compute.drawing import Stages
from compute.lanes import interrupts
from compute.memory.arena import kept_pages
from compute.scaling import ceiling, harness, statistics
from compute.scaling.collecting import about_interpreter, look_across
from compute.scaling.configurations import Unavailable, about_one_cpu, about_workers, configurations, limits
from compute.scaling.dataset import Point
from compute.scaling.formatting import listed
from compute.scaling.garbage import garbage_set_aside
from compute.scaling.measure import Trial
from compute.scaling.results import CutShort, Scaling
from compute.scaling.workload import Pace, Work, check_repeatable, grow_work
from kernels.definition import Kernel, as_index

__all__ = ["Work", "scale", "scale_all"]

ON = ("threads", "processes")
FEWEST = 8  # rounds: if fewer fit into the budget that is left after the checks, shorter runs are asked for
PLENTY = 12  # rounds that the shorter runs are to fill: checking them takes the time of two or so
TURN = 4  # rounds of a work before the next work's turn: with fewer, more of the time goes into warming up again
MORE = 2.5  # rounds: no further ones begin where there is less time than this, as one is spent on warming up again
OVERTIME = 0.1  # of the budget: a busy machine may take this much longer for the rounds that an interval needs
LEAST_PART = 0.3  # of the budget, kept for measuring, however long the pools took to open

Chooser = Callable[[float, Mapping[str, float]], Sequence[Work]]


def scale(  # noqa: PLR0913, what a user may choose, by keyword
    kernel: Kernel,
    *args: Any,
    on: Sequence[Backend | str] = ON,
    workers: Sequence[int] | None = None,
    variants: Sequence[str] | None = None,
    budget: float | None = None,
    rounds: int | None = None,
    mode: str = "strong",
    pin: bool = True,
    progress: Stages | bool | None = None,
    **kw: Any,
) -> Scaling:
    """Measure how far a kernel scales: kernel(*args, **kw) on every backend with every number of workers.

    on:       backends, or their names. workers: counts; where left out, 1, 2, 4 … up to the usable CPUs for a name, and
              its own for a backend.
    variants: names; where left out, the one that the kernel is held to, else all that can run here in the budget.
    budget:   seconds for everything after the pools are open (10 where rounds is left out too). One full round is
              always measured. rounds: how many at most.
    pin:      whether lanes are held to CPUs of their own while they are measured.
    progress: called as progress(done, total, label) between runs; done / total never falls. True: drawn on stderr, as a
              bar on a terminal and a line in a notebook.
    ValueError, before a worker starts, for anything of this that cannot be; WrongAnswer before anything is timed.
    A backend that this system cannot open is left out, with a warning; ValueError where that leaves none.
    CutShort, a KeyboardInterrupt, for a Ctrl-C after the first round: its `.scaling` holds the finished ones.
    """
    if mode == "weak":
        counts = [backend.workers for backend in configurations(on, workers)]
        work = grow_work(as_kernel(kernel), _only_size(args, kw), counts, variants)
    elif mode == "strong":
        work = Work(kernel, *as_kernel(kernel).settled(args, kw), variants)
    else:
        raise ValueError(f"mode must be 'strong' or 'weak', not {mode!r}")
    return scale_all([work], on=on, workers=workers, budget=budget, rounds=rounds, pin=pin, progress=progress)


def scale_all(
    works: Sequence[Work] | Chooser,
    *,
    on: Sequence[Backend | str] = ON,
    workers: Sequence[int] | None = None,
    budget: float | None = None,
    rounds: int | None = None,
    pin: bool = True,
    progress: Stages | bool | None = None,
    known: Sequence[str] = (),
) -> Scaling:
    """`scale` for several works, on the same pools: all are warmed and checked, then each has its rounds.

    The budget is divided in proportion to what rounds take, so that all works get about as many of them. Arrays
    that a run fills, and copies that it needs, lie in pages that stay for all the runs: no run is the first to touch
    them, and the harness's `first_touch` tells what that would cost.

    works: what to measure, or a function that chooses it. The function is called once the pools are open, with the
           seconds that are left of the budget and what measuring costs here (`Dataset.harness`). Opening the pools is
           then in the budget. If the checks took so long that the rounds of an interval would not fit, the function is
           called again with fewer seconds.
    known: warnings that stand above those of the measurement.
    ValueError, before a worker starts, for works that would give two points of one configuration.
    CutShort for a Ctrl-C after the first of these rounds.
    """
    budget_given = budget
    asked, most = limits(budget, rounds)
    budget, chosen = asked, configurations(on, workers)
    for work in () if callable(works) else works:
        _check(work)
    _check_apart(() if callable(works) else works)
    reporting = drawing.stages(progress)
    trials: list[Trial] = []
    measured: list[Point] = []
    began, chooser = time.perf_counter(), None
    with _keeping_rounds(trials) as cut, reporting as tell, ExitStack() as stack:
        pools, left_out = _opened(chosen, stack, tell)
        pages = stack.enter_context(kept_pages(pool.arena for pool in pools))
        costs = {"timer_resolution": harness.resolution(), "overhead": harness.overhead(pools[0])}
        costs |= harness.first_touch({pool.arena.kind for pool in pools})
        if callable(works):
            tell(0, 1, "timing runs of nothing")
            costs |= harness.overheads(pools[1:])
            budget = max(budget - (time.perf_counter() - began), LEAST_PART * budget)
            chooser, works = works, works(budget, costs)
        pace = Pace(budget, len(works) * (most + 1), tell)
        tell(0, 1, "opening the gauges")
        computes = any(work.kernel.bound != "wait" for work in works)
        gauges = stack.enter_context(ceiling.gauges({pool.workers for pool in pools}, pin=pin)) if computes else []
        affordable = budget / len(works) / 2

        def prepared(works: Sequence[Work]) -> list[Trial]:
            trials = [Trial(work, work.configurations(pools), pace, affordable, gauges, pin, pages) for work in works]
            for trial in trials:
                trial.prepare()
            return trials

        trials += prepared(works)
        works = ()
        if chooser is not None:
            fitting = pace.left / sum(trial.round for trial in trials)
            if fitting < FEWEST:
                trials.clear()  # their memory is free before the next ones take theirs
                trials += prepared(chooser(budget * fitting / PLENTY, costs))
        ready = asked - pace.left
        _measure(trials, most, pace, OVERTIME * asked if chooser is not None else 0.0)
        measured += [point for trial in trials for point in trial.make_points()]
        tell(1, 1, "done")
    # Not where a Ctrl-C came before all was measured. One that comes later, while pools close, changes nothing.
    is_whole = bool(measured)
    warnings = left_out if is_whole else [_about_cut(trials), *left_out]
    if not is_whole:
        trials = [trial for trial in trials if trial.rounds]
        with suppress(KeyboardInterrupt), interrupts.put_off():  # a second Ctrl-C changes nothing
            measured += [point for trial in trials for point in trial.make_points(probe=False)]
    given = budget_given if chooser is None else None  # a chooser's is what is left of another one
    ended = _about_budget(trials, given, most if rounds else None, ready) if is_whole else []
    scaling = _as_scaling(trials, look_across(measured), costs, [*known, *warnings], ended)
    if cut:
        raise CutShort(scaling)
    return scaling


@contextmanager
def _keeping_rounds(trials: Sequence[Trial]) -> Iterator[list[KeyboardInterrupt]]:
    """End the block at a Ctrl-C and add it to the list that is yielded. Raise it where no round is finished."""
    came: list[KeyboardInterrupt] = []
    try:
        yield came
    except KeyboardInterrupt as interrupt:
        if not any(trial.rounds for trial in trials):
            raise
        came.append(interrupt)


def _as_scaling(
    trials: Sequence[Trial],
    points: Sequence[Point],
    costs: Mapping[str, float],
    first: Sequence[str],
    last: Sequence[str],
) -> Scaling:
    """What was measured, with its warnings: `first` and `last`, and between them what the points say."""
    shortest = min(points, key=lambda p: p.seconds)
    label = f"{shortest.kernel} · {shortest.variant} · {shortest.backend}"
    timer = {"resolution": costs["timer_resolution"], "overhead": costs["overhead"]}
    warnings = [
        *first,
        *about_interpreter(),
        *about_one_cpu(points),
        *about_workers(points),
        *(text for trial in trials for text in trial.warnings),
        *harness.warn(label, shortest.seconds, **timer),
        *harness.about_runs(points, costs),
        *last,
    ]
    conditions = [
        {**identity, "round": number, **met.as_dict()}
        for trial, identity in ((trial, trial.identity) for trial in trials)
        for number, met in enumerate(trial.conditions, 1)
    ]
    return Scaling(
        tuple(points),
        machine.describe(),
        tuple(dict.fromkeys(warnings)),
        laws=tuple(law for trial in trials for law in trial.laws),
        conditions=tuple(conditions),
        harness=costs,
    )


def _about_cut(trials: Sequence[Trial]) -> str:
    """`cut short by Ctrl-C after 1–2 rounds, and an interval needs 6; nothing of triad · nogil was measured`"""
    done = sorted(trial.rounds for trial in trials if trial.rounds)
    rounds = f"{done[0]}" if done[0] == done[-1] else f"{done[0]}–{done[-1]}"
    text = f"cut short by Ctrl-C after {rounds} round{'s' * (done[-1] > 1)}"
    if done[0] < statistics.FEWEST_ROUNDS:
        text += f", and an interval needs {statistics.FEWEST_ROUNDS}"
    missing = [trial.label for trial in trials if not trial.rounds]
    return text + (f"; nothing of {listed(missing)} was measured" if missing else "")


def _measure(trials: Sequence[Trial], most: int, pace: Pace, overtime: float) -> None:
    """Measure all works by turns, each in at most `most` rounds. Time that one does not need goes to the later ones.

    So each work is measured at several moments, and what drifts over tens of seconds is in its interval. Where time is
    short a turn has the FEWEST rounds at once, because each turn begins with a round that only warms up.

    overtime: seconds beyond the budget that may be used for the FEWEST rounds of each.
    """
    alone = len(trials) == 1
    fitting = pace.left / sum(trial.round for trial in trials)
    turn = most if alone else TURN if fitting >= FEWEST + FEWEST / TURN else FEWEST
    with garbage_set_aside():
        for upto in range(turn, most + turn, turn):
            late = overtime if upto <= FEWEST and not alone else 0.0
            for number, trial in enumerate(trials):
                share = (pace.left + late) * trial.round / sum(other.round for other in trials[number:])
                rounds = min(upto, most) - trial.rounds
                if rounds and (not trial.rounds or share > MORE * trial.round):
                    trial.measure(rounds, share, cold=not alone)


def _opened(chosen: Sequence[Backend], stack: ExitStack, tell: Stages) -> tuple[list[Pool], list[str]]:
    """The pools that this system can open, and a warning for each that it cannot: no numba, no /dev/shm …"""
    pools = []
    missing: dict[str, list[str]] = {}  # the backends by why they cannot be opened: it is often the same for all counts
    for backend in chosen:
        tell(0, 1, f"opening {backend!r}")
        try:
            pools.append(stack.enter_context(backend.open()))
        except (ValueError, ImportError, OSError) as error:
            missing.setdefault(str(error), []).append(repr(backend))
    reasons = [f"{listed(names)}: {reason}" for reason, names in missing.items()]
    if len(pools) == 1 < len(chosen):
        raise Unavailable(reasons[0])
    return pools, [f"left out {reason}" for reason in reasons]


def _only_size(args: tuple[Any, ...], kw: Mapping[str, Any]) -> int:
    if len(args) != 1 or kw:
        raise ValueError(f"mode='weak' takes one size, from which the work grows, not {len(args) + len(kw)} arguments")
    return as_index(args[0], "size", least=1)


def _about_budget(trials: Sequence[Trial], budget: float | None, asked: int | None, ready: float) -> list[str]:
    """A warning where the budget ended the rounds before there were as many as asked for, or as an interval needs.

    budget: seconds; None where the caller has not given this number.
    """
    wanted = asked or statistics.FEWEST_ROUNDS
    short: dict[int, list[str]] = {}
    for trial in trials:
        if trial.rounds < wanted:
            short.setdefault(trial.rounds, []).append(trial.label)
    if not short:
        return []
    rounds = ", ".join(f"{n} round{'s' * (n > 1)} of {', '.join(labels)}" for n, labels in sorted(short.items()))
    text = f"stopped at the budget{'' if budget is None else f' of {budget:.3g} s'} after {rounds}"
    if min(short) < statistics.FEWEST_ROUNDS <= wanted:
        enough = ready + statistics.FEWEST_ROUNDS * sum(trial.round for trial in trials)
        text += f"; an interval needs {statistics.FEWEST_ROUNDS}, in about {statistics.two_digits(enough * 1.1)} s"
    return [text]


def _check(work: Work) -> None:
    """Raise what is wrong with a work before a worker starts."""
    plan = as_kernel(work.kernel).plan(*work.args, **work.kw)
    for variant in work.variants or ():
        work.kernel.held_to(variant)
    for name in work.on or ():
        backends.named(name)
    check_repeatable(work.kernel, plan)


def _check_apart(works: Sequence[Work]) -> None:
    """ValueError where two works would have points of one configuration: each has a serial run, whatever it is on."""
    known: dict[tuple[object, ...], list[set[str]]] = {}
    for work in works:
        kernel, words = work.kernel, work.in_words()
        size = work.size_of(as_kernel(kernel).plan(*work.args, **work.kw).indices)
        # Of a kernel that is held to no variant any may be measured.
        variants = set(work.variants or ([kernel.variant] if kernel.chosen else kernel.variants))
        others = known.setdefault((kernel.name, size, work.mode, words), [])
        if any(variants & other for other in others):
            raise ValueError(
                f"two works are of {kernel.name} {size:,} with the arguments {words or 'none'}: their results could not"
                " be told apart; give each a size= of its own, or make one work of them"
            )
        others.append(variants)
