"""The statements that concurrency in Python is taught with, each as an experiment that runs here.

lesson.py        Lesson, its Evidence, the Judgement of it, Figure and Picture: plain data
conduct.py       run lessons, here and in other interpreters
experiment.py    Experiment: a lesson that was run. Course: several of them
text.py          a Course as text
page.py          a Course as one HTML page
drawn.py         the pictures as PNG
elsewhere.py     another interpreter: whether it can run lessons, and its evidence
__main__.py      runs one lesson in another interpreter, for the nfold of the first one

What lessons measure with:
rounds.py        several ways of doing the same, timed in interleaved rounds
opened.py        pools for a lesson, and why some cannot be opened here
own.py           a task of the reader's own
fresh.py         a Python process that has nothing else loaded
computing.py     the loop of lessons that compare Python with machine code
footprint.py     how much memory one coroutine, thread, process takes
handing.py       how lesson 8 hands arrays over, in each way
child.py         a process beside a lesson, which ends with this one

Each lesson is a module: the code that is timed, `measure`, `judge`.

kinds.py         1: what a task is bound by
waits.py         2: waits overlap
ideal.py         3: N CPUs, N-fold at best
gil.py           4: threads and the GIL
freed.py         5: the GIL gone
switching.py     6: what switching costs
cooperative.py   7: who holds up whom
space.py         8: what handing over costs
race.py          9: a race for a counter
crossover.py     10: where threads stop and processes begin
pipeline.py      11: stages that feed each other
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping

from compute.lessons.lesson import Lesson
from kernels.definition import nearest

# By number; each is imported when it is asked for.
_MODULES = {
    1: "kinds",
    2: "waits",
    3: "ideal",
    4: "gil",
    5: "freed",
    6: "switching",
    7: "cooperative",
    8: "space",
    9: "race",
    10: "crossover",
    11: "pipeline",
}


class _Lessons(Mapping[int, Lesson]):
    """The lessons by number, each imported when it is first asked for."""

    def __getitem__(self, number: int) -> Lesson:
        module = importlib.import_module(f"compute.lessons.{_MODULES[number]}")
        lesson: Lesson = module.LESSON
        return lesson

    def __iter__(self) -> Iterator[int]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)


LESSONS: Mapping[int, Lesson] = _Lessons()


def find(which: int | str) -> Lesson:
    """The lesson of that number or name; a ValueError that lists them where there is none."""
    word = str(which).strip()
    if word.isascii() and word.isdigit() and len(word) < 4 and int(word) in LESSONS:
        return LESSONS[int(word)]
    names = {lesson.name: lesson for lesson in LESSONS.values()}
    if word in names:
        return names[word]
    known = ", ".join(f"{lesson.number} {lesson.name}" for lesson in LESSONS.values())
    raise ValueError(f"there is no lesson {word!r}; choose from {known}{nearest(word, names)}")
