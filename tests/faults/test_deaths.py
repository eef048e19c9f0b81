"""Workers that die or hang, anywhere in the lane loop and by any means: the result is the same to the bit."""

from __future__ import annotations

import os

import numpy as np
import pytest
from chaos import chaotic_run, kill_at_random
from compiler import needs_compiler
from example_kernels import nothing, squares
from fault_kernels import POINTS, WAYS, begun, busy, risky
from leaks import children
from outcomes import CHUNKS, HANGS, SAID, check, check_idle_deaths, check_poison
from sampling import pairs

from compute import Processes, WorkerDied, dispatch, nested
from compute.lanes.interrupts import InterruptWatch
from compute.lanes.loop import Outcome

pytestmark = [pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")]


@pytest.fixture(autouse=True)
def forget():
    yield
    begun.clear()


@pytest.fixture(scope="module")
def forkserver():
    with Processes(2, timeout=HANGS).open() as pool:
        yield pool


@pytest.fixture(scope="module")
def patient():
    with Processes(3).open() as pool:
        yield pool


@pytest.mark.parametrize(("way", "point"), pairs(list(WAYS), list(POINTS)))
def test_a_death_anywhere_by_any_means(forkserver, way, point):
    # Most of these points are reached with the lane's next chunk. A lane that sleeps leaves it one: where naps were of
    # a millisecond, the other once took all nine that were left, while this one waited for a CPU, and nobody died.
    result = forkserver.run(risky, CHUNKS, {2: (point, way, 1)}, nap=0.01)
    check(result, names=[SAID[way]])
    assert begun.pop().sum() <= CHUNKS + 1
    assert forkserver.run(squares, np.arange(9.0)).value.tolist() == [k * k for k in range(9)]


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


@pytest.mark.slow
def test_deaths_of_forked_workers(script, no_leaks):
    assert "chunk 5 (indices 40..48) of risky was tried 3 times" in script(FORK).stdout


@pytest.mark.parametrize("victims", [1, 2, 3])
def test_one_or_all_but_one_or_all_workers_killed_at_once(patient, victims):
    faults = dict.fromkeys(range(victims), ("mid-write", "SIGKILL", 1))
    check(patient.run(risky, CHUNKS, faults, 3), deaths=victims)


@pytest.mark.parametrize(("poison", "together"), [(0, 0), (1, 2), (CHUNKS - 1, 0)])
def test_a_chunk_that_always_kills_is_named(patient, poison, together):
    check_poison(patient, poison, together)


def test_workers_that_die_together_blame_a_chunk_once():
    class Unlucky(nested.Nested):
        passes = 0

        def lanes(self, job):
            self.passes += 1
            if self.passes > 2:
                return super().lanes(job)
            return [Outcome(lane, chunk=None if lane else 0, death="SIGTERM") for lane in range(3)]

    result = dispatch.execute(Unlucky(), nothing, (1,), {}, InterruptWatch())
    assert result.value.tolist() == [0]
    assert len(result.timeline.events) == 6


def test_a_chunk_that_always_hangs_is_named(forkserver):
    with pytest.raises(WorkerDied, match=r"chunk 3 .*tried 3 times.*killed after 0.6 s"):
        forkserver.run(risky, CHUNKS, {3: ("mid-write", "SIGSTOP", 99)})


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


def test_workers_killed_while_they_have_nothing_to_do(patient):
    check_idle_deaths(patient)


@pytest.mark.parametrize("count", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_runs_with_kills_at_random_moments(count):
    others = children()
    with Processes(2).open() as pool:  # one kill, and two now and then: chaos.py has more of them
        runs = [chaotic_run(pool, seed, 1 + (seed % 10 == 0), others) for seed in range(count)]
    assert sum(len(result.timeline.events) for result in runs) > count / 5


def test_compiled_bodies_die_and_are_run_again():
    others = children()
    with Processes(2).open() as pool:
        pool.run(busy, 4, 1000, variant="nogil")
        # Half a second: on a machine that is busy with other tests, to look for the workers takes a while.
        result = kill_at_random(others, lambda: pool.run(busy, 50, 20_000_000, variant="nogil"), seed=1, kills=1)
    assert result.value.tolist() == list(range(50))
    assert len(result.timeline.events) == 1


def test_a_slow_chunk_is_no_hung_one():
    with Processes(2, timeout=0.8).open() as pool:
        result = pool.run(risky, 8, {}, 0, 0.25)
        check(result, 8, deaths=0)
        assert result.timeline.events == ()


@needs_compiler
def test_many_short_chunks_of_compiled_code_are_no_hung_one():
    with Processes(2, timeout=0.8).open() as pool:  # they take longer than that together
        assert pool.run(busy, 3600, 500_000, variant="nogil").timeline.events == ()
