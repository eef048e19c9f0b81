"""The page's figures, to be explored with the mouse: speedups with intervals and ceilings; ledgers as stacked bars."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from html import escape
from typing import Any

from compute.report.style import ENTRY_COLOURS, FAINT, INK, colour
from compute.scaling.dataset import Point
from compute.scaling.tables.breakdown import ENTRIES, shares
from compute.scaling.tables.sheet import Row, Sheet, most_workers
from compute.scaling.words import percent, seconds

FEW = 2  # worker counts: so many are rows of dots, more are lines
ROW = 26  # pixels of a dot's or a bar's row
AROUND = 130  # pixels of axis, legend and margins
LEGEND = 40  # pixels more, for the ledger's longer one
LAYOUT: dict[str, Any] = {
    "template": "plotly_white",
    "margin": {"l": 10, "r": 10, "t": 36, "b": 10},
    "font": {"family": "system-ui, sans-serif", "size": 13, "color": INK},
    "legend": {"orientation": "h", "yanchor": "top", "y": -0.12, "x": 0, "font": {"size": 12}},
}
CONFIG = {"displaylogo": False, "responsive": True, "displayModeBar": False}

DATA = '<script type="application/json" class="figure">'
# A figure that is drawn before all places are laid out would take the width of later ones.
DRAW = f"""<script>
for (const data of document.querySelectorAll("script.figure")) {{
  const figure = JSON.parse(data.textContent);
  Plotly.newPlot(data.previousElementSibling, figure.data, figure.layout, {json.dumps(CONFIG)});
}}
</script>"""

Series = dict[tuple[str, str], list[Row]]


def speedups(sheet: Sheet, name: str) -> str:
    """The group's speedups as the HTML of a figure called name; nothing where none was worked out."""
    series: Series = {}
    for row in sheet.rows:
        if row.point.speedup is not None and not row.point.is_serial:
            series.setdefault((row.point.backend, row.point.variant), []).append(row)
    if not series:
        return ""
    counts = sorted({row.point.workers for rows in series.values() for row in rows})
    figure = _lines(series, counts, sheet) if len(counts) > FEW else _dots(series, counts, sheet)
    return _html(figure, name)


def ledgers(points: Sequence[Point], name: str) -> str:
    """Where the core-seconds of each backend and variant at its most workers went; nothing where it is not known."""
    import plotly.graph_objects as go

    known = [p for p in most_workers(points) if not p.is_serial and shares(p)]
    if not known:
        return ""
    figure = go.Figure()
    for entry, title in ENTRIES.items():
        parts = [shares(p).get(entry, 0.0) for p in known]
        if any(abs(part) > 0.0005 for part in parts):
            figure.add_bar(
                y=[_called(p.backend, p.variant) for p in known],
                x=parts,
                orientation="h",
                name=title,
                marker={"color": ENTRY_COLOURS[entry], "line": {"color": "white", "width": 0.5}},
                hovertext=[_slice(p, entry, title, part) for p, part in zip(known, parts, strict=True)],
                hoverinfo="text",
                text=[percent(part) if part >= 0.2 else "" for part in parts],
                textposition="inside",
                insidetextanchor="middle",
                textangle=0,
                cliponaxis=False,
            )
    figure.update_layout(
        **LAYOUT,
        title=_title("Core-seconds at the most workers"),
        barmode="relative",
        bargap=0.35,
        height=ROW * len(known) + AROUND + LEGEND,
        xaxis={"tickformat": ".0%", "zeroline": True, "zerolinecolor": FAINT},
        yaxis={"autorange": "reversed", "automargin": True},
    )
    figure.update_layout(legend_traceorder="normal")
    return _html(figure, name)


def _slice(p: Point, entry: str, title: str, part: float) -> str:
    core_seconds = (p.ledger or {}).get(entry, 0.0)
    amount = f"{'−' * (core_seconds < 0)}{seconds(abs(core_seconds))}"
    return escape(f"{p.backend} · {p.variant}, {p.workers} workers: {title} {percent(part)}, {amount}")


