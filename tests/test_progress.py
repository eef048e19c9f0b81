"""progress=True: a bar on a terminal, a line in a notebook, nothing in a pipe or a file; and what ends a drawing."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import re
import subprocess
import sys
import threading
import types
from pathlib import Path

import numpy as np
import pytest
from example_kernels import gated, nothing
from sampling import quick_first

from compute import Serial, Threads, drawing, progress, run

ROOT = Path(__file__).parent.parent
SCRIPT = """
import os, sys, time
import numpy as np
from compute import *
from example_kernels import spin

os.environ.update(eval(sys.argv[2]))
with eval(sys.argv[1]).open() as pool:
    pool.warm(spin, 10, 1000)
    print(pool.run(spin, 60, 10_000_000, progress=True).value.tolist() == list(range(60)))
    sys.stdout.flush()
    try:
        pool.run(spin, 10**5, 10_000_000, progress=lambda done, total: 1 // 0)
    except ZeroDivisionError:
        print("ended")
"""
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"  # the cursor


def on_a_terminal(*args: str, **settings) -> tuple[str, str, int]:
    """What a script says on stdout, a pipe, and on stderr, a terminal; its exit code."""
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", SCRIPT, *args],
            stdout=subprocess.PIPE,
            stderr=theirs,
            env=os.environ
            | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "TERM": "xterm", "COLUMNS": "100"}
            | settings,
        )
        os.close(theirs)
        said = b""
        with contextlib.suppress(OSError):  # EIO: nobody has it open any more
            while part := os.read(ours, 2**16):
                said += part
        out = process.communicate()[0]
    finally:
        os.close(ours)
    return out.decode(), said.decode(), process.returncode


RIGHT = "True\nended\n"


@pytest.mark.skipif(os.name != "posix", reason="terminals are POSIX's")
@pytest.mark.parametrize("backend", quick_first(1, ["Threads(2)", "Processes(2)", "Serial()"]))
def test_a_bar_is_drawn_on_a_terminal_and_removed(backend):
    out, drawn, code = on_a_terminal(backend, "{}")
    assert (out, code) == (RIGHT, 0)
    told = [int(count) for count in re.findall(r"spin  (\d+)/60 chunks", drawn)]
    assert told == sorted(told)
    assert told[-1] == 60
    assert (drawn.count(HIDE), drawn.count(SHOW)) == (1, 1)
    assert drawn.endswith("\x1b[1A\x1b[2K")  # up to its line, which is erased


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="terminals are POSIX's")
def test_a_terminal_that_cannot_take_back_what_it_drew_gets_nothing():
    assert on_a_terminal("Serial()", "{}", TERM="dumb") == (RIGHT, "", 0)


@pytest.mark.slow
@pytest.mark.parametrize("backend", [pytest.param("Serial()", marks=pytest.mark.slow), "Processes(2)"])
def test_nothing_is_printed_into_a_pipe_nor_with_closed_streams(script, backend):
    assert script(SCRIPT, backend, "{}").stdout == RIGHT  # and nothing on stderr
    assert script("import sys\nsys.stderr.close()\n" + SCRIPT, backend, "{}").stdout == RIGHT
    assert script("import sys\nsys.stderr = None\n" + SCRIPT, backend, "{}").stdout == RIGHT


# What a drawing does, without a terminal.


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def word():
    return np.zeros(1, np.int64)


def run_drawn(word, monkeypatch, stream):
    """A run that ends once something was drawn of it."""
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    let_go = threading.Thread(target=lambda: (stream.begun.wait(), word.fill(1)))
    let_go.start()
    value = run(gated, 9, 4, word, on=Threads(2), progress=True).value
    let_go.join()
    assert value.tolist() == list(range(9))


class Watched(Terminal):
    """Tells when it is first written to; then breaks, if it is to."""

    def __init__(self, error=None):
        super().__init__()
        self.begun, self._error = threading.Event(), error

    def write(self, text):
        self.begun.set()
        if self._error:
            raise self._error
        return super().write(text)


@pytest.mark.parametrize("error", [OSError(5, "EIO"), BrokenPipeError(), ValueError("closed")], ids=repr)
def test_a_terminal_that_is_gone_does_not_end_a_run(word, monkeypatch, error):
    run_drawn(word, monkeypatch, Watched(error))
    word[0] = 0
    stream = Watched()
    run_drawn(word, monkeypatch, stream)  # and the next one has its bar
    assert "/9 chunks" in stream.getvalue()
    assert stream.getvalue().count(HIDE) == stream.getvalue().count(SHOW) == 1


class OutStream(Watched):
    def isatty(self):
        return False


def test_a_notebook_has_a_line_of_text(word, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipykernel.iostream", types.SimpleNamespace(OutStream=OutStream))
    stream = OutStream()
    run_drawn(word, monkeypatch, stream)
    *_, first, last = ["", *stream.getvalue().split("\r")]
    assert re.fullmatch(r"gated  \d/9 chunks, \d+ %", first.rstrip()), first
    assert last == "gated  9/9 chunks, 100 %\n"
    quiet = OutStream()
    monkeypatch.setattr(sys, "stderr", quiet)
    drawn = drawing.drawing_of("nothing")
    drawn(5, 5)  # it was over before anybody could have seen it
    drawn.close()
    assert quiet.getvalue() == ""


def test_of_two_runs_at_once_one_has_the_bar(monkeypatch):
    stream = Watched()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    one, other = drawing.drawing_of("one"), drawing.drawing_of("other")
    one(2, 2)  # it was over before anybody could have seen it
    assert stream.getvalue() == ""
    one(1, 2)
    other(1, 2)
    assert "other" not in stream.getvalue()
    one.close()
    other(1, 2)
    assert "other" in stream.getvalue()
    other.close()
    for closed in (one, other):
        closed.close()


def test_a_name_is_shown_as_it_is(monkeypatch):
    stream = Watched()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    drawn = drawing.drawing_of("\x1b[31m[/nothing]")
    drawn(1, 2)
    drawn.close()
    assert r"\x1b[31m[/nothing]" in stream.getvalue()


def test_without_another_thread_the_last_call_comes_from_the_caller(monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    told = []
    with Serial().open() as pool:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        tell = lambda *done: told.append((*done, threading.current_thread()))  # noqa: E731
        assert pool.run(nothing, 5, progress=tell).value.tolist() == [0, 1, 2, 3, 4]
        assert told == [(5, 5, threading.current_thread())]
        assert pool.run(nothing, 5, progress=tell).value.tolist() == [0, 1, 2, 3, 4]  # it is no lane now
        with pytest.raises(ZeroDivisionError):
            pool.run(nothing, 5, progress=lambda done, total: 1 // (total - done))


@pytest.mark.slow
def test_without_progress_there_is_no_thread_and_no_look(monkeypatch):
    monkeypatch.setattr(progress, "Teller", None)
    monkeypatch.setattr(threading.Thread, "start", None)
    with Serial().open() as pool:
        for nobody in ({}, {"progress": None}, {"progress": False}, {"progress": True}):  # stderr is no terminal
            assert pool.run(nothing, 3, **nobody).value.tolist() == [0, 1, 2]
