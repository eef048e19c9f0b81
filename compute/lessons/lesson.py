"""Lesson: a statement, the code that is timed, `measure` and `judge`. Judgement, Figure, Picture: what comes of it.

`measure` runs the code and returns numbers, the Evidence. `judge` is a pure function of these. So a lesson in a file
can be judged again, and every judgement is tested on invented numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kernels.definition.written import written as definition_of

Evidence = Mapping[str, Any]  # what JSON has: numbers, texts, lists and dictionaries of them
Interval = tuple[float, float]

HOLDS, FAILS, UNTOLD = "holds here", "does not hold here", "cannot be told here"


@dataclass(frozen=True)
class Figure:
    """One number, and what it is of.

    unit:     "×" (a ratio), "%" (of one: 0.5 is 50 %), "s", "B", "B/s", "" (a count).
    interval: of 95 %; None where it was counted, or where rounds were too few.
    """

    name: str
    value: float
    unit: str = ""
    interval: Interval | None = None


@dataclass(frozen=True)
class Series:
    """The values of one line of a picture, or of the bars of one colour. None where a place of x has no value."""

    name: str
    values: tuple[float | None, ...]
    intervals: tuple[Interval | None, ...] = ()

    @classmethod
    def of(cls, name: str, figures: Iterable[Figure]) -> Series:
        """The values of figures with their intervals, in their order and their unit."""
        figures = tuple(figures)
        return cls(name, tuple(f.value for f in figures), tuple(f.interval for f in figures))


@dataclass(frozen=True)
class Picture:
    """Series over common places. Bars where x are texts, lines where they are numbers.

    about:       what it shows, in one sentence: the title, and the text for those who do not see the picture.
    unit:        of the values, as a Figure's.
    logarithmic: which axes have a logarithmic scale: "", "x", "y" or "xy".
    ideal:       names of series that are drawn as a theoretical limit.
    x_unit:      of the places, where they are numbers; as a Figure's.
    """

    about: str
    x: tuple[str, ...] | tuple[float, ...]
    series: tuple[Series, ...]
    x_label: str = ""
    y_label: str = ""
    unit: str = ""
    logarithmic: str = ""
    ideal: tuple[str, ...] = ()
    x_unit: str = ""

    @property
    def is_bars(self) -> bool:
        return any(isinstance(place, str) for place in self.x)


@dataclass(frozen=True)
class Judgement:
    """What the evidence says of the statement, on this machine and in this interpreter.

    holds: whether the statement is true here; None where that cannot be told, and `why` says so.
    found: one sentence, with the figures that decide.
    why:   the reason, in a sentence or two; where the statement does not hold, what is different here.
    """

    holds: bool | None
    found: str
    why: str
    figures: tuple[Figure, ...] = ()
    pictures: tuple[Picture, ...] = ()

    @property
    def word(self) -> str:
        return UNTOLD if self.holds is None else HOLDS if self.holds else FAILS


@dataclass(frozen=True)
class Task:
    """A task of the reader's own: a function without arguments, or a coroutine function, and its name."""

    name: str
    call: Callable[[], Any]


@dataclass(frozen=True)
class Setting:
    """How a lesson is to be measured.

    seconds: about how long it may take.
    say:     called with what is done now.
    task:    of the reader's own, for lessons that take one.
    """

    seconds: float
    say: Callable[[str], None] = lambda text: None
    task: Task | None = None


@dataclass(frozen=True)
class Lesson:
    """A statement as an experiment.

    name:       one word, for the command line.
    code:       the functions that are timed and shown; together they have under 15 lines.
    measure:    returns the evidence, from real runs of that code.
    judge:      a pure function of the evidence.
    takes_task: whether a task of the reader's own is measured as well.
    """

    number: int
    name: str
    title: str
    statement: str
    code: tuple[Callable[..., Any], ...]
    measure: Callable[[Setting], Evidence]
    judge: Callable[[Evidence], Judgement]
    takes_task: bool = False


def written(functions: Iterable[Callable[..., Any]]) -> str:
    """Functions as they are written: Python that defines them."""
    return "\n\n".join(definition_of(function).text for function in functions)
