"""`--python PATH`: lessons held in another interpreter, and one line where it cannot hold any."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import threading
import time
import venv
from pathlib import Path
from typing import Any

import psutil
import pytest
from patience import PATIENCE

from compute.backends import host_program
from compute.cli.commands import main
from compute.lessons import elsewhere, gil, kinds, race
from compute.lessons.elsewhere import NEEDED, Interpreter
from compute.lessons.experiment import labels
from compute.lessons.lesson import FAILS, UNTOLD, Lesson, Setting, Task

ROOT = Path(__file__).parents[2]
posix = pytest.mark.skipif(os.name != "posix", reason="needs a shell")


def made(folder: Path, path: str = "") -> Path:
    """A virtual environment's Python; path: lines of a .pth file, which are folders to search or imports to do."""
    venv.create(folder, symlinks=True)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / Path(sys.executable).name
    where = sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)})
    if path:
        Path(where, "more.pth").write_text(path)
    if not python.exists():
        python = next(python.parent.glob("python*"))
    return python


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> str:
    """Another Python, with what this one has installed."""
    packages = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    return str(made(tmp_path_factory.mktemp("other") / "env", "\n".join(packages)))


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> Path:
    """A Python that has nothing installed."""
    return made(tmp_path_factory.mktemp("bare") / "env")


def script(folder: Path, text: str) -> str:
    path = folder / "python"
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


# ---------------------------------------------------------------- held


def test_a_lesson_is_measured_by_the_other_interpreter(other):
    there = Interpreter.of(other)
    assert os.path.samefile(Path(there.told["path"]).parent, Path(other).parent)
    held = there.run(race.LESSON, Setting(1.0))
    assert held.unavailable is None
    assert held.python == there.told
    assert set(held.evidence) == {"gil", "cpus", "updates", "lost", "samples"}
    assert held.judgement.word != FAILS


@pytest.mark.parametrize("minor", ["11", "12", "13", "14", "15", "13t", "14t", "15t"])
def test_whatever_interpreters_are_here_hold_lessons_or_say_why_not(minor):
    path = shutil.which(f"python3.{minor}")
    if path is None:
        pytest.skip(f"there is no python3.{minor}")
    try:
        there = Interpreter.of(path)
    except ValueError as error:
        pytest.skip(str(error))
    held = there.run(race.LESSON, Setting(1.0))
    assert held.judgement.word != FAILS


def poisoned(folder: Path) -> Path:
    """A folder whose numpy is not for the other interpreter."""
    (folder / "numpy").mkdir(parents=True)
    (folder / "numpy" / "__init__.py").write_text("raise ImportError('the numpy of another interpreter')")
    return folder


def test_what_tells_this_interpreter_where_it_is_does_not_mislead_the_other(other, tmp_path, monkeypatch):
    packages = poisoned(tmp_path / "lib" / "site-packages")
    monkeypatch.setenv("PYTHONHOME", str(tmp_path / "nowhere"))
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path / "nowhere"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(packages), f"{packages}{os.sep}"]))
    assert Interpreter.of(other).told["python"]


def test_the_current_folder_is_no_place_for_modules(other, tmp_path, monkeypatch):
    monkeypatch.chdir(poisoned(tmp_path / "here"))
    assert Interpreter.of(other).told["python"]


def test_modules_of_the_users_are_found_there_too(bare, tmp_path, monkeypatch):
    """The environment's PYTHONPATH still counts: it may be all that makes an interpreter complete."""
    for name in NEEDED:
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        (tmp_path / f"{name}.py").write_text("raise ImportError('found, at least')")
    with pytest.raises(ValueError, match="found, at least"):
        Interpreter.of(str(bare))


def test_where_nfold_is_installed_its_neighbours_are_not_taken_along(other, tmp_path):
    packages = poisoned(tmp_path / "lib" / "site-packages")
    for package in ("compute", "kernels"):
        shutil.copytree(ROOT / package, packages / package, ignore=shutil.ignore_patterns("__pycache__"))
    code = (
        f"import sys, numpy\nsys.path.insert(0, {str(packages)!r})\n"
        "from compute.lessons.elsewhere import Interpreter\n"
        "import compute\nassert 'site-packages' in compute.__file__\n"
        f"print(Interpreter.of({other!r}).told['python'])"
    )
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("3.")


