"""One sentence of cause, with its evidence and a remedy: why a configuration is not N-fold. Pure functions.

What was reached of what was possible decides whether anything is wrong; the largest avoidable loss of the ledger then
says what (compute.scaling.verdict.causes). Where the evidence does not carry a cause, the verdict says that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from compute.scaling.dataset import Point
from compute.scaling.statistics import MOST_ROUNDS
from compute.scaling.verdict import phrases, program_phrases
from compute.scaling.verdict.causes import (
    CAUSES,
    FIRST_TOUCH,
    INCONCLUSIVE,
    NOISE,
    NONE,
    QUOTA,
    UNKNOWN,
    Loss,
    losses,
)
from compute.scaling.verdict.evidence import NEAR, REFUTED, Evidence
from compute.scaling.words import listed, percent, ratio
from compute.traits import SERIAL

HEALTHY = 0.9  # of what is possible: the rest is within what two quiet machines differ by
LEAST = 0.05  # of the core-seconds: a smaller loss cannot be told from the noise of a run
PLAIN = 0.2  # of the core-seconds: a loss that stands out however wide the interval of the speedup is
BESIDE = 0.5  # of a loss to noise or to nobody knows what: a known one as large as this is worth a look before it
WIDE = 0.3  # of the speedup: an interval from 1.5 to 2 cannot tell a good run from a bad one
NARROW = 0.1  # of the speedup: an interval that can
NEEDS_NO_ROUNDS = NONE, UNKNOWN, NOISE.code, QUOTA.code  # no cause of the program's own: few rounds may say them


@dataclass(frozen=True)
class Verdict:
    """cause, as its code; the sentence; losses: the core-seconds' part that each cause took, the largest first."""

    cause: str
    sentence: str
    losses: Mapping[str, float] = field(default_factory=dict)


class Compared(Protocol):
    """What a headline needs: a Point or Evidence."""

    @property
    def workers(self) -> int: ...
    @property
    def speedup(self) -> float | None: ...
    @property
    def ceiling(self) -> float | None: ...
    @property
    def attainable(self) -> float | None: ...


def headline(compared: Compared) -> str:
    """`1.91× of 2; this machine allows 1.95× → 98 % of attainable`; without what was not measured."""
    speedup, workers = compared.speedup, compared.workers
    if speedup is None:
        return f"{workers} worker{'s' * (workers != 1)}, and no serial run to compare with"
    reached = f"{ratio(speedup)}× of {workers}"
    if not compared.ceiling:
        return f"{reached} → {percent(speedup / workers)}"
    part = compared.attainable if compared.attainable is not None else speedup / compared.ceiling
    return f"{reached}; this machine allows {ratio(compared.ceiling)}× → {percent(part)} of attainable"


def judge_points(points: Iterable[Point]) -> tuple[Point, ...]:
    """The points, each with the cause and the verdict that its evidence carries; as they are where they have none."""
    return tuple(_judge_point(p) for p in points)


def _judge_point(p: Point) -> Point:
    evidence = Evidence.of_point(p)
    if evidence is None:
        return p
    verdict = judge(evidence)
    return replace(p, cause=verdict.cause, verdict=verdict.sentence)


def judge(e: Evidence) -> Verdict:
    """What took most of the gap between this configuration and what was possible."""
    ranked = losses(e)
    by_cause: dict[str, float] = {}
    for loss in ranked:
        by_cause[loss.cause] = by_cause.get(loss.cause, 0.0) + loss.share
    named = _name_cause(e, ranked)
    if _too_wide(e) and named.share < PLAIN and named.cause != NOISE.code:
        named = Loss(INCONCLUSIVE, 0.0, _inconclusive(e))
    if program_phrases.knows_too_few(e) and named.cause not in NEEDS_NO_ROUNDS:
        named = Loss(INCONCLUSIVE, 0.0, program_phrases.too_few(e))
    return Verdict(named.cause, named.sentence, by_cause)


def _name_cause(e: Evidence, ranked: list[Loss]) -> Loss:
    reached = e.reached
    if reached is not None and reached >= HEALTHY:
        return _nothing_wrong(e, reached)
    for cause in CAUSES:
        if cause.settles(e):
            return Loss(cause.code, 1.0, cause.sentence(e))
    most = ranked[0].share if ranked else 0.0
    denied = e.denied / e.workers
    if (
        reached is not None
        and e.roof is not None
        and ((most < LEAST and e.roof < NEAR * e.workers) or (e.held_by_memory and denied >= 2 * most))
    ):  # what is left to win is little beside what the machine itself keeps back
        return _limit(e, f"{percent(reached)} of attainable")
    if most >= LEAST:
        return _first(ranked)
    return Loss(UNKNOWN, 0.0, _unknown(e, ranked))


