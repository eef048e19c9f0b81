"""The lane loop and its control: tickets, orders, stopping, slices and what is written of each lane."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from example_kernels import fails, nothing, ordered, spin
from hypothesis import given
from hypothesis import strategies as st

from compute.dispatch import place
from compute.lanes.control import CPU, DONE, RECORDS, SPANS, START, STARTED, STOPPED, ControlArray, Part, line_of
from compute.lanes.loop import EXHAUSTED, FOREVER, SLICE_OVER, inside_a_lane, lane_of, run_lane
from compute.memory.arena import Arena
from kernels import Plan


class Pool:
    """As much of a pool as placing a job takes."""

    detailed, pins = False, ()

    def __init__(self, workers):
        self.workers, self.arena = workers, Arena("heap")


def a_job(kernel, *args, workers=2):
    return place(Pool(workers), kernel, kernel.plan(*args))


variants = pytest.mark.parametrize("variant", ["python", "nogil"])


@variants
def test_one_lane_runs_every_chunk(variant):
    job = a_job(ordered.held_to(variant), 100)
    assert run_lane(job, 1).error is None
    assert job.out.tolist() == list(range(100))
    control = ControlArray(job.control)
    assert control.done.tolist() == [2] * 34  # 1 + the lane
    assert [lane.chunks for lane in control.totals()] == [34]
    assert control.current(1) is None
    assert not control.is_busy()
    assert control.is_over()


@variants
def test_a_lane_that_is_told_to_stop_stops(variant):
    job = a_job(nothing.held_to(variant), 50)
    ControlArray(job.control).stop()
    assert run_lane(job, 0).error is None
    assert not ControlArray(job.control).done.any()


@variants
def test_a_lane_comes_back_when_its_slice_is_over_and_goes_on(variant):
    job = a_job(spin.held_to(variant), 12, 200_000, workers=1)
    lane, states = lane_of(job.kernel, 1, ()), []
    while not states or states[-1] == SLICE_OVER:
        states.append(lane(job.control, line_of(0), job.out, job.inputs, 0))
    assert states == [SLICE_OVER] * 12 + [EXHAUSTED]
    (totals,) = ControlArray(job.control).totals()
    assert totals.chunks == 12
    spans = ControlArray(job.control).spans()
    assert spans["chunk"].tolist() == list(range(12))
    assert (np.diff(spans["start"]) > 0).all()


@variants
def test_an_error_stops_the_other_lanes_and_names_its_chunk(variant):
    job = a_job(fails.held_to(variant), 20, 7)
    outcome = run_lane(job, 0)
    assert isinstance(outcome.error, ValueError)
    assert outcome.chunk == 7
    assert ControlArray(job.control).done.tolist() == [1] * 7 + [0] * 13
    other = run_lane(job, 1)
    assert other.error is None
    assert ControlArray(job.control).done.sum() == 7


CLOCKS = STARTED, START, STOPPED, CPU, RECORDS  # the last depends on them


@given(
    calls=st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=40),
    chunks=st.integers(1, 30),
    offered=st.none() | st.lists(st.integers(0, 29), unique=True),
    stopped_after=st.none() | st.integers(0, 40),
)
def test_the_loop_in_machine_code_leaves_the_words_that_pythons_leaves(calls, chunks, offered, stopped_after):
    """calls: which lane is called, and whether for one chunk or for all that are left."""
    left = []
    for variant in ("python", "nogil"):
        job = a_job(ordered.held_to(variant), 3 * chunks - 1, workers=3)
        control, states = ControlArray(job.control), []
        if offered is not None:
            control.offer([chunk for chunk in offered if chunk < chunks])
        for k, (lane, is_short) in enumerate(calls):
            if k == stopped_after:
                control.stop()
            states.append(job.lane(job.control, line_of(lane), job.out, job.inputs, 0 if is_short else FOREVER))
        words = job.control[: int(job.control[SPANS])].copy()
        words[[line_of(lane) + word for lane in range(3) for word in CLOCKS]] = 0
        written = job.out[np.repeat(control.done > 0, 3)[: len(job.out)]]
        left.append((states, words.tolist(), written.tolist()))
    assert left[0] == left[1]


@given(chunks=st.integers(1, 60), lanes=st.integers(1, 5), data=st.data())
def test_a_second_pass_runs_exactly_the_chunks_that_it_is_offered(chunks, lanes, data):
    job = a_job(nothing.python, chunks, workers=lanes)
    control = ControlArray(job.control)
    run_lane(job, 0)
    chosen = data.draw(st.lists(st.integers(0, chunks - 1), unique=True))
    job.out[...] = -1
    control.done[...] = 0
    control.offer(chosen)
    for lane in range(lanes):
        assert run_lane(job, lane).error is None
    assert sorted(np.flatnonzero(control.done)) == sorted(chosen)
    assert [job.out[c] for c in chosen] == chosen
    assert (job.out == -1).sum() == chunks - len(chosen)


@given(lanes=st.integers(1, 9), chunks=st.integers(1, 5000))
def test_words_of_different_lanes_do_not_overlap(lanes, chunks):
    words = np.full(ControlArray.length(lanes, chunks), -1, np.int64)
    control = ControlArray(words)
    control.lay_out(Plan(chunks, grain=1), lanes)
    assert len(control.done) == chunks
    assert not control.done.any()
    lines = [line_of(lane) for lane in range(lanes)]
    assert all(after - before >= 8 for before, after in itertools.pairwise(lines))  # a cache line at least
    control.done[...] = 7
    assert control.lanes == lanes
    assert control.totals() == ()
    control.offer(range(chunks))
    assert (control.done == 7).all()


def test_only_a_lane_is_inside_a_lane():
    assert not inside_a_lane()
    run_lane(a_job(nothing.python, 3), 0)
    assert not inside_a_lane()
    run_lane(a_job(fails.python, 3, 1), 0)
    assert not inside_a_lane()


SECOND = 10**9


@pytest.mark.parametrize(
    ("groups", "wall", "away"),
    [
        ([(1, 3, 2), (4, 6, 2)], 4, 1),  # one after the other
        ([(1, 3, 2), (1, 3, 2)], 4, -2),  # of two workers at the same time
        ([(2, 4, 2), (1, 3, 2)], 4, -1),
        ([(5, 6, 1), (1, 2, 1)], 2, 3),  # that come back in another order
    ],
)
def test_a_lane_of_groups_has_the_time_of_them_all(groups, wall, away):
    """A worker that comes during a run on a cluster may be a lane that another one is, too: 192 % of one CPU."""
    control = a_job(nothing, 1).control
    lane = ControlArray(control)
    for began, ended, cpu in groups:
        part = Part.laid_out(np.array([0]), 1, (1, 1), records=False, detailed=False)
        words = part.words[line_of(0) :]
        words[START], words[STOPPED], words[CPU] = began * SECOND, ended * SECOND, cpu * SECOND
        part.words[int(part.words[DONE])] = 1
        lane.add(Part.of(part), [0])
    (found,) = lane.totals()
    assert (found.wall, found.away, found.cpu) == (wall, away, sum(cpu for _, _, cpu in groups))
    assert found.cpu <= found.wall


def test_a_chunk_has_no_more_cpu_time_than_there_was_time():
    control = a_job(nothing, 1).control
    control[line_of(0) + RECORDS] = control[line_of(1) + RECORDS] = 1
    at = int(control[SPANS])
    control[at : at + 3] = SECOND, 2 * SECOND, 1.92 * SECOND
    (span,) = ControlArray(control).spans()
    assert span["cpu"] == span["stop"] - span["start"] == 1
