"""What every pool does beside computing: work side by side, tell what happened, pass errors on, refuse bad input."""

from __future__ import annotations

import gc
import math
import os
import signal
import threading
import time
import traceback
import weakref
from contextlib import nullcontext

import numpy as np
import pytest
from every_case import BACKENDS, FORK, INTERPRETERS
from example_kernels import Awkward, Told, fails, fails_deep, meeting, nothing, spin, squares, who
from patience import PATIENCE
from sampling import one_of_each

from compute import Coroutines, Interpreters, Joblib, Prange, Processes, Serial, Threads, named, run
from compute.backends import threads
from compute.lanes.control import INSIDE, SPANS_BOUND, line_of
from compute.lanes.loop import SPAN_FLOOR, TRIAL
from kernels import Plan, each, kernel, mandelbrot


@pytest.fixture(scope="module", params=one_of_each(BACKENDS), ids=repr)
def pool(request):
    with request.param.open() as pool:
        yield pool


def variants_on(pool):
    return ["nogil"] if isinstance(pool.backend, Prange) else ["python", "nogil"]


# Parallelism: a chunk that ends only when all the others have begun.


def is_parallel(pool):
    return pool.workers > 1 and not isinstance(pool.backend, Coroutines)


def has_processes(pool):
    return isinstance(pool.backend, Processes) or (isinstance(pool.backend, Joblib) and pool.backend.kind == "loky")


def test_workers_compute_at_the_same_moment(pool):
    if not is_parallel(pool):
        pytest.skip("one lane, or lanes that take turns")
    for variant in ("nogil", "python") if has_processes(pool) else ("nogil",):  # it keeps the GIL while it waits
        met = pool.run(meeting, pool.workers, PATIENCE, variant=variant)
        assert met.value.tolist() == [1.0] * pool.workers
        assert sorted(lane.chunks for lane in met.timeline.lanes) == [1] * pool.workers


@pytest.mark.parametrize("backend", [Serial(), Coroutines(2), Threads(1)], ids=repr)
def test_one_thread_is_not_parallel(backend):
    assert run(meeting, 2, 0.02, on=backend).value.tolist() == [0.0, 1.0]


def test_lanes_are_distinct_threads_or_processes(pool):
    if not is_parallel(pool) or isinstance(pool.backend, Prange):
        pytest.skip("one lane, or no Python body, which alone can ask who it is")
    workers = pool.workers
    pool.warm(who, 40 * workers)  # a lane that is still loading when the others are done would have no chunk
    found = pool.run(who, 40 * workers)
    processes, threads = np.divmod(found.value, 10**9)
    assert len(set(threads)) == workers
    if has_processes(pool):
        assert os.getpid() not in set(processes)
        assert len(set(processes)) == workers
    else:
        assert set(processes) == {os.getpid()}
    assert {(lane.process, lane.thread) for lane in found.timeline.lanes} == set(
        zip(processes.tolist(), threads.tolist(), strict=True)
    )


# The timeline.


@pytest.mark.parametrize("variant", ["python", "nogil"])
def test_long_chunks_are_all_on_the_timeline(pool, variant):
    if variant not in variants_on(pool):
        pytest.skip("prange runs no Python body")
    chunks, long = 12, 1_000_000
    pool.run(spin, 1, long, variant=variant)
    result = pool.run(spin, chunks, long, variant=variant)
    spans, lanes = result.timeline.spans, result.timeline.lanes
    assert spans["chunk"].tolist() == list(range(chunks))
    assert set(spans["lane"].tolist()) <= set(range(pool.workers))
    assert (spans["stop"] - spans["start"] >= 0.9 * long / 1e9).all()
    assert (spans["cpu"] >= 0).all()
    assert (spans["cpu"] <= (spans["stop"] - spans["start"]) * 1.01 + 1e-4).all()
    for lane in lanes:
        own = np.sort(spans[spans["lane"] == lane.lane], order="start")
        assert len(own) == lane.chunks
        assert (own["start"][1:] >= own["stop"][:-1] - 1e-9).all()  # a lane does one thing at a time
        assert (own["start"] >= lane.start - 1e-9).all()
        assert (own["stop"] <= lane.stop + 1e-9).all()
        assert lane.cpu <= lane.wall * 1.01 + 1e-3
    assert sum(lane.chunks for lane in lanes) == chunks
    assert result.timeline.events == ()


def test_a_sleeping_chunk_has_wall_time_and_no_cpu_time(pool):
    if isinstance(pool.backend, Prange):
        pytest.skip("prange runs no Python body")
    timeline = pool.run(who, 30).timeline
    assert timeline.cpu < sum(lane.wall for lane in timeline.lanes) / 2


