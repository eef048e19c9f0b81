"""Rounds of contenders: in each round every contender once, in shuffled order; ratios are taken within a round.

What drifts over seconds (clock speed, neighbours) meets both sides of a round alike, so it cancels in their ratio.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from compute.scaling import statistics

MOST_ROUNDS = 25  # an interval narrows with the root of the rounds: beyond these the minutes go elsewhere

FEWEST_ROUNDS = statistics.FEWEST_ROUNDS

Better = Literal["time", "rate"]


@dataclass(frozen=True)
class Run:
    """One contender, once: wall seconds, and how much it did in them, in the row's unit."""

    seconds: float
    work: float

    @property
    def rate(self) -> float:
        return self.work / self.seconds


@dataclass(frozen=True)
class Comparison:
    """Two contenders of a group, and the ratio that is to be reached.

    by: "time" is ours / peer of the same work and is to be at most `goal`; "rate" is ours / peer and is to be at least
    that. No goal: for orientation.
    """

    title: str
    ours: str
    peer: str
    by: Better
    goal: float | None

    def ratio(self, runs: dict[str, Run]) -> float:
        """Of one round."""
        ours, peer = runs[self.ours], runs[self.peer]
        return ours.seconds / peer.seconds if self.by == "time" else ours.rate / peer.rate


@dataclass
class Group:
    """Contenders that share their rounds, and what is compared among them.

    A contender is a function that runs once, checks its answer, and returns its Run.
    """

    part: str
    cores: int
    unit: str
    contenders: dict[str, Callable[[], Run]]
    comparisons: Sequence[Comparison]
    rounds: list[dict[str, Run]] = field(default_factory=list)
    once: float = 0.0  # seconds that a round takes, checks included
    settle: float = 0.0  # s before each run, until the threads of the one before have gone to sleep

    def run_once(self) -> dict[str, Run]:
        """One round."""
        began = time.perf_counter()
        runs = {}
        for name in random.sample(list(self.contenders), len(self.contenders)):
            time.sleep(self.settle)
            runs[name] = self.contenders[name]()
        self.once = time.perf_counter() - began
        return runs

    def prepare(self) -> None:
        """Two rounds that do not count: the first compiles, loads and touches, the second says what one takes.

        Of long ones one is enough: what it takes beside its work is little, and known by the next round.
        """
        self.run_once()
        if self.once < 3:
            self.run_once()

    def measure(self, seconds: float, most: int = MOST_ROUNDS) -> None:
        """Rounds for so many seconds; at least one."""
        until = time.perf_counter() + seconds
        while not self.rounds or (len(self.rounds) < most and time.perf_counter() + self.once <= until):
            self.rounds.append(self.run_once())

    def rows(self) -> list[Row]:
        return [row_of(self, comparison) for comparison in self.comparisons]


@dataclass(frozen=True)
class Row:
    """What the rounds say of one comparison: medians, and the 95 % interval of the median ratio (None: too few)."""

    part: str
    title: str
    cores: int
    unit: str
    peer: str
    by: Better
    goal: float | None
    ratio: float
    interval: statistics.Interval | None
    rounds: int
    ours: Run
    theirs: Run

    @property
    def met(self) -> str:
        """Whether the goal is reached: yes or no, and `likely` where the interval holds the goal."""
        if self.goal is None:
            return ""
        reached = self._reaches(self.ratio)
        sure = self.interval is None or all(self._reaches(end) == reached for end in self.interval)
        return ("" if sure else "likely ") + ("yes" if reached else "no")

    def _reaches(self, ratio: float) -> bool:
        assert self.goal is not None
        return ratio <= self.goal if self.by == "time" else ratio >= self.goal


def row_of(group: Group, comparison: Comparison) -> Row:
    """The median of the rounds' own ratios, its interval by ranks, and the median run of each side."""
    ratios = [comparison.ratio(runs) for runs in group.rounds]
    return Row(
        part=group.part,
        title=comparison.title,
        cores=group.cores,
        unit=group.unit,
        peer=comparison.peer,
        by=comparison.by,
        goal=comparison.goal,
        ratio=statistics.median(ratios),
        interval=statistics.median_interval(ratios),
        rounds=len(ratios),
        ours=_median_run(group, comparison.ours),
        theirs=_median_run(group, comparison.peer),
    )


def _median_run(group: Group, name: str) -> Run:
    runs = [runs[name] for runs in group.rounds]
    return Run(statistics.median([run.seconds for run in runs]), runs[0].work)


def shares(seconds: float, once: Sequence[float]) -> list[float]:
    """The seconds cut so that all groups get as many rounds, none more than MOST_ROUNDS of what it needs.

    What a cheap group leaves over is the others'.
    """
    left, open_groups = max(seconds, 0.0), set(range(len(once)))
    given = [0.0] * len(once)
    while open_groups:
        rounds = left / max(sum(once[k] for k in open_groups), 1e-9)
        full = {k for k in open_groups if rounds >= MOST_ROUNDS}
        for k in full or open_groups:
            given[k] = once[k] * min(rounds, MOST_ROUNDS)
            left -= given[k]
        open_groups -= full or open_groups
    return given


class WrongAnswer(AssertionError):
    """Two contenders disagree, so no timing of theirs means anything."""


class Agreement:
    """All contenders give the same answer: the first one's is what the others are held to."""

    def __init__(self, what: str) -> None:
        self.what = what
        self._answer: object = None

    def hold(self, answer: object, name: str) -> None:
        """WrongAnswer where this is not what was given before."""
        if self._answer is None:
            self._answer = answer
        if answer != self._answer:
            raise WrongAnswer(f"{self.what}: {name} says {answer}, and the others {self._answer}")
