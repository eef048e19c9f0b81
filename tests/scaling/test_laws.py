"""Laws held to invented points with known truth: exact ones give it back exactly, noisy ones in their intervals."""

import math

import numpy as np
import pytest
from exact_laws import COUNTS, MANY, ROUNDS, amdahl_times, exactly, gustafson_times, only, threads, usl_times
from example_points import a_point
from hypothesis import given
from hypothesis import strategies as st
from sampling import quick_first

from compute.scaling import laws
from compute.scaling.laws import fitting, models
from compute.scaling.laws.models import FALLING, FLAT, NOT_IDENTIFIABLE, RISING

# Exact data


@given(st.floats(0, 1), st.floats(1e-6, 1e3), st.sets(st.integers(1, 512), min_size=2, max_size=8))
def test_exact_amdahl_comes_back(sigma, seconds, counts):
    n = np.array(sorted(counts), np.float64)
    found = fitting.amdahl(n, exactly(amdahl_times(n, sigma, seconds)))
    assert [x[0] for x in found] == pytest.approx([sigma, seconds], rel=1e-6, abs=1e-9)


@given(st.floats(0, 1), st.floats(1e-6, 1e3), st.sets(st.integers(1, 512), min_size=2, max_size=8))
def test_exact_gustafson_comes_back(sigma, seconds, counts):
    n = np.array(sorted(counts), np.float64)
    found = fitting.gustafson(n, exactly(gustafson_times(n, sigma, seconds)))
    assert [x[0] for x in found] == pytest.approx([sigma, seconds], rel=1e-6, abs=1e-9)


@given(st.floats(0, 1.5), st.floats(0, 0.1), st.floats(1e-3, 1e6), st.sets(st.integers(1, 64), min_size=5, max_size=8))
def test_exact_usl_comes_back(alpha, beta, gamma, counts):
    n = np.array(sorted(counts), np.float64)
    found = fitting.usl(n, exactly(usl_times(n, alpha, beta, gamma)))
    # Without N = 1 only the sum over γ is well determined; near it all are.
    if n[0] == 1:
        assert [x[0] for x in found] == pytest.approx([alpha, beta, gamma], rel=1e-6, abs=1e-7)
    fitted = fitting.usl_rate(n, *(x[:1] for x in found))
    assert 1 / fitted == pytest.approx(usl_times(n, alpha, beta, gamma), rel=1e-6)


def test_karp_flatt_is_the_definition_and_linear_under_the_usl():
    times = exactly(usl_times(MANY, 0.03, 0.002))
    n, speedups = MANY[1:], times[0, 0] / times[0, 1:]
    e = fitting.karp_flatt(MANY, times)[0]
    assert e == pytest.approx((1 / speedups - 1 / n) / (1 - 1 / n))
    assert e == pytest.approx(0.03 + 0.002 * n)


def test_the_rise_is_what_the_trend_costs_at_the_most_workers():
    # e rises by 0.002 × (16 − 2) and stands for e × (N − 1) of 1 + e × (N − 1) core-seconds.
    rise = fitting.rise(MANY, exactly(usl_times(MANY, 0.03, 0.002)))[0]
    assert rise == pytest.approx(0.028 * 15 / (1 + (0.03 + 0.002 * 16) * 15))


@given(st.lists(st.lists(st.floats(-1, 1), min_size=4, max_size=4), min_size=6, max_size=6))
def test_non_negative_least_squares_is_optimal(rows):
    data = np.array(rows) + np.eye(6, 4)[:, [1, 2, 3, 0]] * 0.5
    a, y = data[:, :3], data[:, 3]
    norms, singular = np.linalg.norm(a, axis=0), np.linalg.svd(a, compute_uv=False)
    if norms.min() < 0.05 or singular[-1] < 0.05:
        return
    (x,) = fitting.non_negative(a[None], y[None])
    gradient = a.T @ (a @ x - y)
    assert (x >= 0).all()
    assert (gradient >= -1e-9).all()  # Karush, Kuhn and Tucker: no coefficient would help by growing …
    assert x * gradient == pytest.approx(0, abs=1e-9)  # … and none that is above 0 by moving


