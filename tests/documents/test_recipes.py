"""CONTRIBUTING.md's recipes: the files that they write are executed as they stand there, and do what they say.

The backend's is installed and run by tests/backends/test_offered.py.
"""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compute import Serial, Threads, run
from compute.report.formats import Format
from compute.scaling.dataset import Point
from compute.scaling.results import Scaling

TEXT = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
FILES = {
    name: textwrap.dedent(block)
    for name, block in re.findall(r"^ *```python\n *# ((?:kernels|compute)/\S+\.py)\n(.*?)^ *```", TEXT, re.M | re.S)
}


def executed(file: str) -> dict[str, Any]:
    """The names that a file of a recipe makes, as its module would have them."""
    names: dict[str, Any] = {"__name__": file.removesuffix(".py").replace("/", ".")}
    exec(compile(FILES[file], file, "exec"), names)
    return names


def test_the_recipe_for_a_kernel():
    made = executed("kernels/sums/sum_of_squares.py")["sum_of_squares"]
    x = np.arange(1000.0)
    for variant in ("python", "nogil"):
        for backend in (Serial(), Threads(2)):
            assert run(made, x, on=backend, variant=variant).value == (x**2).sum()
    (example,) = made.example(50)
    made.check(made(example), example)
    with pytest.raises(AssertionError):
        made.check(made(example) + 1, example)
    with pytest.raises(ValueError, match=r"x must have one axis, not 2; pass x\.ravel\(\)"):
        made(np.ones((3, 3)))


def test_the_recipe_for_a_format():
    render = executed("compute/report/jsonl.py")["render"]
    points = [Point("triad", 1, "nogil", name, 1, 1.0, (1.0,)) for name in ("serial", "thr\x1beads")]
    lines = render(Scaling(tuple(points))).splitlines()
    assert [json.loads(line)["backend"] for line in lines] == ["serial", r"thr\x1beads"]
    record = re.search(r'\{"jsonl": Format\(.*\)\}', TEXT)
    assert record is not None
    (form,) = eval(record[0], {"Format": Format}).values()
    assert (form.module, form.suffixes) == ("jsonl", (".jsonl",))


def test_no_file_of_a_recipe_is_left_out_here():
    assert set(FILES) == {"kernels/sums/__init__.py", "kernels/sums/sum_of_squares.py", "compute/report/jsonl.py"}
