"""Why the cells of the overview are not N-fold: the reasons that matter most, each shown once for all its cells."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from compute.scaling.dataset import Point
from compute.scaling.formatting import listed, ratio
from compute.scaling.verdict.causes import NOISE
from compute.scaling.verdict.judgement import Verdict
from compute.scaling.verdict.point_verdict import verdict_of

MOST = 5  # reasons that are shown: more would not be read
FASTEST = 4  # times: the weight of a reason at a kernel's fastest way
NAMED = 3  # kernels or ways in a row; of more, the first are named and the others counted
LETTERS = "abcde"
OTHER = "!"  # the letter of a cell whose reason is not shown

Place = tuple[int, int]  # of a cell: line and way


@dataclass(frozen=True)
class Reason:
    """`threads·python, every kernel`: `the GIL, 42–48 % of core-seconds; use processes`; letter: at its cells."""

    letter: str
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


@dataclass(frozen=True)
class Reasons:
    """told: those that are shown. untold: how many are not. letters: of each cell that has either kind."""

    told: tuple[Reason, ...]
    untold: int
    letters: Mapping[Place, str]


@dataclass(frozen=True)
class _Cell:
    """A cell with a verdict that is not fine."""

    place: Place
    point: Point
    verdict: Verdict

    @property
    def lost(self) -> float:
        """The part of N-fold that is missing."""
        return 1.0 - min(1.0, self.point.efficiency or 0.0)


def reached(p: Point) -> float | None:
    """The part of the ceiling that was reached; of N where there is none, or one of a worse moment."""
    return p.efficiency if p.share_of_ceiling is None else p.share_of_ceiling


def find_reasons(
    ways: Sequence[str], kernels: Sequence[str], points: Sequence[Sequence[Point | None]], best: Collection[Place]
) -> Reasons:
    """The reasons of these points, which are a row for each kernel and a column for each way. best: the fastest cells.

    The reason that costs most of N-fold in all cells together comes first. The fastest cells count FASTEST times. What
    disturbed the measurement comes before all others, which it makes doubtful.
    """
    groups: dict[str, list[_Cell]] = {}
    for line, row in enumerate(points):
        for way, p in enumerate(row):
            if p and (verdict := verdict_of(p)) and not verdict.is_fine:
                groups.setdefault(verdict.name, []).append(_Cell((line, way), p, verdict))

    def rank(held: Sequence[_Cell]) -> tuple[bool, float]:
        lost = sum(h.lost * (FASTEST if h.place in best else 1) for h in held)
        return held[0].verdict.cause != NOISE.code, -lost

    ranked = sorted(groups.values(), key=rank)
    letters = [*LETTERS[:MOST], *OTHER * len(ranked)]
    there = {(line, way) for line, row in enumerate(points) for way, p in enumerate(row) if p}
    reasons = [
        Reason(letter, _where([h.place for h in held], there, ways, kernels), _text(held))
        for letter, held in zip(letters[:MOST], ranked, strict=False)
    ]
    of_cells = {h.place: letter for letter, held in zip(letters, ranked, strict=False) for h in held}
    return Reasons(tuple(reasons), max(0, len(ranked) - MOST), of_cells)


def _text(held: Sequence[_Cell]) -> str:
    worst = max(held, key=lambda h: h.lost)
    shares = [h.verdict.share for h in held if h.verdict.share]
    allowed = [h for h in held if h.verdict.ceiling]
    text = worst.verdict.name
    if shares:
        text += f", {_span([f'{share * 100:.0f}' for share in sorted(shares)])} % of core-seconds"
    elif allowed:
        ceilings = _span([ratio(c) for c in sorted(h.verdict.ceiling or 0.0 for h in allowed)])
        folds = _span([str(n) for n in sorted(h.point.workers for h in allowed)])
        text += f", which allows {ceilings}× of {folds}"
    return f"{text}; {worst.verdict.remedy}." if worst.verdict.remedy else f"{text}."


def _span(ordered: Sequence[str]) -> str:
    """`42–48`, or `42` where both ends are alike."""
    return ordered[0] if ordered[0] == ordered[-1] else f"{ordered[0]}–{ordered[-1]}"


def _where(places: Sequence[Place], there: Collection[Place], ways: Sequence[str], kernels: Sequence[str]) -> str:
    """`threads·python, every kernel`; `threads and prange, triad, and 2 more cells`: the letters show which."""
    lines_of: dict[int, list[int]] = {}
    for line, way in sorted(places):
        lines_of.setdefault(way, []).append(line)
    alike: dict[tuple[int, ...], list[int]] = {}
    for way, lines in lines_of.items():
        everywhere = len(lines) > 1 and len(lines) == sum(w == way for _, w in there)
        alike.setdefault(() if everywhere else tuple(lines), []).append(way)
    which, of = max(alike.items(), key=lambda item: sum(len(lines_of[way]) for way in item[1]))
    text = "every way" if len(of) == len(ways) > 1 else some([ways[way] for way in sorted(of)], "ways")
    if len(kernels) > 1:
        text += ", " + (some([kernels[line] for line in which], "kernels") if which else "every kernel")
    more = len(places) - sum(len(lines_of[way]) for way in of)
    return text + (f", and {more} more cell{'s' * (more > 1)}" if more else "")


def some(names: Sequence[str], noun: str) -> str:
    """`a, b and c`; `a, b and 5 other kernels`"""
    others = len(names) - NAMED + 1
    return listed([*names] if others < 2 else [*names[: NAMED - 1], f"{others} other {noun}"])