def test_best_and_roof_of_the_usl():
    alpha, beta, gamma = np.array([0.19, 0.19, 1.2, 0.0, 0.0]), np.array([0.01, 0.0, 0.01, 0.0, 4.0]), np.full(5, 10.0)
    best = fitting.usl_best(alpha, beta)
    assert best.tolist() == [9.0, math.inf, 1.0, math.inf, 1.0]
    peak = fitting.usl_rate(best, alpha, beta, gamma)
    assert peak == pytest.approx([10 * 9 / (1 + 0.19 * 8 + 0.01 * 72), 10 / 0.19, 10.0, math.inf, 10.0])


# Noise


def drawings(times, noise, trials, seed, rounds=ROUNDS, drift=0.0):
    rng = np.random.default_rng(seed)
    for trial in range(trials):
        round_noise = noise * rng.standard_normal((rounds, len(times))) + drift * rng.standard_normal((rounds, 1))
        yield fitting.draw((times * np.exp(round_noise)).T, resamples=200, seed=trial)


def coverage(law, truth, drawn):
    """How often the interval of each coefficient holds its truth."""
    held = [[e.low <= t <= e.high for e, t in zip(map(fitting.estimate, law(d)), truth, strict=True)] for d in drawn]
    return np.mean(held, axis=0)


@pytest.mark.parametrize(
    ("noise", "drift", "rounds"), quick_first(1, [(0.02, 0.1, 8), (0.01, 0.0, 8), (0.03, 0.0, 24)])
)
def test_noisy_amdahl_is_in_its_interval_at_the_nominal_rate(noise, drift, rounds):
    drawn = drawings(amdahl_times(COUNTS, 0.05), noise, 400, 1, rounds, drift)
    (rate,) = coverage(lambda d: fitting.amdahl(COUNTS, d)[:1], [0.05], drawn)
    assert 0.91 <= rate <= 0.985  # 95 %, four times 1.1 % of chance either way


@pytest.mark.parametrize(("noise", "drift"), quick_first(1, [(0.02, 0.1), (0.03, 0.0)]))
def test_noisy_usl_is_in_its_interval_at_the_nominal_rate(noise, drift):
    drawn = drawings(usl_times(MANY, 0.03, 0.002), noise, 400, 2, drift=drift)
    rates = coverage(lambda d: fitting.usl(MANY, d)[:2], [0.03, 0.002], drawn)
    assert ((rates >= 0.91) & (rates <= 0.985)).all()


def test_noisy_gustafson_is_in_its_interval_at_the_nominal_rate():
    drawn = drawings(gustafson_times(COUNTS, 0.1), 0.01, 400, 3)
    (rate,) = coverage(lambda d: fitting.gustafson(COUNTS, d)[:1], [0.1], drawn)
    assert 0.91 <= rate <= 0.985


def measured(d, counts, **other):
    return models.Timings(counts, d, d[:, 0], ROUNDS, **other)


def test_the_trend_of_noisy_points():
    flat = [models.trend(measured(d, COUNTS))[0] for d in drawings(amdahl_times(COUNTS, 0.05), 0.02, 200, 4)]
    rising = [models.trend(measured(d, MANY))[0] for d in drawings(usl_times(MANY, 0.03, 0.002), 0.02, 200, 5)]
    assert flat.count(RISING) + flat.count(FALLING) <= 20  # 5 % would be 10
    assert flat.count(FLAT) >= 140
    assert rising.count(RISING) >= 190


def test_a_projection_holds_the_truth_at_the_nominal_rate():
    truth, held = 0.3 / usl_times(64.0, 0.03, 0.002), []
    for d in drawings(usl_times(MANY, 0.03, 0.002), 0.02, 200, 6):
        speedup = fitting.estimate(models.usl(measured(d, MANY)).speedups(np.array([64.0]))[:, 0])
        held.append(speedup.low <= truth <= speedup.high)
    assert 0.88 <= np.mean(held) <= 0.995


def test_a_drift_that_rounds_share_cancels():
    drift = np.linspace(1, 3, ROUNDS)
    sigma, seconds = map(
        fitting.estimate, fitting.amdahl(COUNTS, fitting.draw(np.outer(amdahl_times(COUNTS, 0.05), drift)))
    )
    assert sigma == pytest.approx((0.05, 0.05, 0.05))
    assert seconds.value == pytest.approx(0.3 * 2)
    assert seconds.low < 0.55 < 0.65 < seconds.high


