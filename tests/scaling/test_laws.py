"""Laws held to invented points with known truth: exact ones give it back exactly, noisy ones in their intervals."""

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from invented import a_point

from compute.scaling import laws
from compute.scaling.dataset import Scaling
from compute.scaling.laws import fitting, models, simulation
from compute.scaling.laws.models import FALLING, FLAT, NOT_IDENTIFIABLE, RISING

COUNTS = np.array([1.0, 2, 4, 8])
MANY = np.array([1.0, 2, 3, 4, 6, 8, 12, 16])
ONE_WORKER = ("mandelbrot", 512, "nogil", "threads", 1)
ROUNDS = 12


def amdahl_times(n, sigma, seconds=0.3):
    return seconds * (sigma + (1 - sigma) / n)


def usl_times(n, alpha, beta, gamma=1 / 0.3):
    return (1 + alpha * (n - 1) + beta * n * (n - 1)) / (gamma * n)


def gustafson_times(n, sigma, seconds=0.3):
    return seconds * n / (n - sigma * (n - 1))


def exactly(times):
    """A law's drawing where every round took these times."""
    return fitting.draw([[t] * 6 for t in times], resamples=5)


def threads(times, serial=None, rounds=ROUNDS, **other):
    """Points of threads with times[N] seconds in every round, after a serial one where that is given."""
    points = [a_point("serial", 1, [serial] * rounds, **other)] if serial else []
    return points + [a_point("threads", n, [t] * rounds, **other) for n, t in times.items()]


def only(points, **options):
    (found,) = laws.of(points, **options)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    return found


# Exact data


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 1), st.floats(1e-6, 1e3), st.sets(st.integers(1, 512), min_size=2, max_size=8))
def test_exact_amdahl_comes_back(sigma, seconds, counts):
    n = np.array(sorted(counts), np.float64)
    found = fitting.amdahl(n, exactly(amdahl_times(n, sigma, seconds)))
    assert [x[0] for x in found] == pytest.approx([sigma, seconds], rel=1e-6, abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 1), st.floats(1e-6, 1e3), st.sets(st.integers(1, 512), min_size=2, max_size=8))
def test_exact_gustafson_comes_back(sigma, seconds, counts):
    n = np.array(sorted(counts), np.float64)
    found = fitting.gustafson(n, exactly(gustafson_times(n, sigma, seconds)))
    assert [x[0] for x in found] == pytest.approx([sigma, seconds], rel=1e-6, abs=1e-9)


@settings(max_examples=50, deadline=None)
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


@settings(max_examples=60, deadline=None)
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
        yield fitting.draw((times * np.exp(round_noise)).T, resamples=300, seed=trial)


def coverage(law, truth, drawn):
    """How often the interval of each coefficient holds its truth."""
    held = [[e.low <= t <= e.high for e, t in zip(map(fitting.estimate, law(d)), truth, strict=True)] for d in drawn]
    return np.mean(held, axis=0)


@pytest.mark.parametrize(("noise", "drift", "rounds"), [(0.01, 0.0, 8), (0.03, 0.0, 24), (0.02, 0.1, 8)])
def test_noisy_amdahl_is_in_its_interval_at_the_nominal_rate(noise, drift, rounds):
    drawn = drawings(amdahl_times(COUNTS, 0.05), noise, 400, 1, rounds, drift)
    (rate,) = coverage(lambda d: fitting.amdahl(COUNTS, d)[:1], [0.05], drawn)
    assert 0.91 <= rate <= 0.985  # 95 %, four times 1.1 % of chance either way


@pytest.mark.parametrize(("noise", "drift"), [(0.01, 0.0), (0.03, 0.0), (0.02, 0.1)])
def test_noisy_usl_is_in_its_interval_at_the_nominal_rate(noise, drift):
    drawn = drawings(usl_times(MANY, 0.03, 0.002), noise, 400, 2, drift=drift)
    rates = coverage(lambda d: fitting.usl(MANY, d)[:2], [0.03, 0.002], drawn)
    assert ((rates >= 0.91) & (rates <= 0.985)).all()


