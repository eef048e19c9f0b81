"""advise: choices and break-even sizes from invented measurements, exactly; and one real measurement end to end."""

from __future__ import annotations

import itertools
import json
import time

import example_kernels
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import compute
import kernels
from compute import Coroutines, Joblib, Prange, Processes, Serial, Threads, machine, run
from compute.advice import Advice, advise, advise_for_size, decision, search, text
from compute.advice.decision import BreakEven, Candidate, Crossing, Yardstick
from compute.cli import main
from compute.scaling.dataset import Point


def candidate(on, seconds, variant="nogil", width=0.01, size=1000, opening=0.0, loading=0.0) -> Candidate:
    interval = seconds * (1 - width), seconds * (1 + width)
    return Candidate(on, variant, size, seconds, interval, 20, opening, loading)


LINEAR = Yardstick(float, round)  # of a kernel whose cost is its size
SQUARE = Yardstick(lambda size: size**2.0, lambda cost: round(cost**0.5))


def test_the_fastest_is_advised_where_nothing_comes_near_it():
    found = [candidate(Serial(), 0.023), candidate(Threads(2), 0.0121), candidate(Processes(2), 0.0150)]
    assert decision.choose(found) == (found[1], [])


def test_of_those_within_noise_the_simplest_is_advised():
    serial, joblib = candidate(Serial(), 0.023), candidate(Joblib(2), 0.0120)
    processes, threads = candidate(Processes(2), 0.0121), candidate(Threads(2), 0.0122, width=0.02)
    assert decision.choose([serial, joblib, processes, threads]) == (threads, [processes, joblib])


def test_fewer_workers_are_simpler():
    two, four = candidate(Threads(2), 0.0101), candidate(Threads(4), 0.0100)
    assert decision.choose([candidate(Serial(), 0.02), four, two]) == (two, [four])


def test_serial_is_advised_where_it_is_within_noise_of_the_fastest():
    serial, threads = candidate(Serial(), 0.0101), candidate(Threads(2), 0.0100)
    assert decision.choose([serial, threads]) == (serial, [threads])


def test_what_is_slower_than_serial_is_never_within_noise():
    # Threads' wide interval reaches down to the fastest, but their median is above serial's.
    serial, prange = candidate(Serial(), 0.020), candidate(Prange(2), 0.0150)
    threads = candidate(Threads(2), 0.021, width=0.5)
    assert decision.choose([serial, prange, threads]) == (prange, [])


def test_serial_is_its_fastest_variant():
    blas, nogil = candidate(Serial(), 0.010, "blas"), candidate(Serial(), 0.020)
    threads = candidate(Threads(2), 0.0105)
    assert decision.best_serial([nogil, blas, threads]) == blas
    assert decision.choose([nogil, blas, threads])[0] == blas


BACKENDS = st.sampled_from([Threads(2), Threads(4), Prange(2), Processes(2), Joblib(2), Coroutines(2)])
SECONDS = st.floats(1e-6, 10.0)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(BACKENDS, SECONDS, st.floats(0, 0.9)), max_size=6), SECONDS, st.floats(0, 0.9))
def test_nothing_slower_than_serial_is_ever_advised(others, seconds, width):
    serial = candidate(Serial(), seconds, width=width)
    found = [serial, *(candidate(on, s, width=w) for on, s, w in others)]
    use, equals = decision.choose(found)
    assert all(c.seconds <= serial.seconds for c in (use, *equals))
    assert use.interval[0] <= min(found, key=lambda c: c.seconds).interval[1]


@pytest.mark.parametrize(
    ("ours", "serial", "expected"),
    [
        ([9, 9, 9, 9], [1, 2, 4, 8], Crossing(8000, "never")),
        ([0.5, 1, 2, 4], [1, 2, 4, 8], Crossing(1000, "always")),
        # 2 behind at 2000, 2 ahead at 4000.
        ([4, 4, 2, 4], [1, 2, 4, 8], Crossing(3000, "measured")),
        # A win that is lost again is none.
        ([0.5, 4, 2, 4], [1, 2, 4, 8], Crossing(3000, "measured")),
        # What both pay alike changes nothing.
        ([10.5, 14, 12, 14], [11, 12, 14, 18], Crossing(3000, "measured")),
        # Just as fast does not win.
        ([4, 2, 2, 4], [1, 2, 4, 8], Crossing(2000, "measured")),
        ([9, 9, 9, 8], [1, 2, 4, 8], Crossing(8000, "never")),
    ],
)
def test_where_two_curves_cross(ours, serial, expected):
    assert decision.crossing([1000, 2000, 4000, 8000], ours, serial, LINEAR) == expected


