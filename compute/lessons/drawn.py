"""The pictures of lessons as PNG: bars or lines with their intervals. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from compute.lessons.lesson import Picture, Series
from compute.lessons.text import value_in_words
from compute.report import canvas
from compute.report.style import COLOURS, FAINT, INK, KNOWN, colour
from compute.scaling.formatting import STEPS
from compute.texts import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 200
WIDTH, HEIGHT = 4.8, 2.7  # inches of one picture: its letters can be read on a phone, where it is half as wide
TITLE = 64  # letters of a line above a picture
FEW = 5  # series whose names fit into a picture; those of more stand below it
ABREAST, ROW = 3, 0.2  # names in a row below a picture, and the inches of such a row
LETTERS, SHORTEST_LINE = 60, 8  # of the names of all bars, side by side; longer names are folded, to no less than 8
NARROW = 200  # times the least value: a logarithmic axis over a smaller range also has ticks between powers of ten


def render(pictures: Sequence[Picture]) -> bytes:
    """A PNG with the pictures below each other; ValueError for none."""
    if not pictures:
        raise ValueError("there is nothing to draw")
    return canvas.png(lambda: _figure(list(map(shown, pictures))))


def _figure(pictures: Sequence[Picture]) -> Figure:
    heights = [HEIGHT + ROW * _rows_below(picture) for picture in pictures]
    figure = canvas.figure(WIDTH, sum(heights), DPI)
    axes = figure.subplots(len(pictures), squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for ax, picture in zip(axes, pictures, strict=True):
        _draw(ax, picture)
    return figure


def _draw(ax: Axes, picture: Picture) -> None:
    factor, unit = _unit(picture)
    if picture.is_bars:
        _bars(ax, picture, factor)
    else:
        _lines(ax, picture, factor)
    if "y" in picture.logarithmic:
        _powers(ax, picture)
    elif picture.is_bars or all(v >= 0 for s in picture.series for v in s.values if v is not None):
        ax.set_ylim(bottom=0)
    ax.set_title(canvas.folded(picture.about, TITLE), loc="left", fontsize=9, color=INK)
    ax.set_xlabel(picture.x_label, fontsize=8)
    in_unit = f" ({unit})" if unit and "y" not in picture.logarithmic else ""  # on a logarithmic axis each tick has it
    ax.set_ylabel(f"{picture.y_label}{in_unit}", fontsize=8)
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    if _rows_below(picture):
        ax.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=ABREAST)
    elif len(picture.series) > 1:
        ax.legend(fontsize=7, frameon=False)


def _rows_below(picture: Picture) -> int:
    """How many rows of names stand below it."""
    return -(-len(picture.series) // ABREAST) if len(picture.series) > FEW else 0


def _powers(ax: Axes, picture: Picture) -> None:
    """A logarithmic axis. Its ticks are written as figures are elsewhere; matplotlib would write them as markup."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    values = [v for series in picture.series for v in series.values if v is not None and v > 0]
    narrow = bool(values) and max(values) < NARROW * min(values)
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if narrow else (1.0,)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, place: _power(value, picture.unit)))
    ax.yaxis.set_minor_formatter(NullFormatter())


def _power(value: float, unit: str) -> str:
    """`20`, `10 µs`, `1 GB`: 1, 2 or 5 times a power of ten, without zeros behind the point."""
    return value_in_words(value, unit).replace(".00 ", " ").replace(".0 ", " ").removesuffix(" ×")


def _unit(picture: Picture) -> tuple[float, str]:
    """What values are divided by, and the unit that they then have."""
    values = [v for series in picture.series for v in series.values if v]
    if picture.unit == "s" and values and "y" not in picture.logarithmic:
        return next(((step, name) for step, name in reversed(STEPS) if max(values) >= step), STEPS[0])
    return (0.01, "%") if picture.unit == "%" else (1.0, picture.unit)


def _bars(ax: Axes, picture: Picture, factor: float) -> None:
    wide = 0.8 / len(picture.series)
    for k, series in enumerate(picture.series):
        places = [j - 0.4 + (k + 0.5) * wide for j in range(len(picture.x))]
        values = [(v or 0.0) / factor for v in series.values]
        fill = (
            {"facecolor": "none", "edgecolor": FAINT, "linestyle": "--"}
            if series.name in picture.ideal
            else {"color": _colour(series, k)}
        )
        ax.bar(places, values, wide * 0.9, label=series.name, **fill)  # type: ignore[arg-type]
        _intervals(ax, places, series, factor)
    room = max(LETTERS // len(picture.x), SHORTEST_LINE)
    ax.set_xticks(range(len(picture.x)), [canvas.folded(str(place), room) for place in picture.x])


def _lines(ax: Axes, picture: Picture, factor: float) -> None:
    for k, series in enumerate(picture.series):
        there = [j for j, v in enumerate(series.values) if v is not None]
        places = [float(picture.x[j]) for j in there]
        values = [(series.values[j] or 0.0) / factor for j in there]
        if series.name in picture.ideal:
            ax.plot(places, values, "--", color=FAINT, linewidth=1, label=series.name)
            continue
        style = "o-" if k < len(COLOURS) else "s:"  # one of the first series has the same colour
        ax.plot(places, values, style, color=_colour(series, k), linewidth=1.5, markersize=3, label=series.name)
        if series.intervals:
            _intervals(
                ax,
                places,
                Series(series.name, tuple(series.values[j] for j in there), tuple(series.intervals[j] for j in there)),
                factor,
                _colour(series, k),
            )
    if "x" in picture.logarithmic:
        ax.set_xscale("log")
    if picture.x_unit or "x" in picture.logarithmic:
        numbers = [float(place) for place in picture.x]
        ax.set_xticks(numbers, [value_in_words(number, picture.x_unit) for number in numbers], minor=False)
        ax.set_xticks([], minor=True)


def _intervals(ax: Axes, places: Sequence[float], series: Series, factor: float, ink: str = INK) -> None:
    for place, value, interval in zip(places, series.values, series.intervals, strict=False):
        if value is not None and interval is not None:
            low, high = (abs(value - end) / factor for end in interval)
            ax.errorbar([place], [value / factor], yerr=[[low], [high]], color=ink, elinewidth=1, capsize=2)


def _colour(series: Series, k: int) -> str:
    """A backend's own colour; another series' by its number."""
    return colour(series.name) if series.name in KNOWN else COLOURS[k % len(COLOURS)]
