"""The A/A check of the main job, on invented reports: what counts as the same, and what is told where it is not."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

BENCH = Path(__file__).parents[2] / "bench"
sys.path.insert(0, str(BENCH))

import again  # noqa: E402

sys.path.remove(str(BENCH))

from compute.scaling import statistics  # noqa: E402
from compute.scaling.dataset import Point  # noqa: E402
from compute.scaling.results import Scaling  # noqa: E402


def point(speedup, interval, *, workers=2, backend="threads", rounds=10):
    return Point("triad", 100, "nogil", backend, workers, 1.0, (1.0,), speedup, interval, rounds=rounds)


@pytest.mark.parametrize(
    ("first", "second", "agrees"),
    [
        ((1.8, 1.9), (1.85, 1.95), True),
        ((1.8, 1.9), (1.9, 1.95), True),
        ((1.5, 2.0), (1.7, 1.8), True),
        ((1.8, 1.9), (1.91, 1.95), False),
        ((1.91, 1.95), (1.8, 1.9), False),
        (None, (1.8, 1.9), False),
        ((1.8, 1.9), None, False),
    ],
)
def test_two_cells_agree_where_their_intervals_overlap(first, second, agrees):
    p, q = (point(sum(ci) / 2 if ci else 1.8, ci) for ci in (first, second))
    assert again.agree(p, q) == agrees


def test_the_ratio_of_two_runs_that_are_alike_is_told_from_one_in_one_of_twenty():
    rng = np.random.default_rng(0)

    def run():
        ratios = 1.8 * np.exp(0.03 * rng.standard_normal(10))
        return point(statistics.median(ratios), statistics.median_interval(ratios))

    told = sum(again.apart(run(), run()) is not None for _ in range(2000))
    assert 0.01 < told / 2000 < 0.06


def test_how_far_two_runs_are_apart():
    assert again.apart(point(1.0, (0.99, 1.01)), point(1.2, (1.19, 1.21))) == pytest.approx(0.2)
    assert again.apart(point(1.2, (1.19, 1.21)), point(1.0, (0.99, 1.01))) == pytest.approx(-1 / 6)
    assert again.apart(point(1.0, (0.8, 1.2)), point(1.2, (1.0, 1.4))) is None
    assert again.apart(point(1.0, None), point(1.2, (1.19, 1.21))) is None


@pytest.mark.parametrize(
    ("speedup", "interval", "workers", "off"),
    [
        (0.94, (0.93, 0.95), 1, True),
        (1.06, (1.04, 1.08), 1, True),
        (0.96, (0.95, 0.97), 1, False),  # by less than 5 %
        (0.80, (0.70, 1.01), 1, False),  # noise
        (0.80, None, 1, False),
        (0.80, (0.79, 0.81), 2, False),
    ],
)
def test_one_worker_is_off_where_its_interval_says_so(speedup, interval, workers, off):
    assert again.off_one(point(speedup, interval, workers=workers)) == off


def test_sizes_may_differ_and_baselines_are_no_cells():
    first = [point(1.0, (1.0, 1.0), workers=1, backend="serial"), point(1.8, (1.7, 1.9))]
    (cell,) = again.cells(first, first)
    assert cell.name == "triad · nogil · threads 2"
    with pytest.raises(ValueError, match=r"only one of the two runs has .*joblib"):
        again.cells(first, [*first, point(1.8, None, backend="joblib")])


def test_what_does_not_hold_is_told():
    good, alone = point(1.8, (1.7, 1.9)), point(0.9, (0.88, 0.92), workers=1)
    fine = again.cells([good], [good])
    assert again.failures(fine, [60.0, 60.0], 60.0) == []
    assert again.failures(fine, [60.0, 90.0], 60.0) == ["run 2 took 90 s, and 68 are wanted"]
    wrong = again.cells([good, alone, point(1.5, (1.4, 1.6), backend="prange")], [
        good, point(1.0, (0.99, 1.01), workers=1), point(1.8, None, backend="prange", rounds=5),
    ])  # fmt: skip
    assert again.failures(wrong, [60.0, 60.0], 60.0) == [
        "1 of 3 cells agree, and 95% are wanted",
        "run 1: triad · nogil · threads 1 is 0.900 [0.880, 0.920]",
        "run 2: 1 cells have no interval",
        "run 2: 5 rounds in some cells, and 8 are wanted",
    ]
    marks = [line.rsplit("|", 2)[1].strip() for line in again.table(wrong)[2:]]
    assert marks == ["", "! apart ! off 1.0", "! apart"]
    run = Scaling((good,), conditions=({"marked": "noise"}, {"marked": None}))
    assert again.summary(wrong, [run, run])[-1] == "- rounds that something disturbed: 1 of 2, 1 of 2"