def test_curves_cross_in_between_by_cost_not_by_size():
    assert decision.crossing([100, 700], [4, 2], [3, 3], SQUARE) == Crossing(500, "measured")


@settings(max_examples=100, deadline=None)
@given(st.floats(1e-5, 1e-1), st.floats(1.2, 60), st.integers(200, 10**7))
def test_a_crossing_is_found_within_the_digits_that_it_is_told_in(overhead, speedup, at):
    # serial = a·n and ours = overhead + serial / speedup cross at n = `at`; sizes a factor of 4 apart.
    a = overhead / (at * (1 - 1 / speedup))
    sizes = [max(1, round(at * 4.0 ** (k - 0.3))) for k in range(-3, 5)]
    serial = [a * n for n in sizes]
    found = decision.crossing(sizes, [overhead + t / speedup for t in serial], serial, LINEAR)
    assert found.how == "measured"
    assert found.size == pytest.approx(at, rel=0.06)


def test_a_projection_says_how_much_more_work_pays_for_opening():
    # 1 s more to begin with, 0.01 s less at this size: after 100 times the work they are even.
    assert decision.further(0.01, 1.51, 0.02, 0.52) == pytest.approx(100)
    assert decision.further(0.019, 1.5, 0.02, 0.5) is None  # hardly faster warm: noise would foretell it
    assert decision.further(0.03, 1.5, 0.02, 0.5) is None  # slower warm: never
    assert decision.further(0.01, 1000.0, 0.02, 0.5) is None  # too far to be foretold


def test_break_evens_warm_and_cold():
    sizes = {1000: (0.001, 0.002), 2000: (0.002, 0.0025), 4000: (0.004, 0.002), 8000: (0.008, 0.004)}
    by_size = {
        size: [
            candidate(Serial(), serial, size=size, loading=0.5),
            candidate(Threads(2), threads, size=size, loading=0.5),
            candidate(Threads(4), 1.0, size=size, loading=0.5),  # the best of a backend counts
            candidate(Processes(2), threads, size=size, opening=0.3, loading=0.5),
        ]
        for size, (serial, threads) in sizes.items()
    }
    threads, processes = decision.break_evens(by_size, LINEAR)
    assert (threads.backend, processes.backend) == ("threads", "processes")
    assert threads.warm == processes.warm == Crossing(2400, "measured")
    assert threads.cold == Crossing(2400, "measured")
    assert processes.cold == Crossing(8000 * 75, "projected")  # 0.3 s for 0.004 s each


def test_closer_looks_are_taken_between_losing_and_winning():
    def at(size, threads):
        return [candidate(Serial(), size * 1e-6, size=size), candidate(Threads(2), threads, size=size)]

    assert decision.gaps({1000: at(1000, 9.0), 4000: at(4000, 0.001)}, LINEAR) == [2000]
    assert decision.gaps({1000: at(1000, 9.0), 1400: at(1400, 0.001)}, LINEAR) == []  # close enough
    assert decision.gaps({1000: at(1000, 1e-9), 4000: at(4000, 1e-9)}, LINEAR) == []  # wins everywhere
    assert decision.gaps({1000: at(1000, 9.0), 4000: at(4000, 9.0)}, LINEAR) == []  # nowhere


def test_a_ladder_goes_down_by_cost_to_where_no_pool_is_woken():
    assert decision.ladder(64_000, 0.064, 1e-3, 4, LINEAR) == [1000, 4000, 16000]
    assert decision.ladder(64_000, 1e-5, 1e-3, 4, LINEAR) == []
    assert decision.ladder(4, 1.0, 1e-3, 4, LINEAR) == [1]
    assert decision.ladder(400, 64e-3, 1e-3, 4, SQUARE) == [50, 100, 200]


