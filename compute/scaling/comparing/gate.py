"""Whether the second of two files is a regression: fine, a regression, or inconclusive. Never fine for want of data.

A point is slower where its interval says so beyond doubt and the slowdown is more than what is allowed. It is fine
where the interval excludes a larger slowdown. Everything else is inconclusive. Both claims are held to a level:

- Of all comparisons of a program with itself, at most FALSE_ALARMS say that some point is slower, however many points
  there are: each of m is tested at the m-th part of that (Bonferroni).
- Where many rounds of a file were disturbed from outside, samples are not independent, and no interval knows that. A
  ratio then counts as far as it exceeds what the disturbance may explain.
- That a point is fine is claimed at the interval's own level. The whole is fine only where every point is, so the
  slowdown of one point is overlooked no more often than that (Berger, Technometrics 24, 1982).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from compute.scaling import statistics
from compute.scaling.comparing import reached
from compute.scaling.comparing.pairs import Pair
from compute.scaling.dataset import Dataset, Point, is_refuted
from compute.scaling.derive import Baselines
from compute.scaling.formatting import listed
from compute.scaling.statistics import MOST_ROUNDS, Interval

Outcome = Literal["fine", "regression", "inconclusive"]
Test = Literal["time", "efficiency", "attainable"]
Doubt = Literal["alone", "few", "disturbed", "near", "refuted"]

FALSE_ALARMS = 0.025  # of all comparisons of a program with itself, at most: the upper tail of a 95 % interval
SLOWDOWN = 0.05  # what is allowed where nobody says: less is within what two runs on one machine differ by
MANY = 0.25  # of the rounds: if fewer were disturbed, the ratio of medians hardly changes
UNTESTED = "no point of the second file can have an efficiency; measure with 2 workers or more"
ALONE = "all runs and the quickest ones disagree, and they were not interleaved; measure again, or with nfold scale"
ONE_SIDED = "only one file has controls, so nobody knows whether the machine has changed; measure both in the same way"
UNREPEATED = 0.1  # two processes of one program differ by up to this on a busy machine, however many runs each made
ONE_PROCESS = (
    f"runs of one process a file, not interleaved, do not tell a change of less than {UNREPEATED:.0%} from chance;"
    " measure with nfold scale"
)
SPARE = 1.2  # times: others also slow all runs alike, by using caches and memory, which no difference of runs shows
DRIFTED = 0.5  # of the allowed slowdown: if the controls differ by more, the machine itself may have changed


@dataclass(frozen=True)
class Limits:
    """What is asked of the second file.

    slowdown:    by how much longer a run may take, 0.05 for 5 %.
    efficiency:  what its points must reach of N; None asks for nothing.
    attainable:  what they must reach of the ceiling; None asks for nothing.
    by_controls: whether the ratios are divided by those of the controls, which says what the machines' speeds leave.
    new:         whether a point that only the second file has is fine.
    """

    slowdown: float = SLOWDOWN
    efficiency: float | None = None
    attainable: float | None = None
    by_controls: bool = False
    new: bool = False


@dataclass(frozen=True)
class PairFinding:
    """What one test of one pair found.

    pair:     None where no point could be tested at all.
    value, interval: of the ratio or the efficiency.
    reason:   why it is inconclusive.
    rounds:   how many would tell, as the interval narrows with their square root; None where more would not help.
    """

    pair: Pair | None
    test: Test
    outcome: Outcome
    value: float | None = None
    interval: Interval | None = None
    reason: str | None = None
    rounds: int | None = None


@dataclass(frozen=True)
class CheckResult:
    """All findings, and their outcome: a regression if one is, else inconclusive if one is, else fine."""

    limits: Limits
    findings: tuple[PairFinding, ...]

    @property
    def outcome(self) -> Outcome:
        outcomes = {finding.outcome for finding in self.findings}
        if "regression" in outcomes:
            return "regression"
        return "fine" if outcomes == {"fine"} else "inconclusive"

    def of(self, outcome: Outcome) -> list[PairFinding]:
        """The findings with that outcome."""
        return [finding for finding in self.findings if finding.outcome == outcome]


def judge_pairs(pairs: Sequence[Pair], after: Dataset, limits: Limits) -> CheckResult:
    """The judgement of all pairs; after: the second file, for the baselines that its efficiencies need."""
    asked: dict[Test, float | None] = {"efficiency": limits.efficiency, "attainable": limits.attainable}
    reaching = [test for test, least in asked.items() if least is not None]
    baselines = Baselines(after.points)
    judged = [pair for pair in pairs if pair.after is not None and reached.is_judged(pair.after, baselines)]
    level = level_of(sum(pair.problem is None for pair in pairs) + len(judged) * len(reaching))
    findings = [_time(pair, limits, level) for pair in pairs]
    for test in reaching:
        findings += [_reaches(pair, baselines, test, limits, level) for pair in judged]
        findings += [PairFinding(pair, test, "inconclusive", reason=UNTESTED) for pair in _untested(pairs, judged)]
    return CheckResult(limits, tuple(findings))


def _untested(pairs: Sequence[Pair], judged: Sequence[Pair]) -> list[Pair] | list[None]:
    """One pair of each kernel that nfold measured and of which no point was judged; None where none was at all."""
    if not judged:
        return [None]
    tested = {pair.point.title for pair in judged}
    own = [pair for pair in pairs if pair.after is not None and pair.after.mode is not None]
    return list({pair.point.title: pair for pair in own if pair.point.title not in tested}.values())


def level_of(tests: int) -> float:
    """The level at which this many tests together raise a false alarm in at most FALSE_ALARMS of cases."""
    return 1 - 2 * FALSE_ALARMS / max(tests, 1)


def _time(pair: Pair, limits: Limits, level: float) -> PairFinding:
    if pair.before is None and limits.new:
        return PairFinding(pair, "time", "fine", reason="it is new")
    if pair.problem is not None:
        return PairFinding(pair, "time", "inconclusive", pair.ratio, reason=pair.problem)
    if limits.by_controls:
        if pair.expected is None:
            return PairFinding(pair, "time", "inconclusive", pair.ratio, pair.interval, _no_controls(pair))
        return _slower(pair, limits.slowdown, level, by_controls=True)
    assert pair.before is not None
    assert pair.after is not None
    both_ours = None not in (pair.before.mode, pair.after.mode)  # others have no controls at all
    if both_ours and bool(pair.before.controls) != bool(pair.after.controls):
        return PairFinding(pair, "time", "inconclusive", pair.ratio, pair.interval, ONE_SIDED)
    raw = _slower(pair, limits.slowdown, level, by_controls=False)
    # Where the machine was faster or slower than before, only what holds with and without that is believed.
    if pair.expected is None or not drifted(pair.expected, limits.slowdown):
        return raw
    if _slower(pair, limits.slowdown, level, by_controls=True).outcome == raw.outcome:
        return raw
    by = pair.expected[0] - 1
    reason = (
        f"the controls took {abs(by):.0%} {'longer' if by > 0 else 'less'} as well, so the machine itself has changed;"
        " measure both again, side by side, or scale by the controls"
    )
    return PairFinding(pair, "time", "inconclusive", pair.ratio, pair.interval, reason)


def _slower(pair: Pair, allowed: float, level: float, by_controls: bool) -> PairFinding:
    ratio, interval = (pair.scaled or (None, None)) if by_controls else (pair.ratio, pair.interval)
    assert pair.before is not None
    assert pair.after is not None
    assert ratio is not None
    assert interval is not None
    strict = pair.at(level, by_controls)
    most = 1 + allowed
    earlier, later = disturbance(pair.before), disturbance(pair.after)
    slower = ratio > most and strict is not None and strict[0] > 1
    quickest = None if by_controls else _quickest(pair)
    if quickest is not None and ((slower and quickest <= most) or (interval[1] <= most < quickest)):
        return PairFinding(pair, "time", "inconclusive", ratio, interval, ALONE)
    if slower and not by_controls and not exceeds_chance(pair):
        return PairFinding(pair, "time", "inconclusive", ratio, interval, ONE_PROCESS)
    if slower:
        if ratio > most * max(earlier, later):
            return PairFinding(pair, "time", "regression", ratio, interval)
        return PairFinding(pair, "time", "inconclusive", ratio, interval, _disturbed(pair))
    if interval[1] <= most:
        if interval[1] * earlier <= most:
            return PairFinding(pair, "time", "fine", ratio, interval)
        return PairFinding(pair, "time", "inconclusive", ratio, interval, _disturbed(pair))
    rounds = _enough(min(len(pair.before.samples), len(pair.after.samples)), ratio, interval, most)
    reason = "the interval excludes neither a slowdown that is allowed nor a larger one"
    return PairFinding(pair, "time", "inconclusive", ratio, interval, reason, rounds)


def _enough(rounds: int, ratio: float, interval: Interval, most: float) -> int | None:
    """How many rounds would tell; None where it would take more than MOST_ROUNDS, as for a ratio at the limit."""
    gap = math.log(most / ratio) if ratio <= most else math.log(ratio)
    width = math.log(interval[1] / interval[0]) / 2
    # The strict interval, of all points together, is about half as wide again.
    needed = math.ceil(rounds * (1.5 * width / gap) ** 2) if gap > 0 else math.inf
    return max(int(needed), rounds + 1) if needed <= MOST_ROUNDS else None


def is_interleaved(pair: Pair) -> bool:
    """Whether both files ran their configurations in turn, as nfold does. Only such points name their mode."""
    return all(p is not None and p.mode is not None for p in (pair.before, pair.after))


def exceeds_chance(pair: Pair) -> bool:
    """Whether a change is larger than the difference of two processes of one program, in the quickest runs and in all.

    Runs that were not interleaved are of one process and one moment. However narrow their interval, it does not contain
    what differs from one process to the next.
    """
    if is_interleaved(pair):
        return True
    quickest = _quickest(pair)
    if pair.ratio is None or quickest is None:
        return False
    both = (pair.ratio, quickest)
    return min(both) > 1 + UNREPEATED or max(both) < 1 / (1 + UNREPEATED)


def _quickest(pair: Pair) -> float | None:
    """The ratio of the quickest runs where a file did not interleave its configurations; None where both did.

    Each configuration then had a second or so for itself. What went on in that second is in all of its samples but the
    quickest.
    """
    assert pair.before is not None
    assert pair.after is not None
    if is_interleaved(pair):
        return None
    return min(pair.after.samples) / min(pair.before.samples)


def disturbance(p: Point) -> float:
    """How many times as long its runs may have taken because of what others did meanwhile; 1 where that was rare."""
    if not p.contaminated or p.contaminated <= MANY * len(p.samples):
        return 1.0
    known = p.evidence or {}
    cpus, others, steal = known.get("cpus"), known.get("others") or 0.0, known.get("steal") or 0.0
    left = (1 - others / cpus if cpus else 1.0) * (1 - steal)
    waits = known.get("waits") or 0.0  # other programs on the machine make no wait longer
    most = waits + (1 - waits) / left if left > 0 else math.inf
    if p.cpu_per_wall:  # lanes that had a CPU all the time, in runs that hardly differ, were delayed by less
        most = min(most, SPARE * statistics.median(p.samples) / min(p.samples) / p.cpu_per_wall)
    return max(1.0, most)


def _disturbed(pair: Pair) -> str:
    points = {"the first file's": pair.before, "the second file's": pair.after}
    counts = [
        f"{p.contaminated} of {which} {len(p.samples)}" for which, p in points.items() if p and disturbance(p) > 1
    ]
    return f"others disturbed {listed(counts)} rounds, which may explain it; measure on a quiet machine"


def drifted(expected: tuple[float, Interval], allowed: float) -> bool:
    """Whether the controls themselves changed, beyond doubt, by enough to matter here."""
    ratio, (low, high) = expected
    return not low <= 1 <= high and abs(ratio - 1) > DRIFTED * allowed


def _no_controls(pair: Pair) -> str:
    lacking = [
        which for which, p in (("first", pair.before), ("second", pair.after)) if p is not None and not p.controls
    ]
    files = f"the {' and the '.join(lacking)} file" if lacking else "a file"
    return f"{files} has no controls of this kind with an interval; measure again with this version"


def _reaches(pair: Pair, baselines: Baselines, test: Test, limits: Limits, level: float) -> PairFinding:
    """Whether the second file's point reaches what is asked of its efficiency."""
    p = pair.after
    assert p is not None
    least = limits.efficiency if test == "efficiency" else limits.attainable
    whole = p.workers if test == "efficiency" else p.ceiling
    assert least is not None
    if not whole:
        return PairFinding(pair, test, "inconclusive", reason="the second file has no ceiling of it")
    share = share_reached(p, baselines, whole, least, level)
    did = "flattered" if share.value is not None and share.value >= least else "slowed"
    reasons: dict[Doubt | None, str | None] = {
        None: None,
        "alone": "the second file holds no serial run of it to compare with",
        "few": _few(p),
        "disturbed": f"others disturbed {p.contaminated or 'some'} of the second file's {len(p.samples)} rounds, which"
        f" may have {did} it; measure on a quiet machine",
        "refuted": "it was faster than its ceiling, which was measured at a worse moment; measure on a quiet machine",
        "near": "the interval excludes neither what is asked for nor less",
    }
    return PairFinding(pair, test, share.outcome, share.value, share.interval, reasons[share.doubt])


