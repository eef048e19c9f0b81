"""A kept timeline as a picture: a row for the caller and for each lane, with what each did when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from compute.report import canvas
from compute.report.slices import DOING, Slice, slices
from compute.report.style import ENTRY_COLOURS, FAINT
from compute.scaling.formatting import STEPS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 150
WIDTH = 8.0  # inches
MOST_ROWS = 64  # of lanes: a picture of more would be higher than a page, with rows too thin to see


def render(kept: Mapping[str, Any], spent: Mapping[str, float] | None = None) -> bytes:
    """A PNG of a kept timeline (compute.scaling.kept_timeline); spent: the run's ledger, where it is known."""
    return canvas.png(lambda: _figure(slices(kept, spent)))


def _figure(drawn: Sequence[Slice]) -> Figure:
    from matplotlib.patches import Patch

    rows = list(dict.fromkeys(part.row for part in drawn))[: MOST_ROWS + 1]
    figure = canvas.figure(WIDTH, 0.85 + max(0.09, min(0.26, 6 / max(len(rows), 1))) * len(rows), DPI)
    ax = figure.subplots()
    factor, unit = _unit(max((part.stop for part in drawn), default=0.0))
    for place, row in enumerate(rows):
        own = [part for part in drawn if part.row == row]
        ax.broken_barh([(part.start / factor, (part.stop - part.start) / factor) for part in own], (place - 0.4, 0.8),
                       facecolors=[ENTRY_COLOURS[part.kind] for part in own], alpha=[_shade(part) for part in own],
                       linewidth=0)  # fmt: skip
    ax.set_yticks(range(len(rows)), rows, fontsize=8)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlim(left=0)
    ax.set_xlabel(unit, fontsize=8)
    ax.tick_params(length=0, labelsize=8)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.grid(axis="x", color=FAINT, alpha=0.25, linewidth=0.5)
    ax.set_axisbelow(True)
    seen = [kind for kind in DOING if any(part.kind == kind for part in drawn)]
    handles = [Patch(color=ENTRY_COLOURS[kind], label=DOING[kind]) for kind in seen]
    if handles:
        figure.legend(handles=handles, loc="outside lower left", ncols=min(len(seen), 6), frameon=False, fontsize=8)
    return figure


def _unit(seconds: float) -> tuple[float, str]:
    """The unit in which the longest time is at least 1."""
    return next(((step, name) for step, name in reversed(STEPS) if seconds >= step), STEPS[0])


def _shade(part: Slice) -> float:
    """The shade of a slice: chunks that follow each other have different ones."""
    return 0.75 if part.chunk is not None and part.chunk % 2 else 1.0