def point(backend, workers, variant, startup, compiling, samples=(1.0, 2.0, 3.0), size=7) -> Point:
    return Point("k", size, variant, backend, workers, samples[0], tuple(samples), startup=startup, compile=compiling)


def test_each_is_charged_what_the_first_of_its_kind_paid():
    costs = decision.first_costs(
        [
            point("serial", 1, "nogil", 0.0, 0.6),
            point("threads", 2, "nogil", 0.001, 0.01),  # found serial's compiled code
            point("processes", 4, "nogil", 0.9, 0.3),
            point("processes", 2, "nogil", 0.1, 0.2),  # found the fork server
            point("serial", 1, "python", 0.0, 0.02),
            point("threads", 2, "python", 0.001, 0.03),
        ],
        importing=1.0,
    )
    assert costs == {
        ("serial", 1, "nogil"): (0.0, 1.6),
        ("threads", 2, "nogil"): (0.001, 1.6),
        ("processes", 4, "nogil"): (0.9, 1.3),
        ("processes", 2, "nogil"): (0.9, 1.3),
        ("serial", 1, "python"): (0.0, 0.03),  # needs no numba
        ("threads", 2, "python"): (0.001, 1.03),
    }


def test_candidates_are_sorted_and_their_cold_time_is_the_sum():
    points = [point("serial", 1, "nogil", 0.0, 0.5), point("threads", 2, "nogil", 0.25, 0.5, samples=(0.5, 0.7, 0.6))]
    found = decision.candidates(points, decision.first_costs(points), [Serial(), Threads(2)])
    assert list(found) == [7]
    threads, serial = found[7]
    assert (threads.on, threads.seconds, threads.runs) == (Threads(2), 0.6, 3)
    assert threads.interval == pytest.approx((0.5 * (1 - 0.5 / 3), 0.7 * (1 + 0.5 / 3)))  # too few runs for a real one
    assert threads.cold == pytest.approx(0.25 + 0.5 + 0.6)
    assert (serial.on, serial.seconds) == (Serial(), 2.0)


def test_a_name_stands_for_several_numbers_of_workers_from_two_on(monkeypatch):
    monkeypatch.setattr(machine, "usable_cpus", lambda: 12)
    assert search.contenders(["threads"]) == [Threads(12), Threads(6), Threads(3), Threads(2)]
    assert search.contenders([Threads(5), "serial", Serial()]) == [Threads(5)]
    monkeypatch.setattr(machine, "usable_cpus", lambda: 1)
    assert search.contenders(["threads", "processes"]) == []


@pytest.mark.parametrize(
    ("on", "told"),
    [
        ([Processes(2), Processes(2, start="spawn")], "ask about one of them at a time"),
        ([2], "on= takes backends"),
        (["thread"], "did you mean 'threads'"),
    ],
)
def test_backends_that_cannot_be_compared_are_refused(on, told):
    with pytest.raises(ValueError, match=told):
        search.contenders(on)


def test_smaller_arguments_are_known_where_these_are_like_the_kernel_s_example():
    assert search.size_alike(kernels.count_primes, (1000,), {}) == 1000
    assert search.size_alike(kernels.count_primes, (1000,), {"start": 5}) is None
    assert search.size_alike(kernels.mandelbrot, ((30, 30),), {}) == 30
    assert search.size_alike(kernels.mandelbrot, ((30, 40),), {}) is None
    assert search.size_alike(kernels.matmul, (np.ones((8, 8)), np.ones((8, 8))), {}) == 8
    assert search.size_alike(kernels.matmul, (np.ones((8, 8)), np.ones((8, 9))), {}) is None
    assert search.size_alike(kernels.count_primes, (), {}) is None
    assert search.size_alike(kernels.count_primes, (0,), {}) is None


