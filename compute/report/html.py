"""One HTML page with everything: the overview, figures to explore, tables, the machine. It loads nothing.

The page works without its scripts, too: the screen, the tables and what is said of them are plain HTML.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from compute.report.page import asset, colours, script
from compute.report.page.figures import figures, legend
from compute.report.page.heat import heat
from compute.scaling.formatting import in_bytes
from compute.scaling.results import Scaling
from compute.scaling.tables import notes, table
from compute.scaling.tables.notes import Remark
from compute.scaling.tables.sheet import WORDS, Sheet
from compute.texts import in_html, shown

FLAGGED = ' class="flagged"'
# The Content-Security-Policy enforces this: the browser refuses every request, and every script but ours.
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src {hashes}; \
style-src 'unsafe-inline'; img-src data:">
<title>nfold: {title}</title>
<style>{style}</style>
</head>
<body>
<a class="skip" href="#report">Skip to the report</a>
<header><h1>How close to N-fold</h1>
<button type="button" id="theme" hidden>Dark</button>
<p>{heading}</p></header>
<main id="report">
{screen}
{warnings}
<noscript><p class="small">The figures need JavaScript; the tables hold the same numbers.</p></noscript>
<p class="small" id="old" hidden>The figures need a browser of 2023 or later; the tables hold the same numbers.</p>
{groups}
<section aria-labelledby="machine"><h2 id="machine">Machine</h2>
{harness}
<dl>{machine}</dl>
{command}
</section>
</main>
<script type="text/plain" id="library">{library}</script>
<script type="text/plain" id="data">{data}</script>
<script>{script}</script>
</body>
</html>
"""


def render(scaling: Scaling) -> str:
    """The page."""
    scaling = shown(scaling)
    groups = table.groups(scaling)
    library, own = asset("library.js"), script()
    data = legend() | {"kernels": [figures(group, scaling) for group in groups]}
    return PAGE.format(
        hashes=" ".join(map(_hash, (library, own))),
        title=in_html(", ".join(dict.fromkeys(p.title for p in scaling.points))[:60]),
        style=colours.variables() + asset("page.css"),
        heading=in_html(table.heading(scaling)),
        screen=heat(scaling, groups),
        warnings=_list("warnings", [f"<li>{in_html(text)}</li>" for text in scaling.warnings]),
        groups="\n".join(_section(group, number) for number, group in enumerate(groups)),
        harness="".join(f'<p class="small">{in_html(line)}</p>' for line in notes.harness(scaling)),
        machine="".join(
            f"<dt>{in_html(str(k))}</dt><dd>{in_html(_told(k, v))}</dd>" for k, v in scaling.machine.items()
        ),
        command=_command(scaling.command),
        data=_packed(json.dumps(data, ensure_ascii=False, separators=(",", ":"))),
        library=_packed(library),
        script=own,
    )


def _packed(text: str) -> str:
    """The text compressed, in letters that mean nothing in HTML. figures.js unpacks it."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _hash(script: str) -> str:
    """The expression by which the policy allows one script: its hash."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _section(group: table.Group, number: int) -> str:
    name, _, rest = group.title.partition(" · ")
    return "".join(
        [
            f'<section class="kernel" aria-labelledby="k{number}"><h2 id="k{number}">{in_html(name)}</h2>',
            f"<p>{in_html(rest)}</p>",
            _remarks(group.verdicts),
            f'<div class="figures" data-kernel="{number}"></div>',
            _table(group.sheet, f"{name}: speedups"),
            *(f'<p class="small">{in_html(note)}</p>' for note in group.notes),
            *(
                _folded(s.title, f'{_table(s, f"{name}: {s.title}")}<p class="small">{in_html(s.note)}</p>')
                for s in group.details
            ),
            _folded("Laws", _remarks(group.laws)) if group.laws else "",
            "</section>",
        ]
    )


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{in_html(title)}</summary>{content}</details>"


def _list(name: str, items: list[str]) -> str:
    return f'<ul class="{name}">{"".join(items)}</ul>' if items else ""


def _remarks(remarks: tuple[Remark, ...]) -> str:
    return _list(
        "remarks",
        [
            f'<li class="{"trouble" * remark.trouble}"><b>{in_html(remark.of)}</b>: {in_html(remark.text)}</li>'
            for remark in remarks
        ],
    )


def _command(command: str) -> str:
    """The command that measures all of this again; "" where a program measured it."""
    return f'<p class="small command">Measured by:</p><pre class="command">{in_html(command)}</pre>' if command else ""


def _told(name: str, value: Any) -> str:
    """What is known of the machine, in words: `L1d 48 kB, L2 1 MB`."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_told(name, part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_told(name, part) for part in value)
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, int) and name in ("memory", "memory_available", "shm", "caches"):
        return in_bytes(value)
    return str(value)


def _table(sheet: Sheet, name: str) -> str:
    """The first columns are words, and stand to the left; page.css puts the others to the right.

    Cells and rows end where the next one begins, as HTML allows: their end tags would be a third of a long page.
    """
    assert sheet.columns[: len(WORDS)] == WORDS
    head = "".join(f'<th scope="col">{in_html(column)}' for column in sheet.columns)
    body = ""
    for row in sheet.rows:
        classes = ["starts"] * row.starts + ["baseline"] * table.is_baseline(row.point)
        cells = "".join(
            f"<td{FLAGGED * (column in row.flagged)}>{in_html(cell)}"
            for column, cell in zip(sheet.columns, row.cells, strict=True)
        )
        kind = f' class="{" ".join(classes)}"' if classes else ""
        body += f"<tr{kind}>{cells}"
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{in_html(name)}">'
        f'<table class="sheet"><thead><tr>{head}</thead><tbody>{body}</tbody></table></div>'
    )
