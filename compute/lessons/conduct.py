"""Hold lessons: measure each in this interpreter, or in others, one after the other."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from compute import drawing, machine
from compute.lessons import find
from compute.lessons.experiment import Course, Experiment
from compute.lessons.lesson import Lesson, Setting

SECONDS = 10.0  # that one lesson takes: eleven make two minutes
LONGEST = 600.0  # s after which a lesson in another interpreter is ended: it is not known there what takes long

Tell = Callable[[float, float, str], None]


def lesson(which: int | str, *, seconds: float = SECONDS, progress: bool | Tell | None = None) -> Experiment:
    """Hold one lesson, by its number or name: an Experiment, whose str is the report and which a notebook shows.

    seconds: about how long it may take. ValueError for a lesson that there is not; WrongAnswer where what is timed
    gives something wrong.
    """
    chosen = find(which)
    with drawing.stages(progress) as tell:
        return hold(chosen, Setting(checked_seconds(seconds), lambda text: tell(0, 1, text)))


def checked_seconds(seconds: float) -> float:
    if not 0 < seconds < float("inf"):
        raise ValueError(f"seconds must be above 0, not {seconds!r}; a lesson takes about {SECONDS:g}")
    return float(seconds)


def hold(lesson: Lesson, setting: Setting) -> Experiment:
    """Measure a lesson here."""
    began = time.perf_counter()
    evidence = lesson.measure(setting)
    return Experiment(lesson, evidence, where(), time.perf_counter() - began)


def where() -> dict[str, Any]:
    """What tells interpreters apart, as it is at this moment."""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "gil": machine.has_gil(),
        "path": sys.executable,
    }


def hold_everywhere(
    lesson: Lesson, pythons: Sequence[str], seconds: float, say: Callable[[str], None]
) -> list[Experiment]:
    """A lesson held here, and then in each of the other interpreters, whose paths `check_python` has let pass."""
    held = [hold(lesson, Setting(seconds, say))]
    for python in pythons:
        say(python)
        held.append(hold_elsewhere(lesson, python, seconds))
    return held


def as_course(experiments: Sequence[Experiment]) -> Course:
    """What was held on this machine."""
    return Course(tuple(experiments), machine.describe())


def check_python(python: str) -> None:
    """ValueError, in one line, where no interpreter of that path can hold lessons: what is missing, and the remedy."""
    try:
        done = _ask(python, "check", timeout=60.0)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ValueError(f"--python {python!r} cannot be run: {getattr(error, 'strerror', None) or error}") from None
    if done.returncode or done.stdout.strip() != "ready":
        last = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise ValueError(
            f"--python {python!r} cannot hold lessons: {last}; it needs Python 3.11 or later with numpy, joblib,"
            f" cloudpickle, psutil and threadpoolctl: {python} -m pip install nfold installs all"
        )


def hold_elsewhere(lesson: Lesson, python: str, seconds: float) -> Experiment:
    """Measure a lesson in another interpreter, which runs this very code."""
    done = _ask(python, str(lesson.number), repr(seconds), timeout=LONGEST)
    if done.returncode:
        last = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        return Experiment(lesson, {}, _described(python), unavailable=last)
    told: Mapping[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return Experiment(lesson, told["evidence"], told["python"], told["seconds"], told["unavailable"])


def _described(python: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(_ask(python, "where", timeout=60.0).stdout.splitlines()[-1])
    return told


def _ask(python: str, *words: str, timeout: float) -> subprocess.CompletedProcess[str]:
    """What `python -m compute.lessons WORDS` answers, with this very code and its own libraries."""
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONHOME"} | {"PYTHONPATH": path}
    return subprocess.run(
        [python, "-m", "compute.lessons", *words],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