def invented(**changes) -> Advice:
    serial, threads = candidate(Serial(), 0.023, loading=0.6), candidate(Threads(2), 0.0121, loading=0.6)
    processes = candidate(Processes(2), 0.0135, opening=0.9, loading=0.3)
    found = {
        "kernel": "mandelbrot",
        "size": 1000,
        "measured": 1000,
        "use": threads,
        "equals": (),
        "serial": serial,
        "candidates": (threads, processes, serial),
        "break_evens": (
            BreakEven("threads", Crossing(34, "measured"), Crossing(30, "always")),
            BreakEven("processes", Crossing(120, "measured"), Crossing(34_000, "projected")),
            BreakEven("joblib", Crossing(1000, "never"), Crossing(1000, "never")),
        ),
        "by_size": {30: (candidate(Serial(), 2e-5, size=30), candidate(Threads(2), 5e-5, size=30))},
        "notes": ("something to know",),
        "machine": {"cpus": 2},
    }
    return Advice(**(found | changes))


def test_the_advice_is_the_first_line():
    assert str(invented()).splitlines()[0] == (
        "use Threads(2) with the nogil variant: 12.1 ms against 23.0 ms serial (1.90×)"
    )


def test_the_text_fits_its_width_and_shows_the_measurements_and_the_break_evens():
    told = text.render(invented(), 80)
    lines = [line.rstrip() for line in told.splitlines()]
    assert max(map(len, lines)) <= 80
    assert "mandelbrot · size 1,000" in lines
    rows = [line.split() for line in lines]
    assert ["Threads(2)", "nogil", "12.1", "ms", "12.0–12.2", "ms", "1.90", "600", "ms", "612", "ms"] in rows
    assert ["Processes(2)", "nogil", "13.5", "ms", "13.4–13.6", "ms", "1.70", "1.20", "s", "1.21", "s"] in rows
    assert ["threads", "34", "30", "or", "less"] in rows
    assert ["processes", "120", "34,000", "(projected)"] in rows
    assert ["joblib", "not", "up", "to", "1,000", "not", "up", "to", "1,000"] in rows
    assert ["30", "20.0", "µs", "50.0", "µs", "–", "–"] in rows
    assert "something to know" in lines


def test_an_interval_is_told_in_one_unit():
    serial = candidate(Serial(), 0.002, width=0.9)
    told = text.render(invented(use=serial, serial=serial, candidates=(serial,)))
    assert "0.20–3.80 ms" in told


def test_equals_are_named_and_the_simplest_preferred():
    threads, prange = candidate(Threads(2), 0.0122), candidate(Prange(2), 0.0121)
    blas = candidate(Processes(2), 0.0122, "blas")
    told = list(text.sentences(invented(use=threads, equals=(prange, blas))))
    assert told[1] == "Threads(2) or Prange(2) or Processes(2) · blas: within noise; Threads(2) is the simplest"


def test_serial_is_advised_in_words_of_its_own():
    serial, threads = candidate(Serial(), 31e-6), candidate(Threads(2), 58e-6)
    advice = invented(use=serial, serial=serial, candidates=(serial, threads))
    assert list(text.sentences(advice)) == [
        "use Serial() with the nogil variant: 31.0 µs on one core, and nothing here is faster; the next, Threads(2),"
        " takes 58.0 µs"
    ]
    alone = invented(use=serial, serial=serial, candidates=(serial,))
    assert list(text.sentences(alone)) == [
        "use Serial() with the nogil variant: 31.0 µs on one core, and nothing here is faster"
    ]


def test_a_smaller_size_and_another_serial_variant_are_told():
    told = list(text.sentences(invented(size=10**9, serial=candidate(Serial(), 0.023, "blas"))))
    assert "against 23.0 ms serial (blas)" in told[0]
    assert told[1] == "measured at size 1,000: 1,000,000,000 takes longer than the budget"


def test_json_holds_all_of_it(tmp_path):
    invented().to_json(tmp_path / "a.json")
    kept = json.loads((tmp_path / "a.json").read_text())
    assert kept["schema"] == "nfold-advice/1"
    assert (kept["use"]["on"], kept["use"]["workers"], kept["use"]["variant"]) == ("Threads(2)", 2, "nogil")
    assert eval(kept["use"]["on"]) == Threads(2)
    assert kept["speedup"] == pytest.approx(0.023 / 0.0121)
    assert kept["break_evens"][1]["cold"] == {"size": 34_000, "how": "projected"}
    assert len(kept["candidates"]) == 3


