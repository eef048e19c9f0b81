"""A Course as text: statement, whether it holds here, what was found, a picture of characters, the code."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from compute.lessons.experiment import Course, Experiment, labels, source
from compute.lessons.lesson import FAILS, HOLDS, Figure, Picture
from compute.scaling import formatting
from compute.texts import shown, visible

BAR = 30  # characters of the longest bar
PARTS = " ▏▎▍▌▋▊▉█"  # eighths of a character
STYLES = {HOLDS: "green", FAILS: "bold red"}
MOST_ROWS = 24  # of a picture: of curves with more places some are left out


def render(course: Course, width: int = 80) -> str:
    """The course as plain text."""
    page = io.StringIO()
    console = Console(file=page, width=width, force_terminal=False, color_system=None)
    for experiments in course.by_lesson:
        show(experiments, console)
    show_remarks(course.remarks, console)
    return page.getvalue()


def show(experiments: Sequence[Experiment], console: Console) -> None:
    """Print one lesson, run in one interpreter or in several, to a rich console."""
    lesson, several = experiments[0].lesson, len(experiments) > 1
    _fold(console, Text(f"{lesson.number}  {lesson.title}", "bold"))
    _fold(console, Text(lesson.statement), indent=3)
    for label, experiment in zip(labels(experiments), experiments, strict=True):
        judgement = shown(experiment.judgement)
        console.print()
        head = f"{visible(label)}: " if several else ""
        _fold(
            console,
            Text.assemble(
                head, (judgement.word, STYLES.get(judgement.word, "yellow")), f": {judgement.found}; {judgement.why}."
            ),
            indent=3,
        )
        for picture in judgement.pictures:
            console.print()
            for line in drawn(picture, console.width - 3, console.options.ascii_only):
                console.print(Text(f"   {line}"), soft_wrap=True)
    if any(experiment.judgement.figures for experiment in experiments):
        console.print()
        for line in figures(experiments):
            _fold(console, Text(line), indent=3, further=5)
    console.print()
    for line in source(lesson).splitlines():
        console.print(Text(f"   │ {line}", "dim"), soft_wrap=True)
    console.print()


def show_remarks(remarks: Sequence[str], console: Console) -> None:
    """Print what a reader must know of all lessons."""
    for remark in remarks:
        _fold(console, Text(f"! {visible(remark)}"), further=2)


def _fold(console: Console, text: Text, indent: int = 0, further: int | None = None) -> None:
    """Print a text folded at the console's width, with so many blanks before its first and its further lines."""
    further = indent if further is None else further
    width = max(console.width - max(indent, further), 20)
    for k, line in enumerate(text.wrap(Console(width=width, file=io.StringIO()), width)):
        line.rstrip()
        console.print(Text(" " * (further if k else indent)) + line, soft_wrap=True)


def figures(experiments: Sequence[Experiment]) -> Iterator[str]:
    """A line for each figure; those of several interpreters side by side."""
    columns = [{f.name: f for f in shown(experiment.judgement).figures} for experiment in experiments]
    names = list(dict.fromkeys(name for column in columns for name in column))
    longest = max(map(cell_len, names), default=0)
    cells = [[in_words(column[name]) if name in column else "–" for column in columns] for name in names]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    if len(experiments) > 1:
        heads = list(map(visible, labels(experiments)))
        widths = [max(width, cell_len(head)) for width, head in zip(widths, heads, strict=True)]
        yield "  ".join([" " * longest, *(_padded(h, w) for h, w in zip(heads, widths, strict=True))]).rstrip()
    for name, row in zip(names, cells, strict=True):
        yield "  ".join([_padded(name, longest), *(_padded(c, w) for c, w in zip(row, widths, strict=True))]).rstrip()


def _padded(text: str, width: int) -> str:
    return text + " " * (width - cell_len(text))


def in_words(figure: Figure) -> str:
    """`1.02 × [0.99, 1.04]`"""
    text = value_in_words(figure.value, figure.unit)
    if figure.interval is None:
        return text
    unit = "" if figure.unit in ("×", "%") else figure.unit
    scale = 100 if figure.unit == "%" else 1
    low, high = (value_in_words(end * scale, unit) for end in figure.interval)
    return f"{text} [{low}, {high}]"


def value_in_words(value: float, unit: str) -> str:
    """`1.02 ×`, `52.1 ms`, `98 %`, `3.1 GB/s`, `12,345`"""
    if not math.isfinite(value):
        return "–"
    if unit == "s":
        return formatting.seconds(value)
    if unit == "×":
        return f"{formatting.ratio(value)} ×"
    if unit == "%":
        return f"{formatting.share(value)} %"
    if unit in ("B", "B/s"):
        return formatting.in_bytes(value) + unit[1:]
    number = f"{value:,.0f}" if value == int(value) else formatting.three_digits(value)
    return f"{number} {unit}".rstrip()


def drawn(picture: Picture, width: int, plain: bool = False) -> Iterator[str]:
    """The picture as bars of characters: a line for each place and series. plain: with no other letters than ASCII."""
    yield picture.about
    rows = _rows(picture)
    heads = [f"{place}  {name}" if name else place for place, name, _ in rows]
    longest = max(map(cell_len, heads), default=0)
    values = [value for _, _, value in rows if value is not None and math.isfinite(value)]
    texts = ["–" if value is None else value_in_words(value, picture.unit) for _, _, value in rows]
    room = max(min(BAR, width - longest - 4 - max(map(cell_len, texts), default=0)), 5)
    for head, (_, _, value), text in zip(heads, rows, texts, strict=True):
        length = 0.0 if value is None else _length(value, values, "y" in picture.logarithmic)
        yield f"{_padded(head, longest)}  {_padded(_bar(length * room, plain), room)}  {text}".rstrip()


def _rows(picture: Picture) -> list[tuple[str, str, float | None]]:
    """(place, series, value) for each bar; a series that stands alone is not named."""
    places = list(range(len(picture.x)))
    most = max(1, MOST_ROWS // max(len(picture.series), 1))
    if not picture.is_bars and len(places) > most:
        places = sorted({round(k * (len(places) - 1) / (most - 1)) for k in range(most)}) if most > 1 else places[-1:]
    heads = [_place(picture, k) for k in places]
    longest = max(map(cell_len, heads), default=0)
    several = len(picture.series) > 1
    names = max((cell_len(series.name) for series in picture.series), default=0)
    return [
        (_padded(head if j == 0 else "", longest), _padded(series.name, names) if several else "", series.values[k])
        for k, head in zip(places, heads, strict=True)
        for j, series in enumerate(picture.series)
    ]


def _place(picture: Picture, k: int) -> str:
    place = picture.x[k]
    if isinstance(place, str):
        return place
    return value_in_words(place, picture.x_unit) if picture.x_unit else f"{place:,.4g}"


def _length(value: float, values: Sequence[float], logarithmic: bool) -> float:
    """A bar's share of the longest one. On a logarithmic axis the least value still has a tenth."""
    most = max(values)
    if not logarithmic:
        return max(value, 0.0) / most if most > 0 else 0.0
    least = min((v for v in values if v > 0), default=1.0)
    if value <= 0 or most <= least:
        return 1.0 if value > 0 else 0.0
    return 0.1 + 0.9 * math.log(value / least) / math.log(most / least)


def _bar(length: float, plain: bool) -> str:
    if plain:
        return "#" * round(length)
    whole, rest = divmod(round(length * 8), 8)
    return "█" * whole + (PARTS[rest] if rest else "")