def test_samples_that_are_no_rounds_are_drawn_apart():
    drawn = fitting.draw([[1.0, 2.0, 3.0], [4.0, 8.0]], resamples=300)
    assert drawn[0].tolist() == [2.0, 6.0]
    assert len({tuple(row) for row in drawn.tolist()}) == 9
    assert (fitting.draw([[1.0, 2.0, 3.0], [4.0, 8.0]], resamples=300) == drawn).all()


# What the points do not carry


def test_two_counts_determine_a_serial_fraction_and_test_nothing():
    found = only(threads({1: 0.3, 2: amdahl_times(2, 0.1)}))
    assert found["karp_flatt"] == [[2, pytest.approx(0.1)]]
    assert found["amdahl"]["serial_fraction"] == pytest.approx(0.1)
    assert found["amdahl"]["tested"] is False
    assert (found["trend"], found["rise"], found["usl"], found["law"]) == (
        NOT_IDENTIFIABLE,
        None,
        NOT_IDENTIFIABLE,
        "amdahl",
    )
    assert "one count above 1 cannot tell it from overhead" in found["assumption"]


@pytest.mark.parametrize(("counts", "law"), [([1, 2, 4, 8], "amdahl"), ([1, 2, 4, 8, 16], "usl")])
def test_the_usl_needs_five_counts(counts, law):
    found = only(threads({n: usl_times(n, 0.03, 0.002) for n in counts}))
    assert found["law"] == law
    assert (found["usl"] == NOT_IDENTIFIABLE) == (law == "amdahl")


@pytest.mark.parametrize("mode", ["strong", "weak"])
def test_five_rounds_carry_no_interval_and_so_no_law(mode):
    times = {n: amdahl_times(n, 0.1) * (n if mode == "weak" else 1) for n in (1, 2, 4, 8, 16)}
    found = only(threads(times, rounds=5, mode=mode))
    assert found["law"] is None
    assert {found["trend"], found["usl"], found["amdahl"] or found["gustafson"]} == {NOT_IDENTIFIABLE}
    assert found["projection"] == []
    assert found["assumption"] == ""
    assert found["sentences"] == [
        "Karp–Flatt 0.100 at 2, 0.100 at 4, 0.100 at 8, 0.100 at 16.",
        "No law is identifiable from 5 rounds; an interval needs 6.",
    ]


def test_an_interval_that_holds_half_of_all_answers_is_none():
    rng = np.random.default_rng(1)
    wild = {n: list(np.exp(1.5 * rng.standard_normal(6)) * amdahl_times(n, 0.4)) for n in (1, 2, 3, 4, 5)}
    found = only([a_point("threads", n, samples) for n, samples in wild.items()])
    assert (found["amdahl"], found["usl"], found["trend"]) == (NOT_IDENTIFIABLE,) * 3
    assert any("half of all answers" in sentence for sentence in found["sentences"])
    assert any("more rounds would tell" in sentence for sentence in found["sentences"])


def test_times_that_only_grow_give_no_usl():
    grows = only(threads({n: 0.1 * n for n in (1, 2, 3, 4, 5, 6)}))
    assert grows["amdahl"]["serial_fraction"] == 1.0
    assert grows["usl"]["best_workers"] == 1.0


@pytest.mark.parametrize("points", [threads({2: 1.0}), threads({1: 1.0}, serial=1.0), threads({2: 0.5, 4: 0.3}), []])
def test_one_count_or_no_time_of_one_worker_gives_nothing(points):
    assert laws.fit_laws(points) == ()


def test_more_workers_than_cpus_are_left_out():
    times = {n: amdahl_times(min(n, 4), 0.1) for n in (1, 2, 4, 8, 16)}
    found = only(threads(times), cpus=4)
    assert found["counts"] == [1, 2, 4]
    assert found["amdahl"]["serial_fraction"] == pytest.approx(0.1)
    assert found["sentences"][0] == (
        "8 and 16 workers share 4 CPUs, which says nothing about more of them: left out here."
    )
    assert only(threads(times))["counts"] == [1, 2, 4, 8, 16]
    assert laws.fit_laws(threads(times), cpus=1) == ()
