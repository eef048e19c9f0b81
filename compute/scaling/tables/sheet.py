"""Sheet: a table with a row for each point, as data; and how its columns are shortened to fit a width."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from compute.scaling.dataset import Point

WORDS = ("backend", "variant")  # are aligned left; all other columns are numbers and aligned right
KEYS = (*WORDS, "workers")
GAP = 2  # blanks between columns, where there is room


@dataclass(frozen=True)
class Row:
    """A point and its cells, one for each column.

    starts:  whether it has another variant than the row before.
    flagged: the columns whose cells stand out.
    """

    point: Point
    cells: tuple[str, ...]
    starts: bool
    flagged: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Sheet:
    """A table. note: how to read it. short: shorter names of columns, in the order in which they save width."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    short: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class SheetLayout:
    """A sheet that was fitted to a width.

    heads, widths: of its columns. names: of the same columns in the sheet. kept: their numbers there.
    split: whether variants are lines above their rows, and not a column.
    """

    heads: tuple[str, ...]
    widths: tuple[int, ...]
    kept: tuple[int, ...]
    names: tuple[str, ...]
    split: bool
    gap: int

    @property
    def width(self) -> int:
        return sum(self.widths) + self.gap * (len(self.widths) - 1)

    def padded(self, row: Row) -> list[str]:
        """The row's cells as wide as their columns."""
        return self._pad([row.cells[k] for k in self.kept])

    def head(self) -> list[str]:
        """The heads as wide as their columns."""
        return self._pad(self.heads)

    def rule(self) -> str:
        return (" " * self.gap).join("─" * width for width in self.widths)

    def line_above(self, row: Row, first: bool) -> str:
        """The line between this row and the one before: the variant's name, a rule, or nothing."""
        if self.split and (first or row.starts):
            return f"{row.point.variant}:"
        return self.rule() if row.starts else ""

    def _pad(self, cells: Sequence[str]) -> list[str]:
        pairs = zip(cells, self.widths, self.names, strict=True)
        return [cell.ljust(width) if name in WORDS else cell.rjust(width) for cell, width, name in pairs]


def fit(sheet: Sheet, width: int) -> SheetLayout:
    """The layout with the longest names that is no wider than width, or the narrowest there is.

    What goes first: the column of variants (they become lines of their own), long names one by one, a blank of the gap.
    """
    short: dict[str, str] = {}
    layout = _layout(sheet, short, split=False, gap=GAP)
    if layout.width > width:
        layout = _layout(sheet, short, split=True, gap=GAP)
    for name in sheet.short:
        if layout.width <= width:
            return layout
        short[name] = sheet.short[name]
        layout = _layout(sheet, short, split=True, gap=GAP)
    return layout if layout.width <= width else _layout(sheet, short, split=True, gap=1)


def _layout(sheet: Sheet, short: Mapping[str, str], split: bool, gap: int) -> SheetLayout:
    kept = tuple(k for k, name in enumerate(sheet.columns) if not (split and name == "variant"))
    names = tuple(sheet.columns[k] for k in kept)
    heads = tuple(short.get(name, name) for name in names)
    widths = tuple(
        max(len(head), *(len(row.cells[k]) for row in sheet.rows)) for k, head in zip(kept, heads, strict=True)
    )
    return SheetLayout(heads, widths, kept, names, split, gap)


def plain(sheet: Sheet, width: int) -> list[str]:
    """The sheet as lines of text."""
    layout = fit(sheet, width)
    gap = " " * layout.gap
    lines = [gap.join(layout.head()).rstrip(), layout.rule()]
    for k, row in enumerate(sheet.rows):
        lines += [line] if (line := layout.line_above(row, first=k == 0)) else []
        lines.append(gap.join(layout.padded(row)).rstrip())
    return lines


def keyed(p: Point) -> tuple[str, str, str]:
    """The cells of KEYS: which configuration this is."""
    return p.backend, p.variant, str(p.workers)


def most_workers(points: Iterable[Point]) -> list[Point]:
    """Of each backend, variant and size the point with the most workers, in the order of the points."""
    most: dict[tuple[str, str, int | None], Point] = {}
    for p in points:
        key = p.backend, p.variant, p.size
        if key not in most or most[key].workers < p.workers:
            most[key] = p
    return list(most.values())
