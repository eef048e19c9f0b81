"""What is kept of a timeline: small, true to the run, and refused where a file holds something else."""

import json

import pytest
from example_points import a_point, a_timeline

from compute import Processes, Serial, Threads, run, scale
from compute.scaling import kept_timeline
from compute.scaling.derive import compare_points
from compute.scaling.results import Scaling
from kernels import count_primes, mandelbrot


def test_times_begin_where_the_lanes_were_called():
    kept = kept_timeline.keep(a_timeline(), 0.04)
    assert kept["seconds"] == 0.04
    assert kept["sections"] == {"plan": 0.002, "transfer": 0.003, "dispatch": 0.031, "finish": 0.001}
    assert [lane["start"] for lane in kept_timeline.lanes_of(kept)] == [0.0, 0.001]
    assert [lane["queued"] for lane in kept_timeline.lanes_of(kept)] == [None, None]
    assert [span["chunk"] for span in kept_timeline.spans_of(kept)] == [0, 2, 4, 1, 3, 5]
    assert kept_timeline.spans_of(kept)[4] == {
        "lane": 1, "start": 0.011, "stop": 0.021, "cpu": 0.009, "chunk": 3, "chunks": 1
    }  # fmt: skip


@pytest.mark.parametrize(("chunks", "lanes"), [(1, 1), (127, 2), (5000, 2), (5000, 64), (1000, 300)])
def test_many_chunks_become_few_rows_and_nothing_is_lost(chunks, lanes):
    timeline = a_timeline(chunks, lanes)
    kept = kept_timeline.keep(timeline, 1.0)
    spans = kept_timeline.spans_of(kept)
    assert len(spans) <= max(kept_timeline.MOST_SPANS, lanes)
    assert sum(span["chunks"] for span in spans) == chunks
    assert sum(span["cpu"] for span in spans) == pytest.approx(timeline.spans["cpu"].sum(), rel=1e-4)
    assert max(span["stop"] for span in spans) == pytest.approx(timeline.spans["stop"].max() - 100)
    assert kept_timeline.holds(json.loads(json.dumps(kept)))


@pytest.mark.parametrize("on", [Serial(), Threads(2), Processes(2)], ids=repr)
def test_of_a_real_run(on):
    result = run(mandelbrot, (300, 300), on=on)
    kept = kept_timeline.keep(result.timeline, result.seconds)
    assert sum(kept["sections"].values()) == pytest.approx(result.seconds, rel=0.01, abs=1e-4)
    last = max(lane["stop"] for lane in kept_timeline.lanes_of(kept))
    assert 0 <= last <= kept["sections"]["dispatch"] + 1e-6
    for span in kept_timeline.spans_of(kept):
        assert 0 <= span["start"] <= span["stop"] <= last + 1e-6


def test_only_the_most_workers_have_one_and_it_comes_back(tmp_path):
    scaling = scale(count_primes, 10**5, on=["threads"], workers=[1, 2], rounds=2)
    assert [p.workers for p in scaling.points if p.timeline] == [2] * len({p.variant for p in scaling.points})
    scaling.to_json(tmp_path / "a.json")
    assert Scaling.from_json(tmp_path / "a.json").points == scaling.points
    assert (tmp_path / "a.json").stat().st_size < 60_000


NONE = dict.fromkeys(kept_timeline.SECTIONS, 0)
WRONG = {
    "no object": [],
    "no seconds": {"sections": NONE, "lanes": [], "spans": []},
    "no sections": {"seconds": 1, "sections": {}, "lanes": [], "spans": []},
    "a time beyond all times": {"seconds": 1, "sections": NONE, "lanes": [], "spans": [[0, 0, 1e30, 1, 0, 1]]},
    "half a lane": {"seconds": 1, "sections": NONE, "lanes": [], "spans": [[0.5, 0, 1, 1, 0, 1]]},
    "a word for a number": {"seconds": "1", "sections": NONE, "lanes": [], "spans": []},
    "a short row": {"seconds": 1, "sections": NONE, "lanes": [[0, 1]], "spans": []},
    "a text in a row": {"seconds": 1, "sections": NONE, "lanes": [], "spans": [[0, 0, 1, "<b>", 0, 1]]},
    "sections of texts": {"seconds": 1, "sections": {"plan": "x"}, "lanes": [], "spans": []},
}


@pytest.mark.parametrize("kept", WRONG.values(), ids=WRONG)
def test_what_is_no_timeline_is_refused(kept, tmp_path):
    data = json.loads(Scaling(compare_points([a_point(timeline=kept_timeline.keep(a_timeline(), 1.0))])).as_json())
    data["points"][0]["timeline"] = kept
    (tmp_path / "a.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match="'timeline' must be an object of seconds, sections, lanes and spans, not"):
        Scaling.from_json(tmp_path / "a.json")


def test_a_file_of_before_has_none(tmp_path):
    data = json.loads(Scaling(compare_points([a_point()])).as_json())
    del data["points"][0]["timeline"], data["command"]
    (tmp_path / "a.json").write_text(json.dumps(data))
    again = Scaling.from_json(tmp_path / "a.json")
    assert (again.points[0].timeline, again.command) == (None, "")
    data["command"] = 3
    (tmp_path / "a.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match="'command' must be a text, not 3; measure again"):
        Scaling.from_json(tmp_path / "a.json")
