"""Interpreter: another Python. It is asked first whether it can run lessons, then for the evidence of each.

It runs this very code, with its own libraries, as `python -m compute.lessons`, and prints what it measured.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compute.backends import caller, host_program
from compute.lessons.experiment import Experiment
from compute.lessons.lesson import Lesson, Setting
from compute.texts import visible

OLDEST = 3, 11
NEEDED = "numpy", "joblib", "cloudpickle", "psutil", "threadpoolctl"
ANSWERS = 60.0  # s for it to say what it is: importing all that is needed from a cold disk takes ten
# A lesson there is ended after LONGEST seconds plus TIMES what it should take: opening pools may take long, and rounds
# take up to three times as long on a busy machine.
LONGEST = 600.0
TIMES = 4
LEAVES = 5.0  # s for it to clean up when it is told to end

IS_PYTHON = "nfold asks a Python"  # what every Python prints first, and no other program
MISSING = "it has no "
LONGEST_LINE = 120  # characters that are shown of what another program prints

# Every version of Python can run this, so that one that is too old can say so.
CHECK = f"""
import sys
print({IS_PYTHON!r})
if sys.version_info < {OLDEST}: sys.exit("it is Python %d.%d, and lessons need 3.11 or later" % sys.version_info[:2])
import importlib.util
missing = [name for name in {NEEDED} if importlib.util.find_spec(name) is None]
if missing: sys.exit("{MISSING}" + ", ".join(missing))
from compute.lessons.__main__ import main
main(["where"])
"""
# Variables that lead an interpreter to its libraries: ours would lead the other one here. Launchers read VIRTUAL_ENV.
OURS = "PYTHONHOME", "PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__", "VIRTUAL_ENV"


class _Silent(Exception):
    """It gave no answer. The message says why, in one line."""


@dataclass(frozen=True)
class Interpreter:
    """Another Python that can run lessons. told: what `conduct.where` returns there."""

    path: str
    told: Mapping[str, Any]

    @classmethod
    def of(cls, path: str) -> Interpreter:
        """The interpreter of that path, or of that name on PATH; a ValueError with the remedy where it cannot run any.

        It only runs the question whether it can.
        """
        if not path.strip():
            raise ValueError("--python needs the path or name of an interpreter, such as python3.13, not an empty one")
        if os.path.isdir(path) and not shutil.which(path):
            raise ValueError(
                f"--python {path!r} is a folder; name the program in it, such as {visible(path)}/bin/python"
            )
        try:
            return cls(path, _answer(path, ("-c", CHECK), ANSWERS))
        except OSError as error:
            raise ValueError(f"--python {path!r} cannot be run: {error.strerror or error}") from None
        except _Silent as silent:
            why = str(silent)
            remedy = (
                f"; {shlex.quote(path)} -m pip install {' '.join(NEEDED)} gives it what is needed"
                if why.startswith(MISSING)
                else ""
            )
            raise ValueError(f"--python {path!r} cannot hold lessons: {why}{remedy}") from None

    def run(self, lesson: Lesson, setting: Setting) -> Experiment:
        """Measure a lesson there. The setting's task is found there by its name."""
        words = ["-m", "compute.lessons", str(lesson.number), repr(setting.seconds)]
        if setting.task and lesson.takes_task:
            words.append(setting.task.name)
        try:
            answer = _answer(self.path, words, LONGEST + TIMES * setting.seconds)
        except (OSError, _Silent) as error:
            return Experiment(lesson, {}, self.told, unavailable=str(error))
        return Experiment(lesson, answer["evidence"], answer["python"], answer["seconds"], answer["unavailable"])


def _answer(path: str, words: Sequence[str], timeout: float) -> dict[str, Any]:
    """The JSON in the last line that it prints. OSError where it cannot be started; _Silent where there is none."""
    with _our_code() as folder:
        code, out, error = _run([path, *words], _environment(folder), timeout)
    if code:
        asked = words[1] == CHECK and not out.startswith(IS_PYTHON)
        words_said = _first_words(error or out) if asked else _last_words(error or out)
        raise _Silent(words_said or caller.describe_exit(code))
    try:
        answer = json.loads((out.splitlines() or [""])[-1])
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise _Silent(f"it answers {_last_words(out)!r}" if out.strip() else "it answers nothing")
    return answer


def _last_words(output: str) -> str:
    """The line that says why a Python ended: the last one, or that of a fatal error of the interpreter."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    fatal = [line for line in lines if line.startswith("Fatal Python error")]
    return (fatal or lines[-1:] or [""])[0]


def _first_words(output: str) -> str:
    """The line that says why a program ended that is no Python: the first one, as others are often advice."""
    if "import sys" in output:  # it repeats our question, which it could not run
        return "it is no Python"
    line = next((line.strip() for line in output.splitlines() if line.strip()), "")
    fatal = _last_words(output)
    line = fatal if fatal.startswith("Fatal Python error") else line
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}…"


def _environment(folder: str) -> dict[str, str]:
    """Our environment without what leads to our libraries, and without imports from the current folder."""
    environment = {name: value for name, value in os.environ.items() if name not in OURS}
    others = [
        path
        for path in os.environ.get("PYTHONPATH", "").split(os.pathsep)
        if path and os.path.basename(os.path.normpath(path)) not in ("site-packages", "dist-packages")
    ]
    return environment | {"PYTHONPATH": os.pathsep.join([folder, *others]), "PYTHONSAFEPATH": "1"}


@contextmanager
def _our_code() -> Iterator[str]:
    """A folder with our packages alone. Where they are installed there may be this interpreter's libraries, too."""
    root = Path(__file__).parents[2]
    with host_program.own_folder("code") as folder:
        try:
            for package in ("compute", "kernels"):
                os.symlink(root / package, Path(folder, package), target_is_directory=True)
        except OSError:  # Windows allows links to few users
            yield str(root)
        else:
            yield folder


def _run(command: list[str], environment: Mapping[str, str], timeout: float) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a command. After `timeout` it is ended, with all that it started."""
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # so that all of its group can be ended: a script may have started the interpreter
    ) as process:
        try:
            out, error = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            _end(process)
            raise _Silent(f"it has not answered within {timeout:g} s") from None
        except BaseException:
            _end(process)
            raise
        return process.returncode, out, error


def _end(process: subprocess.Popen[str]) -> None:
    """Let it clean up as after a Ctrl-C, then kill whatever is left, even if another Ctrl-C comes meanwhile."""
    try:
        _tell_all(process, signal.SIGINT)  # to its whole group, as a terminal does
        with suppress(subprocess.TimeoutExpired):
            process.wait(LEAVES)
    finally:
        _tell_all(process, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)


def _tell_all(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Send a signal to a command and all that it started, where the system has groups of processes."""
    with suppress(OSError):
        os.killpg(process.pid, number) if hasattr(os, "killpg") else process.send_signal(number)
