"""The scaling as a picture: speedup against workers, a panel a kernel."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from compute.scaling.dataset import Point, Scaling
from compute.scaling.table import groups, heading, ratio

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
MOST_ACROSS = 3  # panels
PANEL = 3.1  # inches
INK, FAINT, RULE = "#222222", "#767676", "#e3e3e3"
# Okabe & Ito's colours, told apart by colour-blind readers; their yellow is left out, too pale on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
KNOWN = ("threads", "processes", "prange", "joblib", "coroutines", "interpreters", "dask")
DOTTED = (0, (1, 2))
FONT = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same picture everywhere
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": FAINT,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
}

Panel = tuple[str, list[Point]]


def render(scaling: Scaling) -> bytes:
    """A PNG: for each kernel the speedup against the workers, or side by side where only one or two counts were run."""
    from matplotlib import style

    with style.context(["default", FONT]):  # whatever the reader's own matplotlibrc says
        counts = sorted({p.workers for p in scaling.points if p.backend != "serial"})
        many = len(counts) > 2
        figure = _lines(_panels(scaling, True), counts) if many else _rows(_panels(scaling, False))
        _head(figure, 0.12, "Speedup over one core of the same variant", fontsize=13, fontweight="bold")
        _head(figure, 0.38, heading(scaling), fontsize=8, color=FAINT)
        return _png(figure)


def _head(figure: Figure, inches: float, text: str, **style: Any) -> None:
    """A line of the heading, that far below the top: in a tall picture too it stays by the panels."""
    width, height = figure.get_size_inches()
    figure.text(0.1 / width, 1 - inches / height, text, ha="left", va="top", **style)


def _panels(scaling: Scaling, by_variant: bool) -> list[Panel]:
    """The points that have a speedup, by kernel, by size where a variant has several, and by variant if asked.

    Serial itself is left out: it is the 1.
    """
    panels: list[Panel] = []
    for group in groups(scaling):
        points = [row.point for row in group.rows if row.point.speedup is not None and row.point.backend != "serial"]
        name = " · ".join(group.title.split(" · ")[:2])
        variants = dict.fromkeys(p.variant for p in points) if by_variant else {None: None}
        for variant in variants:
            title = name if variant is None else f"{points[0].kernel} · {variant}"
            panels.append((title, [p for p in points if variant in (None, p.variant)]))
    return [panel for panel in panels if panel[1]]


def _series(points: Sequence[Point]) -> dict[tuple[str, str], list[Point]]:
    """Points by backend and variant, in the order of the table: by workers."""
    found: dict[tuple[str, str], list[Point]] = {}
    for p in points:
        found.setdefault((p.backend, p.variant), []).append(p)
    return found


def _colour(backend: str) -> str:
    place = KNOWN.index(backend) if backend in KNOWN else sum(map(ord, backend))
    return COLOURS[place % len(COLOURS)]


def _errors(points: Sequence[Point]) -> Any:
    """The intervals as matplotlib's distances below and above."""
    pairs = [(p.speedup or 0.0, *(p.speedup_ci or (p.speedup or 0.0,) * 2)) for p in points]
    return np.array([[max(s - low, 0.0) for s, low, _ in pairs], [max(high - s, 0.0) for s, _, high in pairs]])


def _lines(panels: Sequence[Panel], counts: Sequence[int]) -> Figure:
    """Small multiples for three worker counts and more: a line a backend, N-fold dotted, one legend below them all."""
    from matplotlib.lines import Line2D

    backends = dict.fromkeys(p.backend for _, points in panels for p in points)
    handles = [Line2D([], [], color=FAINT, linestyle=DOTTED, label="N-fold")]
    handles += [Line2D([], [], color=_colour(name), marker="o", markersize=4, label=name) for name in backends]
    columns = max(2, int(_width(len(panels), PANEL) / 1.3))  # inches for a name and its line
    figure, axes = _grid(len(panels), PANEL, 2.6, legend=0.1 + 0.2 * math.ceil(len(handles) / columns))
    for number, (ax, (title, points)) in enumerate(zip(axes, panels, strict=True)):
        _entitle(ax, title)
        ax.plot([1, counts[-1]], [1, counts[-1]], color=FAINT, linestyle=DOTTED, linewidth=1, zorder=1)
        for place, ((backend, _), line) in enumerate(_series(points).items()):
            x, y = [p.workers for p in line], [p.speedup or 0.0 for p in line]
            # Smaller and smaller: of two lines that lie on each other both are seen.
            ax.errorbar(x, y, yerr=_errors(line), color=_colour(backend), marker="o",
                        markersize=max(6 - 0.8 * place, 2), linewidth=1.3, elinewidth=1, capsize=2)  # fmt: skip
        _number_axes(ax, counts, points)
        if number % MOST_ACROSS == 0:
            ax.set_ylabel("speedup")
        if number >= len(panels) - MOST_ACROSS:
            ax.set_xlabel("workers")
    figure.legend(
        handles=handles, loc="lower left", ncols=columns, frameon=False, fontsize=8, bbox_to_anchor=(0.0, 0.0)
    )
    return figure


