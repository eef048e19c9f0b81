"""A Choice in a notebook: the advice, the candidates as a picture and as a table, and the break-even sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compute.advice.choice import Choice
from compute.advice.decision import Candidate
from compute.advice.text import (
    BREAK_EVEN,
    CANDIDATE,
    COLD_AND_WARM,
    break_even_cells,
    candidate_cells,
    sentences,
)
from compute.report import canvas
from compute.report.notebook import html_table, image
from compute.report.style import INK, colour
from compute.scaling.words import STEPS, seconds
from compute.texts import in_html, shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 150
MOST = 24  # bars


def render(advice: Choice) -> str:
    """HTML that needs neither scripts nor a style sheet."""
    advice = shown(advice)
    first, *others = sentences(advice)
    size = f" · size {advice.measured:,}" if advice.measured is not None else ""
    about = f"Seconds of {advice.kernel} by way of running it; the table holds the numbers"
    parts = [
        f"<p><b>{in_html(first)}</b></p>",
        *(f"<p>{in_html(line)}</p>" for line in others),
        f"<p>{in_html(advice.kernel + size)}</p>",
        image(canvas.png(lambda: _picture(advice)), about),
        html_table(CANDIDATE, (candidate_cells(advice, c) for c in advice.candidates)),
    ]
    if advice.break_evens:
        parts.append(f"<p>beats serial from size</p>{html_table(BREAK_EVEN, break_even_cells(advice), left=1)}")
    return "".join([*parts, *(f"<p><small>{in_html(note)}</small></p>" for note in (*advice.notes, COLD_AND_WARM))])


def _picture(advice: Choice) -> Figure:
    """A bar for each candidate, the fastest first, with its interval; the one to use in full colour."""
