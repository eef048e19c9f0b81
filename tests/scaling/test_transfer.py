"""What the copies for process lanes cost is measured by runs without them, and said with the way to have none."""

from __future__ import annotations

import numpy as np
import pytest
from example_kernels import doubled

from compute import Processes, Threads, scale, shared
from compute.scaling import transfer
from compute.scaling.dataset import Point
from compute.scaling.results import Scaling
from compute.scaling.transfer import without_copies
from kernels import triad

LEDGER = {"useful": 0.2, "transfer": 0.8}


def point(**kw):
    return Point("triad", 1, "nogil", "processes", 2, **{"seconds": 0.01, "samples": (0.01,), "ledger": LEDGER} | kw)


@pytest.fixture(scope="module")
def pool():
    with Processes(2).open() as pool:
        yield pool


def test_it_names_what_is_copied_and_runs_without(pool, monkeypatch):
    monkeypatch.setattr(transfer, "SECONDS", 0.0)
    a, b = np.ones((600, 500)), shared.array(np.ones((600, 500)))
    found = without_copies(pool, triad, (a, b, 3.0), {"out": np.empty((600, 500))}, point())
    assert found["copied"] == "a, out"
    assert found["without_copies"] > 0
    assert without_copies(pool, doubled.python, (a,), {}, point())["copied"] == "values"


@pytest.mark.parametrize(
    ("args", "change"),
    [
        ((np.ones(10), np.ones(10), 3.0), {}),  # small
        ((np.ones((300, 300)), 2.0, 3.0), {"ledger": {"useful": 0.95, "transfer": 0.05}}),
        ((shared.array(np.ones((300, 300))), 2.0, 3.0), {}),
    ],
)
def test_nothing_is_said_where_nothing_is_lost_or_copied(pool, args, change):
    assert without_copies(pool, triad, args, {}, point(**change)) == {}
    with Threads(2).open() as threads:
        assert without_copies(threads, triad, args, {}, point()) == {}


def test_what_would_take_too_long_or_too_much_is_not_run(pool, monkeypatch):
    monkeypatch.setattr(transfer, "_seconds", None)  # a call would be an error
    args = np.ones((300, 300)), 2.0, 3.0
    assert without_copies(pool, triad, args, {}, point(seconds=9.0)) == {"copied": "a"}
    monkeypatch.setattr(transfer.machine, "memory_available", lambda: 1000)
    assert without_copies(pool, triad, args, {}, point()) == {"copied": "a"}


def test_a_scaling_says_so_and_its_file_does_too(tmp_path):
    a, b = np.ones((1500, 1000)), np.ones((1500, 1000))
    scaling = scale(triad.nogil, a, b, 3.0, on=["processes"], workers=[2], rounds=2, budget=20)
    (told,) = [p for p in scaling.points if p.backend == "processes"]
    assert told.evidence["copied"] == "a, b"
    assert told.evidence["without_copies"] > 0
    scaling.to_json(tmp_path / "x.json")
    (kept,) = [p for p in Scaling.from_json(tmp_path / "x.json").points if p.backend == "processes"]
    assert kept.evidence == told.evidence
