"""One page that holds everything: figures to explore, tables, the machine. Nothing is fetched from the network."""

from __future__ import annotations

from html import escape
from typing import Any

from compute.scaling import table
from compute.scaling.dataset import Scaling

MISSING = "the html report needs plotly, which is not installed; run pip install 'nfold[html]'"
# Okabe & Ito's colours, told apart by colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# The policy makes a promise of it: the browser itself refuses whatever would leave the page.
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; \
style-src 'unsafe-inline'; img-src data: blob:; font-src data:">
<title>nfold: scaling report</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 1rem 0 }}
th, td {{ padding: .15rem .9rem .15rem 0; text-align: left; white-space: nowrap }}
th {{ border-bottom: 1px solid #bbb }}
.number {{ text-align: right }}
.starts td {{ border-top: 1px solid #ddd }}
.baseline, .small {{ color: #767676 }}
.wide {{ overflow-x: auto }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem }}
dd {{ margin: 0 }}
</style>
<script>{script}</script>
</head>
<body>
<h1>How close to N-fold</h1>
<p>{heading}</p>
{warnings}
{groups}
<h2>Machine</h2>
<dl>{machine}</dl>
</body>
</html>
"""


def render(scaling: Scaling) -> str:
    """The page. ValueError, which names the extra, where plotly is not installed."""
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise ValueError(MISSING) from None
    warnings = "".join(f"<li>{escape(text)}</li>" for text in scaling.warnings)
    machine = "".join(f"<dt>{escape(str(k))}</dt><dd>{escape(str(v))}</dd>" for k, v in scaling.machine.items())
    return PAGE.format(
        script=get_plotlyjs(),
        heading=escape(table.heading(scaling)),
        warnings=f"<ul>{warnings}</ul>" if warnings else "",
        groups="\n".join(_section(group, number) for number, group in enumerate(table.groups(scaling))),
        machine=machine,
    )


def _section(group: table.Group, number: int) -> str:
    name, _, rest = group.title.partition(" · ")
    notes = "".join(f'<p class="small">{escape(note)}</p>' for note in group.notes)
    return f"<h2>{escape(name)}</h2><p>{escape(rest)}</p>{_figure(group, number)}{_table(group)}{notes}"


def _table(group: table.Group) -> str:
    kind = ['class="number"' if name in table.NUMBERS else "" for name in table.COLUMNS]
    head = "".join(f"<th {k}>{escape(name)}</th>" for k, name in zip(kind, table.COLUMNS, strict=True))
    body = ""
    for row in group.rows:
        classes = ["starts"] * row.starts + ["baseline"] * (row.point.backend == row.point.baseline)
        cells = "".join(f"<td {k}>{escape(cell)}</td>" for k, cell in zip(kind, row.cells, strict=True))
        body += f'<tr class="{" ".join(classes)}">{cells}</tr>'
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _figure(group: table.Group, number: int) -> str:
    import plotly.graph_objects as go

    lines: dict[tuple[str, str], list[table.Row]] = {}
    for row in group.rows:
        if row.point.speedup is not None and row.point.backend != "serial":
            lines.setdefault((row.point.backend, row.point.variant), []).append(row)
    if not lines:
        return ""
    counts = sorted({row.point.workers for rows in lines.values() for row in rows})
    figure = go.Figure(
        go.Scatter(
            x=[1, counts[-1]],
            y=[1, counts[-1]],
            mode="lines",
            name="N-fold",
            hoverinfo="skip",
            line={"color": "#767676", "dash": "dot", "width": 1},
        )
    )
    backends = list(dict.fromkeys(backend for backend, _ in lines))
    for (backend, variant), rows in lines.items():
        colour = COLOURS[backends.index(backend) % len(COLOURS)]
        figure.add_scatter(
            x=[row.point.workers for row in rows],
            y=[row.point.speedup for row in rows],
            error_y=_errors(rows),
            mode="lines+markers",
            name=escape(f"{backend} · {variant}"),
            line={"color": colour, "dash": "dash" if variant == "python" else "solid"},
            marker={"symbol": "circle-open" if variant == "python" else "circle", "size": 8},
            hovertext=[_hover(row) for row in rows],
            hoverinfo="text",
        )
    scale: dict[str, Any] = {"type": "log", "dtick": 0.30103} if counts[-1] >= 8 else {"rangemode": "tozero"}
    figure.update_layout(
        template="plotly_white",
        height=420,
        margin={"l": 50, "r": 20, "t": 20, "b": 50},
        xaxis={"title": "workers", **scale, "tickvals": counts, "ticktext": [str(n) for n in counts]},
        yaxis={"title": "speedup", **scale},
    )
    page: str = figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        div_id=f"figure-{number}",
        config={"displaylogo": False, "responsive": True},
    )
    return page


def _errors(rows: list[table.Row]) -> dict[str, Any]:
    pairs = [(p.speedup or 0.0, p.speedup_ci or (p.speedup or 0.0,) * 2) for p in (row.point for row in rows)]
    return {
        "type": "data",
        "symmetric": False,
        "array": [high - speedup for speedup, (_, high) in pairs],
        "arrayminus": [speedup - low for speedup, (low, _) in pairs],
    }


def _hover(row: table.Row) -> str:
    return "<br>".join(escape(f"{name}: {cell}") for name, cell in zip(table.COLUMNS, row.cells, strict=True) if cell)