def test_noisy_gustafson_is_in_its_interval_at_the_nominal_rate():
    drawn = drawings(gustafson_times(COUNTS, 0.1), 0.01, 400, 3)
    (rate,) = coverage(lambda d: fitting.gustafson(COUNTS, d)[:1], [0.1], drawn)
    assert 0.91 <= rate <= 0.985


def measured(d, counts, **other):
    return models.Measured(counts, d, d[:, 0], ROUNDS, **other)


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
    assert found["assumption"] == "Not projected: no law is identifiable."
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
    assert laws.of(points) == ()


def test_more_workers_than_cpus_are_left_out():
    times = {n: amdahl_times(min(n, 4), 0.1) for n in (1, 2, 4, 8, 16)}
    found = only(threads(times), cpus=4)
    assert found["counts"] == [1, 2, 4]
    assert found["amdahl"]["serial_fraction"] == pytest.approx(0.1)
    assert found["sentences"][0] == (
        "8 and 16 workers share 4 CPUs, which says nothing about more of them: left out here."
    )
    assert only(threads(times))["counts"] == [1, 2, 4, 8, 16]
    assert laws.of(threads(times), cpus=1) == ()


# Everything together


def test_each_configuration_has_its_own_and_serial_is_none():
    about = [{"kernel": k, "variant": v} for k, v in itertools.product(("a", "b"), ("python", "nogil"))]
    points = [p for one in about for p in threads({1: 1.0, 2: 0.5}, serial=1.0, **one)]
    points += [replace(p, mode="weak") for p in points] + [
        replace(p, backend="prange") for p in points if p.workers == 2
    ]
    found = laws.of(points)
    keys = [tuple(one[key] for key in ("kernel", "size", "variant", "backend", "mode")) for one in found]
    assert len(set(keys)) == len(keys) == 12
    assert {backend for *_, backend, _ in keys} == {"threads", "prange"}
    assert Scaling(tuple(points), laws=found).as_json()


def test_what_a_backend_costs_one_worker_is_no_serial_fraction():
    times = {n: 1.1 * amdahl_times(n, 0.05) for n in (1, 2, 4, 8)}
    found = only(threads(times, serial=0.3))
    assert found["baseline"] == "serial"
    assert found["amdahl"]["serial_fraction"] == pytest.approx(0.05)
    assert found["amdahl"]["limit"] == pytest.approx(1 / 1.1 / 0.05)
    assert found["projection"][0]["speedup"] == pytest.approx(1 / 1.1 / (0.05 + 0.95 / 16))
    del times[1]
    assert only(threads(times, serial=0.3))["counts"] == [1, 2, 4, 8]  # serial stands in for one worker


def test_the_usl_of_exact_points_in_full():
    found = only(threads({int(n): usl_times(n, 0.19, 0.01, 10.0) for n in MANY}))
    law = found["usl"]
    figures = [law[name] for name in ("alpha", "beta", "gamma", "roof", "best_workers", "best_speedup")]
    assert figures == pytest.approx([0.19, 0.01, 10, 10 / 0.19, 9, 9 / (1 + 0.19 * 8 + 0.01 * 72)])
    assert law["alpha_ci"] == pytest.approx([0.19, 0.19])
    for n, *parts in law["overhead"]:
        total = 1 + 0.19 * (n - 1) + 0.01 * n * (n - 1)
        assert parts == pytest.approx([1 / total, 0.19 * (n - 1) / total, 0.01 * n * (n - 1) / total], abs=1e-9)
        assert sum(parts) == pytest.approx(1)
    assert (found["trend"], found["law"]) == (RISING, "usl")
    assert [p["workers"] for p in found["projection"]] == [32, 64, 128, 256, 512, 1024]
    for p in found["projection"]:
        assert p["speedup"] == pytest.approx(0.1 / usl_times(p["workers"], 0.19, 0.01, 10.0))
        assert (p["low"], p["high"]) == pytest.approx((p["speedup"],) * 2)
        assert p["simulated"] is None


def test_perfect_scaling_has_no_limit():
    found = only(threads({n: 1.0 / n for n in (1, 2, 4, 8, 16)}))
    assert found["trend"] == FLAT
    assert found["projection"][-1]["speedup"] == pytest.approx(1024)
    assert found["amdahl"]["serial_fraction"] == pytest.approx(0, abs=1e-12)
    assert found["usl"]["beta"] == pytest.approx(0, abs=1e-12)


