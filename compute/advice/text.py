"""A Choice as text: the advice, then the measurements behind it, then the break-even sizes."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Sequence

from rich.box import Box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from compute.advice.choice import Choice
from compute.advice.decision import Candidate, Crossing, simplest
from compute.scaling.formatting import STEPS, listed, ratio, seconds, three_digits
from compute.texts import shown
from compute.traits import SERIAL

RULED = Box("    \n    \n ── \n    \n    \n    \n    \n    \n")  # a rule under the head


def render(advice: Choice, width: int = 80) -> str:
    """The advice as text without colours."""
    text = io.StringIO()
    show(advice, Console(file=text, width=width, force_terminal=False, color_system=None))
    return text.getvalue()


def show(advice: Choice, console: Console) -> None:
    """Print the advice to a rich console, in its width."""
    advice = shown(advice)
    lines = list(sentences(advice))
    for number, line in enumerate(lines):
        for folded in textwrap.wrap(line, console.width, subsequent_indent="  "):
            console.print(Text(folded, style="bold" if number == 0 else ""), soft_wrap=True)
    title = advice.kernel + (f" · size {advice.measured:,}" if advice.measured is not None else "")
    console.print(Text(f"\n{title}", style="bold"))
    console.print(_candidates(advice))
    if advice.break_evens:
        console.print(Text("\nbeats serial from size", style="bold"))
        console.print(_break_evens(advice))
        console.print(Text("\nwarm times by size, each backend at its best", style="bold"))
        console.print(_by_size(advice))
    notes = [*advice.notes, COLD_AND_WARM]
    console.print()
    for note in notes:
        for folded in textwrap.wrap(note, console.width, subsequent_indent="  "):
            console.print(Text(folded, style="dim"), soft_wrap=True)


COLD_AND_WARM = (
    "warm: the median run on an open pool, with its 95 % interval. first use: importing numba, opening the pool,"
    " loading the kernel (compiled by an earlier run, if there was one). cold: first use and one run."
)


def sentences(advice: Choice) -> Iterator[str]:
    """`use Threads(2) with the nogil variant: 12.1 ms against 23.0 ms serial (1.90×)`, and who is as good."""
    use, serial = advice.use, advice.serial
    if advice.caution:
        yield advice.caution
    head = f"use {use.on!r} with the {use.variant} variant: {seconds(use.seconds)}"
    if use.is_serial:
        others = [c for c in advice.candidates if not c.is_serial]
        rest = f"; the next, {others[0].on!r}, takes {seconds(others[0].seconds)}" if others else ""
        yield f"{head} on one core, and nothing here is {'clearly ' * bool(advice.equals)}faster{rest}"
    else:
        of = "" if serial.variant == use.variant else f" ({serial.variant})"
        speedup = advice.speedup
        faster = f" ({ratio(speedup)}×)" if speedup is not None else ""
        yield f"{head} against {seconds(serial.seconds)} serial{of}{faster}"
    if advice.kind:
        yield advice.kind
    if advice.doubtful:
        yield (
            f"{listed([_named(c, use) for c in advice.doubtful])}: faster than so many workers can be, so noise is in"
            " it; ask again"
        )
    if advice.size is not None and advice.measured != advice.size:
        yield f"measured at size {advice.measured:,}: {advice.size:,} takes longer than the budget"
    if advice.equals:
        names = [_named(c, use) for c in (use, *advice.equals)]
        only = "" if simplest([use, *advice.equals]) is use else " that is clearly faster than one core"
        yield f"{' or '.join(names)}: within noise; {names[0]} is the simplest{only}"


def _named(c: Candidate, use: Candidate) -> str:
    return repr(c.on) if c.variant == use.variant else f"{c.on!r} · {c.variant}"


def crossing(crossed: Crossing) -> str:
    """`34,000`, `3,400,000,000 (projected)`, `1,000 or less`, `not up to 50,000`"""
    return {
        "measured": f"{crossed.size:,}",
        "always": f"{crossed.size:,} or less",
        "projected": f"{crossed.size:,} (projected)",
        "never": f"not up to {crossed.size:,}",
    }[crossed.how]


def _table(columns: Sequence[str], left: int = 1) -> Table:
    made = Table(box=RULED, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0))
    for number, name in enumerate(columns):
        made.add_column(Text(name), justify="left" if number < left else "right", no_wrap=True)
    return made


def _candidates(advice: Choice) -> Table:
    made = _table(CANDIDATE, left=2)
    for c in advice.candidates:
        made.add_row(*map(Text, candidate_cells(advice, c)), style="bold" if c is advice.use else "")
    return made


CANDIDATE = ("on", "variant", "warm", "95 %", "speedup", "first use", "cold")


def candidate_cells(advice: Choice, c: Candidate) -> list[str]:
    """A candidate's row, by CANDIDATE."""
    cells = [repr(c.on), c.variant, seconds(c.seconds), _interval(*c.interval)]
    speedup = advice.speedup_of(c)
    return [*cells, "noise" if speedup is None else ratio(speedup), seconds(c.opening + c.loading), seconds(c.cold)]


def _interval(low: float, high: float) -> str:
    """`13.3–23.2 ms`, in the unit of the higher end."""
    above, unit = seconds(high).split()
    scale = next(step for step, name in STEPS if name == unit)
    return f"{three_digits(low / scale)}–{above} {unit}"


def _break_evens(advice: Choice) -> Table:
    made = _table(BREAK_EVEN)
    for cells in break_even_cells(advice):
        made.add_row(*map(Text, cells))
    return made


BREAK_EVEN = ("backend", "warm", "cold")


def break_even_cells(advice: Choice) -> list[list[str]]:
    """The rows of what beats serial from which size, by BREAK_EVEN."""
    return [[b.backend, crossing(b.warm), crossing(b.cold)] for b in advice.break_evens]


def _by_size(advice: Choice) -> Table:
    names = [SERIAL, *(break_even.backend for break_even in advice.break_evens)]
    made = _table(("size", *names), left=0)
    for size, candidates in sorted(advice.by_size.items()):
        best = {name: min((c.seconds for c in candidates if c.backend == name), default=None) for name in names}
        fastest = min(value for value in best.values() if value is not None)
        cells = [
            Text("–" if value is None else seconds(value), style="bold" if value == fastest else "")
            for value in best.values()
        ]
        made.add_row(f"{size:,}", *cells)
    return made
