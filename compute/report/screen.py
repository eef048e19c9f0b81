"""The overview as text, laid out for a width. A pipe gets the same words and marks without colours."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from compute.report.caption import FINE, caption, more_reasons, other_workers
from compute.report.folding import hanging, warned
from compute.report.style import share_colour
from compute.scaling.formatting import listed, ratio
from compute.scaling.results import Scaling
from compute.scaling.tables import table
from compute.scaling.tables.screen import BEST, Cell, Line, Screen, Way, screen
from compute.texts import mark, shown

BLOCKS = "▁▂▃▄▅▆▇█"
CURVE = 8  # characters of a curve: of more worker counts some are left out
TITLE = 20  # characters of a kernel's name: a longer one stands on a line of its own
FEW = 3  # worker counts: with fewer there is no curve
ALONE = "one core"  # the head of the serial times
NAME = 14  # characters of a way's head; a name from outside may be longer
SENTENCES = 5  # under the overview: readers do not read more
WARNINGS, LINES = 3, 2  # that are shown (at least one is), and the lines of each
MORE = " …"
DETAILS = "--details"


def show(scaling: Scaling, console: Console, tables_follow: bool = False, width: int | None = None) -> None:
    """Print the screen to a rich console: the machine, the picture, why, and what to be warned of.

    tables_follow: whether tables are printed next, which warn by themselves. width: the console's, where left out.
    """
    scaling, width = shown(scaling), width or console.width
    seen = screen(scaling)
    lay = _fit(seen, width, curves=not console.options.ascii_only)
    console.print(hanging(Text(table.heading(scaling, versions=False), style="dim"), width))
    console.print(hanging(Text(str(caption(seen))), width))
    console.print()
    for line in _picture(seen, lay):
        line.rstrip()
        console.print(line, soft_wrap=True)
    console.print()
    warnings = () if tables_follow else scaling.warnings
    for text in _under(seen, lay, warnings, width):
        console.print(hanging(text, width))


@dataclass(frozen=True)
class _Layout:
    """ways: the columns that there is room for. inner: blanks within a cell; outer: between cells.

    alone: whether there is a column of serial times. curves: "beside" the figures, "below" them, or "".
    """

    ways: tuple[int, ...]
    inner: int
    outer: int
    alone: bool
    curves: str


def _fit(seen: Screen, width: int, curves: bool) -> _Layout:
    """The widest layout that fits. Where none does, the ways that say least are left out, down to one."""
    has_curves = curves and any(len(cell.curve) >= FEW for cell in seen.cells)
    ways = tuple(range(len(seen.ways)))
    while True:
        tried = [
            _Layout(ways, inner, outer, alone, place)
            for place in (("beside", "below") if has_curves else ("",))
            for inner, outer, alone in ((2, 2, True), (1, 2, True), (1, 1, True), (1, 1, False))
        ]
        fitting = (lay for lay in tried if _width(seen, lay) <= width)
        if (lay := next(fitting, None if len(ways) > 1 else tried[-1])) is not None:
            return lay
        gone = min(ways, key=lambda way: (_weight(seen, way), -way))
        ways = tuple(way for way in ways if way != gone)


def _weight(seen: Screen, way: int) -> tuple[int, int, bool]:
    """How much a column says: how often it is the fastest, how many cells it has, whether it is plain or the first."""
    cells = [cell for line in seen.lines if (cell := line.cells[way])]
    return sum(cell.mark == BEST for cell in cells), len(cells), seen.ways[way].is_plain or way == 0


def _width(seen: Screen, lay: _Layout) -> int:
    return sum(_widths(seen, lay)) + lay.outer * len(lay.ways) + _names(seen) + (2 + _alone(seen)) * lay.alone


def _names(seen: Screen) -> int:
    """The width of the kernels' column."""
    return max((n for line in seen.lines if (n := cell_len(line.title)) <= TITLE), default=0)


