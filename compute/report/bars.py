"""The ledger as a picture: one stacked bar for each configuration. Used by plots.py."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from compute.report.style import DARK, ENTRY_COLOURS, FAINT, INK
from compute.scaling.dataset import Point
from compute.scaling.tables.breakdown import ENTRIES, shares

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SEEN = 0.002  # of N × T: a smaller part cannot be seen
TOLD = 0.18  # of the longest bar: a part of this size has room for its number
THICK = 0.62  # of the distance between two bars


def draw(ax: Axes, points: Sequence[Point], places: Iterable[float]) -> None:
    """Draw a bar for each point at its place. The whole is workers × time. Negative entries go to the left of 0."""
    longest = max((sum(map(abs, shares(p).values())) for p in points), default=1.0)
    for p, place in zip(points, places, strict=True):
        right = left = 0.0
        for name, part in shares(p).items():
            if abs(part) < SEEN:
                continue
            start = right if part > 0 else left
            ax.barh(place, part, THICK, left=start, color=ENTRY_COLOURS[name], edgecolor="white", linewidth=0.4)
            if part >= TOLD * longest:
                ax.text(start + part / 2, place, f"{part * 100:.0f} %", ha="center", va="center", fontsize=7,
                        color="white" if name in DARK else INK)  # fmt: skip
            right, left = (right + part, left) if part > 0 else (right, left + part)
    ax.set_xticks([0, 0.5, 1], ["0", "50", "100 %"])
    ax.set_xlim(min(-0.04, ax.get_xlim()[0]), max(1.04, ax.get_xlim()[1]))
    ax.axvline(0, color=FAINT, linewidth=0.6)


def handles(points: Iterable[Point]) -> list[Any]:
    """The legend: a patch for each entry that can be seen in any bar."""
    from matplotlib.patches import Patch

    seen = {name for p in points for name, part in shares(p).items() if abs(part) >= SEEN}
    return [Patch(color=ENTRY_COLOURS[name], label=title) for name, title in ENTRIES.items() if name in seen]
