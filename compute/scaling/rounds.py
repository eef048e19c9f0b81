"""Rounds: every configuration once a round, in shuffled order, on pools that are open and warm, answers checked first.

What drifts over seconds (clock speed, neighbours, temperature) meets all configurations of a round alike, so it cancels
in their ratio. Source: hyperfine#21 and zenbench for the interleaving, pyperf and Hoefler & Belli for the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import numpy as np

from compute import backends, drawing, machine
from compute.backends.backend import Backend, Pool
from compute.dispatch import as_kernel
from compute.lanes import interrupts
from compute.scaling import ceiling, harness, statistics
from compute.scaling.configurations import Unavailable, about_workers, configurations, limits
from compute.scaling.dataset import Point
from compute.scaling.measure import Trial
from compute.scaling.results import CutShort, Scaling
from compute.scaling.words import listed
from compute.scaling.workload import Pace, Work, check_repeatable, grow_work
from kernels.definition import Kernel, as_index

__all__ = ["Work", "scale", "scale_all"]

ON = ("threads", "processes")
LEFT_OUT = "left out "  # how a warning begins of what could not be measured at all

Progress = Callable[[float, float, str], None]


def scale(
    kernel: Kernel,
    *args: Any,
    on: Sequence[Backend | str] = ON,
    workers: Sequence[int] | None = None,
    variants: Sequence[str] | None = None,
    budget: float | None = None,
    rounds: int | None = None,
    mode: str = "strong",
    pin: bool = True,
    progress: Progress | bool | None = None,
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
    works: Sequence[Work],
    *,
    on: Sequence[Backend | str] = ON,
    workers: Sequence[int] | None = None,
    budget: float | None = None,
    rounds: int | None = None,
    pin: bool = True,
    progress: Progress | bool | None = None,
) -> Scaling:
    """`scale` for several works, on the same pools: all are warmed and checked, then each has its rounds.

    Each work gets one round. The rest of the budget is divided in proportion to what these rounds took, so that all
    works get about as many rounds. CutShort for a Ctrl-C after the first of these rounds.
    """
    budget, most = limits(budget, rounds)
    chosen = configurations(on, workers)
    for work in works:
        _check(work)
    told = drawing.stages(progress)
    trials: list[Trial] = []
    measured: list[Point] = []
    with _keeping_rounds(trials) as cut, told as tell, ExitStack() as stack:
        pools, left_out = _opened(chosen, stack, tell)
        costs = {"timer_resolution": harness.resolution(), "overhead": harness.overhead(pools[0])}
        pace = Pace(budget, len(works) * (most + 1), tell)
        tell(0, 1, "opening the gauges")
        computes = any(work.kernel.bound != "wait" for work in works)
        gauges = stack.enter_context(ceiling.gauges({pool.workers for pool in pools}, pin=pin)) if computes else []
        affordable = budget / len(works) / 2
        trials += [Trial(work, work.configurations(pools), pace, affordable, gauges, pin) for work in works]
        for trial in trials:
            trial.prepare()
        ready = budget - pace.left
        for trial in trials:
            trial.measure(1, np.inf)
        for number, trial in enumerate(trials):
            share = pace.left * trial.round / sum(other.round for other in trials[number:])
            trial.measure(most - 1, share)
        measured += [point for trial in trials for point in trial.make_points()]
        tell(1, 1, "done")
    is_whole = bool(measured)  # else a Ctrl-C came before all was measured, and not only while pools were closed
    warnings = left_out if is_whole else [_about_cut(trials), *left_out]
    if not is_whole:
        trials = [trial for trial in trials if trial.rounds]
        with suppress(KeyboardInterrupt), interrupts.put_off():  # a second Ctrl-C wants what the first one wanted
            measured += [point for trial in trials for point in trial.make_points(probe=False)]
    warnings += about_workers(measured)
    warnings += [text for trial in trials for text in trial.warnings]
    shortest = min(measured, key=lambda p: p.seconds)
    warnings += harness.warn(
        f"{shortest.kernel} · {shortest.variant} · {shortest.backend}",
        shortest.seconds,
        resolution=costs["timer_resolution"],
        overhead=costs["overhead"],
    )
    if is_whole:
        warnings += _about_budget(trials, budget, most if rounds else None, ready)
    conditions = [
        {"kernel": trial.work.kernel.name, "round": number, **met.as_dict()}
        for trial in trials
        for number, met in enumerate(trial.conditions, 1)
    ]
    found = Scaling(
        tuple(measured),
        machine.describe(),
        tuple(dict.fromkeys(warnings)),
        laws=tuple(law for trial in trials for law in trial.laws),
        conditions=tuple(conditions),
        harness=costs,
    )
    if cut:
        raise CutShort(found)
    return found


@contextmanager
def _keeping_rounds(trials: Sequence[Trial]) -> Iterator[list[KeyboardInterrupt]]:
    """End the block at a Ctrl-C, and note it in the list that is given; where no round is finished it is raised."""
    came: list[KeyboardInterrupt] = []
    try:
        yield came
    except KeyboardInterrupt as interrupt:
        if not any(trial.rounds for trial in trials):
            raise
        came.append(interrupt)


def _about_cut(trials: Sequence[Trial]) -> str:
    """`cut short by Ctrl-C after 1–2 rounds, and an interval needs 6; nothing of triad · nogil was measured`"""
    done = sorted(trial.rounds for trial in trials if trial.rounds)
    rounds = f"{done[0]}" if done[0] == done[-1] else f"{done[0]}–{done[-1]}"
    text = f"cut short by Ctrl-C after {rounds} round{'s' * (done[-1] > 1)}"
    if done[0] < statistics.FEWEST_ROUNDS:
        text += f", and an interval needs {statistics.FEWEST_ROUNDS}"
    missing = [trial.label for trial in trials if not trial.rounds]
    return text + (f"; nothing of {listed(missing)} was measured" if missing else "")


def _opened(chosen: Sequence[Backend], stack: ExitStack, tell: Progress) -> tuple[list[Pool], list[str]]:
    """The pools that can be had here, and a warning for each that cannot: no numba, too few threads, no /dev/shm."""
    pools, left_out = [], []
    for backend in chosen:
        tell(0, 1, f"opening {backend!r}")
        try:
            pools.append(stack.enter_context(backend.open()))
        except (ValueError, ImportError, OSError) as error:
            left_out.append(f"{LEFT_OUT}{backend!r}: {error}")
    if len(pools) == 1 < len(chosen):
        raise Unavailable(left_out[0].removeprefix(LEFT_OUT))
    return pools, left_out


def _only_size(args: tuple[Any, ...], kw: Mapping[str, Any]) -> int:
    if len(args) != 1 or kw:
        raise ValueError(f"mode='weak' takes one size, from which the work grows, not {len(args) + len(kw)} arguments")
    return as_index(args[0], "size", least=1)


def _about_budget(trials: Sequence[Trial], budget: float, asked: int | None, ready: float) -> list[str]:
    """A warning where the budget ended the rounds before there were as many as asked for, or as an interval needs."""
    wanted = asked or statistics.FEWEST_ROUNDS
    short: dict[int, list[str]] = {}
    for trial in trials:
        if trial.rounds < wanted:
            short.setdefault(trial.rounds, []).append(trial.label)
    if not short:
        return []
    rounds = ", ".join(f"{n} round{'s' * (n > 1)} of {', '.join(labels)}" for n, labels in sorted(short.items()))
    text = f"stopped at the budget of {budget:.3g} s after {rounds}"
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
