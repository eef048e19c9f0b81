"""What a notebook shows of a Scaling, a Timeline and a Result: HTML without scripts or a style sheet."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from compute.report import lanes, plots
from compute.report.caption import FINE, caption, more_reasons, other_workers
from compute.report.style import share_colour
from compute.scaling.dataset import Dataset
from compute.scaling.formatting import seconds
from compute.scaling.kept_timeline import keep
from compute.scaling.tables import table
from compute.scaling.tables.reasons import OTHER
from compute.scaling.tables.screen import Cell, Screen, screen
from compute.scaling.tables.sheet import WORDS, Sheet
from compute.texts import as_text, in_html, shown
from compute.timeline import LaneTotals, Timeline

if TYPE_CHECKING:
    from compute.scaling.results import Scaling

LEFT, RIGHT = "text-align: left", "text-align: right"
MOST_LANES = 64  # rows of a table


def of_scaling(scaling: Scaling) -> str:
    """The overview, the speedups as a picture, and each kernel's tables, which open at a click."""
    scaling = shown(scaling)
    parts = [f"<p>{in_html(table.heading(scaling))}</p>", _screen(scaling)]
    if any(p.speedup is not None and not p.is_serial for p in scaling.points):
        kernels = ", ".join(dict.fromkeys(p.title for p in scaling.points))
        parts.append(image(plots.render(scaling), f"Speedup by workers of {kernels}; the tables hold the numbers"))
    parts += [f"<p>⚠ {in_html(text)}</p>" for text in scaling.warnings]
    for group in table.groups(scaling):
        remarks = "".join(f"<li>{in_html(str(remark))}</li>" for remark in group.verdicts)
        sheets = "".join(f"<p><b>{in_html(sheet.title)}</b></p>{_sheet(sheet)}" for sheet in group.details)
        parts.append(
            f"<details><summary>{in_html(group.title)}</summary><ul>{remarks}</ul>{_sheet(group.sheet)}{sheets}</details>"
        )
    return "".join(parts)


def _screen(scaling: Dataset) -> str:
    seen = screen(scaling)
    if not seen.cells:
        return f"<p>{in_html(str(caption(seen)))}</p>"
    heads = "".join(f'<th style="{LEFT}">{in_html(way.label)}</th>' for way in seen.ways)
    lines = "".join(
        f'<tr><th style="{LEFT}">{in_html(line.title)}</th>{"".join(_cell(cell, seen) for cell in line.cells)}</tr>'
        for line in seen.lines
    )
    reasons = "".join(f"<li><b>{in_html(reason.letter)}</b> {in_html(str(reason))}</li>" for reason in seen.reasons)
    reasons += f"<li><b>{OTHER}</b> {more_reasons(seen)}: see the kernels below</li>" if seen.untold else ""
    fine = f"<p>{FINE}</p>" if seen.judged and not seen.reasons else ""
    return (
        f"<p>{in_html(str(caption(seen)))}</p><table><tr><th></th>{heads}</tr>{lines}</table><ul>{reasons}</ul>{fine}"
    )


def _cell(cell: Cell | None, seen: Screen) -> str:
    if cell is None:
        return "<td></td>"
    figure, share = cell.words
    ground = f"; background: {share_colour(cell.share)}; color: #000" if cell.share is not None else ""
    letter = f" {in_html(cell.letter)}" if cell.letter else ""
    figure = cell.mark + figure + other_workers(cell.point.workers, seen.workers)
    return f'<td style="{RIGHT}{ground}"><b>{in_html(figure)}</b> {in_html(share)}{letter}</td>'


def of_timeline(timeline: Timeline) -> str:
    """The run lane by lane as a picture, what went wrong, and each lane's totals."""
    whole = sum(timeline.sections.values())
    events = "".join(f"<li>{in_html(event)}</li>" for event in timeline.events)
    if not timeline.lanes:
        return f"<p>No lane ran a chunk; the caller took {seconds(whole)}.</p>"
    about = f"{len(timeline.lanes)} lanes ran {sum(lane.chunks for lane in timeline.lanes)} chunks in {seconds(whole)}"
    more = len(timeline.lanes) - MOST_LANES
    rest = f"<p>… and {more} more lanes.</p>" if more > 0 else ""
    return (
        image(lanes.render(keep(timeline, whole)), f"{about}; the table says how each lane spent them")
        + (f"<ul>{events}</ul>" if events else "")
        + html_table(
            ["lane", "process", "chunks", "time", "CPU time", "CPU/wall"],
            map(_lane, timeline.lanes[:MOST_LANES]),
            left=0,
        )
        + rest
    )


def _lane(lane: LaneTotals) -> list[str]:
    share = lane.cpu / lane.wall if lane.wall > 0 else 0.0
    return [
        str(lane.lane),
        str(lane.process),
        f"{lane.chunks:,}",
        seconds(lane.wall),
        seconds(lane.cpu),
        f"{share:.2f}",
    ]


def of_run(value: Any, took: float, timeline: Timeline) -> str:
    """A run's value in words, its seconds, and its timeline."""
    return f"<pre>{in_html(_value(value))}</pre><p>{in_html(seconds(took))}</p>{of_timeline(timeline)}"


def _value(value: Any) -> str:
    """An array as its type and its ends; anything else as the first characters of its repr."""
    import numpy as np

    if isinstance(value, np.ndarray):
        return f"{value.dtype} array of shape {value.shape}\n{np.array2string(value, threshold=100, edgeitems=3)}"
    return as_text(value, repr)


def image(png: bytes, about: str) -> str:
    """A PNG as an image within the page, no wider than it; about: what it shows, for who does not see it."""
    data = base64.b64encode(png).decode()
    return f'<img alt="{in_html(about)}" style="max-width: 100%; width: 50rem" src="data:image/png;base64,{data}">'


def html_table(heads: Sequence[str], rows: Iterable[Sequence[str]], left: int = len(WORDS)) -> str:
    """A table of texts; the first columns, so many as `left` says, are words."""
    sides = [LEFT if k < left else RIGHT for k in range(len(heads))]
    head = "".join(f'<th style="{side}">{in_html(cell)}</th>' for cell, side in zip(heads, sides, strict=True))
    body = "".join(
        "<tr>"
        + "".join(f'<td style="{side}">{in_html(cell)}</td>' for cell, side in zip(row, sides, strict=True))
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _sheet(sheet: Sheet) -> str:
    return html_table(sheet.columns, (row.cells for row in sheet.rows))
