"""What the main job sets out to measure: one kernel of each kind, small enough for its rounds, in memory for all."""

from __future__ import annotations

import numpy as np
import pytest
from compiler import needs_compiler

import kernels
from compute import Processes, Serial, machine
from compute.cli import choosing, main_job
from compute.cli.choosing import ONE_OF_EACH, Row, Way
from compute.memory.segments import segment_of
from compute.scaling.calibration import calibrate
from compute.scaling.results import Scaling
from kernels.definition import numba_is_here

COSTS = {"first_touch of heap": 1e-4, "first_touch of shared": 5e-4}


@pytest.fixture
def asked(monkeypatch):
    """What surveys of 60 seconds ask to be measured, on a machine where a kernel's size says how long it takes."""
    monkeypatch.setattr(machine, "usable_cpus", lambda *_: 2)

    def survey(everything=False, left=(54.0,)):
        calls = []

        def scale_all(choose, **options):
            calls.append(([choose(seconds, COSTS) for seconds in left], options))
            return Scaling(())

        monkeypatch.setattr(main_job, "scale_all", scale_all)
        monkeypatch.setattr(main_job, "compile_side_by_side", lambda names: calls.append(names))
        monkeypatch.setattr(main_job, "calibrate", lambda kernel, seconds, variant, memory: int(seconds * 1e4))
        main_job.survey(60.0, lambda *_: None, everything)
        return calls

    return survey


@pytest.mark.parametrize("everything", [False, True])
def test_kernels_are_measured_in_both_variants_on_the_same_pools(asked, everything):
    compiled, ((works,), options) = asked(everything)
    computing = [name for name, kernel in kernels.REGISTRY.items() if kernel.bound != "wait"]
    names = computing if everything else list(ONE_OF_EACH)
    assert compiled == names
    variants = ["nogil", "python"] if numba_is_here() else ["python"]
    assert {(w.kernel.name, *w.variants) for w in works} == {(n, v) for n in names for v in variants}
    for work in works:
        on = ["threads", "prange", "processes", "joblib"] + ["coroutines"] * (work.kernel.name == "mandelbrot")
        assert list(work.on) == (on if work.variants == ["nogil"] else ["threads", "processes"])
    assert {backend.name for backend in options["on"]} == {on for work in works for on in work.on}
    once = [backend.workers for backend in options["on"] if backend.name == "coroutines"]
    assert once == [2] * numba_is_here()  # one loop


def test_ten_rounds_fit_even_if_nothing_is_faster_than_one_core(asked):
    _, ((works,), options) = asked()
    assert 55 < options["budget"] < 58  # the report is to be there within the minute
    assert {work.size for work in works} == {works[0].size}
    configurations = sum(1 + sum(backend.name in work.on for backend in options["on"]) for work in works)
    assert 0.5 * 54 < 10 * configurations * works[0].size / 1e4 < 0.8 * 54


def test_worker_counts_that_are_left_out_are_known_before(asked, monkeypatch):
    _, (_, options) = asked()
    assert options["known"] == []
    monkeypatch.setattr(choosing, "spread_counts", lambda cpus, most: [1])
    _, (_, options) = asked()
    assert [line.startswith("left out 2 workers") for line in options["known"]] == [True]


def test_asked_again_it_takes_sizes_that_take_as_much_shorter_as_there_is_less_time(asked):
    _, ((first, again), _) = asked(left=(54.0, 27.0))
    assert [work.kernel.name for work in first] == [work.kernel.name for work in again]
    for before, after in zip(first, again, strict=True):
        cost = before.kernel.cost
        assert cost(after.size) == pytest.approx(cost(before.size) / 2, rel=0.2)


def test_every_lane_sees_operands_and_results_as_they_are(asked):
    """Else a row would be told from another by whose arrays had to be copied, and each run would touch new pages."""
    _, ((works,), _) = asked(everything=True)
    for work in works:
        arrays = [x for x in (*work.args, *work.kw.values()) if isinstance(x, np.ndarray)]
        assert all(segment_of(x) is not None for x in arrays)
        plan = work.kernel.held_to(work.variants[0]).plan(*work.args, **work.kw)
        takes_out = work.kernel.name not in ("count_primes", "primes")
        assert (plan.out is not None) == takes_out
        assert plan.writes_into_out == takes_out


@needs_compiler
def test_real_sizes_are_as_long_as_they_are_to_be_and_fit_their_memory():
    kernel, row = main_job._example_of("matvec"), Row("matvec", "nogil", (Way("threads"),))
    size = calibrate(kernel, 0.01, "nogil", memory=2**24)
    work = main_job._work(kernel, row, size)
    with Serial().open() as pool:
        result = pool.run(work.kernel.held_to("nogil"), *work.args, **work.kw)
    assert result.value is work.kw["out"]
    assert result.value.shape == (main_job.VECTORS, size)
    assert sum(x.nbytes for x in work.args) < 2**24


@needs_compiler
@pytest.mark.slow
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


@pytest.mark.slow
def test_what_was_compiled_beforehand_is_all_that_any_pool_needs(script):
    assert script(COMPILED, NFOLD_CACHE_DIR="beforehand").stdout == "True set()\n"
