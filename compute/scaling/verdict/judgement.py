"""`judge`: why a configuration is not N-fold, as a cause, a sentence with its figures, and a remedy. Pure functions.

How much was reached of what was possible decides whether anything is wrong. If something is, the largest avoidable loss
of the ledger says what (compute.scaling.verdict.causes). Where the evidence is not enough, the verdict says that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from compute.scaling.dataset import REFUTED, Point, is_refuted
from compute.scaling.formatting import listed, percent, ratio
from compute.scaling.statistics import MOST_ROUNDS
from compute.scaling.verdict import phrases, program_phrases
from compute.scaling.verdict.causes import (
    CAUSES,
    FIRST_TOUCH,
    INCONCLUSIVE,
    NOISE,
    NONE,
    UNKNOWN,
    Loss,
    losses,
    name_of,
)
from compute.scaling.verdict.evidence import NEAR, Evidence
from compute.traits import SERIAL

HEALTHY = 0.9  # of what is possible: the rest is within what two quiet machines differ by
LEAST = 0.05  # of the core-seconds: a smaller loss cannot be told from the noise of a run
STANDS_OUT = 0.2  # of the core-seconds: a loss that stands out however wide the interval of the speedup is
BESIDE = 0.5  # of a loss to noise, or of an unexplained one: a known cause of at least this part is named instead
WIDE = 0.3  # of the speedup: an interval as wide as from 1.5 to 2 cannot tell a good run from a bad one
NARROW = 0.1  # of the speedup: an interval of this width can
NO_SINGLE = "no single cause"


@dataclass(frozen=True)
class Verdict:
    """What keeps a configuration from N-fold, or that nothing does.

    cause:   its code. name: the same for a reader, without figures. is_fine: whether nothing does.
    finding: what was found, with its figures. remedy: what to do about it, "" where nothing is known.
    opening: how much of what is attainable was reached, `98 % of attainable`, where the finding goes on from that.
    share:   the part of the core-seconds that the cause took; None where that is not the measure, or not known.
    ceiling: the speedup to which the cause holds the machine itself; None where it does not.
    losses:  the parts of the core-seconds by the cause that took each, the largest first.
    """

    cause: str
    finding: str
    remedy: str = ""
    opening: str = ""
    name: str = ""
    is_fine: bool = False
    share: float | None = None
    ceiling: float | None = None
    losses: Mapping[str, float] = field(default_factory=dict)

    @property
    def rest(self) -> str:
        """The sentence behind its opening."""
        return "; ".join(filter(None, [self.finding, self.remedy]))

    @property
    def sentence(self) -> str:
        return self.opening + self.rest


class HasSpeedup(Protocol):
    """What a headline is made of: a Point, or Evidence."""

    @property
    def workers(self) -> int: ...
    @property
    def speedup(self) -> float | None: ...
    @property
    def ceiling(self) -> float | None: ...
    @property
    def attainable(self) -> float | None: ...


def headline(compared: HasSpeedup) -> str:
    """`1.91× of 2; this machine allows 1.95× → 98 % of attainable`; without what was not measured."""
    speedup, workers = compared.speedup, compared.workers
    if speedup is None:
        return f"{workers} worker{'s' * (workers != 1)}, and no serial run to compare with"
    reached = f"{ratio(speedup)}× of {workers}"
    if not compared.ceiling:
        return f"{reached} → {percent(speedup / workers)}"
    if is_refuted(compared.ceiling, speedup):
        worse = f"this machine allowed {ratio(compared.ceiling)}×, asked at a worse moment"
        return f"{reached}; {worse} → {percent(speedup / workers)} of {workers}-fold"
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
    """The verdict: what took most of the gap between this configuration and what was possible."""
    ranked = losses(e)
    by_cause: dict[str, float] = {}
    for loss in ranked:
        by_cause[loss.cause.code] = by_cause.get(loss.cause.code, 0.0) + loss.share
    is_healthy = e.reached is not None and e.reached >= HEALTHY
    settled = None if is_healthy else _settled(e)
    verdict = _nothing_wrong(e) if is_healthy else settled or _name_loss(e, ranked)
    verdict = _doubt(e, verdict, is_certain=settled is not None) or verdict
    if verdict.share is None and verdict.cause != UNKNOWN:
        verdict = replace(verdict, share=by_cause.get(verdict.cause))
    if _caps(e, verdict):
        verdict = replace(verdict, share=None, ceiling=e.roof)
    return replace(verdict, name=verdict.name or name_of(verdict.cause), losses=by_cause)


def _caps(e: Evidence, verdict: Verdict) -> bool:
    """Whether the named cause holds the machine's own ceiling under N-fold."""
    if e.roof is None or e.roof >= NEAR * e.workers or verdict.is_fine:
        return False
    return verdict.cause == NONE or any(cause.code == verdict.cause and cause.caps(e) for cause in CAUSES)


def _doubt(e: Evidence, verdict: Verdict, is_certain: bool) -> Verdict | None:
    """That nothing can be said, where the rounds are too few or too different for this verdict; else None.

    is_certain: whether it holds whatever the speedup is.
    """
    stands_out = is_certain or (verdict.share or 0.0) >= STANDS_OUT or verdict.cause == NOISE.code
    is_wide = not stands_out and _is_too_wide(e)
    needs_rounds = any(cause.code == verdict.cause and cause.needs_rounds for cause in CAUSES)
    if (is_wide or needs_rounds) and program_phrases.knows_too_few(e):
        return Verdict(INCONCLUSIVE, program_phrases.too_few(e), program_phrases.more_rounds(e))
    return _inconclusive(e) if is_wide else None


