"""Lessons in a short form, held in an interpreter of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from patience import PATIENCE

from compute.lessons.lesson import Judgement, Lesson

ROOT = Path(__file__).parent.parent
ONE_CPU = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"


def evidence_of(lesson: Lesson, seconds: float = 1.0, first: str = "", within: Sequence[str] = ()) -> Any:
    """What `python -m compute.lessons` measures, after some lines of Python, within another command."""
    code = f"{first}\nfrom compute.lessons.__main__ import main\nmain([{str(lesson.number)!r}, {str(seconds)!r}])"
    done = subprocess.run(
        [*within, sys.executable, "-W", "error", "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return json.loads(done.stdout.splitlines()[-1])["evidence"]


def held_on_one_cpu(lesson: Lesson) -> Judgement:
    """The judgement of what a process measures that may use one CPU."""
    evidence = evidence_of(lesson, first=ONE_CPU if hasattr(os, "sched_setaffinity") else "")
    return lesson.judge(evidence)
