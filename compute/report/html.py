"""One page that holds everything: figures to explore, tables, the machine. Nothing is fetched from the network."""

from __future__ import annotations

from html import escape

from compute.report import figures
from compute.scaling.results import Scaling
from compute.scaling.tables import notes, table
from compute.scaling.tables.notes import Remark
from compute.scaling.tables.sheet import WORDS, Sheet
from compute.texts import shown

MISSING = "the html report needs plotly, which is not installed; run pip install 'nfold[html]'"
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
body {{ font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 72rem; margin: 2rem auto; padding: 0 1rem }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 1rem 0 }}
th, td {{ padding: .15rem .9rem .15rem 0; text-align: left; white-space: nowrap }}
th {{ border-bottom: 1px solid #bbb }}
.number {{ text-align: right }}
.starts td {{ border-top: 1px solid #ddd }}
.baseline, .small {{ color: #767676 }}
.small {{ font-size: .9rem; max-width: 60rem }}
.flagged {{ color: #c1272d; font-weight: bold }}
.wide {{ overflow-x: auto }}
.figures {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); gap: 1rem }}
.figures > div {{ min-width: 0 }}
.remarks {{ padding: 0; list-style: none; max-width: 60rem }}
.remarks li {{ padding: .1rem 0 .1rem .8rem; margin: .3rem 0; border-left: 4px solid #9db4c6 }}
.remarks .trouble {{ border-color: #c1272d }}
summary {{ cursor: pointer; font-weight: 600; margin: .5rem 0 }}
h2 {{ margin-top: 2.5rem; border-top: 1px solid #ddd; padding-top: 1rem }}
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
{harness}
<dl>{machine}</dl>
{draw}
</body>
</html>
"""


def render(scaling: Scaling) -> str:
    """The page. ValueError, which names the extra, where plotly is not installed."""
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise ValueError(MISSING) from None
    scaling = shown(scaling)
    warnings = "".join(f"<li>{escape(text)}</li>" for text in scaling.warnings)
    machine = "".join(f"<dt>{escape(str(k))}</dt><dd>{escape(str(v))}</dd>" for k, v in scaling.machine.items())
    return PAGE.format(
        script=get_plotlyjs(),
        heading=escape(table.heading(scaling)),
        warnings=f"<ul>{warnings}</ul>" if warnings else "",
        groups="\n".join(_section(group, number) for number, group in enumerate(table.groups(scaling))),
        harness="".join(f'<p class="small">{escape(line)}</p>' for line in notes.harness(scaling)),
        machine=machine,
        draw=figures.DRAW,
    )


def _section(group: table.Group, number: int) -> str:
    name, _, rest = group.title.partition(" · ")
    drawn = figures.speedups(group.sheet, f"speedup-{number}")
    drawn += figures.ledgers([row.point for row in group.rows], f"ledger-{number}")
    return "".join(
        [
            f"<section><h2>{escape(name)}</h2><p>{escape(rest)}</p>",
            _remarks(group.verdicts),
            f'<div class="figures">{drawn}</div>',
            _table(group.sheet),
            *(f'<p class="small">{escape(note)}</p>' for note in group.notes),
            *(_folded(s.title, f'{_table(s)}<p class="small">{escape(s.note)}</p>') for s in group.details),
            _folded("Laws", _remarks(group.laws)) if group.laws else "",
            "</section>",
        ]
    )


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{content}</details>"


def _remarks(remarks: tuple[Remark, ...]) -> str:
    items = "".join(
        f'<li class="{"trouble" * remark.trouble}"><b>{escape(remark.of)}</b>: {escape(remark.text)}</li>'
        for remark in remarks
    )
    return f'<ul class="remarks">{items}</ul>' if items else ""


def _table(sheet: Sheet) -> str:
    number = ["" if name in WORDS else "number" for name in sheet.columns]
    head = "".join(f'<th class="{k}">{escape(name)}</th>' for k, name in zip(number, sheet.columns, strict=True))
    body = ""
    for row in sheet.rows:
        classes = ["starts"] * row.starts + ["baseline"] * table.is_baseline(row.point)
        kinds = [f"{k} {'flagged' * (name in row.flagged)}" for k, name in zip(number, sheet.columns, strict=True)]
        cells = "".join(f'<td class="{k}">{escape(cell)}</td>' for k, cell in zip(kinds, row.cells, strict=True))
        body += f'<tr class="{" ".join(classes)}">{cells}</tr>'
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