def test_a_cost_from_the_second_worker_on_is_a_falling_trend():
    found = only(threads({1: 1.0, 2: 0.6, 4: 0.3, 8: 0.15}))
    assert found["trend"] == FALLING
    assert found["karp_flatt"] == [[n, pytest.approx(0.2 / (n - 1))] for n in (2, 4, 8)]


def test_one_worker_that_is_slower_than_each_of_many_is_no_trend():
    found = only(threads({1: 1.3, 2: 0.5, 4: 0.25, 8: 0.125}))
    assert all(e < 0 for _, e in found["karp_flatt"])
    assert found["trend"] == NOT_IDENTIFIABLE
    assert found["sentences"][0].endswith(
        "faster than N-fold, so one worker pays what more do not, or caches help; no trend."
    )


def test_weak_scaling_is_gustafson_s():
    found = only(
        threads({n: gustafson_times(n, 0.1) for n in (1, 2, 4, 8)}, mode="weak"), chunk_seconds={ONE_WORKER: [0.1] * 9}
    )
    assert (found["mode"], found["law"], found["amdahl"]) == ("weak", "gustafson", None)
    assert found["gustafson"]["serial_fraction"] == pytest.approx(0.1)
    assert found["gustafson"]["limit"] is None
    assert [p["speedup"] for p in found["projection"]] == pytest.approx(
        [n - 0.1 * (n - 1) for n in (16, 32, 64, 128, 256, 512)]
    )
    assert {p["simulated"] for p in found["projection"]} == {None}
    ideal = only(threads(dict.fromkeys((1, 2, 4, 8, 16), 0.3), mode="weak"))
    assert [e for _, e in ideal["karp_flatt"]] == pytest.approx([0] * 4, abs=1e-12)
    assert ideal["law"] == "usl"
    assert ideal["projection"][0]["speedup"] == pytest.approx(32)


# Held against the replay


def even(chunks, seconds=0.3):
    return {ONE_WORKER: [seconds / chunks] * chunks}


def test_law_and_replay_agree_where_chunks_are_many():
    found = only(threads({n: 0.3 / n for n in (1, 2, 4, 8)}), chunk_seconds=even(4096, 30.0))
    assert [n for n, _ in found["replayed"]] == [1, 2, 4, 8]
    assert [s for _, s in found["replayed"]] == pytest.approx([1, 2, 4, 8], rel=1e-4)
    assert [p["simulated"] for p in found["projection"]] == pytest.approx([16, 32, 64, 128, 256, 512], rel=1e-2)
    assert found["sentences"][-1] == "Replayed: the 4096 chunks allow what the law projects, up to 512 workers."


def test_few_chunks_and_not_amdahl_end_the_scaling():
    found = only(threads({n: amdahl_times(n, 0.001) for n in (1, 2, 4, 8)}), chunk_seconds=even(40))
    assert [p["simulated"] for p in found["projection"]] == pytest.approx([40 / 3, 20, 40, 40, 40, 40], rel=1e-3)
    assert found["sentences"][-1].startswith("From 16 workers on the chunks, not the law, end the scaling")
    assert found["sentences"][-1].endswith("40 chunks do not share out evenly among 16 lanes.")
    found = only(threads({n: amdahl_times(n, 0.001) for n in (1, 2, 4, 8)}), chunk_seconds=even(64))
    assert "Replayed: the 64 chunks allow what the law projects, up to 64 workers." in found["sentences"]
    assert found["sentences"][-1] == (
        "From 128 workers on the chunks, not the law, end the scaling (64× replayed, 114× projected):"
        " only 64 chunks: no more than 64 lanes have work."
    )


def test_a_loss_that_the_chunks_do_not_have_is_told_as_such():
    found = only(threads({n: amdahl_times(n, 0.2) for n in (1, 2, 4, 8)}), chunk_seconds=even(40))
    assert found["sentences"][-2:] == [
        "At 512 workers the 40 chunks would allow 40× where the law projects 4.96×:"
        " that loss is not in how the chunks share out.",
        "Only 40 chunks: no more than 40 lanes have work.",
    ]


