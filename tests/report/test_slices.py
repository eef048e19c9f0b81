"""Slices of a run: they fill each lane's time, and say what it did in the ledger's words."""

import itertools
from dataclasses import replace

import pytest
from example_points import a_timeline

from compute.report import lanes
from compute.report.slices import CALLER, DOING, slices
from compute.scaling.kept_timeline import keep
from compute.scaling.tables.breakdown import ENTRIES


def of_row(found, row):
    return [one for one in found if one.row == row]


def seconds_of(found, kind):
    return sum(one.stop - one.start for one in found if one.kind == kind)


def test_every_kind_is_an_entry_of_the_ledger():
    assert set(DOING) <= set(ENTRIES)


def test_a_lane_is_never_doing_two_things_and_never_nothing():
    timeline = a_timeline()
    found = slices(keep(timeline, 0.04))
    begins = timeline.sections["plan"] + timeline.sections["transfer"]
    over = begins + timeline.sections["dispatch"]
    for row in ("lane 0", "lane 1"):
        own = of_row(found, row)
        assert own[0].start == pytest.approx(begins, abs=2e-6)
        assert own[-1].stop == pytest.approx(over)
        for a, b in itertools.pairwise(own):
            assert a.stop == pytest.approx(b.start, abs=2e-6)
    assert [(one.kind, one.what) for one in of_row(found, CALLER)] == [
        ("serial", "plan"), ("transfer", "transfer"), ("serial", "finish")
    ]  # fmt: skip
    assert seconds_of(found, "useful") == pytest.approx(timeline.cpu)
    assert seconds_of(of_row(found, "lane 0"), "idle") == pytest.approx(0.001)
    assert seconds_of(of_row(found, "lane 1"), "startup") == pytest.approx(0.001)
    assert [one.chunk for one in of_row(found, "lane 1") if one.kind == "useful"] == [1, 3, 5]
    assert {one.what for one in found if one.chunk == 3} == {"chunk 3"}


def test_time_off_the_cpu_is_split_as_it_is_known():
    timeline = a_timeline()  # of 6 chunks of 10 ms, 1 ms each off the CPU
    kept = keep(timeline, 0.04)
    assert seconds_of(slices(kept), "blocked") == pytest.approx(0.006)
    queued = tuple(replace(lane, queued=0.0015) for lane in timeline.lanes)
    kept = keep(replace(timeline, lanes=queued), 0.04)
    found = slices(kept, {"waiting": 0.003, "blocked": 0.001})
    assert seconds_of(found, "runqueue") == pytest.approx(0.003)
    assert seconds_of(found, "waiting") == pytest.approx(0.003 * 0.75)
    assert seconds_of(found, "blocked") == pytest.approx(0.003 * 0.25)


def test_a_run_that_recorded_no_chunks_has_each_lane_as_a_whole():
    timeline = a_timeline()
    found = slices(keep(replace(timeline, spans=timeline.spans[:0]), 0.04))
    assert {one.what for one in found if one.kind == "useful"} == {"3 chunks"}
    assert seconds_of(found, "useful") == pytest.approx(timeline.cpu)


def test_chunks_that_are_one_row_say_so():
    found = slices(keep(a_timeline(5000), 30.0))
    assert any(one.what.endswith(f"chunks from {one.chunk} on") and one.chunks > 1 for one in found)
    assert seconds_of(found, "useful") == pytest.approx(45.0, rel=1e-3)


@pytest.mark.parametrize(("chunks", "of"), [(1, 1), (6, 2), (300, 300), (3, 300)])
def test_a_picture_is_drawn_of_any_run(chunks, of):
    assert lanes.render(keep(a_timeline(chunks, min(of, chunks)), 1.0)).startswith(b"\x89PNG")
    nothing = replace(a_timeline(), spans=a_timeline().spans[:0], lanes=())
    assert lanes.render(keep(nothing, 0.0)).startswith(b"\x89PNG")
