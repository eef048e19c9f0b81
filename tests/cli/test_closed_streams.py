"""Standard streams that are closed, broken, full or slow: what was found is not lost without a word."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from patience import PATIENCE
from sampling import quick_first

from compute.scaling.dataset import Point
from compute.scaling.results import Scaling

ROOT = Path(__file__).parents[2]
HERE = [sys.executable, "-m", "compute"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
SMALL = 4096  # bytes: the least that a pipe holds
CLOSED = "nfold: cannot print: standard output is closed; choose another place for the output\n"


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    serial = Point("triad", 1, "nogil", "serial", 1, 1.0, (1.0,), speedup=1.0, baseline="serial")
    Scaling((serial,)).to_json("a.json")
    Scaling((serial, Point("triad", 1, "nogil", "threads", 2, 0.6, (0.6,)))).to_json("b.json")


def closing(streams: str, *argv: str) -> subprocess.CompletedProcess[str]:
    """nfold as a shell starts it that has closed these of 0, 1 and 2."""
    words = [sys.executable, *HERE[1:], *argv]
    command = 'exec "$@" ' + " ".join(f"{number}>&-" for number in streams)
    return subprocess.run(
        ["sh", "-c", command, "sh", *words], capture_output=True, text=True, env=ENVIRONMENT, timeout=PATIENCE
    )


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("report a.json --details", 1),
        ("check a.json b.json --same-machine", 3),
        ("run triad 8 --variant python --on serial", 1),
        ("report none.json", 2),
        *(
            pytest.param(line, 1, marks=pytest.mark.slow)
            for line in (
                "doctor",
                "command --workers 1 --budget 1ms -- true {workers}",
                "list",
                "show triad",
                "--help",
                "--version",
                "lessons --list",
                "compare a.json b.json",
            )
        ),
    ],
)
def test_a_command_whose_output_is_closed_says_so_in_one_line(line, code):
    done = closing("1", *line.split())
    assert (done.returncode, done.stdout) == (code, "")
    if code == 2:
        assert done.stderr == "nfold: there is no file 'none.json'; measure one with --json none.json\n"
    else:
        assert done.stderr == CLOSED


@pytest.mark.parametrize(
    ("line", "code"), quick_first(2, [("report a.json", 0), ("report none.json", 2), ("list", 0), ("show none", 2)])
)
def test_errors_do_not_go_to_the_output_where_theirs_is_closed(line, code):
    done = closing("2", *line.split())
    assert (done.returncode, done.stderr) == (code, "")
    assert bool(done.stdout) == (code == 0)
    assert "nfold:" not in done.stdout


@pytest.mark.parametrize(
    "streams", ["12", "012", *(pytest.param(closed, marks=pytest.mark.slow) for closed in ("0", "01", "02"))]
)
def test_files_are_written_and_nothing_else_goes_to_them(streams):
    done = closing(streams, "report", "a.json", "--csv", "c.csv", "--json", "d.json")
    lost = "1" in streams
    assert done.returncode == lost
    assert done.stderr == (CLOSED if lost and "2" not in streams else "")
    assert Path("c.csv").read_text().count("\n") == 2
    assert Path("d.json").read_bytes() == Path("a.json").read_bytes()


@pytest.mark.slow
def test_programs_that_are_measured_do_not_print_to_our_files_where_streams_are_closed():
    program = ["sh", "-c", "echo out; echo error >&2; : {workers}"]
    done = closing("012", "command", "--workers", "1", "--budget", "1ms", "--json", "c.json", "--", *program)
    assert done.returncode == 1
    assert Scaling.from_json("c.json").points


@pytest.mark.parametrize("path", ["/dev/stdout", "/dev/fd/1"])
def test_a_file_that_is_the_closed_output_is_refused_before_anything_is_measured(path):
    done = closing("1", "report", "a.json", "--json", path)
    assert (done.returncode, done.stderr) == (2, f"nfold: cannot write '{path}': it is closed; choose another path\n")


def test_a_terminal_that_has_gone_is_one_line():
    ours, theirs = pty.openpty()
    os.close(ours)  # writing gives EIO from now on
    done = subprocess.run(
        [*HERE, "report", "a.json", "--csv", "c.csv", "--json", f"/dev/fd/{theirs}"],
        stdout=theirs, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, timeout=PATIENCE, pass_fds=[theirs],
    )  # fmt: skip
    os.close(theirs)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "nfold: cannot print: Input/output error; choose another place for the output",
        f"nfold: cannot write '/dev/fd/{theirs}': Input/output error; choose another path",
    ]
    assert Path("c.csv").read_text().count("\n") == 2


def test_a_full_pipe_that_does_not_wait_loses_nothing():
    """Who shares the pipe may have set it not to wait: node does."""
    Scaling(tuple(replace(Scaling.from_json("a.json").points[0], kernel=f"k{n}") for n in range(60))).to_json(
        "many.json"
    )
    words = [*HERE, "report", "many.json", "--details"]
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, SMALL)
    os.set_blocking(write, False)
    with subprocess.Popen(words, stdout=write, stderr=subprocess.PIPE, env=ENVIRONMENT) as process:
        (room := select.poll()).register(write, select.POLLOUT)
        while process.poll() is None and room.poll(0):
            time.sleep(0.01)
        os.close(write)
        with open(read, "rb") as pipe:
            out = pipe.read()
        assert (process.wait(PATIENCE), process.stderr.read()) == (0, b"")
    assert len(out) > 2 * SMALL
    assert out == subprocess.run(words, capture_output=True, env=ENVIRONMENT, timeout=PATIENCE).stdout
