"""`nfold … module:function` for a plain function of the user's."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from compute.cli.commands import main
from kernels.definition import find

MODULE = """
import asyncio

def example(size):
    return [str(k) for k in range(size)]

def shout(text):
    return text + "!"

async def waits(text):
    await asyncio.sleep(0.001)
    return text + "!"

not_one = 5
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "shouting.py").write_text(MODULE)
    yield
    sys.modules.pop("shouting", None)


def test_its_items_are_the_modules_example():
    shout = find("shouting:shout")
    assert shout(*shout.example(3)) == ["0!", "1!", "2!"]
    assert find("math:sqrt").example(3) == (range(3),)


@pytest.mark.parametrize("name", ["shout", "waits"])
def test_scale_measures_it(capsys, name):
    argv = ["scale", f"shouting:{name}", "20", "--on", "threads,coroutines", "--workers", "1,2", "--budget", "100ms"]
    assert main([*argv, "--json", "r.json"]) == 0
    points = json.loads(Path("r.json").read_text())["points"]
    assert {(point["backend"], point["workers"]) for point in points} >= {("threads", 2), ("coroutines", 2)}
    assert {point["kernel"].partition(":")[2] or point["kernel"] for point in points} == {name}


def test_run_and_advise_take_it(capsys):
    assert main(["run", "shouting:shout", "4", "--on", "processes", "--workers", "2"]) == 0
    assert main(["advise", "shouting:shout", "50", "--budget", "300ms"]) == 0


def test_what_is_none_is_told(capsys):
    assert main(["run", "shouting:not_one", "4"]) == 2
    assert "shouting has no kernel 'not_one'" in capsys.readouterr().err
