"""Workers that die or hang, anywhere in the lane loop and by any means: the result is the same to the bit."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal

import numpy as np
import pytest
from chaos import chaotic_run, kill_at_random
from example_kernels import nothing, squares
from fault_kernels import POINTS, WAYS, answer, begun, busy, risky
from leaks import children

from compute import Joblib, Processes, WorkerDied, dispatch
from compute.lanes import Outcome

pytestmark = [pytest.mark.timeout(60), pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")]

CHUNKS = 12
HANGS = 0.6  # s that a chunk of a millisecond may take
EVERY_FAULT = list(itertools.product(WAYS, POINTS))
PAIRS = list(zip(EVERY_FAULT[::2], EVERY_FAULT[1::2], strict=True))
FORKSERVER, SPAWN = Processes(2, timeout=HANGS), Processes(2, start="spawn", timeout=HANGS)


def check(result, chunks=CHUNKS, deaths=1, names=()):
    assert result.value.tobytes() == answer(chunks).tobytes()
    events = result.timeline.events
    assert len(events) >= deaths
    for name in names:
        assert any(name in event for event in events), events
    assert all("lane" in event for event in events)


@pytest.fixture(autouse=True)
def forget():
    yield
    begun.clear()


SAID = {"SIGKILL": "SIGKILL", "SIGSEGV": "SIGSEGV", "exit": "exit code 0", "SIGSTOP": "killed after"}


@pytest.fixture(scope="module")
def forkserver():
    with FORKSERVER.open() as pool:
        yield pool


@pytest.mark.parametrize(("way", "point"), EVERY_FAULT)
def test_a_death_anywhere_by_any_means(forkserver, way, point):
    result = forkserver.run(risky, CHUNKS, {2: (point, way, 1)})
    check(result, names=[SAID[way]])
    assert begun.pop().sum() <= CHUNKS + 1
    assert forkserver.run(squares, np.arange(9.0)).value.tolist() == [k * k for k in range(9)]


@pytest.fixture(scope="module")
def spawned():
    with SPAWN.open() as pool:
        yield pool


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_two_deaths_in_one_run_of_spawned_workers(spawned, pair):
    # Two in a run, because it takes half a second to replace a worker.
    check(spawned.run(risky, CHUNKS, {chunk: (point, way, 1) for chunk, (way, point) in enumerate(pair)}, 2))


@pytest.fixture(scope="module")
def loky():
    with Joblib(2, timeout=HANGS).open() as pool:
        yield pool


# All of them under loky are chaos.py's: every death replaces every worker there, which takes seconds.
@pytest.mark.parametrize(("way", "point"), list(zip(itertools.cycle(WAYS), POINTS, strict=False)))
def test_a_death_of_a_loky_worker(loky, way, point):
    check(loky.run(risky, CHUNKS, {2: (point, way, 1)}))


FORK = """
import itertools
from fault_kernels import POINTS, WAYS, answer, risky
from compute import Processes, WorkerDied

with Processes(2, start="fork", timeout=0.6).open() as pool:
    for way, point in itertools.product(WAYS, POINTS):
        result = pool.run(risky, 12, {2: (point, way, 1)})
        assert result.value.tobytes() == answer(12).tobytes(), (way, point)
        assert len(result.timeline.events) == 1, result.timeline.events
    try:
        pool.run(risky, 12, {5: ("mid-write", "SIGKILL", 9)})
    except WorkerDied as error:
        print(error)
