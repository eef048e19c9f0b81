"""The figures of the page as plain data, for each kernel. page.js draws them with Observable Plot.

Numbers have as many digits as a picture shows, so that the page stays small. Texts are texts: nothing here is HTML.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from compute.report.slices import DOING, slices
from compute.report.style import place
from compute.scaling import statistics
from compute.scaling.dataset import Dataset, Point
from compute.scaling.laws import curves
from compute.scaling.tables.breakdown import ENTRIES, FACTORS, shares
from compute.scaling.tables.sheet import most_workers
from compute.scaling.tables.table import Group
from compute.traits import SERIAL

DIGITS = 4  # of a number in a figure
MOST_SAMPLES = 60  # dots of one configuration: more would lie on each other, and make the page large
STEPS = 24  # points of a law's curve
GRID = 100_000  # a run's times are kept as whole numbers of this part of the run


def legend() -> dict[str, Any]:
    """What all kernels share: names of the ledger's entries and of the efficiencies, and what lanes do."""
    return {"entries": ENTRIES, "factors": FACTORS, "doing": DOING, "grid": GRID}


def figures(group: Group, dataset: Dataset) -> dict[str, Any]:
    """The figures of one kernel's points.

    ways:   a backend and a variant each; place: of its colour; line: 0 for the first variant, which is drawn solid.
    points: in the order of the table. samples: the speedup of each round, not of serial runs; times: its seconds;
            shares: by ENTRIES, tree: by FACTORS, null where not known; cause and run: of the most workers.
    laws:   of each way that has one, [workers, speedup] along the curve, and [workers, speedup, low, high] beyond it.
    variants: their names, in the order of `line`. disturbed: of each variant the rounds that were.
    """
    points = [row.point for row in group.rows]
    most = most_workers(points)
    ways = list(dict.fromkeys((p.backend, p.variant) for p in points))
    variants = list(dict.fromkeys(p.variant for p in points))
    counts = sorted({p.workers for p in points if not p.is_serial})
    return {
        "title": group.title.split(" · ")[0],
        "weak": any(p.mode == "weak" for p in points),
        "counts": counts,
        "variants": variants,
        "ways": [
            {"name": f"{backend} · {variant}", "place": place(backend), "line": variants.index(variant)}
            for backend, variant in ways
        ],
        "points": [_point(p, ways, _baseline(p, points), p in most) for p in points],
        "laws": list(_laws(points, ways, dataset.laws)),
        "disturbed": [_disturbed([p for p in points if p.variant == v], dataset.conditions) for v in variants],
    }


def _point(p: Point, ways: Sequence[tuple[str, str]], baseline: Point | None, most: bool) -> dict[str, Any]:
    low, high = p.speedup_ci or (None, None)
    parts, tree = shares(p), p.efficiencies
    data = {
        "way": ways.index((p.backend, p.variant)),
        "workers": p.workers,
        "serial": True if p.is_serial else None,
        "speedup": p.speedup,
        "low": low,
        "high": high,
        "ceiling": p.ceiling,
        "cause": p.verdict if most else None,
        "samples": None if p.is_serial else speedups_of_rounds(p, baseline)[:MOST_SAMPLES],
        "times": p.samples[:MOST_SAMPLES],
        "shares": [parts.get(name) for name in ENTRIES] if parts else None,
        "tree": [tree.get(name) for name in FACTORS] if tree else None,
        "run": _run(p.timeline, p.ledger) if p.timeline else None,
    }
    return {name: _rounded(value) for name, value in data.items() if value is not None}


def _run(kept: Mapping[str, Any], spent: Mapping[str, float] | None) -> dict[str, Any]:
    """A run lane by lane, small: [row, kind, start, stop, what] each; of a chunk [row, kind, start, stop, first, many].

    rows: by name; kind: by its place in DOING; times: in 1/GRID of `seconds`. recorded: whether chunks are told apart.
    """
    drawn = slices(kept, spent)
    rows, kinds = list(dict.fromkeys(piece.row for piece in drawn)), list(DOING)
    whole = max((piece.stop for piece in drawn), default=0.0) or 1.0
    return {
        "rows": rows,
        "seconds": whole,
        "recorded": bool(kept["spans"]),
        "slices": [
            [
                rows.index(piece.row),
                kinds.index(piece.kind),
                *(round(GRID * t / whole) for t in (piece.start, piece.stop)),
            ]
            + ([piece.what] if piece.chunk is None else [piece.chunk, piece.chunks])
            for piece in drawn
        ],
    }


def _baseline(p: Point, points: Iterable[Point]) -> Point | None:
    """The point that it is compared with; None where there is none."""
    wanted = p.size, p.variant, SERIAL if p.baseline == SERIAL else p.backend, 1
    same = (q for q in points if p.baseline and (q.size, q.variant, q.backend, q.workers) == wanted)
    return next(same, None)


def speedups_of_rounds(p: Point, baseline: Point | None) -> list[float]:
    """The speedup of each round; where rounds do not pair, of each sample over the baseline's median."""
    if baseline is None:
        return []
    grown = p.work / baseline.work if p.mode == "weak" and p.work and baseline.work else 1.0
    pairs = len(p.samples) == len(baseline.samples)
    of = baseline.samples if pairs else [statistics.median(baseline.samples)] * len(p.samples)
    return [grown * alone / sample for alone, sample in zip(of, p.samples, strict=True)]


def _laws(
    points: Sequence[Point], ways: Sequence[tuple[str, str]], laws: Iterable[Mapping[str, Any]]
) -> Iterable[dict[str, Any]]:
    for law in laws:
        p = next((p for p in points if p.is_of(law)), None)
        name = curves.name_of(law)
        baseline = _baseline(p, points) if p else None
        if p is None or name is None or baseline is None:
            continue
        further = [
            [projected["workers"], *(projected[key] for key in ("speedup", "low", "high"))]
            for projected in law.get("projection") or ()
            if projected["speedup"] is not None
        ]
        most = max([*law["counts"], *(row[0] for row in further)])
        grid = sorted({*_grid(most), *law["counts"]})  # the curve ends at a count, however far it is drawn
        curve = zip(grid, curves.speedups(law, baseline.seconds, grid), strict=True)
        yield {
            "way": ways.index((p.backend, p.variant)),
            "name": name,
            "curve": _rounded([list(pair) for pair in curve]),
            "further": _rounded(further),
        }


def _grid(most: int) -> list[float]:
    """Worker counts along a curve, each the same factor more than the one before."""
    return [most ** (k / STEPS) for k in range(STEPS + 1)] if most > 1 else [1]


def _disturbed(points: Sequence[Point], conditions: Iterable[Mapping[str, Any]]) -> list[int]:
    marked = (condition for condition in conditions if condition.get("marked"))
    rounds = [condition.get("round") for condition in marked if any(p.is_of(condition) for p in points)]
    return sorted({n for n in rounds if isinstance(n, int) and n > 0})


def _rounded(value: Any) -> Any:
    """The same data with numbers of DIGITS digits."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _rounded(part) for name, part in value.items()}
    return [_rounded(part) for part in value] if isinstance(value, list | tuple) else value
