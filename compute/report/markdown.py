"""Markdown tables, as GitHub shows them."""

from __future__ import annotations

from collections.abc import Iterable

from compute.scaling import table
from compute.scaling.dataset import Scaling


def render(scaling: Scaling) -> str:
    """A table for each kernel and size, with what there is to know under it."""
    parts = [_escaped(table.heading(scaling)) + "."]
    for group in table.groups(scaling):
        parts.append(f"### {_escaped(group.title)}")
        rule = ["---:" if name in table.NUMBERS else "---" for name in table.COLUMNS]
        rows = [table.COLUMNS, rule, *(map(_escaped, row.cells) for row in group.rows)]
        parts.append("\n".join(_line(row) for row in rows))
        parts += map(_escaped, group.notes)
    if scaling.warnings:
        parts.append("\n".join(f"> ⚠ {_escaped(text)}  " for text in scaling.warnings).rstrip())
    return "\n\n".join(parts) + "\n"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _escaped(text: str) -> str:
    for sign in "\\|*<":  # not _: GitHub leaves it alone within a word
        text = text.replace(sign, f"\\{sign}")
    return text.replace("\n", " ")