def _alone(seen: Screen) -> int:
    return max([len(ALONE), *(len(line.alone_in_words) for line in seen.lines)])


def _widths(seen: Screen, lay: _Layout) -> list[int]:
    """Of each column: its cells and their letters."""
    return [max(1 + max(map(cell_len, _head(seen.ways[way]))), 1 + sum(_parts(seen, lay, way))) for way in lay.ways]


def _parts(seen: Screen, lay: _Layout, way: int) -> tuple[int, int, int]:
    """The widths of a column's marked speedups, of its shares and its curves with the blanks before them."""
    cells = [cell for line in seen.lines if (cell := line.cells[way])]
    speedup = max((1 + len(_speedup(cell, seen.workers)) for cell in cells), default=1)
    share = max((len(cell.words[1]) for cell in cells), default=1)
    curve = max((len(_curve(cell)) for cell in cells), default=0) if lay.curves == "beside" else 0
    return speedup, lay.inner + share, curve + (curve > 0)


def _head(way: Way) -> tuple[str, str]:
    """The lines of a column's head: the backend, and under it the variant where it is not the plain one."""
    return _short(way.backend), "" if way.is_plain else _short(f"·{way.variant}")


def _short(name: str) -> str:
    return name if cell_len(name) <= NAME else set_cell_size(name, NAME - len(mark(name))) + mark(name)


def _speedup(cell: Cell, workers: int) -> str:
    """`1.96`; `3.4/4` with another number of workers than most cells have."""
    return cell.words[0] + other_workers(cell.point.workers, workers)


def _picture(seen: Screen, lay: _Layout) -> Iterable[Text]:
    widths, names, alone = _widths(seen, lay), _names(seen), _alone(seen)
    parts = {way: _parts(seen, lay, way) for way in lay.ways}
    for row in range(2):
        heads = [_head(seen.ways[way])[row] for way in lay.ways]
        if row == 0 or any(heads):
            first = f"{'':{names}}" + (f"  {ALONE if row == 0 else '':>{alone}}" if lay.alone else "")
            cells = (" " * (width - 1 - cell_len(head)) + f"{head} " for head, width in zip(heads, widths, strict=True))
            yield Text(first + "".join(" " * lay.outer + cell for cell in cells), style="bold")
    for line in seen.lines:
        if cell_len(line.title) > names:
            yield Text(line.title, style="bold")
        text = Text.assemble((line.title if cell_len(line.title) <= names else "", "bold"))
        text.append(" " * (names - text.cell_len))
        if lay.alone:
            text.append(f"  {line.alone_in_words:>{alone}}", style="dim")
        for way, width in zip(lay.ways, widths, strict=True):
            text.append(" " * lay.outer)
            text.append_text(_cell(line.cells[way], seen, parts[way], width))
        yield text
        if lay.curves == "below" and (below := _curves(line, lay, widths, names + (2 + alone) * lay.alone)):
            yield Text(below)


def _cell(cell: Cell | None, seen: Screen, parts: tuple[int, int, int], width: int) -> Text:
    """A cell as wide as its column: `*1.96  99%a`."""
    if cell is None:
        return Text(" " * width)
    speedup, share, curve = parts
    marked = cell.mark + _speedup(cell, seen.workers)
    body = f"{marked:>{speedup}}{cell.words[1]:>{share}}{cell.letter or ' '}"
    text = Text(" " * (width - len(body) - curve))
    style = f"{'bold ' * (cell.mark == BEST)}black on {share_colour(cell.share)}" if cell.share is not None else ""
    text.append(body, style=style)
    if curve:
        text.append(f"{_curve(cell):>{curve}}")
    return text


def _curves(line: Line, lay: _Layout, widths: Sequence[int], left: int) -> str:
    """The line of curves under a line of figures; left: blanks before the first one."""
    text = " " * left
    for way, width in zip(lay.ways, widths, strict=True):
        cell = line.cells[way]
        text += " " * lay.outer + f"{_curve(cell) if cell else '':>{width - 1}} "
    return text.rstrip()


