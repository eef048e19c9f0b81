"""Markdown for GitHub, short enough for a comment: a table for each kernel; what explains it opens at a click."""

from __future__ import annotations

from collections.abc import Iterable

from compute.scaling.results import Scaling
from compute.scaling.tables import notes, table
from compute.scaling.tables.notes import Remark
from compute.scaling.tables.sheet import WORDS, Sheet
from compute.texts import in_markdown, shown


def render(scaling: Scaling) -> str:
    """A table for each kernel and size, with the sentences about it."""
    scaling = shown(scaling)
    parts = [in_markdown(table.heading(scaling)) + "."]
    for group in table.groups(scaling):
        parts += [f"### {in_markdown(group.title)}", table_of(group.sheet)]
        if group.verdicts:
            parts.append(_list(group.verdicts))
        parts += map(in_markdown, group.notes)
        parts += (_folded(sheet.title, table_of(sheet), in_markdown(sheet.note)) for sheet in group.details)
        if group.laws:
            parts.append(_folded("Laws", _list(group.laws)))
    parts += map(in_markdown, notes.harness(scaling))
    if scaling.warnings:
        parts.append("\n".join(f"> ⚠ {in_markdown(text)}  " for text in scaling.warnings).rstrip())
    return "\n\n".join(parts) + "\n"


def _list(remarks: Iterable[Remark]) -> str:
    return "\n".join(f"- **{in_markdown(remark.of)}**: {in_markdown(remark.text)}" for remark in remarks)


def _folded(title: str, *parts: str) -> str:
    """What opens at a click. GitHub reads Markdown within only after an empty line."""
    return "\n\n".join([f"<details>\n<summary>{title}</summary>", *(part for part in parts if part), "</details>"])


def table_of(sheet: Sheet) -> str:
    rule = ["---" if name in WORDS else "---:" for name in sheet.columns]
    rows = [
        [f"**{cell}**" if name in row.flagged else cell for name, cell in zip(sheet.columns, cells, strict=True)]
        for row, cells in ((row, map(in_markdown, row.cells)) for row in sheet.rows)
    ]
    return "\n".join(_line(row) for row in [sheet.columns, rule, *rows])


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
