"""The programs under examples/, run as a reader would run them: what they print is held against what they say."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from compiler import needs_compiler
from patience import PATIENCE

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
CHECKED = {"heat", "gil", "pi", "shared_table", "gate"}


def run(name: str, *args: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py"), *args],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def printed(name: str, *, folder: Path) -> str:
    """What an example prints; warnings are errors, and so is any word on stderr."""
    done = run(name, folder=folder)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout


def test_every_example_is_run_here():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == CHECKED


@pytest.mark.slow
def test_heat_is_the_same_as_on_one_core(tmp_path):
    chosen, after, same = printed("heat", folder=tmp_path).splitlines()
    assert re.fullmatch(r"fastest here: (Serial\(\)|(Threads|Processes)\(\d+\)) with the \w+ variant", chosen)
    # Of what lay on a quarter of the plate, less than these digits show has reached the rim and been lost there.
    assert after == "after 200 steps: 0.00 to 100.00 degrees, 25.0000 on average"
    assert same == "the same on one core: True"


@pytest.mark.slow
def test_the_gil_is_shown_on_every_backend(tmp_path):
    head, *rows = printed("gil", folder=tmp_path).splitlines()
    assert head.split()[:3] == ["variant", "backend", "time"]
    told = [tuple(row.split()[:2]) for row in rows if not row.startswith("the longest")]
    backends = ["Serial()", "Threads(2)", "Processes(2)"]
    assert told == [(variant, backend) for variant in ("python", "nogil") for backend in backends]
    assert all(re.search(r" \d+ ms +\d+\.\d\d× +\d+%$", row) for row in rows if not row.startswith("the longest"))
    longest = [row.rpartition(" ")[2] for row in rows if row.startswith("the longest")]
    assert longest == ["17,647", "1,723,519"]  # both in OEIS A006877


@needs_compiler
def test_pi_is_the_same_on_every_backend(tmp_path):
    lines = printed("pi", folder=tmp_path).splitlines()
    assert [line.split()[0] for line in lines] == ["Serial()", "Threads(2)", "Processes(2)"]
    assert len({line.partition(" ")[2].strip() for line in lines}) == 1
    found = float(re.search(r"hits: ([\d.]+)", lines[0])[1])
    assert abs(found - math.pi) < 5 * 1.64 / math.sqrt(10_000_000)  # five standard errors of 4·hits/darts


@pytest.mark.slow
def test_the_shared_table_is_measured_changed_and_measured_again(tmp_path):
    before, same, after = printed("shared_table", folder=tmp_path).splitlines()
    mean, spread = map(float, re.findall(r"([\d.]+) cm", before))
    assert (abs(mean - 170) < 0.05, abs(spread - 8) < 0.05) == (True, True)  # four million heights
    assert same == "the result is the very array: True"
    assert after == "scores: mean 0.00, standard deviation 1.00"


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("least", ["0", "1000"])
def test_the_gate_opens_and_shuts(tmp_path, least):
    done = run("gate", "--least", least, "--budget", "0.5", "--json", "it.json", folder=tmp_path)
    assert done.stderr == ""
    told = [line.partition(": ") for line in done.stdout.splitlines() if not line.startswith(" ")]
    assert [rest.split(" on ")[0] for _, _, rest in told] == ["threads", "processes"]
    words = {word for word, _, _ in told}
    assert words <= ({"ok"} if least == "0" else {"FAILED", "not judged"})  # the latter on a machine that is disturbed
    assert done.returncode == ("FAILED" in words)
    points = json.loads((tmp_path / "it.json").read_text())["points"]
    assert {(p["backend"], p["workers"]) for p in points if p["backend"] != "serial"} == {
        (backend, workers) for backend in ("threads", "processes") for workers in (1, 2)
    }
