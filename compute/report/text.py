"""The table on a terminal: colours where there are any, the same words in a pipe."""

from __future__ import annotations

import io

from rich.box import Box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from compute.scaling import table
from compute.scaling.dataset import Point, Scaling

WIDE = 96  # columns from which a bar fits beside the table
BAR = 12  # characters of a whole bar
GOOD, FAIR = 0.9, 0.8  # of N-fold; 0.8 is the line under which POP asks for a look
RULED = Box("    \n    \n ── \n    \n ── \n ── \n    \n    \n")  # a rule under the head and between variants


def render(scaling: Scaling, width: int = 80) -> str:
    """The report as text without colours."""
    text = io.StringIO()
    show(scaling, Console(file=text, width=width, force_terminal=False, color_system=None))
    return text.getvalue()


def show(scaling: Scaling, console: Console) -> None:
    """Print the report to a rich console, in its width."""
    console.print(Text(table.heading(scaling), style="dim"))
    for group in table.groups(scaling):
        console.print()
        console.print(_titled(group.title))
        console.print(_table(group, bars=console.width >= WIDE))
        for note in group.notes:
            console.print(_hanging(Text(note, style="dim"), console.width))
    if scaling.warnings:
        console.print()
    for warning in scaling.warnings:
        console.print(_hanging(Text.assemble(("! ", "bold yellow"), warning), console.width))


def _titled(title: str) -> Text:
    name, dot, rest = title.partition(" · ")
    return Text.assemble((name, "bold"), (dot + rest, "dim"))


def _table(group: table.Group, bars: bool) -> Table:
    made = Table(box=RULED, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for name in table.COLUMNS:
        made.add_column(name, justify="right" if name in table.NUMBERS else "left", no_wrap=True)
    if bars:
        made.add_column("of N-fold", no_wrap=True)
    for row in group.rows:
        if row.starts:
            made.add_section()
        cells: list[Text] = [
            Text(cell, style=_style(row.point, name)) for name, cell in zip(table.COLUMNS, row.cells, strict=True)
        ]
        made.add_row(*cells, *([_bar(row.point)] if bars else []))
    return made


def _style(p: Point, column: str) -> str:
    if p.backend == p.baseline:
        return "dim"
    if column == "efficiency":
        return _colour(p)
    if column == "speedup":
        return "bold"
    return "red" if column == "CPU/wall" and table.takes_turns(p) else ""


def _colour(p: Point) -> str:
    if p.efficiency is None:
        return ""
    return "green" if p.efficiency >= GOOD else "yellow" if p.efficiency >= FAIR else "red"


def _bar(p: Point) -> Text:
    """Efficiency as a bar: whole is N-fold."""
    if p.efficiency is None or p.backend == p.baseline:
        return Text("")
    full = round(min(p.efficiency, 1.0) * BAR)
    return Text.assemble(("━" * full, _colour(p)), ("─" * (BAR - full), "dim"))


def _hanging(text: Text, width: int) -> RenderableType:
    """The text folded at the width, its further lines two to the right."""
    lines = text.wrap(Console(width=width, file=io.StringIO()), width - 2)
    return Text("\n").join([line if k == 0 else Text("  ") + line for k, line in enumerate(lines)])
