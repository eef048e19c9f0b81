"""`nfold lessons`: what it refuses, prints, keeps and leaves, whatever happens to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE

from compute.cli.commands import main
from compute.lessons import LESSONS, find

ROOT = Path(__file__).parents[2]
SHORT = ["1", "--budget", "200ms"]  # a lesson whose fewest rounds are over in a moment

MINE = """
import time

def work():
    return sum(k * k for k in range(100_000))

async def nap():
    import asyncio
    await asyncio.sleep(0.01)

def waits():
    print("waiting", flush=True)
    time.sleep(1000)

def fails():
    raise ZeroDivisionError("of mine")

def takes_one(x):
    return x
"""


@pytest.fixture(scope="session", autouse=True)
def fonts():
    """matplotlib keeps the files of its fonts open: opened before any test, they are no leak of one."""
    from compute.lessons import drawn
    from compute.lessons.lesson import Picture, Series

    drawn.render([Picture("one bar", ("a",), (Series("s", (1.0,)),))])


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("mine.py").write_text(MINE)
    yield
    sys.modules.pop("mine", None)


def begun(*argv: str, **options) -> subprocess.Popen:
    """`python -m compute lessons argv` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "compute", "lessons", *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        **options,
    )


def one_line(err: str) -> str:
    assert err.count("\n") == 1, err
    assert err.startswith("nfold: ")
    return err


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("12", "there is no lesson '12'; choose from 1 kinds"),
        ("0", "there is no lesson '0'"),
        ("-1", "there is no lesson '-1'"),
        ("gill", "did you mean 'gil'"),
        ("4 nosuch", "there is no lesson 'nosuch'"),
        ("4 --budget 0", "--budget must be a time above 0"),
        ("4 --budget nan", "--budget must be a time above 0"),
        ("4 --python no/such/python", "--python 'no/such/python' cannot be run: No such file or directory"),
        ("4 --python .", "--python '.' is a folder; name the program in it"),
        ("4 --html no/folder/x.html", "cannot write 'no/folder/x.html': there is no folder"),
        ("4 --json .", "cannot write '.': it is a folder"),
        ("4 --png same --html same", "'same'"),
        ("1 --task mine", "a task is written package.module:function, not 'mine'"),
        ("1 --task mine:", "a task is written package.module:function, not 'mine:'"),
        ("1 --task nowhere:f", "cannot import 'nowhere': ModuleNotFoundError"),
        ("1 --task ./mine.py:work", "'./mine.py' is the path of a file, where the name of a module is needed; write"),
        ("1 --task mine:wrok", "mine has no function 'wrok'; did you mean 'work'?"),
        ("1 --task mine:takes_one", "task must be callable without arguments, and mine:takes_one is not"),
        ("1 --task mine:__name__", "task must be a function without arguments, not 'mine'"),
        ("4 --task mine:work", "a task of your own is for lesson 1 (kinds); leave it out here"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line_with_exit_code_2(line, told, capsys, monkeypatch):
    monkeypatch.setattr("compute.lessons.conduct.run_lesson", lambda *_: pytest.fail("measured"))
    assert main(["lessons", *line.split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert told in one_line(err)
    assert [path.name for path in Path().iterdir() if path.suffix != ".py" and path.name != "__pycache__"] == []


def test_an_interpreter_that_cannot_hold_lessons_is_refused_with_what_it_lacks(capsys, tmp_path):
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    python.chmod(0o755)
    assert main(["lessons", *SHORT, "--python", str(python)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "cannot hold lessons: it has no numpy, " in one_line(err)


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_the_list_has_every_lesson_and_holds_none(capsys, monkeypatch, columns):
    monkeypatch.setattr("compute.lessons.conduct.run_lesson", lambda *_: pytest.fail("measured"))
    monkeypatch.setattr("compute.cli.terminal.width", lambda: columns)
    assert main(["lessons", "--list"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= columns
    heads = [line.split()[:2] for line in out.splitlines() if not line.startswith("   ")]
    assert heads == [[str(n), lesson.name] for n, lesson in LESSONS.items()]
    words = " ".join(out.split())
    assert all(lesson.statement in words for lesson in LESSONS.values())


def test_a_lesson_is_printed_and_kept_in_every_form(capsys):
    files = ["--html", "a.html", "--json", "a.json", "--png", "a.png"]
    assert main(["lessons", *SHORT, "--task", "mine:work", *files]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert find(1).statement in out.replace("\n  ", "")
    assert "return sum(k * k for k in range(300_000))" in out
    assert "mine:work" in out
    kept = json.loads(Path("a.json").read_text())
    assert kept["schema"] == "nfold-lessons/1"
    assert kept["machine"]["cpus"] >= 1
    (experiment,) = kept["experiments"]
    assert (experiment["lesson"], experiment["name"]) == (1, "kinds")
    assert experiment["evidence"]["own"]["name"] == "mine:work"
    assert experiment["python"]["path"] == sys.executable
    assert Path("a.html").read_text().startswith("<!doctype html>")
    assert Path("a.png").read_bytes().startswith(b"\x89PNG")


def test_a_lesson_asked_for_twice_is_held_once(capsys):
    assert main(["lessons", "kinds", *SHORT]) == 0
    assert capsys.readouterr().out.count("1  What a task is bound by") == 1


@pytest.mark.slow
def test_two_interpreters_stand_side_by_side(capsys):
    assert main(["lessons", *SHORT, "--python", sys.executable, "--task", "mine:nap", "--json", "a.json"]) == 0
    out = capsys.readouterr().out
    here, there = json.loads(Path("a.json").read_text())["experiments"]
    assert here["python"] == there["python"]
    assert here["evidence"] != there["evidence"]
    assert there["evidence"]["own"]["name"] == "mine:nap"
    name = here["python"]["python"] + ("" if here["python"]["gil"] else " without a GIL")
    assert out.count(f"{name}, ") >= 2  # of one version, so told apart by their paths


@pytest.mark.slow
def test_a_task_that_fails_elsewhere_is_a_lesson_that_was_not_measured_there(capsys):
    Path("mine.py").write_text("import sys\ndef work():\n    assert 'compute.cli' in sys.modules, 'not\\x1b there'\n")
    assert main(["lessons", *SHORT, "--python", sys.executable, "--task", "mine:work", "--html", "a.html"]) == 0
    out = capsys.readouterr().out
    assert r"it was not measured; AssertionError: not\x1b there" in " ".join(out.split())
    assert "\x1b" not in Path("a.html").read_text()


@pytest.mark.slow
def test_a_task_that_fails_costs_its_lesson_and_no_other(capsys, monkeypatch):
    assert main(["lessons", "1", "2", "--budget", "200ms", "--task", "mine:fails", "--json", "a.json"]) == 1
    out, err = capsys.readouterr()
    assert "ZeroDivisionError: of mine" in err
    assert err.endswith("nfold: lesson 1 (kinds) was given up\n")
    assert [e["lesson"] for e in json.loads(Path("a.json").read_text())["experiments"]] == [2]
    assert "2  Waits overlap" in out


def test_where_nothing_could_be_measured_no_file_is_written(capsys):
    assert main(["lessons", *SHORT, "--task", "mine:fails", "--json", "a.json"]) == 1
    assert capsys.readouterr().out == ""
    assert not Path("a.json").exists()


@pytest.mark.slow
def test_a_ctrl_c_keeps_the_lessons_that_are_finished():
    job = begun("1", "2", "--budget", "500ms", "--json", "a.json", "--html", "a.html")
    assert job.stdout.readline().startswith("1  What a task")  # printed when it is over
    job.send_signal(signal.SIGINT)
    out, err = job.communicate(timeout=PATIENCE)
    assert job.returncode == 130
    assert "cut short by Ctrl-C after 1 of 2 lessons" in err
    assert "2  Waits overlap" not in out
    assert [e["lesson"] for e in json.loads(Path("a.json").read_text())["experiments"]] == [1]
    assert Path("a.html").read_text().startswith("<!doctype html>")


def test_a_ctrl_c_before_any_is_finished_leaves_nothing():
    job = begun("1", "--task", "mine:waits", "--json", "a.json")
    assert job.stdout.readline() == "waiting\n"
    job.send_signal(signal.SIGINT)
    out, err = job.communicate(timeout=PATIENCE)
    assert (job.returncode, out) == (130, "")
    assert err == "nfold: interrupted\n"
    assert not Path("a.json").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_costs_one_file_and_one_line(capsys):
    assert main(["lessons", *SHORT, "--json", "/dev/full", "--html", "a.html"]) == 1
    out, err = capsys.readouterr()
    assert "1  What a task is bound by" in out
    assert "cannot write '/dev/full': No space left on device" in one_line(err)
    assert Path("a.html").exists()


def test_a_reader_that_leaves_gets_the_files_all_the_same():
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "compute", "lessons", *SHORT, "--json", "a.json"],
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            timeout=PATIENCE,
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (1, "")
    assert json.loads(Path("a.json").read_text())["experiments"]


@pytest.mark.parametrize("closed", ["1", *(pytest.param(closed, marks=pytest.mark.slow) for closed in ("2", "1 2"))])
def test_without_anywhere_to_print_to_the_files_are_written(closed):
    redirections = " ".join(f"{number}>&-" for number in closed.split())
    command = f'"{sys.executable}" -m compute lessons {" ".join(SHORT)} --json a.json {redirections}'
    done = subprocess.run(command, shell=True, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": ROOT})
    is_lost = "1" in closed  # what was to be printed: one line says so, where there is anywhere to say it
    assert done.returncode == is_lost
    assert done.stderr.count("\n") == (closed == "1")
    assert json.loads(Path("a.json").read_text())["experiments"]


def test_an_ascii_pipe_gets_ascii_bars():
    done = subprocess.run(
        [sys.executable, "-m", "compute", "lessons", *SHORT],
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        timeout=PATIENCE,
    )
    assert done.returncode == 0
    assert b"#####" in done.stdout
    assert done.stdout.isascii()
