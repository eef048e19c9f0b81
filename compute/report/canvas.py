"""Pictures as PNG: the one place that makes them of figures. A text in them is a text, whatever is in it.

matplotlib typesets what stands between two $, and gives up on what it cannot read. FONT turns that off wherever a text
is made while `png` draws. Its own folding of lines measures them as formulas all the same: `folded` is instead of it.
"""

from __future__ import annotations

import io
import logging
import textwrap
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from compute.report.style import FAINT, INK, RULE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FONT = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same picture everywhere
    "font.size": 9,
    "text.parse_math": False,  # a name between two $ is a name
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": FAINT,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
}


def png(draw: Callable[[], Figure]) -> bytes:
    """The picture that `draw` makes, as a PNG: the same whatever the reader's own matplotlibrc says."""
    data = io.BytesIO()
    with without_advice():
        from matplotlib import style
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        with style.context(["default", FONT]), warnings.catch_warnings():
            # A letter that the font lacks is a box, and labels that leave no room overlap: all is drawn anyway.
            warnings.simplefilter("ignore", UserWarning)
            FigureCanvasAgg(draw()).print_figure(data, format="png", facecolor="white")
    return data.getvalue()


@contextmanager
def without_advice() -> Iterator[None]:
    """Keep matplotlib's log from standard error meanwhile: that it has no folder for its cache, and its name, raw."""
    log = logging.getLogger("matplotlib")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def figure(width: float, height: float, dpi: int, layout: Any = "constrained") -> Figure:
    """An empty figure, in inches; for `png` alone."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=dpi, layout=layout)


def folded(text: str, letters: int) -> str:
    """The text in lines of at most so many letters."""
    return textwrap.fill(text, letters, break_on_hyphens=False)
