"""The speedups as a picture: a panel for each kernel, and beside it where the core-seconds went."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from compute.report import bars, canvas
from compute.report.style import FAINT, INK, RULE, colour
from compute.scaling.dataset import Point
from compute.scaling.formatting import ratio
from compute.scaling.results import Scaling
from compute.scaling.tables.table import groups, heading
from compute.texts import short, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
MOST_ACROSS = 3  # panels side by side; 2 where ledgers stand beside them
PANEL = 3.1  # inches
BARS = 2.2  # inches for the bars of ledgers beside a panel
LONGEST = 32  # letters of a name; a longer one would leave the panel no room
DOTTED, DASHED = (0, (1, 2)), (0, (4, 2))
MOST_TICKS = 12  # of an axis of powers of two

Panel = tuple[str, list[Point]]


def render(scaling: Scaling) -> bytes:
    """A PNG: for each kernel the speedup against the workers, or side by side where only one or two counts were run.

    Where the machine's ceilings and the ledgers are known they are drawn too.
    """
    scaling = shown(scaling)
    return canvas.png(lambda: _figure(scaling))


def _figure(scaling: Scaling) -> Figure:
    counts = sorted({p.workers for p in scaling.points if not p.is_serial})
    many = len(counts) > 2
    figure = _lines(_panels(scaling, True), counts) if many else _rows(_panels(scaling, False))
    _head(figure, 0.12, "Speedup over one core of the same variant", fontsize=13, fontweight="bold")
    _head(figure, 0.38, heading(scaling), fontsize=8, color=FAINT)
    return figure


def _head(figure: Figure, inches: float, text: str, **style: Any) -> None:
    """Draw a line of the heading, so many inches below the top, which is near the panels in a tall picture, too."""
    width, height = figure.get_size_inches()
    figure.text(0.1 / width, 1 - inches / height, text, ha="left", va="top", **style)


def _panels(scaling: Scaling, by_variant: bool) -> list[Panel]:
    """The points that have a speedup, by kernel, by size where a variant has several, and by variant if asked.

    Serial itself is left out, because its speedup is 1 by definition.
    """
    panels: list[Panel] = []
    for group in groups(scaling):
        points = [row.point for row in group.rows if row.point.speedup is not None and not row.point.is_serial]
        name = " · ".join(group.title.split(" · ")[:2])
        variants = dict.fromkeys(p.variant for p in points) if by_variant else {None: None}
        for variant in variants:
            title = name if variant is None else f"{points[0].title} · {variant}"
            panels.append((title, [p for p in points if variant in (None, p.variant)]))
    return [panel for panel in panels if panel[1]]


def _series(points: Sequence[Point]) -> dict[tuple[str, str], list[Point]]:
    """Points by backend and variant, in the order of the table: by workers."""
    series: dict[tuple[str, str], list[Point]] = {}
    for p in points:
        series.setdefault((p.backend, p.variant), []).append(p)
    return series


def _errors(points: Sequence[Point]) -> Any:
    """The intervals as matplotlib's distances below and above."""
    pairs = [(p.speedup or 0.0, *(p.speedup_ci or (p.speedup or 0.0,) * 2)) for p in points]
    return np.array([[max(s - low, 0.0) for s, low, _ in pairs], [max(high - s, 0.0) for s, _, high in pairs]])


def _top(points: Sequence[Point], least: float) -> float:
    """The largest speedup to be drawn, intervals and ceilings included."""
    return max([least, *(p.speedup_ci[1] if p.speedup_ci else p.speedup or 0.0 for p in points),
                *(p.ceiling or 0.0 for p in points)])  # fmt: skip


def _lines(panels: Sequence[Panel], counts: Sequence[int]) -> Figure:
    """Panels for three or more worker counts: a line for each backend, N-fold dotted, the ceiling dashed."""
    figure, pairs = _grid(panels, PANEL, 2.6, _line_handles(panels))
    across = _across(panels)
    for number, ((ax, beside), (title, points)) in enumerate(zip(pairs, panels, strict=True)):
        _entitle(ax, title)
        ax.plot([1, counts[-1]], [1, counts[-1]], color=FAINT, linestyle=DOTTED, linewidth=1, zorder=1)
        ceilings = _ceilings(points)
        ax.plot(list(ceilings), list(ceilings.values()), color=INK, linestyle=DASHED, linewidth=1, zorder=1)
        series = _series(points)
        for place, ((backend, _), line) in enumerate(series.items()):
            x, y = [p.workers for p in line], [p.speedup or 0.0 for p in line]
            # Each line has smaller marks than the one before, so that both of two lines in one place can be seen.
            ax.errorbar(x, y, yerr=_errors(line), color=colour(backend), marker="o",
                        markersize=max(6 - 0.8 * place, 2), linewidth=1.3, elinewidth=1, capsize=2)  # fmt: skip
        _number_axes(ax, counts, points)
        if number % across == 0:
            ax.set_ylabel("speedup")
        if number >= len(panels) - across:
            ax.set_xlabel("workers")
        if beside is not None:
            _bars(beside, [line[-1] for line in series.values()], range(len(series)))
            names = [_short(backend) for backend, _ in series]
            beside.set_yticks(range(len(series)), names, fontsize=8, color=INK)
            beside.set_ylim(max(len(series), 4) - 0.4, -0.6)  # few bars stay bars, not blocks
    return figure


