"""Run lessons: measure each in this interpreter, then in others, one after the other. `lesson` is for users."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from compute import drawing, machine
from compute.drawing import Stages
from compute.lessons import LESSONS, find
from compute.lessons.elsewhere import Interpreter
from compute.lessons.experiment import Course, Experiment
from compute.lessons.lesson import Lesson, Setting, Task
from compute.lessons.own import as_task
from compute.scaling import noise
from compute.scaling.formatting import listed

SECONDS = 10.0  # for one lesson: eleven take two minutes
ALMOST = 0.95  # of a lesson: progress shows no more before it is over


def lesson(
    which: int | str,
    *,
    task: Callable[[], Any] | None = None,
    seconds: float = SECONDS,
    progress: bool | Stages | None = None,
) -> Experiment:
    """Run one lesson, by its number or name: an Experiment, whose str is the report and which a notebook shows.

    task:     a function of your own without arguments, or a coroutine function, for lesson 1, which says what kind of
              task it is; it is called several times.
    seconds:  about how long it may take.
    progress: called as progress(done, total, label); True: drawn on stderr, as a bar on a terminal and a line in a
              notebook.
    ValueError or TypeError for a lesson that does not exist, or a task that it cannot take; WrongAnswer where timed
    code returns a wrong value; whatever your task raises.
    """
    chosen = find(which)
    own = None if task is None else as_task(task)
    check_task(own, [chosen])
    seconds = checked_seconds(seconds)
    with drawing.stages(progress) as tell:
        return run_lesson(chosen, Setting(seconds, passing(seconds, tell, (0, 1)), own))


def check_task(task: Task | None, lessons: Sequence[Lesson]) -> None:
    """ValueError where there is a task, and none of these lessons takes one."""
    if task is None or any(lesson.takes_task for lesson in lessons):
        return
    takers = listed([f"{lesson.number} ({lesson.name})" for lesson in LESSONS.values() if lesson.takes_task])
    raise ValueError(f"a task of your own is for lesson {takers}; leave it out here")


def passing(seconds: float, tell: Stages, place: tuple[int, int], head: str = "") -> Callable[[str], None]:
    """`say` for a lesson. place: (lessons before it, all lessons). Within a lesson the clock says how much is over."""
    began, (done, total) = time.perf_counter(), place

    def say(text: str) -> None:
        part = min((time.perf_counter() - began) / seconds, ALMOST)
        tell(done + part, total, f"{head}{text}")

    return say


def checked_seconds(seconds: float) -> float:
    if not 0 < seconds < float("inf"):
        raise ValueError(f"seconds must be above 0, not {seconds!r}; a lesson takes about {SECONDS:g}")
    return float(seconds)


def run_lesson(lesson: Lesson, setting: Setting) -> Experiment:
    """Measure a lesson here, with the setting's task if it takes one."""
    if not lesson.takes_task:
        setting = replace(setting, task=None)
    began = time.perf_counter()
    evidence = lesson.measure(setting)
    return Experiment(lesson, evidence, where(), time.perf_counter() - began)


def where() -> dict[str, Any]:
    """Which interpreter this is, and whether it has a GIL now."""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "gil": machine.has_gil(),
        "path": sys.executable,
    }


def run_everywhere(lesson: Lesson, others: Sequence[Interpreter], setting: Setting) -> list[Experiment]:
    """Run a lesson here, then in each of the other interpreters."""
    experiments = [run_lesson(lesson, setting)]
    for other in others:
        setting.say(other.path)
        experiments.append(other.run(lesson, setting))
    return experiments


def empty_course() -> Course:
    """A course before its first lesson: the machine, and a remark where others use its CPUs."""
    busy = noise.about_load()
    remarks = () if busy is None else (f"{busy}: intervals are wide then, so hold lessons again when it is quiet",)
    return Course((), machine.describe(), remarks)
