"""What the main job sets out to measure: everything at once, each kernel small enough for its rounds."""

from __future__ import annotations

import pytest

import kernels
from compute import Processes
from compute.cli import main_job
from compute.scaling.configurations import worker_counts

COMPUTING = [name for name, kernel in kernels.REGISTRY.items() if kernel.bound != "wait"]


@pytest.fixture
def asked(monkeypatch):
    """What a survey of 60 seconds asks to be measured, on a machine where a kernel's size says how long it takes."""
    calls = []
    monkeypatch.setattr(main_job, "scale_all", lambda works, **kw: calls.append((works, kw)))
    monkeypatch.setattr(main_job, "compile_side_by_side", lambda names: calls.append(names))
    monkeypatch.setattr(main_job, "calibrate", lambda kernel, seconds, variant, memory: int(seconds * 1e4))
    main_job.survey(60.0, lambda *_: None)
    compiled, (works, options) = calls
    assert compiled == COMPUTING
    return works, options


def test_every_kernel_is_measured_in_both_variants_on_the_same_pools(asked):
    works, options = asked
    assert {(w.kernel.name, *w.variants) for w in works} == {(n, v) for n in COMPUTING for v in ("nogil", "python")}
    for work in works:
        compiled = ["threads", "prange", "processes", "joblib"] + ["coroutines"] * (work.kernel.name == "mandelbrot")
        assert list(work.on) == (compiled if work.variants == ["nogil"] else ["threads", "processes"])
    assert set(options["on"]) == {on for work in works for on in work.on}


def test_ten_rounds_fit_even_if_nothing_is_faster_than_one_core(asked):
    works, options = asked
    assert 0 < options["budget"] <= 60
    a_round = sum(work.size / 1e4 * (1 + len(work.on) * len(worker_counts())) for work in works)
    assert 10 * a_round <= 0.61 * options["budget"]
    assert 10 * a_round > 0.4 * options["budget"]


def test_kernels_are_compiled_in_worker_processes_that_leave_nothing(no_leaks):
    with Processes(2).open() as pool:
        result = pool.run(main_job.compiling, ["triad", "transpose"])
    assert result.value.tolist() == [True, True]
    assert sum(lane.chunks for lane in result.timeline.lanes) == 2


COMPILED = """
import os, pathlib
from compute import Joblib, Prange, Processes, Serial, Threads
from compute.cli import main_job as survey
import kernels

def entries():
    return {path.name for path in pathlib.Path(os.environ["NFOLD_CACHE_DIR"]).rglob("*") if path.is_file()}

if __name__ == "__main__":
    survey.compile_side_by_side(["triad"])
    before, of = entries(), kernels.REGISTRY["triad"]
    for backend in (Serial(), Threads(2), Prange(2), Processes(2), Joblib(2)):
        with backend.open() as pool:
            pool.run(of, *of.example(100), variant="nogil")
    print(len(before) >= 2, entries() - before)
"""


def test_what_was_compiled_beforehand_is_all_that_any_pool_needs(script):
    assert script(COMPILED, NFOLD_CACHE_DIR="beforehand").stdout == "True set()\n"
