"""What is said of each configuration, held against a replay of its chunks, and in words."""

import itertools
from dataclasses import replace

import pytest
from exact_laws import (
    COUNTS,
    MANY,
    ONE_WORKER,
    amdahl_times,
    even,
    gustafson_times,
    only,
    threads,
    usl_times,
)
from example_points import a_point

from compute.scaling import laws
from compute.scaling.laws import simulation
from compute.scaling.laws.models import FALLING, FLAT, NOT_IDENTIFIABLE, RISING
from compute.scaling.results import Scaling

# Everything together


def test_each_configuration_has_its_own_and_serial_is_none():
    about = [{"kernel": k, "variant": v} for k, v in itertools.product(("a", "b"), ("python", "nogil"))]
    points = [p for one in about for p in threads({1: 1.0, 2: 0.5}, serial=1.0, **one)]
    points += [replace(p, mode="weak") for p in points] + [
        replace(p, backend="prange") for p in points if p.workers == 2
    ]
    found = laws.fit_laws(points)
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
        "bounds": {"chunk": pytest.approx(40), "counter": 128.0, "memory": 128.0, "serial": 128.0},
    }
    assert found["sentences"][-1] == (
        "Replayed: the 40 chunks would allow 40× at 128 workers; only 40 chunks: no more than 40 lanes have work."
    )
    assert found["assumption"].startswith("the replayed chunks take what they took on one worker")


def test_the_chunks_of_the_fewest_workers_are_replayed_with_startup_and_caller():
    points = threads({1: 0.3, 2: 0.15}, serial=0.3)
    points[-1] = replace(points[-1], ledger={"startup": 0.02}, sections={"plan": 0.05})
    of_serial, of_two = (laws.point_key(a_point(backend, n)) for backend, n in (("serial", 1), ("threads", 2)))
    chunks = {of_two: [0.2] * 2, of_serial: [0.1] * 3, ONE_WORKER: []}
    found = only(points, chunk_seconds=chunks)
    expected = simulation.replay([0.1] * 3, 4, startup=0.01, serial=0.05).speedup
    assert found["projection"][0]["simulated"] == expected
    assert only(points, chunk_seconds={of_two: [0.2] * 2})["assumption"].count("on 2 workers") == 1
    assert laws.point_key(points[-1]) == of_two


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
        " Assumed: " + found["assumption"]
    )
    assert found["assumption"] == (
        "contention and coherency cost more workers what the USL fitted up to 16 workers says;"
        " every further core is like the 16 measured: clock, caches, its part of the memory."
        " The interval holds the noise of the rounds, not a law that fails to hold."
    )
    flat = only(threads({n: amdahl_times(n, 0.1) for n in (1, 2, 4)}))
    assert flat["sentences"][:2] == [
        "Karp–Flatt 0.100 at 2, 0.100 at 4: flat, a serial fraction.",
        "Amdahl: a serial fraction of 10 % [10 %, 10 %], so never more than 10× [10, 10].",
    ]


def test_runs_that_are_mostly_overhead_have_no_laws():
    times = {n: amdahl_times(n, 0.1) for n in (1, 2, 4)}
    spent = {"useful": 1e-4, "startup": 3e-4, "transfer": 1e-4, "serial": 1e-5}
    assert laws.fit_laws(threads(times, ledger=spent)) == ()
    only(threads(times, ledger=spent | {"useful": 0.1}))