def _bars(ax: Axes, points: Sequence[Point], places: Sequence[float]) -> None:
    """The ledgers of these points, under a title that says at how many workers."""
    bars.draw(ax, points, places)
    counts = sorted({p.workers for p in points if p.ledger})
    many = "–".join(str(n) for n in dict.fromkeys((counts[0], counts[-1]))) if counts else ""
    at = f" at {many} worker{'' if many == '1' else 's'}" if many else ""
    ax.set_title(f"core-seconds{at}", loc="left", fontsize=8, color=FAINT, pad=6)
    _bare(ax)


def _ceilings(points: Sequence[Point]) -> dict[int, float]:
    """What the machine allowed at each N: the median over the points, each of which had its own gauges."""
    ceilings: dict[int, list[float]] = {}
    for p in points:
        if p.ceiling is not None:
            ceilings.setdefault(p.workers, []).append(p.ceiling)
    return {n: statistics.median(ceilings[n]) for n in sorted(ceilings)}


def _line_handles(panels: Sequence[Panel]) -> list[Any]:
    from matplotlib.lines import Line2D

    points = [p for _, some in panels for p in some]
    handles = [Line2D([], [], color=FAINT, linestyle=DOTTED, label="N-fold")]
    if any(p.ceiling is not None for p in points):
        handles.append(Line2D([], [], color=INK, linestyle=DASHED, linewidth=1, label="allowed here"))
    names = dict.fromkeys(p.backend for p in points)
    return handles + [
        Line2D([], [], color=colour(name), marker="o", markersize=4, label=_short(name)) for name in names
    ]


def _entitle(ax: Axes, title: str) -> None:
    """Draw the kernel's name, and the rest of the title small beneath it."""
    name, _, rest = title.partition(" · ")
    ax.set_title(_short(name), loc="left", fontsize=10, fontweight="bold", pad=17 if rest else 6)
    ax.annotate(_short(rest, 2 * LONGEST), (0, 1), (0, 6), "axes fraction", "offset points", fontsize=8, color=FAINT)


def _short(text: str, most: int = LONGEST) -> str:
    return short(text, most)


def _number_axes(ax: Axes, counts: Sequence[int], points: Sequence[Point]) -> None:
    """Make both axes logarithmic from 8 workers on, so that 1, 2 and 4 are not one blot beside 64."""
    most = counts[-1]
    top = _top(points, most)
    if most >= 8:
        ax.set_xscale("log", base=2)
        ax.set_yscale("log", base=2)
        least = min([1.0, *(p.speedup for p in points if p.speedup)])
        ax.set_ylim(2 ** (math.floor(math.log2(least)) - 0.2), top * 1.15)
        powers = range(math.floor(math.log2(least)), math.ceil(math.log2(top)) + 1)
        ticks = [2.0**k for k in powers[:: math.ceil(len(powers) / MOST_TICKS)]]
        ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        shown = [n for n in counts if math.log2(n).is_integer() or n == most]
        # Where a power of two is right before the last count, only the last count has a tick.
        shown = [n for n in shown if n == most or most / n > 1.5]
    else:
        ax.set_ylim(0, top * 1.08)
        shown = list(counts)
    ax.set_xticks(shown, [str(n) for n in shown])
    ax.minorticks_off()
    _bare(ax)
    ax.grid(color=RULE, linewidth=0.7)


def _rows(panels: Sequence[Panel]) -> Figure:
    """Panels for one or two worker counts: a row for each backend and variant, a dot and interval for each count."""
    longest = max((_places(list(_series(points)))[-1] for _, points in panels), default=0.0)
    figure, pairs = _grid(panels, 3.9, 0.95 + 0.21 * longest, _row_handles(panels))
    for (ax, beside), (title, points) in zip(pairs, panels, strict=True):
        _entitle(ax, title)
        series = _series(points)
        places = _places(list(series))
        most = max(p.workers for p in points)
        for n in sorted({p.workers for p in points}):
            ax.axvline(n, color=FAINT, linestyle=DOTTED, linewidth=1, zorder=1)
        top = _top(points, most)
        for row, line in zip(places, series.values(), strict=True):
            _dots(ax, row, line)
            ax.text(top * 1.05, row, ratio(line[-1].speedup or 0.0), va="center", fontsize=8, fontweight="bold")
        names = [_short(f"{backend} · {variant}") for backend, variant in series]
        ax.set_yticks(places, names, fontsize=8, color=INK)
        ax.set_ylim(places[-1] + 0.6, -0.6)
        ax.set_xlim(0, top * 1.2)
        ticks = range(most + 1) if top <= 8 else [0, most]
        ax.set_xticks(ticks, [str(n) for n in ticks])
        _bare(ax)
        if beside is not None:
            _bars(beside, [line[-1] for line in series.values()], places)
            beside.set_yticks([])
            beside.set_ylim(*ax.get_ylim())
    return figure


