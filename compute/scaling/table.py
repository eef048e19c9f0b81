"""A Scaling as words: titles, columns and cells, chosen for reading. The one place that turns seconds into "ms".

compute.report lays the same cells out as terminal table, Markdown and HTML; `plain` is what str(scaling) gives.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from compute.scaling.dataset import Point, Scaling
from compute.scaling.statistics import FEWEST_ROUNDS

COLUMNS = ("backend", "variant", "workers", "time", "speedup", "efficiency", "CPU/wall")
NUMBERS = COLUMNS[2:]  # to the right
STEPS = ((1e-9, "ns"), (1e-6, "µs"), (1e-3, "ms"), (1.0, "s"))
PREFIXES = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
LEAST = 0.01  # of a speedup: below it digits say nothing more
BUSY = 0.8  # of the time on a CPU, and a lane's waiting needs no words
NEAR = 0.2  # a lane that is within this share of 1/N of a CPU had 1/N of it


@dataclass(frozen=True)
class Row:
    """A point and its cells, one for each of COLUMNS; starts: whether another variant than the row before it."""

    point: Point
    cells: tuple[str, ...]
    starts: bool


@dataclass(frozen=True)
class Group:
    """One kernel: a title, rows, and the lines to be read under them."""

    title: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = field(default=())


def groups(scaling: Scaling) -> list[Group]:
    """The points by kernel, in the order in which they were measured; by size too where a variant has more than one."""
    by_kernel: dict[str, list[Point]] = {}
    for point in scaling.points:
        by_kernel.setdefault(point.kernel, []).append(point)
    found = [part for points in by_kernel.values() for part in _by_size(points)]
    return [_group(_rows(part)) for part in found]


def _group(rows: tuple[Row, ...]) -> Group:
    points = [row.point for row in rows]
    return Group(_title(points), rows, tuple(_notes(points)))


def _by_size(points: list[Point]) -> list[list[Point]]:
    if len({(p.variant, p.size) for p in points}) == len({p.variant for p in points}):
        return [points]  # python is measured at a smaller size than nogil: still one story
    by_size: dict[int | None, list[Point]] = {}
    for point in points:
        by_size.setdefault(point.size, []).append(point)
    return list(by_size.values())


def heading(scaling: Scaling) -> str:
    """One line about the machine: `AMD EPYC, 2 usable CPUs, Python 3.11.7, numpy 2.4.6, numba 0.68.1`."""
    about = scaling.machine
    cpus = about.get("cpus")
    parts = [
        about.get("model"),
        f"{cpus} usable CPU{'' if cpus == 1 else 's'}" if cpus else None,
        *(
            f"{name if name != 'python' else 'Python'} {about[name]}"
            for name in ("python", "numpy", "numba")
            if about.get(name)
        ),
    ]
    return ", ".join(str(part) for part in parts if part) or "unknown machine"


def plain(scaling: Scaling) -> str:
    """The tables as plain text, 80 columns wide unless a word needs more."""
    import textwrap

    lines = [*textwrap.wrap(heading(scaling), 80)]
    for group in groups(scaling):
        rows = [COLUMNS, *(row.cells for row in group.rows)]
        widths = [max(len(row[k]) for row in rows) for k in range(len(COLUMNS))]
        lines += [
            "",
            *textwrap.wrap(group.title, 80),
            "",
            _line(COLUMNS, widths),
            _line(["─" * w for w in widths], widths),
        ]
        lines += (_line(row.cells, widths) for row in group.rows)
        lines += (line for note in group.notes for line in textwrap.wrap(note, 80, subsequent_indent="  "))
    if scaling.warnings:
        lines.append("")
        lines += (line for text in scaling.warnings for line in textwrap.wrap(f"! {text}", 80, subsequent_indent="  "))
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    pairs = zip(cells, widths, COLUMNS, strict=True)
    return "  ".join(c.rjust(w) if name in NUMBERS else c.ljust(w) for c, w, name in pairs).rstrip()


def _title(found: Sequence[Point]) -> str:
    """`count_primes · size 1,000,000 · median of 12 rounds`; a size a variant where they differ."""
    sizes = {p.variant: f"{p.size:,}" for p in found if p.size is not None}
    title = found[0].kernel
    if len(set(sizes.values())) == 1:
        title += f" · size {next(iter(sizes.values()))}"
    elif sizes:
        title += " · size " + ", ".join(f"{size} ({variant})" for variant, size in sizes.items())
    rounds = sorted({p.rounds for p in found if p.rounds})
    if rounds:
        many = f"{rounds[0]}" if len(rounds) == 1 else f"{rounds[0]}–{rounds[-1]}"
        title += f" · median of {many} round{'' if many == '1' else 's'}"
    return title


def _rows(found: Iterable[Point]) -> tuple[Row, ...]:
    """Variants together, the fastest first; in each the backends as they came, serial first, by workers."""
    found = list(found)
    backends = {p.backend: -1 if p.backend == "serial" else k for k, p in reversed(list(enumerate(found)))}
    fastest = {v: max(p.rate or 1 / p.seconds for p in found if p.variant == v) for v in {p.variant for p in found}}
    found.sort(key=lambda p: (-fastest[p.variant], p.variant, backends[p.backend], p.workers))
    before = [None, *(p.variant for p in found)]
    return tuple(Row(p, _cells(p), k > 0 and p.variant != before[k]) for k, p in enumerate(found))


def _cells(p: Point) -> tuple[str, ...]:
    return (
        p.backend,
        p.variant,
        str(p.workers),
        seconds(p.seconds),
        speedup(p),
        percent(p.efficiency),
        f"{p.cpu_per_wall:.2f}" if p.cpu_per_wall is not None else "",
    )


def speedup(p: Point) -> str:
    """`1.93 [1.90, 1.95]`; without the interval where rounds were too few, or where it is of the baseline itself."""
    if p.speedup is None:
        return "–"
    if p.baseline == p.backend:
        return "1"
    text = ratio(p.speedup)
    return (
        text
        if p.speedup_ci is None or p.speedup < LEAST
        else f"{text} [{ratio(p.speedup_ci[0])}, {ratio(p.speedup_ci[1])}]"
    )


def ratio(value: float) -> str:
    """`1.93`, `12.3`, `128`, `0.04`: what a speedup of a few rounds carries."""
    return three_digits(value) if value >= LEAST else f"<{LEAST}"


def percent(value: float | None) -> str:
    """`96 %`"""
    return "–" if value is None else f"{value * 100:.0f} %" if value >= 0.01 else f"{value * 100:.1g} %"


def seconds(value: float) -> str:
    """`52.1 ms`: three digits and the unit that keeps the number between 1 and 1000."""
    factor, unit = next((step for step in reversed(STEPS) if value >= step[0] * 0.9995), STEPS[0])
    return f"{three_digits(value / factor)} {unit}"


def amount(value: float, unit: str) -> str:
    """`1.93 G iterations`"""
    factor, prefix = next((step for step in PREFIXES if value >= step[0] * 0.9995), (1.0, ""))
    return f"{three_digits(value / factor)} {prefix}{' ' if prefix and len(unit) > 4 else ''}{unit}".replace("  ", " ")


def three_digits(value: float) -> str:
    """`1.23`, `12.3`, `123`, `1235`"""
    rounded = float(f"{value:.2e}")
    return f"{value:.{2 - min(max(math.floor(math.log10(rounded)), 0), 2) if rounded else 2}f}"


def _notes(found: Sequence[Point]) -> Iterable[str]:
    yield from _rates(found)
    yield from _waiting(found)
    for p in found:
        yield from (f"{p.backend} · {p.variant} · {p.workers} workers: {note}" for note in p.notes)
    if any(p.rounds and p.speedup_ci is None and p.speedup is not None for p in found):
        yield f"No interval where there are fewer than {FEWEST_ROUNDS} rounds."


def _rates(found: Sequence[Point]) -> Iterable[str]:
    told = [f"{p.variant} {amount(p.rate, p.unit)}/s" for p in found if p.backend == "serial" and p.rate and p.unit]
    if told:
        yield "On one core: " + ", ".join(told) + "."


def _waiting(found: Sequence[Point]) -> Iterable[str]:
    """What a CPU/wall under 1 means, for the most workers of each backend: one thread, the GIL, or something else."""
    others = []
    for p in found:
        mine = [q for q in found if (q.backend, q.variant, q.size) == (p.backend, p.variant, p.size)]
        if p.cpu_per_wall is None or p.cpu_per_wall >= BUSY or p.workers != max(q.workers for q in mine):
            continue
        serial = next((q for q in found if q.backend == "serial" and q.variant == p.variant), None)
        quiet = serial is None or serial.cpu_per_wall is None or serial.cpu_per_wall >= BUSY
        told = f"{p.backend} · {p.variant}: a lane was on a CPU {percent(p.cpu_per_wall)} of the time"
        if p.backend == "coroutines" and quiet:
            yield f"{told}: all {p.workers} share one thread."
        elif takes_turns(p) and p.processes == 1 and p.variant == "python" and quiet:
            yield f"{told}, about 1/{p.workers}: they take turns, consistent with the GIL{_control(p, found)}."
        else:
            others.append(f"{p.backend} · {p.variant} {percent(p.cpu_per_wall)}")
    if others:
        yield f"Lanes waited, for a CPU that other programs used or for a lock; on a CPU: {', '.join(others)}."


def _control(p: Point, found: Sequence[Point]) -> str:
    """The same lanes on a variant that releases the GIL, where they were busy."""
    for q in found:
        if (
            q.variant != p.variant
            and (q.backend, q.workers) == (p.backend, p.workers)
            and (q.cpu_per_wall or 0) >= BUSY
        ):
            return f" ({q.variant}, which releases it: {percent(q.cpu_per_wall)})"
    return ""


def takes_turns(p: Point) -> bool:
    """Whether N lanes had about 1/N of a CPU each: what the GIL, one lock or one core does to them."""
    return p.workers > 1 and p.cpu_per_wall is not None and abs(p.cpu_per_wall * p.workers - 1) <= NEAR
