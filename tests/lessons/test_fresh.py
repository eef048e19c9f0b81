"""A Python with nothing else loaded: it runs the functions, ends with its input, and does not hear Ctrl-C."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from compute.lessons.fresh import fresh_python


def twice(number):
    return 2 * number


def echo():
    while line := os.read(0, 100):
        os.write(1, line)


def test_it_runs_what_it_was_given_with_nothing_else_loaded() -> None:
    call = "print(twice(21), 'numpy' in sys.modules, flush=True)"
    with fresh_python([twice], call, ["sys"]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"42 False\n"


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_it_does_not_hear_ctrl_c_and_ends_with_its_input(no_leaks: None) -> None:
    with fresh_python([echo], "echo()", ["os"]) as process:
        _say(process)
        process.send_signal(signal.SIGINT)
        _say(process)
    assert process.returncode == 0


def test_one_that_hangs_or_was_killed_is_not_left(no_leaks: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compute.lessons.fresh.ENDING", 0.1)
    with pytest.raises(KeyboardInterrupt), fresh_python([], "while True: pass", ["os"]) as process:
        raise KeyboardInterrupt
    assert process.returncode not in (None, 0)
    with fresh_python([echo], "echo()", ["os"]) as process:
        process.kill()
    assert process.returncode not in (None, 0)


def test_one_that_is_cut_off_says_nothing(no_leaks: None, capfd: pytest.CaptureFixture[str]) -> None:
    with fresh_python([echo], "os.read(0, 1)\nwhile True: os.write(1, b'more')", ["os"]) as process:
        assert process.stdin is not None
        process.stdin.write(b".")
    assert process.returncode != 0
    assert capfd.readouterr().err == ""


def _say(process: Any) -> None:
    process.stdin.write(b"hello\n")
    assert process.stdout.readline() == b"hello\n"