def test_nothing_is_left_of_the_folder_with_our_code(other, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    Interpreter.of(other)
    assert list(tmp_path.iterdir()) == []


CONTAINER = ["unshare", "--map-root-user", "--pid", "--fork"]  # whose processes have numbers of their own


def there_are_containers() -> bool:
    return bool(shutil.which("unshare")) and subprocess.run([*CONTAINER, "true"], capture_output=True).returncode == 0


def test_a_sweep_in_another_container_leaves_the_folder_that_is_in_use(tmp_path, monkeypatch):
    if not there_are_containers():
        pytest.skip("no namespaces here")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with host_program.own_folder("code") as folder:
        left = tmp_path / Path(folder).name.replace("code", "dask")
        left.mkdir()
        env = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
        subprocess.run([*CONTAINER, sys.executable, "-c", SWEEP], env=env, check=True, timeout=PATIENCE)
        assert list(tmp_path.iterdir()) == [Path(folder)]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_both_stand_side_by_side(other, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["lessons", "9", "--python", other, "--budget", "0.5s", "--json", "it.json", "--html", "it.html"]) == 0
    out = capsys.readouterr().out
    held = json.loads(Path("it.json").read_text())["experiments"]
    assert [experiment["lesson"] for experiment in held] == [9, 9]
    paths = [experiment["python"]["path"] for experiment in held]
    assert paths[0] == sys.executable
    assert paths[1] != sys.executable
    for path in paths:  # the same version: nothing else tells them apart
        assert path in "".join(out.split())
        assert path in Path("it.html").read_text()


def test_interpreters_are_told_apart_by_no_more_than_it_takes():
    def of(python: str, gil: bool, path: str) -> Any:
        from compute.lessons.experiment import Experiment

        return Experiment(gil_lesson, {}, {"python": python, "gil": gil, "path": path})

    gil_lesson = gil.LESSON
    assert labels([of("3.14.1", True, "a"), of("3.14.1", False, "b")]) == ["3.14.1", "3.14.1 without a GIL"]
    assert labels([of("3.14.1", True, "a"), of("3.14.1", True, "b")]) == ["3.14.1, a", "3.14.1, b"]


# ---------------------------------------------------------------- refused


def refusal(path: str) -> str:
    with pytest.raises(ValueError, match=r"^--python ") as refused:
        Interpreter.of(path)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_one_that_is_not_there(tmp_path):
    assert refusal("/no/such/python") == "--python '/no/such/python' cannot be run: No such file or directory"
    (tmp_path / "text").write_text("")
    assert refusal(str(tmp_path / "text")).endswith("cannot be run: Permission denied")
    assert refusal(str(tmp_path)).endswith(f"is a folder; name the program in it, such as {tmp_path}/bin/python")


@posix
def test_one_that_is_another_program():
    ls = shutil.which("ls")
    assert refusal(ls) == f"--python '{ls}' cannot hold lessons: it is no Python"


@pytest.mark.parametrize("path", ["", " "])
def test_one_without_a_name(path):
    assert refusal(path).startswith("--python needs the path or name of an interpreter")


def test_one_without_libraries(bare):
    assert refusal(str(bare)) == (
        f"--python '{bare}' cannot hold lessons: it has no numpy, joblib, cloudpickle, psutil, threadpoolctl;"
        f" {bare} -m pip install numpy joblib cloudpickle psutil threadpoolctl gives it what is needed"
    )


def test_one_that_is_too_old(tmp_path):
    """Its site sets what an old Python says of itself, because no old one need be installed."""
    python = made(tmp_path / "env", "import sys; sys.version_info = (3, 8, 20, 'final', 0)\n")
    assert refusal(str(python)).endswith("cannot hold lessons: it is Python 3.8, and lessons need 3.11 or later")


def test_the_question_can_be_read_by_any_python():
    import ast

    ast.parse(elsewhere.CHECK, feature_version=(3, 7))


@posix
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("#!/bin/sh\n", "cannot hold lessons: it answers nothing"),
        ("#!/bin/sh\necho hello; echo world\n", "cannot hold lessons: it answers 'world'"),
        ("#!/bin/sh\necho '[1]'\n", "cannot hold lessons: it answers '[1]'"),
        ("#!/bin/sh\nexit 3\n", "cannot hold lessons: exit code 3"),
        ("#!/bin/sh\nkill -SEGV $$\n", "SIGSEGV"),
        ("#!/bin/sh\necho no such luck >&2; exit 1\n", "cannot hold lessons: no such luck"),
        ("#!/bin/sh\necho \"$0: cannot access '$2'\" >&2; exit 2\n", "cannot hold lessons: it is no Python"),
        ("#!/bin/sh\necho shim: not set >&2; echo; echo a tip >&2; exit 127\n", "cannot hold lessons: shim: not set"),
        (f"#!/bin/sh\necho {'x' * 500} >&2; exit 1\n", f"cannot hold lessons: {'x' * 120}…"),
        ("#!/no/such/interpreter\n", "cannot be run: No such file or directory"),
        ("\x00\x01", "cannot be run: Exec format error"),
    ],
)
def test_one_that_is_no_python(tmp_path, text, why):
    assert refusal(script(tmp_path, text)).endswith(why) or why in refusal(script(tmp_path, text))


