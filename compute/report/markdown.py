"""Markdown as GitHub shows it, fit for a comment: a table a kernel, what explains it folded beneath."""

from __future__ import annotations

import re
from collections.abc import Iterable

from compute.scaling.results import Scaling
from compute.scaling.tables import notes, table
from compute.scaling.tables.notes import Remark
from compute.scaling.tables.sheet import WORDS, Sheet
from compute.texts import visible

SIGNS = re.compile(
    r"""[\\`|*<\#$~&]
    | (?<![^\W_])_ | _(?![^\W_])        # within a word GitHub leaves it alone
    | \[(?![\d.,<\ ]+\](?![\[(:]))      # an interval opens no link
    | :(?=//) | (?<=www)\.             # nor does an address
    | ^>|^[-+=](?!\d)                  # a number below 0 begins no list""",
    re.VERBOSE | re.IGNORECASE,
)
ORDERED = re.compile(r"^(\d+)([.)])(?=\s|$)")


def render(scaling: Scaling) -> str:
    """A table for each kernel and size, with what there is to know under it."""
    parts = [escaped(table.heading(scaling)) + "."]
    for group in table.groups(scaling):
        parts += [f"### {escaped(group.title)}", table_of(group.sheet)]
        if group.verdicts:
            parts.append(_list(group.verdicts))
        parts += map(escaped, group.notes)
        parts += (_folded(sheet.title, table_of(sheet), escaped(sheet.note)) for sheet in group.details)
        if group.laws:
            parts.append(_folded("Laws", _list(group.laws)))
    parts += map(escaped, notes.harness(scaling))
    if scaling.warnings:
        parts.append("\n".join(f"> ⚠ {escaped(text)}  " for text in scaling.warnings).rstrip())
    return "\n\n".join(parts) + "\n"


def _list(remarks: Iterable[Remark]) -> str:
    return "\n".join(f"- **{escaped(remark.of)}**: {escaped(remark.text)}" for remark in remarks)


def _folded(title: str, *parts: str) -> str:
    """What opens at a click. GitHub reads Markdown within only after an empty line."""
    return "\n\n".join([f"<details>\n<summary>{title}</summary>", *(part for part in parts if part), "</details>"])


def table_of(sheet: Sheet) -> str:
    rule = ["---" if name in WORDS else "---:" for name in sheet.columns]
    rows = [
        [f"**{cell}**" if name in row.flagged else cell for name, cell in zip(sheet.columns, cells, strict=True)]
        for row, cells in ((row, map(escaped, row.cells)) for row in sheet.rows)
    ]
    return "\n".join(_line(row) for row in [sheet.columns, rule, *rows])


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def escaped(text: str) -> str:
    """The text as Markdown that shows it: no cell, emphasis, code, HTML, link, formula or list in it."""
    return ORDERED.sub(r"\1\\\2", SIGNS.sub(r"\\\g<0>", visible(text).strip()))