def test_the_reason_is_the_lowest_bound():
    linear = threads({n: 0.3 / n for n in (1, 2, 4, 8)}, memory_share=1.0)
    told = {
        "the memory's roof alone allows 6×": (linear, {"chunk_seconds": even(4096), "roof": 6.0}),
        "the ticket counter serves one lane at a time, which allows 4×": (linear, {"chunk_seconds": even(4000, 4e-4)}),
        "the longest chunk alone allows 10×": (linear, {"chunk_seconds": {ONE_WORKER: [1.0] + [0.009] * 1000}}),
        "what one thread does before and after the chunks alone allows 6.77×": (
            [replace(p, sections={"plan": 0.01, "finish": 0.02, "dispatch": 9.0}) for p in linear],
            {"chunk_seconds": even(4096)},
        ),
    }
    for reason, (points, options) in told.items():
        assert only(points, **options)["sentences"][-1].endswith(f": {reason}.")


def test_without_a_law_the_replay_stands_alone():
    found = only(threads({1: 0.3, 2: 0.15}, rounds=3), chunk_seconds=even(40))
    assert found["projection"][-1] == {
        "workers": 128,
        "speedup": None,
        "low": None,
        "high": None,
        "simulated": pytest.approx(40, rel=1e-3),
        "idle": pytest.approx(88 / 128, rel=1e-3),
    }
    assert found["sentences"][-1] == (
        "Replayed: the 40 chunks would allow 40× at 128 workers; only 40 chunks: no more than 40 lanes have work."
    )
    assert found["assumption"].startswith("Assumed: the replayed chunks take what they took on one worker")


def test_the_chunks_of_the_fewest_workers_are_replayed_with_startup_and_caller():
    points = threads({1: 0.3, 2: 0.15}, serial=0.3)
    points[-1] = replace(points[-1], ledger={"startup": 0.02}, sections={"plan": 0.05})
    of_serial, of_two = ("mandelbrot", 512, "nogil", "serial", 1), ("mandelbrot", 512, "nogil", "threads", 2)
    chunks = {of_two: [0.2] * 2, of_serial: [0.1] * 3, ONE_WORKER: []}
    found = only(points, chunk_seconds=chunks)
    expected = simulation.replay([0.1] * 3, 4, startup=0.01, serial=0.05).speedup
    assert found["projection"][0]["simulated"] == expected
    assert only(points, chunk_seconds={of_two: [0.2] * 2})["assumption"].count("on 2 workers") == 1
    assert laws.configuration(points[-1]) == of_two


# Words


def test_the_sentences_of_exact_points():
    found = only(threads({int(n): usl_times(n, 0.19, 0.01) for n in COUNTS}))
    assert found["sentences"][0] == (
        "Karp–Flatt 0.210 at 2, 0.230 at 4, 0.270 at 8: rising, so overhead or imbalance that grows with the workers."
    )
    assert found["sentences"][1].endswith("; the trend contradicts it.")
    assert found["sentences"][2] == "USL: not identifiable from 4 worker counts; it needs 5."
    assert "it rises, so this is an upper bound" in found["sentences"][3]
    found = only(threads({int(n): usl_times(n, 0.19, 0.01) for n in MANY}))
    assert found["sentences"][2] == (
        "USL: contention 19 % [19 %, 19 %], coherency 1 % [1 %, 1 %]:"
        " fastest with 9 [9, 9] workers, 2.78× [2.78, 2.78]."
    )
    assert found["sentences"][3] == (
        "Projected speedup: 1.9× [1.9, 1.9] at 32 workers and 0.096× [0.096, 0.096] at 1024 workers."
        " " + found["assumption"]
    )
    assert found["assumption"] == (
        "Assumed: contention and coherency cost more workers what the USL fitted up to 16 workers says;"
        " every further core is like the 16 measured: clock, caches, its part of the memory."
        " The interval holds the noise of the rounds, not a law that fails to hold."
    )
    flat = only(threads({n: amdahl_times(n, 0.1) for n in (1, 2, 4)}))
    assert flat["sentences"][:2] == [
        "Karp–Flatt 0.100 at 2, 0.100 at 4: flat, a serial fraction.",
        "Amdahl: a serial fraction of 10 % [10 %, 10 %], so never more than 10× [10, 10].",
    ]