def _curve(cell: Cell) -> str:
    """Speedup by workers, both on logarithmic scales, so that N-fold climbs evenly. "" for fewer counts than FEW."""
    if len(cell.curve) < FEW:
        return ""
    known, most = dict(cell.curve), max(n for n, _ in cell.curve)
    places = min(CURVE, len(known))
    wanted = [most ** (k / (places - 1)) for k in range(places)]
    chosen = sorted({min(known, key=lambda n: abs(math.log(n / goal))) for goal in wanted})
    heights = [math.log(max(known[n], 1.0)) / math.log(most) for n in chosen]
    return "".join(BLOCKS[min(round(height * (len(BLOCKS) - 1)), len(BLOCKS) - 1)] for height in heights)


def _aside(seen: Screen, lay: _Layout) -> str:
    """How curves are read, and ways without room."""
    left_out = [_told(seen, way) for way in range(len(seen.ways)) if way not in lay.ways]
    also = f"Also measured: {'; '.join(left_out)}." if left_out else ""
    return " ".join(filter(None, [_reading(seen) if lay.curves else "", also]))


def _reading(seen: Screen) -> str:
    ends = {(cell.curve[0][0], cell.curve[-1][0]) for cell in seen.cells if len(cell.curve) >= FEW}
    if len(ends) > 1:
        return "Curves: speedup by workers; to the top is N-fold at the most of each way."
    ((least, most),) = ends
    return f"Curves: speedup with {least} to {most} workers; to the top is {most}-fold."


def _under(seen: Screen, lay: _Layout, warnings: Sequence[str], width: int) -> Iterable[Text]:
    """What stands under the overview: reasons, as many warnings as have room, and where the rest is."""
    for reason in seen.reasons:
        yield Text.assemble((f"{reason.letter} ", "bold"), (f"{reason.where}: ", "bold"), reason.text)
    if seen.judged and not seen.reasons:
        yield Text(FINE)
    if aside := _aside(seen, lay):
        yield Text(aside, "dim")
    room = max(1, min(WARNINGS, SENTENCES - len(seen.reasons) - bool(aside)))
    shown_warnings = [_cut(warning, max(width - 2, 10)) for warning in warnings[:room]]
    yield from (warned(text) for text, _ in shown_warnings)
    is_cut = len(warnings) > room or any(cut for _, cut in shown_warnings)
    rest = listed([*filter(None, [more_reasons(seen), "all warnings in full" * is_cut])])
    if rest:
        yield warned(f"{rest}: see the tables ({DETAILS})")


def _cut(warning: str, width: int) -> tuple[str, bool]:
    """The warning in LINES lines at most, and whether there is more of it."""
    lines = textwrap.wrap(f"! {warning}", width, max_lines=LINES, placeholder=MORE, break_on_hyphens=False)
    whole = textwrap.wrap(f"! {warning}", width, break_on_hyphens=False)
    return " ".join(lines).removeprefix("! "), lines[-1:] != whole[-1:]


def _told(seen: Screen, way: int) -> str:
    """`coroutines 0.99 50%d (mandelbrot)`, `processes·python 1.60–1.97`: a column in words."""
    cells = [(line.title, cell) for line in seen.lines if (cell := line.cells[way])]
    label = seen.ways[way].label
    if len(cells) == 1:
        title, cell = cells[0]
        of = f" ({title})" if len(seen.lines) > 1 else ""
        return f"{label} {cell.mark}{_speedup(cell, seen.workers)} {cell.words[1]}{cell.letter}{of}"
    speedups = sorted(cell.point.speedup for _, cell in cells if cell.point.speedup is not None)
    text = f"{label} {ratio(speedups[0])}–{ratio(speedups[-1])}" if speedups else label
    best = [title for title, cell in cells if cell.mark == BEST]
    return f"{text} ({BEST} for {listed(best)})" if best else text
