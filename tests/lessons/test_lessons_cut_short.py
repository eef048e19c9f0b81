"""Ctrl-C in the middle of a lesson: it is raised, and no process, thread or file is left."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import pytest

from compute.lessons import LESSONS
from compute.lessons.lesson import Setting

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")


NUMBERS = 1, 2, 4, 5, 6, 7, 10, 11
MOMENTS = ("warming", 0.001), ("round 2", 0.02)


@pytest.mark.parametrize(
    ("number", "begun", "after"),
    [  # every fourth at one of the two moments, in turn; all at both in test-all
        pytest.param(number, *moment, marks=pytest.mark.slow if k % 8 != 4 * m else ())
        for k, number in enumerate(NUMBERS)
        for m, moment in enumerate(MOMENTS)
    ],
)
def test_a_lesson_cut_short_leaves_nothing(number: int, begun: str, after: float, no_leaks: None) -> None:
    def interrupt(*_: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    def say(text: str) -> None:
        if text.endswith(begun):
            signal.setitimer(signal.ITIMER_REAL, after)

    before, former = threading.active_count(), signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            LESSONS[number].measure(Setting(1.0, say))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
    assert threading.active_count() == before
