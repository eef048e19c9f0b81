"""Sizes that take about as long as asked, on a clock that the tests move."""

import math

import numpy as np
import pytest

from compute.scaling import calibration
from compute.scaling.calibration import calibrate, predict
from kernels import Plan, kernel


class Clock:
    """time.perf_counter for kernels whose bodies say how long they took."""

    now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(calibration, "time", made)
    return made


def a_kernel(clock, power=1, each=1e-6, width=1, grain=None, example=lambda size: (size,)):
    """A kernel of size**power indices that each take `each` seconds; its output has `width` numbers an index."""

    def body(lo, hi, out, n):
        clock.now += (hi - lo) * each

    def plan(n):
        n = len(n) if isinstance(n, np.ndarray) else n
        return Plan(n**power, (n,), shape=(n**power, width), grain=grain)

    return kernel(body, plan=plan, compiled=False, cost=lambda n: float(n) ** power, example=example)


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("seconds", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("each", [1e-5, 1e-6])
def test_a_run_of_the_size_takes_about_the_seconds(clock, power, seconds, each):
    made = a_kernel(clock, power, each)
    size = calibrate(made, seconds, memory=math.inf)
    assert 2**-0.5 * (1 - 0.06 * power) < size**power * each / seconds < 2**0.5 * (1 + 0.06 * power)
    assert len(str(size).rstrip("0")) <= 2


def test_another_look_at_the_machine_finds_the_same_size_as_a_rule(clock):
    seconds = np.geomspace(0.01, 1.0, 50)
    sizes, again = (
        [calibrate(a_kernel(clock, 2, each), s, memory=math.inf) for s in seconds] for each in (1e-6, 1.03e-6)
    )
    assert np.mean(np.array(sizes) == np.array(again)) > 0.85
    assert len(set(sizes)) <= 8  # for a hundredfold


def test_a_kernel_that_is_slower_than_asked_gets_a_small_size(clock):
    assert calibrate(a_kernel(clock, each=1.0), 2.0) == 2
    assert calibrate(a_kernel(clock, each=1.0), 0.001) == 1


def test_a_size_whose_arrays_would_not_fit_is_not_tried(clock):
    made = a_kernel(clock, each=1e-9, width=10)
    size = calibrate(made, 1.0, memory=1e6)
    assert size == pytest.approx(1e6 / 80, rel=0.05)


def test_operands_count_as_memory(clock):
    made = a_kernel(clock, each=1e-9, example=lambda size: (np.zeros(size),))
    assert calibrate(made, 1.0, memory=1e5) * 16 <= 1.05e5


def test_outputs_may_be_larger_than_operands(clock, monkeypatch):
    """A second of mandelbrot is half a gigabyte of pixels; to make as many random operands would take longer."""
    monkeypatch.setattr(calibration.machine, "memory_available", lambda: 16e9)
    assert 0.7e8 < calibrate(a_kernel(clock, each=1e-8), 1.0) < 1.5e8
    assert calibrate(a_kernel(clock, each=1e-8), 10.0) == pytest.approx(2e9 / 8, rel=0.06)
    made = a_kernel(clock, each=1e-8, example=lambda size: (np.empty(size),))
    assert calibrate(made, 1.0) == pytest.approx(calibration.OPERANDS / 8, rel=0.06)


def test_a_kernel_that_costs_nothing_ends_somewhere(clock):
    assert calibrate(a_kernel(clock, each=0.0, width=0), 1.0, memory=math.inf) >= 10**12


def test_prediction_takes_few_chunks_and_is_right(clock):
    made = a_kernel(clock, each=1e-3)
    assert predict(made, 100_000, enough=0.5) == pytest.approx(100.0, rel=0.01)
    assert clock.now < 1.0


def test_a_page_that_a_chunk_opens_is_not_laid_to_its_charge(clock):
    opened = set()

    @kernel(compiled=False, plan=lambda n: Plan(n, (n,)))
    def opening(lo, hi, out, n):
        clock.now += (hi - lo) * 1e-6 + 0.01 * (lo not in opened)
        opened.add(lo)

    assert predict(opening, 100_000, enough=0.05) == pytest.approx(0.1, rel=0.01)


def test_prediction_samples_an_uneven_kernel_over_its_whole_range(clock):
    @kernel(compiled=False)
    def uneven(lo, hi, out, n):
        clock.now += sum(range(lo, hi)) * 1e-9  # the last chunk takes 500 times the first

    assert predict(uneven, 10_000, enough=0.005) == pytest.approx(sum(range(10_000)) * 1e-9, rel=0.1)


def test_prediction_does_not_touch_the_callers_output(clock):
    out = np.full(10, 7.0)

    @kernel(compiled=False, plan=lambda n, out=None: Plan(n, (n,), out=out))
    def fill(lo, hi, out, n):
        out[lo:hi] = 0.0
        clock.now += 1.0

    predict(fill, 10, out=out)
    assert (out == 7.0).all()


def test_nothing_to_do_takes_no_time(clock):
    assert predict(a_kernel(clock), 0) == 0.0


@pytest.mark.parametrize("chunks", [1, 2, 7, 256, 100_000])
def test_spread_takes_chunks_once_and_from_everywhere(chunks):
    order = calibration._spread(chunks)
    assert len(set(order)) == len(order)
    assert set(order) <= set(range(chunks))
    if chunks >= 256:
        assert max(np.diff(sorted(order[:16]))) < chunks / 6


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf, "1"])
def test_seconds_must_be_a_number_above_zero(seconds, clock):
    with pytest.raises(ValueError, match="seconds must be a number above 0, not"):
        calibrate(a_kernel(clock), seconds)


def test_an_unknown_variant_is_told(clock):
    with pytest.raises(ValueError, match=r"no variant 'pyhton'.*did you mean 'python'"):
        calibrate(a_kernel(clock), 1.0, "pyhton")


def test_one_look_that_something_else_held_up_does_not_end_the_search(clock, monkeypatch):
    looks = []

    def held_up(kernel, *args, **kw):
        looks.append(args[0])
        return predict(kernel, *args, **kw) + 10.0 * (len(looks) == 2)

    monkeypatch.setattr(calibration, "predict", held_up)
    assert calibrate(a_kernel(clock, each=1e-6), 1.0, memory=math.inf) == pytest.approx(1_000_000, rel=0.06)