@pytest.mark.skipif(sys.version_info < (3, 13) or not sys._is_gil_enabled(), reason="needs a Python that needs a GIL")
def test_one_that_gives_up_before_it_begins(other, monkeypatch):
    monkeypatch.setenv("PYTHON_GIL", "0")
    assert "Fatal Python error: " in refusal(other)
    assert "Disabling the GIL is not supported" in refusal(other)


@posix
def test_one_that_hangs_is_ended_with_all_that_it_started(tmp_path, monkeypatch, no_leaks):
    monkeypatch.setattr(elsewhere, "ANSWERS", 0.5)
    monkeypatch.setattr(elsewhere, "LEAVES", 0.2)
    path = script(tmp_path, f"#!/bin/sh\ntrap '' INT\nsleep 1000 &\necho $! > {tmp_path}/pid\nwait\n")
    assert refusal(path).endswith("cannot hold lessons: it has not answered within 0.5 s")
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + PATIENCE
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_command_line_refuses_before_it_measures(capsys):
    assert main(["lessons", "9", "--python", "/no/such/python"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "nfold: --python '/no/such/python' cannot be run: No such file or directory\n"


# ---------------------------------------------------------------- what fails there, and what is cut off


@pytest.mark.slow
def test_a_lesson_that_fails_there_was_not_measured(other):
    there = Interpreter.of(other)
    missing = Lesson(99, "none", "", "", (), race.measure, race.judge)
    held = there.run(missing, Setting(1.0))
    assert held.python == there.told
    assert held.judgement.word == UNTOLD
    assert held.judgement.why.startswith("ValueError: there is no lesson '99'")


def test_one_that_takes_too_long_is_ended(other, monkeypatch, no_leaks):
    there = Interpreter.of(other)
    monkeypatch.setattr(elsewhere, "LONGEST", 0.1)
    monkeypatch.setattr(elsewhere, "TIMES", 0)
    held = there.run(race.LESSON, Setting(100.0))
    assert held.judgement.word == UNTOLD
    assert held.judgement.why == "it has not answered within 0.1 s"


def test_a_long_lesson_has_the_time_that_it_asks_for(other, monkeypatch):
    there, asked = Interpreter.of(other), []
    told = {"evidence": {}, "python": there.told, "seconds": 0.0, "unavailable": "nobody measured"}
    monkeypatch.setattr(elsewhere, "_answer", lambda path, words, timeout: asked.append(timeout) or told)
    there.run(race.LESSON, Setting(900.0))
    assert asked[0] > 900


@pytest.mark.slow
def test_a_task_of_the_current_folder_is_found_there(other, tmp_path, monkeypatch):
    (tmp_path / "tasks_of_mine.py").write_text("def work():\n    return sum(range(10_000))\n")
    monkeypatch.chdir(tmp_path)
    task = Task("tasks_of_mine:work", lambda: None)
    held = Interpreter.of(other).run(kinds.LESSON, Setting(0.5, task=task))
    assert held.unavailable is None
    assert held.evidence["own"]["name"] == "tasks_of_mine:work"


@pytest.mark.slow
def test_a_ctrl_c_ends_the_lesson_there(other, no_leaks):
    there = Interpreter.of(other)
    timer = threading.Timer(2.0, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        there.run(race.LESSON, Setting(100.0))
    timer.join()


@pytest.mark.slow
@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_a_command_that_is_ended_leaves_no_lesson_and_no_folder(other, tmp_path, number):
    command = [sys.executable, "-m", "compute", "lessons", "9", "--budget", "1s", "--python", other]
    env = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        there = wait_for(lambda: [c for c in psutil.Process(running.pid).children() if is_a_lesson(c)])
        running.send_signal(number)
        code = running.wait(PATIENCE)
    assert code == (130 if number == signal.SIGTERM else -number)
    wait_for(lambda: not any(child.is_running() for child in there))  # after a SIGKILL, when the lesson is over
    if number == signal.SIGKILL:
        assert [path.name.split("-")[:2] for path in tmp_path.glob("nfold-*")] == [["nfold", "code"]]
        subprocess.run([sys.executable, "-c", SWEEP], env=env, check=True, timeout=PATIENCE)
    assert list(tmp_path.glob("nfold-*")) == []


def is_a_lesson(process: psutil.Process) -> bool:
    try:
        return "compute.lessons" in process.cmdline()
    except psutil.Error:  # it has gone meanwhile
        return False


SWEEP = "from compute.backends.host_program import sweep; sweep()"


def wait_for(there: Any) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := there()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found
