"""A backend of another distribution: offered as an entry point, seen everywhere, with nothing edited here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE

TOY = '''
"""One thread at a time: each lane runs on a thread that the next one waits for."""

import threading
from dataclasses import dataclass

from compute import Backend, Pool
from compute.lanes.loop import run_lane
from compute.traits import Traits


@dataclass(frozen=True, repr=False)
class InTurn(Backend):
    """Lanes on threads that wait for each other. `InTurn(4)`"""

    name = "in-turn"
    traits = Traits(shares_thread=True)

    def open(self):
        return InTurnPool(self)


class InTurnPool(Pool):
    def lanes(self, job):
        outcomes = []
        for me in range(job.lanes):
            lane = threading.Thread(target=lambda: outcomes.append(run_lane(job, me)))
            lane.start()
            lane.join()
        return outcomes
'''
METADATA = "Metadata-Version: 2.1\nName: nfold-in-turn\nVersion: 1.0\n"


def offer(folder: Path, entry: str, name: str = "in-turn") -> None:
    """A distribution as pip would have installed it there."""
    (folder / "in_turn.py").write_text(TOY)
    about = folder / "nfold_in_turn-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(METADATA)
    (about / "entry_points.txt").write_text(f"[nfold.backends]\n{name} = {entry}\n")


def python(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(folder), str(root)])
    env = os.environ | {"PYTHONPATH": path, "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, *args], env=env, cwd=folder, capture_output=True, text=True, timeout=PATIENCE
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("installed")
    offer(folder, "in_turn:InTurn")
    return folder


def nfold(folder: Path, *args: str) -> str:
    done = python(folder, "-m", "compute", *args)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_listed_run_and_measured(folder):
    assert "Lanes on threads that wait for each other" in nfold(folder, "list")
    assert nfold(folder, "run", "count_primes", "1000", "--on", "in-turn", "--workers", "2").split()[:2] == [
        "value",
        "168",
    ]
    shown = nfold(
        folder, "scale", "count_primes", "3e6", "--on", "in-turn", "--workers", "1,2", "--variant", "nogil",
        "--budget", "1s", "--json", "it.json", "--html", "it.html", "--csv", "it.csv",
    )  # fmt: skip
    assert "in-turn" in shown
    points = json.loads((folder / "it.json").read_text())["points"]
    two = next(p for p in points if p["backend"] == "in-turn" and p["workers"] == 2)
    assert "shares_thread" in two["traits"]
    assert two["verdict"]
    assert "in-turn" in nfold(folder, "report", "it.json")
    for file in ("it.html", "it.csv"):
        assert "in-turn" in (folder / file).read_text()


@pytest.mark.slow
def test_it_is_advised_on(folder):
    text = (
        "from compute import advise\nfrom kernels import count_primes\n"
        "print(advise(count_primes, 3_000_000, on=['in-turn'], budget=600))"
    )
    done = python(folder, "-c", text)
    assert done.returncode == 0, done.stderr
    assert "in-turn" in done.stdout


@pytest.mark.parametrize(
    ("entry", "name", "told"),
    [
        ("in_turn:InTurn", "in-trun", "whose `name` is 'in-trun'"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ("nowhere:InTurn", "in-turn", "cannot be loaded (ModuleNotFoundError: No module named 'nowhere')"),
                ("in_turn:InTurnPool", "in-turn", "it must be a class of compute.Backend"),
            )
        ),
    ],
)
def test_one_that_is_none_is_named_when_it_is_asked_for(tmp_path, entry, name, told):
    offer(tmp_path, entry, name)
    done = python(tmp_path, "-m", "compute", "run", "count_primes", "10", "--on", name)
    assert done.returncode != 0
    message = " ".join(done.stderr.split())
    assert told in message
    assert "nfold-in-turn" in message
    assert nfold(tmp_path, "run", "count_primes", "10", "--on", "threads").split()[1] == "4"
    assert name in nfold(tmp_path, "list")


def test_a_name_of_ours_stays_ours(tmp_path):
    offer(tmp_path, "in_turn:InTurn", "threads")
    assert python(tmp_path, "-c", "import compute; print(compute.named('threads', 2))").stdout == "Threads(2)\n"


def test_the_recipe_in_contributing_is_this_very_distribution():
    recipe = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
    assert "```python\n# in_turn.py" + TOY + "```" in recipe
    assert '[project.entry-points."nfold.backends"]\nin-turn = "in_turn:InTurn"\n' in recipe
    assert 'name = "nfold-in-turn"\nversion = "1.0"\n' in recipe
