"""A timeline in Chrome's trace format: what Perfetto's importer asks of it, and that it tells what happened."""

import itertools
import json

import pytest

from compute import Coroutines, Processes, Serial, Threads, run
from compute.cli import main
from compute.timeline import Timeline
from compute.trace import CALLER
from kernels import mandelbrot, triad

KEYS = {"name", "ph", "pid", "tid"}


def validated(data):
    """The slices of a trace by track, after what every importer relies on was checked."""
    data = json.loads(json.dumps(data, allow_nan=False))
    assert set(data) == {"traceEvents", "displayTimeUnit", "otherData"}
    assert data["displayTimeUnit"] in ("ms", "ns")
    tracks, named = {}, {}
    for event in data["traceEvents"]:
        assert set(event) >= KEYS
        assert isinstance(event["name"], str)
        assert all(isinstance(event[key], int) and 0 <= event[key] < 2**31 for key in ("pid", "tid"))
        where = event["pid"], event["tid"]
        if event["ph"] == "M":
            assert set(event["args"]) in ({"name"}, {"sort_index"})
            named[where, event["name"]] = event["args"]
            continue
        assert event["ph"] == "X"
        assert all(isinstance(event[key], int | float) and event[key] >= 0 for key in ("ts", "dur"))
        assert isinstance(event["cat"], str)
        tracks.setdefault(where, []).append(event)
    for where, slices in tracks.items():
        assert (where, "thread_name") in named
        assert ((where[0], 0), "process_name") in named
        slices.sort(key=lambda event: event["ts"])
        for a, b in itertools.pairwise(slices):
            assert a["ts"] + a["dur"] <= b["ts"] + 0.01  # slices of one track never overlap
    return tracks


@pytest.mark.parametrize(
    "on",
    [Threads(2), Processes(2), *(pytest.param(on, marks=pytest.mark.slow) for on in (Serial(), Coroutines(2)))],
    ids=repr,
)
def test_a_run_as_a_trace(on):
    # Every row takes long enough to be noted, on however fast a Python.
    result = run(mandelbrot, (50, 300), width=0.5, max_iter=100, on=on, variant="python")
    timeline = result.timeline
    assert len(timeline.spans)
    tracks = validated(timeline.to_trace())
    sections = tracks.pop((CALLER, 0))
    assert [event["name"] for event in sections] == ["plan", "transfer", "dispatch", "finish"]
    assert sections[0]["ts"] == 0
    whole = sum(event["dur"] for event in sections)
    assert whole == pytest.approx(result.seconds * 1e6, rel=0.02, abs=100)
    assert len(tracks) == len(timeline.lanes)
    chunks = [event for slices in tracks.values() for event in slices if event["cat"] == "chunk"]
    assert sorted(int(event["name"].split()[1]) for event in chunks) == list(range(len(timeline.spans)))
    assert all(event["ts"] + event["dur"] <= whole + 100 for event in chunks)
    cpu = sum(event["args"]["cpu_ms"] for event in chunks)
    assert cpu == pytest.approx(timeline.spans["cpu"].sum() * 1e3, rel=1e-3)


def test_lanes_of_processes_are_tracks_of_processes():
    timeline = run(mandelbrot, (200, 200), on=Processes(2)).timeline
    names = [event["args"]["name"] for event in timeline.to_trace()["traceEvents"] if event["name"] == "process_name"]
    assert names == ["caller", *(f"lanes of process {process}" for process in {x.process: 0 for x in timeline.lanes})]


def test_a_run_without_spans_has_a_slice_a_lane():
    timeline = run(mandelbrot, (64, 64), on=Threads(2), variant="python").timeline
    bare = Timeline(timeline.spans[:0], timeline.lanes, timeline.sections, ("a\x1b[31m",), timeline.dispatched)
    tracks = validated(bare.to_trace())
    chunks = [event for slices in tracks.values() for event in slices if event["cat"] == "chunks"]
    assert len(chunks) == len(timeline.lanes)
    assert sum(int(event["name"].split()[0]) for event in chunks) == sum(lane.chunks for lane in timeline.lanes)
    assert bare.to_trace()["otherData"] == {"events": ["a\x1b[31m"]}


def test_a_run_of_nothing():
    assert set(validated(run(triad, [], [], 2.0, on=Threads(2)).timeline.to_trace())) == {(CALLER, 0)}


def test_the_command_line_keeps_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line = ["run", "mandelbrot", "64", "--variant", "python", "--workers", "2"]
    assert main([*line, "--trace", "run.json", "--png", "set.png"]) == 0
    assert "value" in capsys.readouterr().out
    assert len(validated(json.loads((tmp_path / "run.json").read_text()))) == 3
    assert (tmp_path / "set.png").exists()
    assert main([*line, "--trace", "no/such/folder.json"]) == 2
    assert "cannot write 'no/such/folder.json'" in capsys.readouterr().err
    assert main([*line, "--trace", "a", "--png", "a"]) == 2
    assert "give each its own file" in capsys.readouterr().err
