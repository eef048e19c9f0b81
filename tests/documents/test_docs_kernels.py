"""What docs/kernels.md shows: random numbers that are the same on every backend, a table, a reduction to a vector."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from compute import Coroutines, Joblib, Prange, Processes, Serial, Threads, run
from kernels import Plan, kernel

TEXT = (Path(__file__).parents[2] / "docs/kernels.md").read_text()
SNIPPET = next(text for text in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if "default_rng" in text)


@pytest.fixture(scope="module")
def documented():
    names = {"np": np, "kernel": kernel, "__name__": "documented"}
    exec(SNIPPET, names)
    return names


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "variant"), [("noise", "nogil"), pytest.param("noise_in_python", "python", marks=pytest.mark.slow)]
)
def test_a_chunk_s_random_numbers_are_the_same_everywhere(documented, name, variant):
    made, x = documented[name], np.zeros(3000)
    first = run(made, 7, x, on=Serial(), variant=variant).value
    assert abs(first.mean()) < 0.1
    assert len(np.unique(first)) == 3000
    for backend in (Threads(3), Coroutines(2), Prange(2), Processes(2), Joblib(2)):
        if backend.refuses(made.held_to(variant)) is None:
            np.testing.assert_array_equal(run(made, 7, x, on=backend, variant=variant).value, first, repr(backend))
    assert (run(made, 8, x, on=Threads(2), variant=variant).value != first).any()


@pytest.mark.parametrize("shown", ["smoothed", pytest.param("moments", marks=pytest.mark.slow)])
def test_a_documented_kernel_gives_what_it_says(shown):
    snippet = next(text for text in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if f"def {shown}" in text)
    names = {"np": np, "kernel": kernel, "Plan": Plan, "__name__": "documented"}
    exec(snippet, names)
    A = np.random.default_rng(0).random((300, 7))
    around = np.pad(A, ((0, 0), (1, 1)), mode="edge")
    expected = {"smoothed": (around[:, :-2] + A + around[:, 2:]) / 3, "moments": [A[:, 0].sum(), (A[:, 0] ** 2).sum()]}
    for backend in (Serial(), Threads(2), Processes(2)):
        value = run(names[shown], A if shown == "smoothed" else A[:, 0], on=backend, check=True).value
        np.testing.assert_allclose(value, expected[shown])
