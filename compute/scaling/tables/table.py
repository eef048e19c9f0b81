"""A Scaling as Groups: for each kernel a title, a table, and what stands under it.

compute.report lays the same cells out on a terminal, as Markdown and as HTML; `plain` is what str(scaling) gives.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from compute.scaling.dataset import Dataset, Point
from compute.scaling.formatting import percent, ratio, seconds
from compute.scaling.tables import breakdown, notes, sheet
from compute.scaling.tables.notes import Remark
from compute.scaling.tables.sheet import KEYS, Row, Sheet
from compute.texts import shown

CEILING = ("allowed", "attainable")  # columns that are left out where no ceiling was measured
COLUMNS = (*KEYS, "time", "speedup", "efficiency", *CEILING, "CPU/wall")
SHORT = {"attainable": "of it", "workers": "N", "efficiency": "eff."}
WIDTH = 80
UNDERFULL = 0.8  # POP says that a lower efficiency deserves a look


@dataclass(frozen=True)
class Group:
    """One kernel.

    sheet:    its table.
    verdicts: how near to N-fold, and why not nearer.
    notes:    the other sentences under the table.
    details:  sheets of where the core-seconds went, and of the efficiencies.
    laws:     sentences about more workers.
    """

    title: str
    sheet: Sheet
    verdicts: tuple[Remark, ...] = ()
    notes: tuple[str, ...] = ()
    details: tuple[Sheet, ...] = ()
    laws: tuple[Remark, ...] = ()

    @property
    def rows(self) -> tuple[Row, ...]:
        return self.sheet.rows


def groups(dataset: Dataset) -> list[Group]:
    """A group for each of the dataset's `parts`."""
    alone = len({p.title for p in dataset.points}) == 1
    separate = parts(dataset)
    named = zip(separate, tell_apart(separate), strict=True)
    return [_group(points, arguments, dataset, alone) for points, arguments in named]


def parts(dataset: Dataset) -> list[list[Point]]:
    """The points by kernel and file, in the order in which they were measured.

    Where a variant has several sizes, or several arguments of one size, each has a part of its own.
    """
    by_kernel: dict[str, list[Point]] = {}
    for point in dataset.points:
        by_kernel.setdefault(point.title, []).append(point)
    by_size = [part for points in by_kernel.values() for part in _split(points, "size")]
    return [_sorted(part) for points in by_size for part in _split(points, "arguments")]


def tell_apart(separate: Sequence[Sequence[Point]]) -> list[str]:
    """The arguments of each part that has the kernel and size of another one; "" of the others."""
    counts = Counter((points[0].title, points[0].size) for points in separate)
    return [(points[0].arguments or "") * (counts[points[0].title, points[0].size] > 1) for points in separate]


def _group(points: Sequence[Point], arguments: str, dataset: Dataset, alone: bool) -> Group:
    title = _title(points, arguments)
    return Group(
        title,
        _sheet(title, points),
        tuple(notes.verdicts(points, every=alone)),
        tuple(notes.other_lines(points, dataset.conditions)),
        tuple(breakdown.sheets(points)),
        tuple(breakdown.laws(points, dataset.laws)),
    )


def _split(points: list[Point], by: str) -> list[list[Point]]:
    if len({(p.variant, getattr(p, by)) for p in points}) == len({p.variant for p in points}):
        return [points]  # python is measured at a smaller size than nogil: still one story
    split: dict[object, list[Point]] = {}
    for point in points:
        split.setdefault(getattr(point, by), []).append(point)
    return list(split.values())


def heading(dataset: Dataset, versions: bool = True) -> str:
    """One line about the machine: `AMD EPYC, 2 usable CPUs, Python 3.11.7 (GIL), numpy 2.4.6, numba 0.68.1`.

    versions: whether with those of the libraries.
    """
    about = dataset.machine
    cpus = about.get("cpus")
    gil = f" ({'no ' * (not about['gil'])}GIL)" if isinstance(about.get("gil"), bool) else ""
    parts = [
        about.get("model"),
        f"{cpus} usable CPU{'' if cpus == 1 else 's'}" if cpus else None,
        f"Python {about['python']}{gil}" if about.get("python") else None,
        *(f"{name} {about[name]}" for name in ("numpy", "numba") if versions and about.get(name)),
    ]
    return ", ".join(str(part) for part in parts if part) or "unknown machine"