@pytest.mark.parametrize("chunks", [1, 100, SPANS_BOUND, SPANS_BOUND + 1])
def test_short_chunks_are_counted_but_not_recorded(pool, chunks):
    for _ in range(10):
        timeline = pool.run(nothing, chunks).timeline
        assert sum(lane.chunks for lane in timeline.lanes) == chunks
        assert len(timeline.spans) == 0 or chunks <= SPANS_BOUND
        for lane in timeline.lanes:  # one that lost its CPU in its first chunks, on a busy machine, took them for long
            own = np.sort(timeline.spans[timeline.spans["lane"] == lane.lane], order="start")
            assert len(own) < TRIAL or own["stop"][TRIAL - 1] - lane.start >= TRIAL * SPAN_FLOOR / 1e9 - 1e-9


def test_there_are_no_spans_beyond_the_bound():
    with Threads(2).open() as pool:
        assert len(pool.run(spin, SPANS_BOUND + 1, 10, variant="nogil").timeline.spans) == 0


def test_the_callers_seconds_are_split_into_sections(pool):
    result = pool.run(squares, np.ones(1000))
    assert list(result.timeline.sections) == ["plan", "transfer", "dispatch", "finish"]
    assert all(seconds >= 0 for seconds in result.timeline.sections.values())
    assert math.isclose(sum(result.timeline.sections.values()), result.seconds, rel_tol=0.05, abs_tol=1e-4)


def test_the_chunk_grid_does_not_depend_on_the_workers():
    chunks = set()
    for workers in (1, 2, 3, 5):
        with Threads(workers).open() as pool:
            timeline = pool.run(squares, np.ones(1000)).timeline
            chunks.add(sum(lane.chunks for lane in timeline.lanes))
    assert chunks == {250}


def test_a_run_of_no_chunks(pool):
    result = pool.run(nothing, 0)
    assert result.value.shape == (0,)
    assert len(result.timeline.spans) == 0


# Errors in a body.


@pytest.mark.parametrize("variant", ["python", "nogil"])
def test_an_error_in_a_body_reaches_the_caller_with_its_chunk(pool, variant):
    if variant not in variants_on(pool):
        pytest.skip("prange runs no Python body")
    with pytest.raises(ValueError, match="no good") as caught:
        pool.run(fails, 40, 17, variant=variant)
    notes = "".join(caught.value.__notes__)
    assert f"in chunk 17 (indices 17..18) of fails, variant '{variant}'" in notes
    told = "".join(traceback.format_exception(caught.value))
    if variant == "python":
        assert 'raise ValueError("no good")' in told
        assert "in fails" in told
    assert pool.run(nothing, 50, variant=variant).value.tolist() == list(range(50))


@pytest.mark.parametrize(
    ("which", "expected", "says"),
    [
        (0, Told, "so it is"),
        (1, (Awkward, RuntimeError), "one and two"),
        (2, (Told, RuntimeError), "with a lambda"),
        (3, SystemExit, "3"),
        (4, MemoryError, "of the body's own"),
    ],
)
def test_any_error_reaches_the_caller_with_the_original_traceback(pool, which, expected, says):
    if reason := pool.backend.refuses(fails_deep):
        pytest.skip(reason)
    with pytest.raises(expected, match=says) as caught:
        pool.run(fails_deep, 30, 4, which)
    told = "".join(traceback.format_exception(caught.value))
    assert "in deep" in told
    assert "in chunk 4 (indices 4..5) of fails_deep, variant 'python'" in told
    if which == 1:
        assert "Awkward" in told
    assert pool.run(who, 3).value.shape == (3,)


def test_an_errors_own_arguments_survive(pool):
    if reason := pool.backend.refuses(fails_deep):
        pytest.skip(reason)
    with pytest.raises(Told) as caught:
        pool.run(fails_deep, 30, 4, 0)
    assert caught.value.args == ("so it is", 42)


@kernel(compiled=False, grain=1)
def good_for_nothing(lo, hi, out, x):
    raise ValueError("no good")


def test_an_error_lets_go_of_the_arrays(pool):
    if isinstance(pool.backend, Prange):
        pytest.skip("prange runs no Python body")
    x = np.ones(1000)
    held = weakref.ref(x)
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(ValueError, match="no good") as caught:
            pool.run(good_for_nothing, x)
        del x, caught
        deadline = time.monotonic() + PATIENCE  # s: only a failing test gets there
        while held() is not None and time.monotonic() < deadline:
            pool.run(nothing, 3)  # other lanes may have come late
            time.sleep(0.001)
        assert held() is None
    finally:
        gc.enable()