def _first(ranked: list[Loss]) -> Loss:
    """The largest loss; but noise, and what nothing explains, give way to a cause that stands out beside them."""
    worst = ranked[0]
    if worst.cause not in (NOISE.code, UNKNOWN):
        return worst
    own = (loss for loss in ranked if loss.cause not in (NOISE.code, UNKNOWN))
    plain = (loss for loss in own if loss.share >= max(PLAIN, BESIDE * worst.share))
    return next(plain, worst)


def _nothing_wrong(e: Evidence, reached: float) -> Loss:
    """The program does what can be done; where that is far under N-fold, what of the machine keeps it there."""
    part = percent(reached)
    if e.backend == SERIAL:
        return _fine("serial: what the others are compared with")
    if e.has.whole_program and e.workers == 1:
        return _fine("one worker, which the others are compared with: nothing wrong")
    if e.share("runqueue") >= PLAIN and e.contaminated and e.rounds and 2 * e.contaminated >= e.rounds:
        # Serial waited as well, so that the ratio looks good; the times do not.
        queued = f"queued for a CPU {percent(e.share('runqueue'))} of core-seconds: {phrases.disturbers(e)}"
        return Loss(NOISE.code, 0.0, f"{part} of what a disturbed serial run allows, {queued}; {NOISE.remedy(e)}")
    if e.exceeds and e.alone_off >= PLAIN:  # whether or not anybody was seen to take the CPU
        fold = f"{percent((e.speedup or 0.0) / e.workers)} of {e.workers}-fold"
        return Loss(NOISE.code, 0.0, f"{fold}: {phrases.flattered_by_noise(e)}; {NOISE.remedy(e)}")
    if e.waits and e.workers > 1 and e.speedup is not None and e.speedup >= NEAR * e.workers:
        return _fine(f"{part} of attainable, {phrases.overlapping(e)}: nothing wrong")
    if e.speedup is None:
        return _fine(f"{part} of core-seconds useful: nothing wrong")
    if e.workers == 1:
        return _fine(f"{part} of serial's speed: nothing wrong")
    if e.speedup > REFUTED * e.workers and e.faulting < 0:  # flattered by what serial paid
        fold = f"{percent(e.speedup / e.workers)} of {e.workers}-fold"
        return Loss(FIRST_TOUCH.code, 0.0, f"{fold}: {phrases.flattered(e)}; {FIRST_TOUCH.remedy(e)}")
    if e.roof is None:
        return _fine(f"{part} of {e.workers}-fold: nothing wrong")
    if e.roof >= NEAR * e.workers:
        return _fine(f"{part} of attainable: nothing wrong")
    return _limit(e, f"{part} of attainable")


def _fine(sentence: str) -> Loss:
    return Loss(NONE, 0.0, sentence)


def _limit(e: Evidence, reached: str) -> Loss:
    """The cause that keeps the machine's own ceiling under N-fold."""
    for cause in CAUSES:
        if cause.caps(e):
            return Loss(cause.code, 0.0, f"{reached}, {cause.limit(e)}; {cause.remedy(e)}")
    why = "cores that share hardware, or a lower clock, may be why"
    return _fine(f"{reached}: nothing wrong, but this machine allows only {phrases.allowed(e)}; {why}")


def _unknown(e: Evidence, ranked: list[Loss]) -> str:
    reached = "" if e.reached is None else f"{percent(e.reached)} of what is possible; "
    if not e.ledger:
        return f"{reached}without a ledger, nothing says where the rest went; measure again with one"
    named = [f"{loss.cause} {percent(loss.share)}" for loss in ranked[:2] if loss.cause != UNKNOWN]
    most = f" (most: {listed(named)})" if named else ""
    return f"{reached}no single cause took {percent(LEAST)} of core-seconds{most}"


def _too_wide(e: Evidence) -> bool:
    """Whether the interval of the speedup is wide and holds good values and bad ones."""
    if e.speedup_ci is None or not e.speedup:
        return False
    low, high = e.speedup_ci
    good = HEALTHY * (e.roof or e.workers)
    return high - low > WIDE * e.speedup and low < good <= high


def _inconclusive(e: Evidence) -> str:
    assert e.speedup_ci is not None
    assert e.speedup
    low, high = e.speedup_ci
    # An interval narrows with the root of the rounds.
    times = math.ceil(((high - low) / e.speedup / NARROW) ** 2)
    disturbed = f" ({phrases.disturbers(e)})" if phrases.disturbers(e) else ""
    rounds = f", about {times * e.rounds} rounds," if e.rounds else ""
    remedy = f"a budget {times} times as long{rounds} would narrow it to {percent(NARROW)}"
    if e.rounds and times * e.rounds > MOST_ROUNDS:  # however long the budget
        remedy = "give each run more to do, or measure on a quieter machine"
    return (
        f"the speedup is between {ratio(low)} and {ratio(high)}, too wide to say whether anything is wrong{disturbed}; "
        f"{remedy}"
    )
