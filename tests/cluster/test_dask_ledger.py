"""What lanes without a chunk waited for, on a cluster: invented replies to the nanosecond, and real runs."""

from __future__ import annotations

import csv
import json
import time

import numpy as np
import pytest
from dask_processes import RealCluster

from compute import Dask, scale
from compute.backends.dask.journal import Journal, _united, _without
from compute.backends.dask.travels import Reply
from compute.lanes.control import CARRYING, LULL, PACKING, START, STOPPED, WORDS_PER_LINE, Part, line_of
from compute.report import render
from compute.scaling import ledger
from compute.scaling.verdict.evidence import Evidence
from compute.scaling.verdict.judgement import judge
from kernels import Plan, kernel

pytest.importorskip("distributed", reason="the extra nfold[dask] is not installed")

CLUSTER = "serialisation", "network", "scheduler"


class Clock:
    """time.perf_counter_ns, which stands still."""

    def __init__(self, monkeypatch):
        self.now = 1000
        monkeypatch.setattr(time, "perf_counter_ns", lambda: self.now)

    def spend(self, block, long):
        with block:
            self.now += long


def reply(loops, began, ended, carried=()):
    """A group's reply; loops: begin and end of each of its lanes."""
    lines = np.zeros((len(loops), WORDS_PER_LINE), np.int64)
    for line, (start, stop) in zip(lines, loops, strict=True):
        line[START], line[STOPPED] = start, stop
    nothing = np.empty(0, np.int64)
    return Reply(b"", Part(nothing, nothing, lines, None), (), None, (began, began, ended), carried)


def test_an_invented_run_to_the_nanosecond(monkeypatch):
    clock = Clock(monkeypatch)
    journal = Journal()  # at 1000
    clock.spend(journal.packing(), 100)
    clock.spend(journal.carrying("one"), 50)  # to 1150
    # By a clock that is 1000 ahead. It had its input brought from 2160 to 2200, unpacked from 2250 on; two lanes.
    first = reply([(2300, 2500), (2300, 2450)], 2250, 2530, ((2160, 2200),))
    journal.add("one", [0, 1], first, -1000)
    journal.add("one", [0, 1], reply([(2600, 2800), (2600, 2750)], 2590, 2840), -1000)
    clock.now = 1850
    clock.spend(journal.carrying("one"), 30)
    clock.spend(journal.packing(), 20)
    clock.now = 1950
    words = np.zeros(line_of(2), np.int64)
    journal.write(words)
    # To 1300: packing 100 and 50, carrying 50 and 40. From 1500 to 1600: packing 30 and 10. From 1800 to 1950: packing
    # 40 and 20, carrying 30. The second lane waited 50 for the first; what it did after its last chunk is idle.
    assert [words[line_of(lane) + LULL] for lane in (0, 1)] == [0, 50]
    assert [words[line_of(lane) + PACKING] - 1 for lane in (0, 1)] == [250, 250]
    assert [words[line_of(lane) + CARRYING] for lane in (0, 1)] == [120, 120]


def test_moments_are_counted_once():
    assert _united([(5, 7), (1, 3), (2, 4), (4, 5), (9, 9)]) == [(1, 7)]
    assert _without([(0, 10), (20, 30)], [(2, 3), (5, 22), (29, 40)]) == [(0, 2), (3, 5), (22, 29)]
    assert _without([(0, 10)], []) == [(0, 10)]


@pytest.fixture(scope="module")
def cluster():
    with RealCluster(2, elsewhere=True) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def pool(cluster):
    with Dask(cluster.address).open() as pool, pool.observed():
        yield pool


@kernel(plan=lambda x: Plan(16, (x,), grain=1), compiled=False, bound="compute")
def ends(lo, hi, out, x):
    """Next to nothing, of an input of any size."""
    out[lo] = len(x) + lo


@kernel(plan=lambda chunks: Plan(chunks, (), grain=1), compiled=False, bound="compute")
def nothing(lo, hi, out):
    out[lo] = lo


PLANTED = {  # what takes more of the time than in the other two
    "network": (ends, np.ones(3_000_000)),
    "serialisation": (ends, [1.5] * 200_000),
    "scheduler": (nothing, 4),
}


def test_what_was_planted_has_a_line_of_its_own_and_is_named(pool):
    shares = {}
    for planted, (it, arg) in PLANTED.items():
        pool.warm(it, arg)
        result = pool.run(it, arg)
        found = ledger.entries(result.timeline, result.seconds, 2, useful=0.0)
        assert sum(found.values()) == pytest.approx(2 * result.seconds)
        assert found["startup"] < 0.1 * result.seconds
        verdict = judge(Evidence(backend="dask", workers=2, seconds=result.seconds, speedup=0.1, ledger=found))
        assert verdict.cause in CLUSTER
        shares[planted] = {entry: found[entry] / (2 * result.seconds) for entry in CLUSTER}
    for entry in CLUSTER:
        assert max(PLANTED, key=lambda planted: shares[planted][entry]) == entry, shares
    assert shares["serialisation"]["serialisation"] > 0.3
    assert shares["scheduler"]["scheduler"] > 0.3


def test_an_unobserved_run_is_told_as_others_are(cluster):
    with Dask(cluster.address).open() as pool:
        lanes = pool.run(nothing, 16).timeline.lanes
    assert [(lane.packing, lane.carrying, lane.lull) for lane in lanes] == [(None, 0.0, 0.0)] * 2


def test_items_and_results_are_packed_by_the_caller(pool):
    timeline = pool.run(kernel_of_items(), list(range(20_000))).timeline
    assert 0 < timeline.pickling <= timeline.sections["transfer"]


def kernel_of_items():
    from kernels import each

    return each(lambda item: [item])


@pytest.mark.slow
def test_json_csv_and_the_page_have_the_lines(cluster, tmp_path):
    """And each number of workers is that many of the cluster's threads."""
    scaling = scale(nothing, 64, on=[Dask(cluster.address)], workers=[1, 2], budget=1.0)
    points = json.loads(scaling.as_json())["points"]
    on_dask = [p for p in points if p["backend"] == "dask"]
    assert [(p["workers"], p["processes"]) for p in on_dask] == [(1, 1), (2, 2)]
    for p in points:
        assert sum(p["ledger"].values()) == pytest.approx(p["workers"] * p["seconds"], rel=0.3)
        assert all(p["ledger"][entry] == 0 for entry in CLUSTER if p["backend"] == "serial")
    assert all(p["ledger"]["scheduler"] > 0.3 * sum(p["ledger"].values()) for p in on_dask)
    assert "| serialisation | network | scheduler |" in render(scaling, "markdown")
    rows = list(csv.DictReader(render(scaling, "csv").splitlines()))
    assert all(float(row["ledger_scheduler"]) > 0 for row in rows if row["backend"] == "dask")
    assert "scheduler: for whatever else it takes a cluster" in render(scaling, "html")
