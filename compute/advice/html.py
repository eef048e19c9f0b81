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
from compute.scaling.formatting import STEPS, seconds
from compute.texts import in_html, short, shown

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
    drawn = advice.candidates[:MOST]
    factor, unit = next(((step, name) for step, name in reversed(STEPS) if drawn[0].seconds >= step), STEPS[0])
    figure = canvas.figure(8.0, 0.7 + 0.28 * len(drawn), DPI)
    ax = figure.subplots()
    for place, c in enumerate(drawn):
        low, high = (abs(c.seconds - end) / factor for end in c.interval)
        ax.barh(place, c.seconds / factor, 0.7, color=colour(c.backend), alpha=1.0 if c is advice.use else 0.45)
        ax.errorbar([c.seconds / factor], [place], xerr=[[low], [high]], color=INK, elinewidth=1, capsize=2)
        ax.text(0, place, f"  {seconds(c.seconds)}", va="center", fontsize=8)
    ax.set_yticks(range(len(drawn)), [_name(c) for c in drawn], fontsize=8)
    ax.set_ylim(len(drawn) - 0.4, -0.6)
    ax.set_xlim(left=0)
    ax.set_xlabel(unit, fontsize=8)
    ax.tick_params(length=0, labelsize=8)
    ax.spines[["top", "right", "left"]].set_visible(False)
    return figure


def _name(c: Candidate) -> str:
    return short(f"{c.on!r} · {c.variant}", 40)