@dataclass(frozen=True)
class Share:
    """The part of what is possible that a point reached, and whether that is what was asked for.

    doubt: why it is inconclusive: "alone" (nothing to compare with), "few" (rounds), "disturbed" (by others), or "near"
           (the interval contains what is asked for), or "refuted" (the ceiling was measured at a worse moment).
    """

    outcome: Outcome
    value: float | None = None
    interval: Interval | None = None
    doubt: Doubt | None = None


def share_reached(p: Point, baselines: Baselines, whole: float, least: float, level: float) -> Share:
    """Its speedup over `whole` (N, or the ceiling), compared with `least`. level: of the claim that it is too low.

    Disturbance slows lanes, and may explain why less was reached. It slows the serial baseline even more, because lanes
    that get no CPU leave their chunks to others. The speedup then looks too good, so more than `least` must be reached.
    """
    usual, strict = reached.speedup(p, baselines), reached.speedup(p, baselines, level)
    _, baseline = baselines.of(p)
    if usual is None or strict is None or baseline is None:
        return Share("inconclusive", doubt="alone")
    if whole < p.workers and is_refuted(whole, usual[0]):
        of_all = share_reached(p, baselines, p.workers, least, level)
        return of_all if of_all.outcome == "fine" else replace(of_all, outcome="inconclusive", doubt="refuted")
    value = usual[0] / whole
    if usual[1] is None:
        return Share("inconclusive", value, doubt="few")
    interval = usual[1][0] / whole, usual[1][1] / whole
    flattered = max(disturbance(p), disturbance(baseline))
    if interval[0] / flattered >= least:
        return Share("fine", value, interval)
    if value < least <= value * disturbance(p) or (value >= least and flattered > 1):
        return Share("inconclusive", value, interval, "disturbed")
    if value < least and strict[1] is not None and strict[1][1] / whole < least:
        return Share("regression", value, interval)
    return Share("inconclusive", value, interval, "near")


def _few(p: Point) -> str:
    return f"{len(p.samples)} run{'s' * (len(p.samples) != 1)} in the second file, which carry no interval"


def unknown_kernels(kernels: Iterable[str], *datasets: Dataset) -> list[str]:
    """Those of these names that no file holds."""
    known = {name for dataset in datasets for p in dataset.points for name in (p.kernel, p.title)}
    return [kernel for kernel in kernels if kernel not in known]