def _settled(e: Evidence) -> Verdict | None:
    """The cause that keeps it from N-fold whatever the ledger looks like."""
    cause = next((cause for cause in CAUSES if cause.settles(e)), None)
    return None if cause is None else Verdict(cause.code, cause.phrase(e), cause.remedy(e), name=cause.name)


def _name_loss(e: Evidence, ranked: list[Loss]) -> Verdict:
    most = ranked[0].share if ranked else 0.0
    denied = e.cores_denied / e.workers
    if (
        e.reached is not None
        and e.roof is not None
        and ((most < LEAST and e.roof < NEAR * e.workers) or (e.limited_by_memory and denied >= 2 * most))
    ):  # little can be won beside what the machine itself denies
        return _limit(e)
    if most < LEAST:
        return _unknown(e, ranked)
    loss = _first(ranked)
    return Verdict(loss.cause.code, loss.cause.phrase(e), loss.cause.remedy(e), name=loss.cause.name, share=loss.share)


def _first(ranked: list[Loss]) -> Loss:
    """The largest loss. If that is noise or unexplained, a known cause that stands out is named instead of it."""
    worst = ranked[0]
    if worst.cause.code not in (NOISE.code, UNKNOWN):
        return worst
    own = (loss for loss in ranked if loss.cause.code not in (NOISE.code, UNKNOWN))
    plain = (loss for loss in own if loss.share >= max(STANDS_OUT, BESIDE * worst.share))
    return next(plain, worst)


def _nothing_wrong(e: Evidence) -> Verdict:
    """Of a configuration that reached what was possible: that, or what keeps the machine far under N-fold."""
    part = percent(e.reached)
    if e.backend == SERIAL:
        return _fine("serial: what the others are compared with")
    if e.has.whole_program and e.workers == 1:
        return _fine("one worker, which the others are compared with: nothing wrong")
    if e.share("runqueue") >= STANDS_OUT and e.contaminated and e.rounds and 2 * e.contaminated >= e.rounds:
        # The serial run waited, too. So the ratio looks good, and the times do not.
        queued = f"queued for a CPU {percent(e.share('runqueue'))} of core-seconds: {phrases.disturbers(e)}"
        return Verdict(NOISE.code, f"{part} of what a disturbed serial run allows, {queued}", NOISE.remedy(e))
    if e.exceeds and e.alone_off >= STANDS_OUT:  # whether or not anybody was seen to take the CPU
        fold = f"{percent((e.speedup or 0.0) / e.workers)} of {e.workers}-fold"
        return Verdict(NOISE.code, f"{fold}: {phrases.flattered_by_noise(e)}", NOISE.remedy(e))
    if e.waits and e.workers > 1 and e.speedup is not None and e.speedup >= NEAR * e.workers:
        return _fine(f"{part} of attainable, {phrases.overlapping(e)}: nothing wrong")
    if e.speedup is None:
        return _fine(f"{part} of core-seconds useful: nothing wrong")
    if e.workers == 1:
        return _fine(f"{part} of serial's speed: nothing wrong")
    if e.speedup > REFUTED * e.workers and e.faulting < 0:  # flattered by what serial paid
        fold = f"{percent(e.speedup / e.workers)} of {e.workers}-fold"
        return Verdict(FIRST_TOUCH.code, f"{fold}: {phrases.flattered(e)}", FIRST_TOUCH.remedy(e))
    if e.roof is None:
        return _fine(f"{part} of {e.workers}-fold: nothing wrong")
    if e.roof >= NEAR * e.workers:
        return _fine(f"{part} of attainable: nothing wrong")
    return _limit(e)


def _fine(finding: str) -> Verdict:
    return Verdict(NONE, finding, is_fine=True)


def _limit(e: Evidence) -> Verdict:
    """The cause that keeps the machine's own ceiling under N-fold."""
    opening = f"{percent(e.reached)} of attainable"
    for cause in CAUSES:
        if cause.caps(e):
            return Verdict(cause.code, f", {cause.limit(e)}", cause.remedy(e), opening, cause.name)
    why = "cores that share hardware, or a lower clock, may be why"
    return Verdict(NONE, f": nothing wrong, but this machine allows only {phrases.allowed(e)}", why, opening)


def _unknown(e: Evidence, ranked: list[Loss]) -> Verdict:
    reached = "" if e.reached is None else f"{percent(e.reached)} of what is possible; "
    if not e.ledger:
        unseen = "without a ledger, nothing says where the rest went"
        return Verdict(UNKNOWN, reached + unseen, "measure again with one", name=unseen)
    named = [f"{loss.cause.code} {percent(loss.share)}" for loss in ranked[:2] if loss.cause.code != UNKNOWN]
    most = f" (most: {listed(named)})" if named else ""
    return Verdict(UNKNOWN, f"{reached}{NO_SINGLE} took {percent(LEAST)} of core-seconds{most}", name=NO_SINGLE)


def _is_too_wide(e: Evidence) -> bool:
    """Whether the interval of the speedup is wide and holds good values and bad ones."""
    if e.speedup_ci is None or not e.speedup:
        return False
    low, high = e.speedup_ci
    good = HEALTHY * (e.roof or e.workers)
    return high - low > WIDE * e.speedup and low < good <= high


def _inconclusive(e: Evidence) -> Verdict:
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
    finding = f"the speedup is between {ratio(low)} and {ratio(high)}, too wide to say whether anything is wrong"
    return Verdict(INCONCLUSIVE, finding + disturbed, remedy)
