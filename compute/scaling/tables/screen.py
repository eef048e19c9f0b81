"""Screen: the overview, with a line for each kernel and a column for each way to run it (backend and variant).

A cell is about the most workers that its way was measured with. Under the lines stands what keeps cells from N-fold.
All of it is plain data. compute.report lays it out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from compute.scaling import statistics
from compute.scaling.dataset import Dataset, Point
from compute.scaling.formatting import percent, ratio, seconds
from compute.scaling.tables.reasons import Reason, Reasons, find_reasons, reached
from compute.scaling.tables.table import parts, tell_apart
from compute.texts import shown

USUAL = "nogil"  # the variant whose name a column leaves out: compiled, and it holds no GIL
BEST, AS_FAST = "*", "="
# Which way is the fastest of a line:
CELL = "cell"  # one of its cells
ALONE = "alone"  # one core
NOT_SLOWER = "not slower"  # one core may be: no cell is faster beyond doubt
FEWER = "fewer"  # a way with fewer workers than its cell is about
# or why nobody knows:
TOO_FEW = "too few"  # rounds
NO_SERIAL = "no serial"  # run to compare with
UNKNOWN = "unknown"  # the sizes differ, and the work is not known

UNSURE = 0.1  # half of an interval, of the speedup: if it is wider, 100 % cannot be told from 80 %


@dataclass(frozen=True)
class Way:
    """A backend and a variant. is_plain: whether the label leaves the variant out."""

    backend: str
    variant: str
    is_plain: bool

    @property
    def label(self) -> str:
        """`threads`, `threads·python`"""
        return self.backend if self.is_plain else f"{self.backend}·{self.variant}"


@dataclass(frozen=True)
class Cell:
    """A kernel run in a way.

    point:  with the most workers.
    curve:  (workers, speedup) of all worker counts, ascending, each once.
    mark:   BEST where it is the fastest of its line, and faster than one core beyond doubt; AS_FAST where it differs
            from that by no more than noise.
    letter: of the reason why it is not N-fold; OTHER for a reason that is not shown; "" where nothing is wrong.
    """

    point: Point
    curve: tuple[tuple[int, float], ...]
    mark: str = ""
    letter: str = ""

    @property
    def share(self) -> float | None:
        """The part of what this machine allowed that was reached; of N-fold where that is not known."""
        return reached(self.point)

    @property
    def is_unsure(self) -> bool:
        """Whether rounds were too few or too different for a figure to be relied on."""
        p = self.point
        if p.speedup is None or p.rounds is None:
            return False
        return p.speedup_ci is None or p.speedup_ci[1] - p.speedup_ci[0] > 2 * UNSURE * p.speedup

    @property
    def words(self) -> tuple[str, str]:
        """Speedup and share: `1.96`, `99%`."""
        share = "" if self.share is None else percent(self.share).replace(" ", "")
        return "–" if self.point.speedup is None else "~" * self.is_unsure + ratio(self.point.speedup), share


@dataclass(frozen=True)
class Line:
    """The line of a kernel.

    alone:   its serial run, of the plain variant where that was measured.
    cells:   one for each way of the screen.
    fastest: CELL, ALONE … as above; only with CELL one of the cells has a mark.
    fewer:   with FEWER, which way: `threads with 16`.
    """

    title: str
    alone: Point | None
    cells: tuple[Cell | None, ...]
    fastest: str = UNKNOWN
    fewer: str = ""

    @property
    def alone_in_words(self) -> str:
        return seconds(self.alone.seconds) if self.alone else ""


@dataclass(frozen=True)
class Screen:
    """The overview.

    workers: how many most cells are about; a cell with another number of workers says so.
    ways:    the columns. lines: a kernel each.
    reasons: those that are shown. untold: how many are not.
    judged:  whether every cell has a verdict.
    """

    workers: int
    ways: tuple[Way, ...]
    lines: tuple[Line, ...]
    reasons: tuple[Reason, ...]
    untold: int
    judged: bool

    @property
    def cells(self) -> list[Cell]:
        return [cell for line in self.lines for cell in line.cells if cell]


def screen(dataset: Dataset) -> Screen:
    """What the points say on one screen."""
    dataset = shown(dataset)
    groups = parts(dataset)
    ways = _ways(dataset.points)
    titles = Counter(points[0].title for points in groups)
    lines = [
        _line(points, ways, arguments, several=titles[points[0].title] > 1)
        for points, arguments in zip(groups, tell_apart(groups), strict=True)
    ]
    known = find_reasons([way.label for way in ways], [line.title for line in lines], _points(lines), _best(lines))
    lines = [_lettered(line, number, known) for number, line in enumerate(lines)]
    cells = [cell for line in lines for cell in line.cells if cell]
    most = Counter(cell.point.workers for cell in cells)
    return Screen(
        workers=max(most, key=lambda n: (most[n], n), default=1),
        ways=tuple(ways),
        lines=tuple(lines),
        reasons=known.told,
        untold=known.untold,
        judged=bool(cells) and all(cell.point.verdict for cell in cells),
    )


def _ways(points: Iterable[Point]) -> list[Way]:
    """Every way that there is, in the order of the points; those of other variants than the plain one first."""
    points = list(points)
    variants = dict.fromkeys(p.variant for p in points)
    plain = USUAL if USUAL in variants or len(variants) > 1 else next(iter(variants), USUAL)
    ways = dict.fromkeys(Way(p.backend, p.variant, p.variant == plain) for p in points if not p.is_serial)
    return sorted(ways, key=lambda way: way.is_plain)


def _line(points: Sequence[Point], ways: Sequence[Way], arguments: str, several: bool) -> Line:
    size = points[0].size
    title = f"{points[0].title} {size:,}" if several and size is not None else points[0].title
    title += f" ({arguments})" * bool(arguments)
    serial = {p.variant: p for p in points if _is_alone(p)}
    plain = next((way.variant for way in ways if way.is_plain and way.variant in serial), None)
    alone = serial[plain] if plain else next(iter(serial.values()), None)
    runs = [_runs(points, way) for way in ways]
    cells = tuple(_cell(list(mine.values())) if mine else None for mine in runs)
    top, fastest = _fastest([list(mine.values()) for mine in runs if mine], list(serial.values()))
    if top is None or fastest != CELL:
        labels = {(way.backend, way.variant): way.label for way in ways}
        fewer = f"{labels[top.backend, top.variant]} with {top.workers}" if top and fastest == FEWER else ""
        return Line(title, alone, cells, fastest, fewer)
    marked = (replace(cell, mark=_mark(cell.point, top)) if cell else None for cell in cells)
    return Line(title, alone, tuple(marked), fastest)


def _is_alone(p: Point) -> bool:
    """Whether the others are compared with this: the serial run; of a program, that of one worker."""
    return p.is_serial or (p.has.whole_program and p.workers == 1)


def _runs(points: Sequence[Point], way: Way) -> dict[int, Point]:
    """The way's points by workers, ascending; of files that were joined the last one's."""
    mine = {p.workers: p for p in points if (p.backend, p.variant) == (way.backend, way.variant)}
    return {n: mine[n] for n in sorted(mine)}


def _cell(mine: Sequence[Point]) -> Cell:
    return Cell(mine[-1], tuple((p.workers, p.speedup) for p in mine if p.speedup is not None))


def _fastest(ways: Sequence[Sequence[Point]], serial: Sequence[Point]) -> tuple[Point | None, str]:
    """The parallel point that does most work in a second, and what is the fastest of all: CELL, ALONE …

    ways: the points of each, by workers. Variants may differ in size, so that without the amount of work only times of
    one size can be compared. A cell is preferred to a point with fewer workers that is no more than noise ahead.
    """
    parallel = [p for mine in ways for p in mine if not _is_alone(p)]
    everybody = [*parallel, *serial]
    rated = all(p.rate for p in everybody)
    if not parallel or not (rated or len({p.size for p in everybody}) == 1):
        return None, UNKNOWN

    def pace(p: Point) -> float:
        return (p.rate or 0.0) if rated else 1.0 / p.seconds

    cells = [mine[-1] for mine in ways if not _is_alone(mine[-1])]
    top, best = max(parallel, key=pace), max(cells, key=pace, default=None)
    if best and _is_alike(best, top):
        top = best
    if all(p.speedup is None for p in (parallel if serial else [top])):
        return None, NO_SERIAL
    gain = _gain(top, max(serial, key=pace, default=None))
    if gain is None:
        return top, TOO_FEW
    low, high = gain
    if low <= 1.0:
        return top, ALONE if high < 1.0 else NOT_SLOWER
    if top is best:
        return top, CELL
    return top, FEWER if top.workers > 1 else ALONE


def _gain(p: Point, alone: Point | None) -> tuple[float, float] | None:
    """The interval of how many times as fast as one core this is; None where rounds were too few for one.

    alone: the fastest serial run, which may be of another variant than p's own baseline, and of other rounds.
    """
    if alone is None or (alone.variant, alone.size) == (p.variant, p.size):
        return p.speedup_ci
    work = p.work / alone.work if p.work and alone.work else 1.0
    return statistics.ratio_of_medians([work * sample for sample in alone.samples], p.samples)[1]


def _is_alike(p: Point, best: Point) -> bool:
    """Whether noise may be all that parts a point from a faster one."""
    if p is best or p.variant != best.variant:
        return p is best
    return bool(p.speedup_ci and best.speedup_ci and p.speedup_ci[1] >= best.speedup_ci[0])


def _mark(p: Point, best: Point) -> str:
    return BEST if p is best else AS_FAST if _is_alike(p, best) else ""


def _points(lines: Sequence[Line]) -> list[list[Point | None]]:
    return [[cell.point if cell else None for cell in line.cells] for line in lines]


def _best(lines: Sequence[Line]) -> set[tuple[int, int]]:
    """Line and way of the fastest cells."""
    return {
        (number, column)
        for number, line in enumerate(lines)
        for column, cell in enumerate(line.cells)
        if cell and cell.mark == BEST
    }


def _lettered(line: Line, number: int, known: Reasons) -> Line:
    cells = (
        replace(cell, letter=known.letters.get((number, column), "")) if cell else None
        for column, cell in enumerate(line.cells)
    )
    return replace(line, cells=tuple(cells))
