"""Fuzz target: files of results, nfold's own, changed at random or as extreme as a reader allows, in every command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fuzzing import Case, call, cases, hold, hold_file
from mutations import extreme, mutated, results

SEEDS = results()
OUTPUTS = {"csv": "o.csv", "markdown": "o.md", "html": "o.html", "json": "o.json", "text": "o.txt"}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def read_everywhere(before: bytes, after: bytes, case: Case) -> None:
    """Show the file in some forms, or hold it against the one from which it was made."""
    Path("before.json").write_bytes(before)
    Path("after.json").write_bytes(after)
    for name in OUTPUTS.values():
        Path(name).unlink(missing_ok=True)
    given, codes, written = after.decode(errors="replace"), (0, 2), []
    way = case.randrange(10)
    if way == 0:
        written = ["o.md", "o.html"]
        line = ["compare", "before.json", "after.json", "-o", "o.md", "-o", "o.html"]
    elif way == 1:
        line, codes = ["check", "before.json", "after.json", "--same-machine"], (0, 1, 2, 3)
    elif way == 2:
        line = ["report", "before.json", "after.json"]
    else:
        written = [name for name in OUTPUTS.values() if case.random() < 0.1]
        line = ["report", "after.json", *["--details"] * (case.random() < 0.3)]
        line += [word for name in written for word in ("-o", name)]
    done = call(line)
    hold(done, case, line, codes, given)
    for name in written * (done.code == 0):
        if name != "o.json":
            hold_file(Path(name), case, line, given)


@pytest.mark.slow
def test_results_are_shown_or_refused():
    for case in cases(200):
        seed, kind = case.choice(SEEDS), case.random()
        changed = mutated(seed, case) if kind < 0.75 else extreme(case)
        if kind < 0.99:
            read_everywhere(json.dumps(seed).encode(), changed, case)
        else:  # which takes as long as a hundred others
            Path("a.json").write_bytes(changed)
            hold(call(["report", "a.json", "-o", "o.png"]), case, "a picture", given="nan")
