"""Fuzz target: command lines of words at random, in this process; and that a process of its own says the very same."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fuzzing import TEXTS, Case, Done, call, cases, hold
from patience import PATIENCE
from sampling import quick_first

from compute.cli.commands import app
from compute.scaling.dataset import Point
from compute.scaling.results import Scaling

ROOT = Path(__file__).parents[2]
COMMANDS = [command.name or command.callback.__name__ for command in app.registered_commands]
KERNELS = ("triad", "count_primes", "mine:f", "mine:none", "mine", "./mine.py:f", "none:f", ":", "mine:", "tria")
FILES = ("a.json", "b.json", "none.json", "mine.py", "no/such.json", ".", "", "/dev/null", "/dev/full")
OUTPUTS = (
    "o.json",
    "o.csv",
    "o.md",
    "o.html",
    "o.txt",
    "o",
    "",
    ".",
    "no/such.csv",
    "/dev/full",
    "o.exe",
    "x" * 300 + ".md",
)
AMOUNTS = (
    "1", "2", "8", "1,2", "1,,2", "0", "-1", "1e3", "1_000", "1e400", "9" * 5000, "1.5", "5%", "0.9", "1ms", "0s",
    "1e300h", "nan", "inf", "-inf", "١", "+3", "0x10", " 2 ", "1e-400",
)  # fmt: skip
NAMES = ("python", "nogil", "serial", "threads", "thread", "serial,serial", "strong", "weak", "A=1", "=", "fine")
# What would measure for a while is measured shortly: of options that are given twice the last one holds.
SHORT = {
    "scale": ["--budget=1ms", "--workers=1"], "run": ["--workers=1"], "advise": ["--budget=1ms"],
    "command": ["--budget=1ms", "--workers=1"], "lessons": ["--list"],
}  # fmt: skip
CODES = {"check": (0, 1, 2, 3), "command": (0, 1, 2)}  # 1: a regression; a program that failed


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder with two files of results, and a module of one function."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    points = (Point("triad", 1, "nogil", "serial", 1, 1.0, (1.0,), speedup=1.0, baseline="serial"),)
    Scaling(points).to_json("a.json")
    Scaling((*points, Point("triad", 1, "nogil", "threads", 2, 0.6, (0.6,)))).to_json("b.json")
    Path("mine.py").write_text("def f(x):\n    return x\n")
    yield
    sys.modules.pop("mine", None)


def options() -> dict[str, list[str]]:
    """The options of each command, as its own help names them."""
    return {name: sorted(set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", call([name, "--help"]).out))) for name in COMMANDS}


def a_line(known: dict[str, list[str]], case: Case) -> list[str]:
    """A command with words and options that may be its own, and any values."""
    name = case.choice((*COMMANDS, *COMMANDS, "", "scal", case.choice(TEXTS)))
    kinds = KERNELS, AMOUNTS, FILES, NAMES, TEXTS
    words = [case.choice(case.choice(kinds)) for _ in range(case.choice((0, 1, 2, 2, 3)))]
    if case.random() < 0.5 and name in ("scale", "run", "advise", "show"):
        words[:1] = [case.choice(KERNELS)]
    if case.random() < 0.5 and name in ("report", "compare", "check"):
        words[:2] = [case.choice(FILES) for _ in words[:2]]
    for _ in range(case.choice((0, 0, 1, 1, 2, 4))):
        own = known.get(name, ["--help"])
        option = case.choice((*own, "--none", "-x", "--json=o.json", "--budget=", case.choice(TEXTS)))
        value = case.choice(case.choice((AMOUNTS, NAMES, OUTPUTS, TEXTS)))
        words[case.randrange(len(words) + 1) :] = [option, *[value] * (case.random() < 0.8)]
    words += ["x"] * (words[-1:] != [] and words[-1].startswith("-"))  # no option takes the next one for its value
    words += SHORT.get(name, [])
    if name in ("scale", "run", "advise"):
        words += ["--on", "serial"] if case.random() < 0.9 else ["--on", case.choice((*NAMES, *TEXTS))]
    if name == "command":
        words += ["--", "true" if case.random() < 0.03 else "no-such-program", "{workers}"]
    return [name, *words]


def test_any_line_does_what_it_says_or_is_refused():
    known = options()
    for case in cases(150):
        line = a_line(known, case)
        full = "/dev/full" in " ".join(line) and os.path.exists("/dev/full")
        done = call(line)
        hold(done, case, line, (*CODES.get(line[0], (0, 2)), *[1] * full), given=" ".join(line))


def in_a_process(line: list[str]) -> Done:
    done = subprocess.run(
        [sys.executable, "-m", "compute", *map(os.fsencode, line)],
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "80"},
        timeout=PATIENCE,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.mark.parametrize(
    "line",
    quick_first(
        2,
        [
            ["report", "\x1b[31m\udce9.json"],
            ["check", "a.json", "b.json", "--same-machine"],
            ["report", "b.json", "--details"],
            ["scale", "tria", "\x9b"],
            ["run", "mine:f", "9" * 5000],
            ["list"],
            ["report", "--help"],
            ["--\u202e"],
        ],
    ),
    ids=lambda line: " ".join(line)[:20],
)
def test_a_process_of_its_own_says_the_very_same(line, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert call(line) == in_a_process(line)