"""


def test_deaths_of_forked_workers(script, no_leaks):
    assert "chunk 5 (indices 40..48) of risky was tried 3 times" in script(FORK).stdout


@pytest.mark.parametrize(
    ("backend", "victims"), [*((Processes(3), k) for k in (1, 2, 3)), *((Joblib(3), k) for k in (2, 3))], ids=repr
)
def test_one_or_all_but_one_or_all_workers_killed_at_once(backend, victims):
    with backend.open() as pool:
        check(pool.run(risky, CHUNKS, dict.fromkeys(range(victims), ("mid-write", "SIGKILL", 1)), 3))


@pytest.mark.parametrize(
    ("backend", "poison", "together"),
    [(Processes(2), 0, 0), (Processes(2), 1, 2), (Processes(2), CHUNKS - 1, 0), (Joblib(2), 1, 2)],
    ids=repr,
)
def test_a_chunk_that_always_kills_is_named(backend, poison, together):
    with backend.open() as pool:
        with pytest.raises(WorkerDied, match=rf"chunk {poison} \(indices {8 * poison}\.\..*tried 3 times") as caught:
            pool.run(risky, CHUNKS, {poison: ("mid-write", "SIGKILL", 99)}, together)
        assert "SIGKILL" in str(caught.value)
        assert begun.pop()[poison] == 3
        check(pool.run(risky, CHUNKS, {}), deaths=0)


def test_workers_that_die_together_blame_a_chunk_once():
    class Unlucky(dispatch.Nested):
        passes = 0

        def lanes(self, job):
            self.passes += 1
            if self.passes > 2:
                return super().lanes(job)
            return [Outcome(lane, chunk=None if lane else 0, death="SIGTERM") for lane in range(3)]

    result = dispatch.execute(Unlucky(), nothing, (1,), {})
    assert result.value.tolist() == [0]
    assert len(result.timeline.events) == 6


def test_a_chunk_that_always_hangs_is_named():
    with FORKSERVER.open() as pool, pytest.raises(WorkerDied, match=r"chunk 3 .*tried 3 times.*killed after 0.6 s"):
        pool.run(risky, CHUNKS, {3: ("mid-write", "SIGSTOP", 99)})


def test_a_chunk_that_kills_twice_is_forgiven(forkserver):
    result = forkserver.run(risky, CHUNKS, {4: ("mid-write", "SIGKILL", 2), 7: ("after the write", "SIGSEGV", 2)})
    check(result, deaths=4)


def test_what_a_dead_worker_had_finished_is_not_run_again(forkserver):
    forkserver.run(risky, CHUNKS, {9: ("mid-write", "SIGKILL", 1)})
    assert sorted(begun.pop().tolist()) == [1] * (CHUNKS - 1) + [2]


def test_the_timeline_of_a_run_with_deaths_adds_up(forkserver):
    timeline = forkserver.run(risky, CHUNKS, {9: ("mid-write", "SIGKILL", 1)}).timeline
    assert sum(lane.chunks for lane in timeline.lanes) == CHUNKS
    assert len(timeline.spans) in (0, CHUNKS)
    assert (timeline.spans["start"] > 0).all()
    assert (timeline.spans["stop"] >= timeline.spans["start"]).all()
    (event,) = timeline.events
    assert "chunk 9 (indices 72..80)" in event


@pytest.mark.parametrize("backend", [Processes(2), Processes(2, start="spawn"), Joblib(2)], ids=repr)
def test_workers_killed_while_they_have_nothing_to_do(backend):
    with backend.open() as pool:
        found = pool.run(risky, CHUNKS, {})
        for lane in found.timeline.lanes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(lane.process, signal.SIGKILL)
        check(pool.run(risky, CHUNKS, {}), deaths=0)
        again = pool.run(risky, CHUNKS, {})
        assert {lane.process for lane in again.timeline.lanes}.isdisjoint(lane.process for lane in found.timeline.lanes)


def test_a_hundred_runs_with_kills_at_random_moments():
    others = children()
    with Processes(2).open() as pool:
        assert sum(len(chaotic_run(pool, seed, others).timeline.events) for seed in range(100)) > 20


def test_compiled_bodies_die_and_are_run_again():
    others = children()
    with Processes(2).open() as pool:
        pool.run(busy, 4, 1000, variant="nogil")
        result = kill_at_random(others, lambda: pool.run(busy, 10, 20_000_000, variant="nogil"), seed=1, kills=1)
    assert result.value.tolist() == list(range(10))
    assert len(result.timeline.events) == 1


def test_a_slow_chunk_is_no_hung_one():
    with Processes(2, timeout=1.0).open() as pool:
        result = pool.run(risky, 4, {}, 0, 0.3)
        check(result, 4, deaths=0)
        assert result.timeline.events == ()
        # compiled: many short chunks for longer than the timeout
        assert pool.run(busy, 6000, 500_000, variant="nogil").timeline.events == ()


def test_loading_a_kernel_may_take_longer_than_a_chunk(tmp_path, monkeypatch):
    monkeypatch.setenv("NFOLD_CACHE_DIR", str(tmp_path))  # nothing compiled there
    with Processes(2, start="spawn", timeout=0.05).open() as pool:
        result = pool.run(nothing, 3)
    assert result.timeline.events == ()
    assert result.value.tolist() == [0, 1, 2]
