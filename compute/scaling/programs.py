"""scale_command(): measure any program, with every worker count once a round, in shuffled order, beside the gauges.

The rules are those of kernels: answers are compared first, nothing that is timed is cold, and everything that is
compared is in the same round. A program has no lanes that record what they did, so it is watched from outside
(compute.program.watching, compute.scaling.program_points).
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import numpy as np

from compute import machine
from compute.drawing import Stages
from compute.lanes import interrupts
from compute.memory import address_space
from compute.program.command import Command, check_program, command
from compute.program.families import Keeper, keeping
from compute.program.run import Finished, ProgramFailed, run
from compute.program.watching import can_watch
from compute.scaling import (
    ceiling,
    collecting,
    configurations,
    derive,
    harness,
    laws,
    noise,
    program_points,
    statistics,
)
from compute.scaling.ceiling import AWAKE, Bound, Ceilings, Gauge
from compute.scaling.formatting import percent, seconds
from compute.scaling.garbage import garbage_set_aside
from compute.scaling.measure import GAUGE_SHARE
from compute.scaling.results import CutShort, Scaling
from compute.scaling.verdict.judgement import judge_points
from compute.scaling.verify import WrongAnswer
from compute.scaling.workload import Pace
from kernels.definition import numba_is_here, where_numba_is

BUDGET = 60.0  # seconds: a program starts anew each time, so its runs are longer than a kernel's
TIMEOUT = 600.0  # seconds: a run that takes longer is taken to hang
STARTS = 11  # of a program that does nothing: their median is right even if five are disturbed
INFLATED = 0.05  # of the core-seconds: with more CPU time than this beyond one worker's, `_try_neighbours` is run
TRIALS = 5  # runs beside either kind of neighbour: medians of fewer scatter by more than memory traffic slows a run
KEPT = 0.25  # of the budget, kept for runs beside neighbours
UNTRIED = "whether memory traffic slows it, beside lanes that stream memory, is not known"
TELLS = 1.05  # times: if the memory gauge slows by less, the experiment cannot separate memory from other causes


def scale_command(
    words: Sequence[str],
    *,
    env: Iterable[str] = (),
    workers: Sequence[int] | None = None,
    budget: float | None = None,
    rounds: int | None = None,
    timeout: float | None = TIMEOUT,
    same_output: bool = False,
    progress: Stages | None = None,
) -> Scaling:
    """Measure how far a program scales: `words`, its name and arguments, with each of these numbers of workers.

    The number is put in place of `{workers}` in every word, and into the variables of env: `NAME`, or `NAME=VALUE` with
    `{workers}` in the value. One worker is always measured: it is what the others are compared with.

    budget: seconds (60 where rounds is left out too). One full round is always measured. rounds: how many at most.
    timeout: seconds that one run may take. same_output: whether what it prints has to be the same with every count.
    progress: as for `scale`.
    ValueError before anything is started; ProgramFailed where a run fails or takes too long, WrongAnswer where what it
    prints differs: nothing is timed further. CutShort at a Ctrl-C, with what was measured; then, and at every error,
    all that the program has started is ended. Other threads must not start processes meanwhile.
    """
    program = command(words, env)
    counts = sorted({1, *_checked(workers)})
    check_program(program, counts)
    budget, most = configurations.limits(BUDGET if budget is None and rounds is None else budget, rounds)
    tell = progress or (lambda done, total, label: None)
    with ExitStack() as stack:
        keeper = stack.enter_context(keeping())
        tell(0, 1, "opening the gauges")
        gauges = stack.enter_context(ceiling.gauges({1, *counts}))
        trial = _ProgramTrial(program, counts, Pace(budget, most + 1, tell), gauges, keeper, timeout)
        start = trial.start_seconds()
        trial.check(same_output)
        trial.measure(most)
        try:
            with interrupts.put_off():
                scaling = trial.as_scaling(start, most if rounds else None)
        except KeyboardInterrupt:  # a second one changes nothing
            trial.is_cut = True
    tell(1, 1, "done")
    if trial.is_cut:
        raise CutShort(scaling)
    return scaling


def _checked(workers: Sequence[int] | None) -> Sequence[int]:
    if workers is None:
        return configurations.worker_counts()
    for count in workers:
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise ValueError(f"workers must be whole numbers from 1 on, not {count!r}")
    return workers


@dataclass(frozen=True)
class _Round:
    """What a full round gave: a run by worker count, a rate by gauge."""

    runs: Mapping[int, Finished]
    rates: Mapping[tuple[Bound, int], float]


@dataclass
class _ProgramTrial:
    """One program with every worker count: `check`, `measure`, then `as_scaling`."""

    command: Command
    counts: Sequence[int]
    pace: Pace
    gauges: Sequence[Gauge]
    keeper: Keeper
    timeout: float | None
    rounds: list[_Round] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    is_cut: bool = False  # whether a Ctrl-C ended it after a round
    beside: float | None = None  # as program_points.make_point has it
    share: float | None = None
    _quickest: float = 0.0
    _latest: float = 0.0
    _shuffle: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def _run(self, workers: int, keep_output: bool = False) -> Finished:
        return run(self.command, workers, keeper=self.keeper, timeout=self.timeout, keep_output=keep_output)

    def start_seconds(self) -> float:
        """What it takes to start a program that does nothing, and to notice its end."""
        nothing = [shutil.which("true")] if shutil.which("true") else [sys.executable, "-S", "-E", "-c", ""]
        empty = Command(tuple(map(str, nothing)))
        return statistics.median([run(empty, 1, keeper=self.keeper).seconds for _ in range(STARTS)])

    def check(self, same_output: bool) -> None:
        """Run it once with each count, the most workers first; compare what it prints where that is asked for."""
        runs: dict[int, Finished] = {}
        for count in reversed(self.counts):
            self.pace.say(f"{self.command.name} · {count} · checking")
            runs[count] = self._run(count, keep_output=same_output)
        self._quickest = min(finished.seconds for finished in runs.values())
        self.pace.step()
        if same_output:
            self._compare({count: finished.printed for count, finished in runs.items() if finished.printed})

    def _compare(self, printed: dict[int, tuple[int, str]]) -> None:
        first = printed[1]
        for count, other in sorted(printed.items()):
            if other != first:
                sizes = f"{other[0]:,} bytes, not {first[0]:,}"
                if other[0] == first[0]:
                    sizes = f"{other[0]:,} bytes both times, with other contents"
                raise WrongAnswer(f"{self.command.line_at(count)} does not print what it prints with 1 worker: {sizes}")
        if not first[0]:
            self.warnings.append("it printed nothing, so that --same-output had nothing to compare")

    def measure(self, most: int) -> None:
        """Measure rounds within the budget; meanwhile, where it needs more CPU with more workers, see what slows it.

        A Ctrl-C after a round ends it, and is noted in `is_cut`. Before that it is raised.
        """
        widest = max(count for count in self.counts if count <= machine.usable_cpus())  # with a CPU for each
        self._log = noise.RoundLog()
        try:
            with garbage_set_aside():
                self._more_rounds(most, KEPT * self.pace.budget if np.isfinite(self.pace.budget) else 0.0)
                if self._is_inflated(widest):
                    self._try_neighbours(widest)
                self._more_rounds(most, 0.0)
        except KeyboardInterrupt:
            if not self.rounds:
                raise
            self.is_cut = True
            self.warnings.append(f"cut short by Ctrl-C after {_rounds(len(self.rounds))}")

    def _more_rounds(self, most: int, kept: float) -> None:
        """Full rounds, as long as there are `kept` seconds of the budget left."""
        while len(self.rounds) < most and (not self.rounds or self.pace.left - kept > self._latest):
            began = time.perf_counter()
            everybody: list[int | Gauge] = [*self.counts, *self.gauges]
            runs, rates = {}, {}
            for turn in (everybody[k] for k in self._shuffle.permutation(len(everybody))):
                if isinstance(turn, Gauge):
                    turn.run(AWAKE)
                    rates[turn.key] = turn.run(self._quickest * GAUGE_SHARE)
                else:
                    self.pace.say(f"{self.command.name} · {turn}")
                    runs[turn] = self._run(turn)
            with interrupts.put_off():  # a round is there with what it met, or not at all
                self.rounds.append(_Round(runs, rates))
                self._log.round_over(sum(finished.uncharged for finished in runs.values()))
            self._latest = time.perf_counter() - began
            self.pace.step()

    def _runs(self, count: int) -> list[Finished]:
        return [round_.runs[count] for round_ in self.rounds]

    @property
    def _ceilings(self) -> Ceilings:
        rates = {gauge.key: [round_.rates[gauge.key] for round_ in self.rounds] for gauge in self.gauges}
        return Ceilings(rates, len(machine.allowed_cpus()))

    def _is_inflated(self, widest: int) -> bool:
        return widest > 1 and program_points.inflated(widest, self._runs(widest), self._runs(1)) >= INFLATED

    def _try_neighbours(self, widest: int) -> None:
        """Run it with one worker beside lanes that stream memory, and beside lanes that compute, in turns.

        Both take the same CPUs and the same clock speed from it, so what the former cost it more is memory. A program
        that does nothing but stream would be slowed as much as the gauge is. If the experiment fails, because the
        program does or no time is left, the points say nothing of memory, and a warning says so.
        """
        gauge = self._ceilings.speedup("memory", widest)
        if not gauge or widest / gauge < TELLS:
            return
        took: dict[Bound, list[float]] = {"memory": [], "compute": []}
        with ceiling.gauges({widest - 1}) as opened:
            neighbours = {gauge.bound: gauge for gauge in opened if gauge.pool.workers == widest - 1}
            longest = 2 * max(finished.seconds for finished in self._runs(1))
            try:
                while len(took["memory"]) < TRIALS and self.pace.left > 2 * longest:
                    for bound, times in took.items():
                        self.pace.say(f"{self.command.name} · 1 · beside lanes of {bound}")
                        with _busy(neighbours[bound]):
                            times.append(self._run(1).seconds)
            except (ProgramFailed, _NeighboursFailed) as error:
                self.warnings.append(f"{UNTRIED}: {error}")
                return
        if not took["memory"]:
            self.warnings.append(f"{UNTRIED}: no time was left for that; give it a longer --budget")
            return
        self.beside = statistics.median(took["memory"]) / statistics.median(took["compute"])
        self.share = min(max((self.beside - 1) / (widest / gauge - 1), 0.0), 1.0)

    def as_scaling(self, start: float, asked: int | None) -> Scaling:
        """The points and all that goes with them. start: seconds that starting a program takes. asked: rounds."""
        ceilings, conditions = self._ceilings, self._log.conditions()[: len(self.rounds)]
        made = [
            program_points.make_point(
                self.command, count, self._runs(count), self._runs(1), ceilings, self.beside, self.share
            )
            for count in self.counts
        ]
        points = derive.compare_points(made)
        points = collecting.collect_evidence(points, None, ceilings, conditions)
        usable = machine.usable_cpus()
        about = {"size": None, "mode": "strong", "arguments": self.command.line, "variants": [self.command.told_by]}
        fitted = laws.fit_laws(points, cpus=usable, roof=ceilings.roof("memory"))
        return Scaling(
            judge_points(points),
            machine.describe(),
            (*configurations.about_workers(points), *self.warnings, *self._about_times(start, asked)),
            laws=fitted,
            conditions=tuple(
                {"kernel": self.command.name, **about, "round": number, **met.as_dict()}
                for number, met in enumerate(conditions, 1)
            ),
            harness={"timer_resolution": harness.resolution(), "overhead": start} | self._watching(),
        )

    def _watching(self) -> dict[str, float]:
        """What looking at the program's processes took, in CPUs."""
        watched = [finished for round_ in self.rounds for finished in round_.runs.values() if finished.watched]
        whole = sum(finished.seconds for finished in watched)
        cost = sum(finished.watched.cost for finished in watched if finished.watched)
        return {"watching": cost / whole} if whole else {}

    def _about_times(self, start: float, asked: int | None) -> Iterator[str]:
        """What a reader must know of the times: too short, too few, or with less seen than elsewhere."""
        shortest = min(statistics.median([finished.seconds for finished in self._runs(count)]) for count in self.counts)
        if start > harness.MOST_OVERHEAD * shortest:
            yield (
                f"start-up dominates: starting a program that does nothing takes {seconds(start)}, "
                f"{percent(min(start / shortest, 1.0))} of {seconds(shortest)}; give it a task that takes"
                f" {seconds(start / harness.MOST_OVERHEAD)} or longer"
            )
        wanted = asked or statistics.FEWEST_ROUNDS
        if len(self.rounds) < wanted and not self.is_cut:
            enough = statistics.two_digits(1.1 * (statistics.FEWEST_ROUNDS + 1) * self._latest)
            yield (
                f"stopped at the budget of {self.pace.budget:.3g} s after {_rounds(len(self.rounds))};"
                f" an interval needs {statistics.FEWEST_ROUNDS}, in about {enough} s"
            )
        if not numba_is_here():
            yield f"numba's compiler is {where_numba_is()}: what this machine allows is not measured"
        if not can_watch():
            yield (
                "this system has no /proc that tells of threads: how long they waited for a CPU, and how many were at"
                " work, is not known; user and system CPU, faults and switches are"
            )
        if not self.keeper.adopts:
            yield "this system hands no orphans over: processes that leave their parent are not counted, nor ended"


def _rounds(count: int) -> str:
    return f"{count} round{'s' * (count != 1)}"


class _NeighboursFailed(RuntimeError):
    """The lanes beside a program did not run, so its time says nothing about them."""


@contextmanager
def _busy(gauge: Gauge) -> Iterator[None]:
    """Keep the lanes of a gauge running within the block. _NeighboursFailed at its end if they did not."""
    over, at_work = threading.Event(), threading.Event()
    errors: list[Exception] = []

    def work() -> None:
        try:
            while not over.is_set():
                gauge.run()
                at_work.set()
        except Exception as error:
            errors.append(error)
        finally:
            at_work.set()

    worker = threading.Thread(target=work)
    try:
        address_space.start(worker)
        at_work.wait()
        yield
    finally:
        over.set()
        if worker.ident is not None:
            worker.join()
    if errors:
        raise _NeighboursFailed(f"the lanes of {gauge.bound} beside it failed: {errors[0]!r}") from errors[0]