def test_end_to_end():
    size = 3_000_000
    advice = compute.advise(kernels.count_primes, size, on=["threads", "prange"], budget=2)
    assert (advice.kernel, advice.size, advice.measured) == ("count_primes", size, size)
    assert advice.use.seconds <= advice.serial.seconds
    assert advice.use in advice.candidates
    assert {c.on for c in advice.candidates} >= {Serial(), *search.contenders(["threads", "prange"])}
    assert {one.backend for one in advice.break_evens} <= {"threads", "prange"}
    sizes = sorted(advice.by_size)
    assert sizes[-1] == size
    assert len(sizes) > 2
    for found in advice.by_size.values():
        assert all(a.seconds <= b.seconds for a, b in itertools.pairwise(found))
        assert all(c.cold >= c.seconds for c in found)
    assert advice.use.variant == "nogil"
    assert any(note.startswith("python is left out") for note in advice.notes)
    assert run(kernels.count_primes, size, on=advice.use.on, variant=advice.use.variant).value == 216816


def test_arguments_that_are_no_example_get_an_advice_without_break_evens():
    advice = advise(example_kernels.squares.python, [1.0, 2.0, 3.0], on=["threads"], budget=0.3)
    assert advice.size is None
    assert advice.break_evens == ()
    assert any("no break-even sizes" in note for note in advice.notes)
    assert "beats serial from size" not in str(advice)


def test_a_size_that_does_not_fit_into_the_budget_is_measured_smaller():
    advice = advise_for_size(kernels.mandelbrot.python, 2000, on=["threads"], budget=0.5)
    assert advice.size == 2000
    assert advice.measured < 1000
    assert any("does not fit into a budget of 0.5 s" in note for note in advice.notes)


def test_a_backend_that_cannot_be_opened_here_is_noted(monkeypatch):
    def refused(self):
        raise OSError("no /dev/shm")

    monkeypatch.setattr(Processes, "open", refused)
    advice = advise_for_size(example_kernels.squares.python, 100, on=[Threads(2), Processes(2)], budget=0.2)
    assert "left out Processes(2): no /dev/shm" in advice.notes
    assert {c.backend for c in advice.candidates} == {"serial", "threads"}


def test_compiling_for_longer_than_the_budget_leaves_room_for_the_size(monkeypatch):
    variants = search.Search._variants

    def slowly(self):
        time.sleep(2 * self.budget)
        return variants(self)

    monkeypatch.setattr(search.Search, "_variants", slowly)
    advice = advise_for_size(example_kernels.squares.python, 100, on=["threads"], budget=0.2)
    assert (advice.size, advice.measured) == (100, 100)


@pytest.mark.parametrize("budget", [0, -1, float("nan"), float("inf"), "10s"])
def test_a_budget_that_is_none_is_refused(budget):
    with pytest.raises(ValueError, match="budget must be a number of seconds above 0"):
        advise(kernels.count_primes, 1000, budget=budget)


def test_bad_arguments_are_the_kernel_s_to_refuse():
    with pytest.raises(ValueError, match="n must be"):
        advise(kernels.count_primes, "many")
    with pytest.raises(TypeError, match="is not a kernel"):
        advise(len, 3)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("advise matmul", "Missing argument 'SIZE'"),
        ("advise matmul -3", "SIZE must be at least 1, not -3"),
        ("advise matmul 1e7", "use a smaller size"),
        ("advise matmull 10", "did you mean 'matmul'"),
        ("advise matmul 10 --on thread", "did you mean 'threads'"),
        ("advise matmul 10 --budget nan", "--budget must be a time"),
        ("advise matmul 10 --json no/such/folder.json", "cannot write"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line_with_exit_code_2(line, told, capsys):
    assert main(line.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err
    assert err.count("\n") == 1


def test_the_command_prints_the_advice_and_keeps_it(capsys, tmp_path):
    kept = tmp_path / "advice.json"
    assert main(["advise", "count_primes", "1e5", "--on", "threads", "--budget", "500ms", "--json", str(kept)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("use ")
    assert "count_primes · size 100,000" in out
    assert json.loads(kept.read_text())["kernel"] == "count_primes"
