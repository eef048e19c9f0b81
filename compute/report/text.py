"""The report as text: the overview, then tables. A pipe gets the same words without colours."""

from __future__ import annotations

import io
from collections.abc import Callable

from rich.console import Console, RenderableType
from rich.text import Text

from compute.report import screen
from compute.report.folding import hanging, warned
from compute.report.style import share_colour
from compute.scaling.dataset import Point
from compute.scaling.results import Scaling
from compute.scaling.tables import notes, table
from compute.scaling.tables.notes import Remark
from compute.scaling.tables.sheet import Row, Sheet, fit
from compute.texts import shown

BAR = 12  # characters of a whole bar
BARS = "of N-fold"  # the head of the column of bars, which is there if the terminal has room


def render(scaling: Scaling, width: int = 80, details: bool | None = True) -> str:
    """The report as text without colours, with the tables."""
    text = io.StringIO()
    show(scaling, Console(file=text, width=width, force_terminal=False, color_system=None), details)
    return text.getvalue()


def show(scaling: Scaling, console: Console, details: bool | None = None, screen_width: int | None = None) -> None:
    """Print the report to a rich console: the one screen, and with details the tables behind it.

    details: None is for tables where there is only one kernel: a long report stays short. screen_width: the console's,
    where left out.
    """
    scaling = shown(scaling)
    if details is None:
        details = len({p.title for p in scaling.points}) == 1
    screen.show(scaling, console, tables_follow=details, width=screen_width)
    if details:
        show_tables(scaling, console)


def show_tables(scaling: Scaling, console: Console, ledgers: bool | None = None) -> None:
    """Print a table for each kernel, with what there is to say of it.

    ledgers: with where the core-seconds went, efficiencies and laws; None: where there is only one kernel.
    """
    scaling = shown(scaling)
    if ledgers is None:
        ledgers = len({p.title for p in scaling.points}) == 1
    for group in table.groups(scaling):
        console.print()
        console.print(_titled(group.title))
        _print_sheet(group.sheet, console, _style, bars=True)
        for remark in group.verdicts:
            console.print(_remark(remark, console.width))
        for note in group.notes:
            console.print(hanging(Text(note, style="dim"), console.width))
        if ledgers:
            _print_details(group, console)
    closing = [Text(line, style="dim") for line in (f"{table.heading(scaling)}.", *notes.harness(scaling))]
    closing += [warned(warning) for warning in scaling.warnings]
    console.print()
    for line in closing:
        console.print(hanging(line, console.width))


def _print_details(group: table.Group, console: Console) -> None:
    for sheet in group.details:
        console.print()
        console.print(Text(sheet.title, style="bold"))
        _print_sheet(sheet, console, _detail_style)
        console.print(hanging(Text(sheet.note, style="dim"), console.width))
    if group.laws:
        console.print()
        console.print(Text("Laws", style="bold"))
    for remark in group.laws:
        console.print(_remark(remark, console.width))


def _remark(remark: Remark, width: int) -> RenderableType:
    """A remark: what it is of is bold, the rest is plain."""
    name = f"{remark.of}: ", "bold yellow" if remark.trouble else "bold"
    return hanging(Text.assemble(name, remark.text), width)


def _titled(title: str) -> Text:
    name, dot, rest = title.partition(" · ")
    return Text.assemble((name, "bold"), (dot + rest, "dim"))


def _print_sheet(sheet: Sheet, console: Console, style: Callable[[Row, str], str], bars: bool = False) -> None:
    layout = fit(sheet, console.width)
    gap = " " * layout.gap
    bars = bars and layout.width + len(gap) + BAR <= console.width
    lines = [Text(gap.join([*layout.head(), *([BARS] if bars else [])]), style="bold")]
    lines.append(Text(layout.rule() + f"{gap}{'─' * BAR}" * bars))
    for k, row in enumerate(sheet.rows):
        if above := layout.line_above(row, first=k == 0):
            lines.append(Text(above, style="bold" if layout.split else ""))
        cells = zip(layout.padded(row), layout.names, strict=True)
        line = Text(gap).join(Text(cell, style=style(row, name)) for cell, name in cells)
        lines.append(line + Text(gap) + _bar(row.point) if bars else line)
    for line in lines:
        line.rstrip()
        console.print(line, soft_wrap=True)


def _style(row: Row, column: str) -> str:
    if table.is_baseline(row.point):
        return "dim"
    if column == "efficiency" and row.point.efficiency is not None:
        return f"black on {share_colour(row.point.efficiency)}"
    if column == "speedup":
        return "bold"
    return "bold underline" if column in row.flagged else ""


def _detail_style(row: Row, column: str) -> str:
    return "bold underline" if column in row.flagged else ""


def _bar(p: Point) -> Text:
    """Efficiency as a bar. A whole bar is N-fold."""
    if p.efficiency is None or table.is_baseline(p):
        return Text("")
    full = round(min(p.efficiency, 1.0) * BAR)
    return Text.assemble(("━" * full, share_colour(p.efficiency)), ("─" * (BAR - full), "dim"))