def _lines(series: Series, counts: Sequence[int], sheet: Sheet) -> Any:
    """Speedup against workers: a line a backend and variant, python's dashed."""
    import plotly.graph_objects as go

    figure = go.Figure(_line([1, counts[-1]], [1, counts[-1]], "N-fold", {"color": FAINT, "dash": "dot", "width": 1}))
    ceilings: dict[int, list[float]] = {}
    for row in (row for rows in series.values() for row in rows):
        if row.point.ceiling is not None:
            ceilings.setdefault(row.point.workers, []).append(row.point.ceiling)
    if ceilings:
        allowed = [statistics.median(ceilings[n]) for n in sorted(ceilings)]
        figure.add_trace(_line(sorted(ceilings), allowed, "allowed here", {"color": INK, "dash": "dash", "width": 1}))
    for (backend, variant), rows in series.items():
        figure.add_scatter(
            x=[row.point.workers for row in rows],
            y=[row.point.speedup for row in rows],
            error_y=_errors(rows),
            mode="lines+markers",
            name=_called(backend, variant),
            line={"color": colour(backend), "dash": "dash" if variant == "python" else "solid"},
            marker={"symbol": "circle-open" if variant == "python" else "circle", "size": 8},
            hovertext=[_hover(row, sheet) for row in rows],
            hoverinfo="text",
        )
    scale: dict[str, Any] = {"type": "log", "dtick": 0.30103} if counts[-1] >= 8 else {"rangemode": "tozero"}
    figure.update_layout(
        **LAYOUT,
        title=_title("Speedup against workers"),
        height=420 + 14 * len(series),
        xaxis={**scale, "tickvals": list(counts), "ticktext": [str(n) for n in counts]},
        yaxis=scale,
    )
    return figure


def _line(x: Sequence[float], y: Sequence[float], name: str, line: dict[str, Any]) -> Any:
    import plotly.graph_objects as go

    return go.Scatter(x=x, y=y, mode="lines", name=name, hoverinfo="skip", line=line)


def _dots(series: Series, counts: Sequence[int], sheet: Sheet) -> Any:
    """Speedup of one or two worker counts: a row a backend and variant, a filled dot for the most workers."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for n in counts:
        figure.add_vline(n, line={"color": FAINT, "dash": "dot", "width": 1})
        rows = [row for rows in series.values() for row in rows if row.point.workers == n]
        colours = [colour(row.point.backend) for row in rows]
        figure.add_scatter(
            y=[_called(row.point.backend, row.point.variant) for row in rows],
            x=[row.point.speedup for row in rows],
            error_x=_errors(rows) | {"color": FAINT, "thickness": 1.2, "width": 3},
            mode="markers",
            name="one worker" if n == 1 else f"{n} workers",
            marker={
                "color": colours if n == counts[-1] else "white",
                "size": 10,
                "line": {"color": colours, "width": 2},
            },
            hovertext=[_hover(row, sheet) for row in rows],
            hoverinfo="text",
        )
    limited = [rows[-1].point for rows in series.values() if rows[-1].point.ceiling is not None]
    if limited:
        figure.add_scatter(
            y=[_called(p.backend, p.variant) for p in limited],
            x=[p.ceiling for p in limited],
            mode="markers",
            name="allowed here",
            hoverinfo="x",
            marker={"symbol": "line-ns", "size": 14, "line": {"color": INK, "width": 2}},
        )
    figure.update_layout(
        **LAYOUT,
        title=_title("Speedup, its 95 % interval, and N-fold (dotted)"),
        height=ROW * len(series) + AROUND,
        xaxis={"rangemode": "tozero", "dtick": 1 if counts[-1] <= 8 else None, "zeroline": False},
        yaxis={"autorange": "reversed", "automargin": True},
    )
    return figure


def _called(backend: str, variant: str) -> str:
    return escape(f"{backend} · {variant}")


def _title(text: str) -> dict[str, Any]:
    return {
        "text": text,
        "x": 0,
        "xanchor": "left",
        "y": 1,
        "yanchor": "top",
        "pad": {"t": 4},
        "font": {"size": 13, "color": FAINT},
    }


def _errors(rows: Sequence[Row]) -> dict[str, Any]:
    pairs = [(p.speedup or 0.0, p.speedup_ci or (p.speedup or 0.0,) * 2) for p in (row.point for row in rows)]
    return {
        "type": "data",
        "symmetric": False,
        "array": [max(high - speedup, 0.0) for speedup, (_, high) in pairs],
        "arrayminus": [max(speedup - low, 0.0) for speedup, (low, _) in pairs],
    }


def _hover(row: Row, sheet: Sheet) -> str:
    return "<br>".join(escape(f"{name}: {cell}") for name, cell in zip(sheet.columns, row.cells, strict=True) if cell)


def _html(figure: Any, name: str) -> str:
    """A place of the figure's height, and the figure as data: the page draws it when all places are laid out."""
    data = figure.to_json().replace("<", "\\u003c")  # else a name could end the script
    return f'<div id="{name}" style="height:{figure.layout.height}px"></div>{DATA}{data}</script>'