def _entitle(ax: Axes, title: str) -> None:
    """The kernel's name, and the rest of the title small beneath it."""
    name, _, rest = title.partition(" · ")
    ax.set_title(name, loc="left", fontsize=10, fontweight="bold", pad=17 if rest else 6)
    ax.annotate(rest, (0, 1), (0, 6), "axes fraction", "offset points", fontsize=8, color=FAINT)


def _number_axes(ax: Axes, counts: Sequence[int], points: Sequence[Point]) -> None:
    """Both axes by powers of two from 8 workers on, so that 1, 2 and 4 are not one blot beside 64."""
    most = counts[-1]
    top = max([most, *(p.speedup_ci[1] if p.speedup_ci else p.speedup or 0.0 for p in points)])
    if most >= 8:
        ax.set_xscale("log", base=2)
        ax.set_yscale("log", base=2)
        least = min([1.0, *(p.speedup for p in points if p.speedup)])
        ax.set_ylim(2 ** (math.floor(math.log2(least)) - 0.2), top * 1.15)
        ticks = [2**k for k in range(math.floor(math.log2(least)), math.ceil(math.log2(top)) + 1)]
        ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        shown = [n for n in counts if math.log2(n).is_integer() or n == most]
        # The last count alone, where a power of two stands right before it.
        shown = [n for n in shown if n == most or most / n > 1.5]
    else:
        ax.set_ylim(0, top * 1.08)
        shown = list(counts)
    ax.set_xticks(shown, [str(n) for n in shown])
    ax.minorticks_off()
    _bare(ax)
    ax.grid(color=RULE, linewidth=0.7)


def _rows(panels: Sequence[Panel]) -> Figure:
    """Small multiples for one or two worker counts: a row a backend and variant, a dot a count, and its interval."""
    longest = max((_places(list(_series(points)))[-1] for _, points in panels), default=0.0)
    figure, axes = _grid(len(panels), 3.9, 0.95 + 0.21 * longest, legend=0.3)
    for ax, (title, points) in zip(axes, panels, strict=True):
        _entitle(ax, title)
        series = _series(points)
        most = max(p.workers for p in points)
        for n in sorted({p.workers for p in points}):
            ax.axvline(n, color=FAINT, linestyle=DOTTED, linewidth=1, zorder=1)
        top = max([most, *(p.speedup_ci[1] if p.speedup_ci else p.speedup or 0.0 for p in points)])
        places = _places(list(series))
        for row, ((backend, _), line) in zip(places, series.items(), strict=True):
            ax.plot([0, max(p.speedup or 0.0 for p in line)], [row, row], color=RULE, linewidth=1, zorder=0)
            for p in line:
                filled = _colour(backend) if p is line[-1] else "white"
                ax.errorbar([p.speedup or 0.0], [row], xerr=_errors([p]), color=_colour(backend), marker="o",
                            markersize=5, markerfacecolor=filled, elinewidth=1.2, capsize=2)  # fmt: skip
            ax.text(top * 1.05, row, ratio(line[-1].speedup or 0.0), va="center", fontsize=8, fontweight="bold")
        ax.set_yticks(places, [f"{backend} · {variant}" for backend, variant in series], fontsize=8, color=INK)
        ax.set_ylim(places[-1] + 0.6, -0.6)
        ax.set_xlim(0, top * 1.2)
        ticks = range(most + 1) if top <= 8 else [0, most]
        ax.set_xticks(ticks, [str(n) for n in ticks])
        _bare(ax)
    counts = sorted({p.workers for _, points in panels for p in points})
    told = f"● {counts[-1]} workers" if counts and counts[-1] > 1 else "● one worker"
    if len(counts) > 1:
        told = f"○ {counts[0]} worker{'s' if counts[0] > 1 else ''}   " + told
    figure.text(0.1 / figure.get_figwidth(), 0.1 / figure.get_figheight(), f"{told}   ┄ N-fold   ├─┤ 95 % interval",
                ha="left", va="bottom", fontsize=8, color=FAINT)  # fmt: skip
    return figure


def _places(series: Sequence[tuple[str, str]]) -> list[float]:
    """A row for each series, with a gap where another variant begins."""
    gaps = [0.0, *(0.6 * (a[1] != b[1]) for a, b in itertools.pairwise(series))]
    return [k + sum(gaps[: k + 1]) for k in range(len(series))]


def _width(panels: int, each: float) -> float:
    return max(max(1, min(panels, MOST_ACROSS)) * each, 4.8)


def _grid(panels: int, width: float, height: float, legend: float) -> tuple[Figure, list[Any]]:
    """A figure with room for a heading and a legend, and its panels from left to right and top to bottom."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    across = max(1, min(panels, MOST_ACROSS))
    down = max(1, math.ceil(panels / across))
    size = _width(panels, width), down * height + 0.6 + legend
    engine = ConstrainedLayoutEngine(
        rect=(0, legend / size[1], 1, 1 - (0.6 + legend) / size[1]), hspace=0.06, wspace=0.05
    )
    figure = Figure(figsize=size, dpi=DPI, layout=engine)
    axes = list(figure.subplots(down, across, squeeze=False).flat)
    for ax in axes[panels:]:
        ax.set_axis_off()
    return figure, axes[:panels]


def _bare(ax: Axes) -> None:
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(length=0)


def _png(figure: Figure) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    data = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(data, format="png", facecolor="white")
    return data.getvalue()
