"""Fuzz target: pytest-benchmark's files, changed at random, in every command that reads them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fuzzing import call, cases, hold
from mutations import benchmarks, mutated

SEEDS = benchmarks()


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_changed_benchmarks_are_shown_or_refused():
    for case in cases(150):
        seed = case.choice(SEEDS)
        raw = mutated(seed, case)
        Path("before.json").write_text(json.dumps(seed))
        Path("after.json").write_bytes(raw)
        name = case.choice(("report", "compare", "check"))
        line = [name, *["before.json"] * (name != "report"), "after.json"]
        codes = (0, 1, 2, 3) if line[0] == "check" else (0, 2)
        hold(call(line), case, line, codes, raw.decode(errors="replace"))