def plain(dataset: Dataset) -> str:
    """The tables as plain text, 80 columns wide unless a word needs more."""

    def hanging(text: str) -> list[str]:
        return textwrap.wrap(text, WIDTH, subsequent_indent="  ")

    dataset = shown(dataset)
    lines = textwrap.wrap(heading(dataset), WIDTH)
    for group in groups(dataset):
        lines += ["", *textwrap.wrap(group.title, WIDTH), "", *sheet.plain(group.sheet, WIDTH)]
        for text in (*(str(remark) for remark in group.verdicts), *group.notes):
            lines += hanging(text)
    closing = [*notes.harness(dataset), *(f"! {text}" for text in dataset.warnings)]
    lines += [""] * bool(closing)
    for text in closing:
        lines += hanging(text)
    return "\n".join(lines)


def _title(points: Sequence[Point], arguments: str) -> str:
    """`count_primes · size 1,000,000 · median of 12 rounds`; a size a variant where they differ."""
    sizes = {p.variant: f"{p.size:,}" for p in points if p.size is not None}
    title = points[0].title
    if len(set(sizes.values())) == 1:
        title += f" · size {next(iter(sizes.values()))}"
    elif sizes:
        title += " · size " + ", ".join(f"{size} ({variant})" for variant, size in sizes.items())
    title += f" · {arguments}" * bool(arguments)
    if any(p.mode == "weak" for p in points):
        title += " for one worker, N times the work for N"
    rounds = sorted({p.rounds for p in points if p.rounds})
    if rounds:
        many = f"{rounds[0]}" if len(rounds) == 1 else f"{rounds[0]}–{rounds[-1]}"
        title += f" · median of {many} round{'' if many == '1' else 's'}"
    return title


def _sorted(points: Iterable[Point]) -> list[Point]:
    """Variants together, the fastest first; in each the backends as they came, serial first, by workers."""
    points = list(points)
    backends = {p.backend: -1 if p.is_serial else k for k, p in reversed(list(enumerate(points)))}
    fastest = {v: max(p.rate or 1 / p.seconds for p in points if p.variant == v) for v in {p.variant for p in points}}
    return sorted(points, key=lambda p: (-fastest[p.variant], p.variant, backends[p.backend], p.workers))


def _sheet(title: str, points: Sequence[Point]) -> Sheet:
    known = any(p.ceiling is not None for p in points)
    columns = tuple(name for name in COLUMNS if known or name not in CEILING)
    before = [None, *(p.variant for p in points)]
    rows = tuple(
        Row(p, tuple(_cells(p)[name] for name in columns), k > 0 and p.variant != before[k], _flagged(p))
        for k, p in enumerate(points)
    )
    return Sheet(title, columns, rows, SHORT)


def _cells(p: Point) -> dict[str, str]:
    allowed = p.ceiling is not None and not is_baseline(p)
    cells = {
        "time": seconds(p.seconds),
        "speedup": speedup(p),
        "efficiency": percent(p.efficiency),
        "allowed": ratio(p.ceiling) if allowed and p.ceiling is not None else "",
        "attainable": _of_it(p) if allowed else "",
        "CPU/wall": f"{p.cpu_per_wall:.2f}" if p.cpu_per_wall is not None else "",
    }
    return dict(zip(KEYS, sheet.keyed(p), strict=True)) | cells


def _of_it(p: Point) -> str:
    """What was reached of the ceiling. More than all of it says nothing but that it was measured at a worse moment."""
    return f"> {percent(1)}" if p.outran_ceiling else percent(p.attainable) if p.attainable is not None else ""


def _flagged(p: Point) -> frozenset[str]:
    low = {"attainable"} if p.attainable is not None and p.attainable < UNDERFULL else set()
    return frozenset(low | ({"CPU/wall"} if notes.takes_turns(p) else set()))


def is_baseline(p: Point) -> bool:
    """Whether this is what the others are compared with: its speedup is 1 by definition."""
    return p.backend == p.baseline


def speedup(p: Point) -> str:
    """`1.93 [1.90, 1.95]`; without the interval where rounds were too few, or where it is of the baseline itself."""
    if p.speedup is None:
        return "–"
    if is_baseline(p):
        return "1"
    text = ratio(p.speedup)
    if p.speedup_ci is None or text.startswith("<"):
        return text
    return f"{text} [{ratio(p.speedup_ci[0])}, {ratio(p.speedup_ci[1])}]"