def test_a_planners_error_comes_before_any_work(pool):
    with pytest.raises(ValueError, match="max_iter must be at least 1, not 0"):
        pool.run(mandelbrot, (3, 3), max_iter=0)
    with pytest.raises(TypeError, match="mandelbrot"):
        pool.run(mandelbrot)


# Bad input to backends and to run.

MAKERS = [Threads, Prange, Processes, Joblib, Coroutines, Interpreters]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("workers", [0, -1, True, False, "2", 1.5, 2.0, math.nan, None, [2], 2 + 0j], ids=repr)
def test_bad_worker_counts_are_named(make, workers):
    with pytest.raises(ValueError, match="workers must be") as caught:
        make(workers)
    assert repr(workers) in str(caught.value)


@pytest.mark.parametrize("make", MAKERS)
def test_numpys_integers_are_worker_counts(make):
    backend = make(np.int64(2))
    assert backend == make(2)
    assert repr(backend) == repr(make(2))


def test_serial_takes_no_worker_count():
    with pytest.raises(TypeError):
        Serial(2)
    with pytest.raises(ValueError, match="serial has one worker, not 2"):
        Serial().with_workers(2)


@pytest.mark.parametrize("timeout", [0, -1, math.nan, "1", True, [1], 1j], ids=repr)
def test_bad_timeouts_are_named(timeout):
    with pytest.raises(ValueError, match="timeout must be") as caught:
        Processes(2, timeout=timeout)
    assert repr(timeout) in str(caught.value)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Processes(2, start="spwan"), "start must be one of .*'spwan'.*did you mean 'spawn'"),
        (lambda: Processes(2, start=None), "start must be one of .*None"),
        (lambda: Processes(2, start=["fork"]), "start must be one of"),
        (lambda: Joblib(2, kind="lokky"), "kind must be one of loky, threading, not 'lokky'.*'loky'"),
        (lambda: Joblib(2, arrays="share"), "arrays must be one of shared, memmap, not 'share'.*'shared'"),
        (lambda: Joblib(2, arrays=None), "arrays must be one of"),
        (lambda: named("thread"), "no backend 'thread'.*did you mean 'threads'"),
        (lambda: named("threads", 0), "workers must be at least 1"),
        (lambda: run(nothing, 1, on=Threads(1), variant="nogill"), "no variant 'nogill'.*did you mean 'nogil'"),
        (lambda: run(nothing, 1, on=Threads(1), variant="blas"), "no variant 'blas'; choose from python, nogil"),
        (lambda: run(nothing, 1, on=Prange(1), variant="python"), "prange runs compiled variants only"),
        (lambda: run(who, 1, on=Prange(1)), "prange runs compiled variants only"),
        (lambda: run(mandelbrot, (-1, 2), on=Processes(2)), "height must be at least 0, not -1"),
    ],
)
def test_bad_settings_are_named_with_the_remedy(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_more_lanes_than_numba_has_threads():
    import numba

    with pytest.raises(ValueError, match="NUMBA_NUM_THREADS="):
        run(nothing, 1, on=Prange(numba.config.NUMBA_NUM_THREADS + 1))


@pytest.mark.parametrize("on", [Threads, "thread", 2], ids=repr)
def test_what_is_not_a_backend_is_named(on):
    with pytest.raises((TypeError, ValueError), match=r"on must be a backend|no backend"):
        run(nothing, 1, on=on)


def test_fork_is_refused_once_there_are_threads():
    with Threads(2).open(), pytest.raises((ValueError, RuntimeError), match="forkserver"):
        FORK.open()


def test_errors_come_before_any_worker_starts(monkeypatch):
    monkeypatch.setattr(Processes, "open", lambda self: pytest.fail("a pool was opened"))
    with pytest.raises(ValueError):
        run(mandelbrot, (-1, 3), on=Processes(2))


# Sharing a pool, and closing it.


def test_two_dispatches_from_two_threads_at_once_are_both_right(pool):
    x, found = np.arange(2000.0), {}

    def dispatch(k):
        found[k] = [pool.run(squares, x + k).value for _ in range(5)]

    threads = [threading.Thread(target=dispatch, args=(k,)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k in range(3):
        for value in found[k]:
            np.testing.assert_array_equal(value, (x + k) ** 2)


ONE_OF_EACH = [
    Serial(), Threads(2), Prange(2), Processes(2), Joblib(1), Joblib(2, kind="threading"), Coroutines(2), *INTERPRETERS,
]  # fmt: skip


def test_a_second_ctrl_c_in_the_callers_own_lane_does_not_wait_for_that_lane(monkeypatch):
    def cut_off(job, me, until):
        job.control[line_of(me) + INSIDE] = 1  # what a lane takes back as it ends, unless it is cut off
        raise KeyboardInterrupt

    monkeypatch.setattr(threads, "run_lane", cut_off)
    with Threads(1).open() as pool, pytest.raises(KeyboardInterrupt):
        pool.run(nothing, 1)


@pytest.mark.parametrize("backend", ONE_OF_EACH, ids=repr)
def test_a_closed_pool_says_so_and_closing_twice_is_harmless(backend):
    with backend.open() as pool:
        pass
    pool.close()
    with pytest.raises((RuntimeError, ValueError), match="closed"):
        pool.run(nothing, 3)


def test_the_threads_of_a_pool_that_nobody_closed_end():
    pool = Threads(3).open()
    pool.run(nothing, 30)
    lanes = [thread for thread in threading.enumerate() if thread.name.startswith("nfold-lane")]
    assert len(lanes) == 2
    del pool
    for lane in lanes:
        lane.join(PATIENCE)
    assert not any(lane.is_alive() for lane in lanes)


def test_a_body_that_runs_on_its_own_pool_gets_its_own_lane_alone():
    with Threads(2).open() as pool:

        @kernel(compiled=False, grain=1)
        def outer(lo, hi, out, x):
            result = pool.run(squares, x)
            out[lo] = result.value[lo] + 1000 * (len(result.timeline.lanes) - 1)

        assert pool.run(outer, np.arange(4.0)).value.tolist() == [0, 1, 4, 9]


def test_a_run_inside_a_worker_goes_serial(pool):
    @kernel(compiled=False, grain=1)
    def outer(lo, hi, out, x):
        from compute import Threads, run

        result = run(squares, x, on=Threads(2))
        out[lo] = result.value[lo] + 1000 * (len(result.timeline.lanes) - 1)

    if reason := pool.backend.refuses(outer):
        pytest.skip(reason)
    assert pool.run(outer, np.arange(4.0)).value.tolist() == [0, 1, 4, 9]


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
@pytest.mark.parametrize("backend", [Processes(2), Joblib(2), Threads(2)], ids=repr)
def test_a_ctrl_c_while_workers_are_replaced_comes_after_it_and_the_pool_goes_on(backend, monkeypatch):
    with backend.open() as pool:
        before = {lane.process for lane in pool.run(squares.python, np.arange(5.0)).timeline.lanes}
        part, name = (pool, "_dismiss_all") if isinstance(backend, Processes) else (pool.arena, "close")
        do = getattr(part, name)

        def interrupted():
            do()
            signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(part, name, interrupted)
        replaces = backend.name != "threads"
        with pytest.raises(KeyboardInterrupt) if replaces else nullcontext():
            pool.begin_anew()
        monkeypatch.undo()
        result = pool.run(squares.python, np.arange(5.0))
        assert result.value.tolist() == [0.0, 1.0, 4.0, 9.0, 16.0]
        assert before.isdisjoint(lane.process for lane in result.timeline.lanes) == replaces


def test_workers_are_not_replaced_within_a_run_nor_after_the_last(pool):
    if isinstance(pool.backend, Prange):
        pytest.skip("prange runs no Python body")
    told = []

    def reduced(out):
        with pytest.raises(RuntimeError, match="between runs") as caught:
            pool.begin_anew()
        told.append(str(caught.value))
        return out.sum()

    @kernel(plan=lambda n: Plan(n, (), grain=1), reduce=reduced, compiled=False)
    def ones(lo, hi, out):
        out[0] = 1.0

    assert pool.run(ones, 4).value == 4.0
    assert len(told) == 1
    with pool.backend.open() as other:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        other.begin_anew()


def test_workers_are_not_replaced_from_the_thread_that_tells_of_progress():
    told = []

    def tell(*_):
        try:
            pool.begin_anew()
        except RuntimeError as error:
            told.append(str(error))

    with Threads(2).open() as pool:
        items = each(lambda seconds: time.sleep(seconds) or seconds)
        assert pool.run(items, [0.2] * 6, progress=tell).value == [0.2] * 6
    assert told
    assert all("between runs" in text for text in told)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_within_a_run_is_refused_other_workers_at_once():
    with Threads(1).open() as pool:
        began, ends = threading.Event(), threading.Event()
        busy = threading.Thread(target=pool.map, args=(lambda _: (began.set(), ends.wait(PATIENCE)), [0]))
        busy.start()
        assert began.wait(PATIENCE)
        child = os.fork()
        if not child:
            try:
                pool.begin_anew()
            except RuntimeError:
                os._exit(0)
            finally:
                os._exit(1)
        try:
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        finally:
            ends.set()
            busy.join()