def _dots(ax: Axes, row: float, line: Sequence[Point]) -> None:
    """Draw one row: a dot for each worker count, filled for the most; a stroke at the machine's ceiling."""
    ax.plot([0, max(p.speedup or 0.0 for p in line)], [row, row], color=RULE, linewidth=1, zorder=0)
    for p in line:
        filled = colour(p.backend) if p is line[-1] else "white"
        ax.errorbar([p.speedup or 0.0], [row], xerr=_errors([p]), color=colour(p.backend), marker="o",
                    markersize=5, markerfacecolor=filled, elinewidth=1.2, capsize=2)  # fmt: skip
    if line[-1].ceiling is not None:
        ax.plot([line[-1].ceiling], [row], color=INK, marker="|", markersize=10, markeredgewidth=1.4, zorder=3)


def _row_handles(panels: Sequence[Panel]) -> list[Any]:
    from matplotlib.lines import Line2D

    points = [p for _, some in panels for p in some]
    counts = sorted({p.workers for p in points})
    ends = dict.fromkeys((counts[0], counts[-1])) if counts else {}
    made: list[Any] = [
        Line2D([], [], color=FAINT, linestyle="", marker="o", markersize=5,
               markerfacecolor=FAINT if n == counts[-1] else "white",
               label="one worker" if n == 1 else f"{n} workers")
        for n in ends
    ]  # fmt: skip
    made.append(Line2D([], [], color=FAINT, linestyle=DOTTED, label="N-fold"))
    if any(p.ceiling is not None for p in points):
        made.append(Line2D([], [], color=INK, linestyle="", marker="|", markersize=9, label="allowed here"))
    return [*made, Line2D([], [], color=FAINT, marker="|", markersize=5, label="95 % interval")]


def _places(series: Sequence[tuple[str, str]]) -> list[float]:
    """A row for each series, with a gap where another variant begins."""
    gaps = [0.0, *(0.6 * (a[1] != b[1]) for a, b in itertools.pairwise(series))]
    return [k + sum(gaps[: k + 1]) for k in range(len(series))]


def _explained(panels: Sequence[Panel]) -> bool:
    return any(p.ledger for _, points in panels for p in points)


def _across(panels: Sequence[Panel]) -> int:
    return max(1, min(len(panels), MOST_ACROSS - _explained(panels)))


def _grid(
    panels: Sequence[Panel], width: float, height: float, marks: list[Any]
) -> tuple[Figure, list[tuple[Axes, Axes | None]]]:
    """A figure with a heading's and a legend's room, and its panels from left to right and top to bottom.

    Each is a pair: for the speedup, and beside it for the bars where there are any.
    """
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    beside = _explained(panels)
    across = _across(panels)
    down = max(1, math.ceil(len(panels) / across))
    wide = max(across * (width + BARS * beside), 4.8)
    entries = bars.handles([p for _, points in panels for p in points])
    foot = sum(_legend_height(some, wide) for some in (entries, marks))
    size = wide, down * height + 0.6 + foot
    engine = ConstrainedLayoutEngine(rect=(0, foot / size[1], 1, 1 - (0.6 + foot) / size[1]), hspace=0.06, wspace=0.05)
    figure = canvas.figure(*size, DPI, engine)
    ratios = [width - 1.2, BARS] * across if beside else None  # 1.2 inches are the names of the rows
    flat = list(figure.subplots(down, across * (1 + beside), squeeze=False, width_ratios=ratios).flat)
    pairs: list[tuple[Axes, Axes | None]] = [(ax, None) for ax in flat]
    if beside:
        pairs = list(zip(flat[::2], flat[1::2], strict=True))
    for ax in flat[len(panels) * (1 + beside) :]:
        ax.set_axis_off()
    low = 0.0
    for some in (entries, marks):
        figure.legend(handles=some, loc="lower left", ncols=_legend_columns(some, wide), frameon=False, fontsize=8,
                      borderpad=0.2, bbox_to_anchor=(0.0, low / size[1])).set_in_layout(False)  # fmt: skip
        low += _legend_height(some, wide)
    return figure, pairs[: len(panels)]


def _legend_columns(handles: Sequence[Any], width: float) -> int:
    """How many names stand in a line of the legend: as many as fit, in lines of about equal length."""
    most = max(2, int(width / 1.2))  # inches for a name and its mark
    return max(1, math.ceil(len(handles) / math.ceil(len(handles) / most))) if handles else 1


def _legend_height(handles: Sequence[Any], width: float) -> float:
    """Inches."""
    return 0.08 + 0.19 * math.ceil(len(handles) / _legend_columns(handles, width)) if handles else 0.0


def _bare(ax: Axes) -> None:
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(length=0)
