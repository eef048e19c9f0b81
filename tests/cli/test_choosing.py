"""What the main job chooses to measure, on invented machines: pure functions."""

from __future__ import annotations

import pytest

import kernels
from compute.cli import choosing
from compute.cli.choosing import MOST_MEMORY, Room, Row, Way, choose_counts, choose_kernels, choose_memory, run_length

FOUR = (Way("threads"), Way("prange"), Way("processes"), Way("joblib"))
ONE_LOOP = Way("coroutines", takes_turns=True, once=True)
GIL = (Way("threads", takes_turns=True), Way("processes"))


def rows(kernels=4, gil=GIL):
    compiled = [Row(f"k{n}", "nogil", (*FOUR, ONE_LOOP) if n == 0 else FOUR) for n in range(kernels)]
    return compiled + [Row(f"k{n}", "python", gil) for n in range(kernels)]


def seconds_of_a_round(rows, counts, length, speedup):
    """What a round takes on a machine that is known: speedup(way, workers) of each configuration."""
    asked = [(way, n) for row in rows for way in row.ways for n in (counts[-1:] if way.once else counts)]
    return length * (len(rows) + sum(1 / speedup(way, n) for way, n in asked))


MACHINES = {
    "perfect": lambda way, n: 1 if way.takes_turns else n,
    "half": lambda way, n: 1 if way.takes_turns else max(1, n / 2),
    "memory": lambda way, n: 1 if way.takes_turns else min(n, 2),
    "none": lambda way, n: 1,
}


def test_one_kernel_of_each_kind_unless_all_are_asked_for():
    names = list(kernels.REGISTRY)
    chosen = choose_kernels(names)
    bounds = [kernels.REGISTRY[name].bound for name in chosen]
    assert (len(chosen), bounds.count("compute"), bounds.count("memory")) == (4, 2, 2)
    assert choose_kernels(names, everything=True) == names
    assert choose_kernels(["mine", "yours"]) == ["mine", "yours"]
    assert choose_kernels(["mine", "triad", "mandelbrot"]) == ["mandelbrot"]


@pytest.mark.parametrize(
    ("cpus", "counts"),
    [
        (1, [1]),
        (2, [1, 2]),
        (3, [1, 2, 3]),
        (4, [1, 2, 4]),
        (6, [1, 2, 4, 6]),
        (8, [1, 2, 4, 8]),
        (16, [1, 2, 8, 16]),
        (64, [1, 4, 16, 64]),
        (96, [1, 4, 32, 96]),
    ],
)
def test_a_minute_has_time_for_four_worker_counts_from_one_to_all(cpus, counts):
    assert choose_counts(cpus, 60.0, rows()) == counts


@pytest.mark.parametrize("cpus", [1, 2, 3, 4, 7, 8, 64, 65, 256])
@pytest.mark.parametrize("budget", [0.1, 1.0, 5.0, 20.0, 60.0, 600.0])
def test_counts_are_always_from_one_to_all_and_fewer_where_time_is_short(cpus, budget):
    counts = choose_counts(cpus, budget, rows())
    assert counts[0] == 1
    assert counts[-1] == cpus
    assert counts == sorted(set(counts))
    assert len(counts) <= len(choose_counts(cpus, 2 * budget, rows())) <= choosing.COUNTS
    if budget < 2:
        assert len(counts) <= 2


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("cpus", [1, 2, 4, 8, 64])
def test_eight_rounds_fit_into_the_minute_on_any_machine(cpus, machine):
    left = 0.9 * 60
    counts = choose_counts(cpus, 60.0, rows())
    length = run_length(left, rows(), counts)
    a_round = seconds_of_a_round(rows(), counts, length, MACHINES[machine])
    fitting = 0.8 * left / a_round - choosing.BESIDES
    # Where nothing at all gets faster with 64 workers, a check finds that, and shorter runs are chosen (test_rounds).
    assert fitting >= (8 if machine != "none" or cpus <= 2 else 4)
    assert length >= choosing.SHORT


def test_two_cpus_get_runs_long_beside_what_a_run_costs():
    """A message and its answer take 0.5 ms on joblib, the slowest; half of a serial run is what two lanes take."""
    length = run_length(0.9 * 60, rows(), [1, 2])
    assert 0.5e-3 / (length / 2) < 0.02


def test_all_kernels_get_shorter_runs():
    assert run_length(50, rows(7), [1, 2]) == pytest.approx(run_length(50, rows(4), [1, 2]) * 4 / 7, rel=0.03)


def test_runs_have_bounds_whatever_the_budget():
    assert run_length(1e-3, rows(), [1, 2]) == choosing.SHORTEST
    assert run_length(-1.0, rows(), [1, 2]) == choosing.SHORTEST
    assert run_length(1e6, rows(), [1, 2]) == choosing.LONGEST


def test_without_a_gil_threads_running_python_take_no_longer_with_more():
    free = rows(gil=(Way("threads"), Way("processes")))
    assert choosing.round_length(free, [1, 16]) < choosing.round_length(rows(), [1, 16])


def test_counts_that_are_left_out_are_told():
    assert choosing.about_counts(8, [1, 2, 4, 8]) == []
    assert choosing.about_counts(1, [1]) == []
    (line,) = choosing.about_counts(64, [1, 4, 16, 64])
    assert "2, 8, 32 workers" in line
    assert "nfold scale KERNEL" in line


@pytest.mark.parametrize(
    ("room", "least", "most"),
    [
        (Room(64e9, 32e9, 1e-10), MOST_MEMORY, MOST_MEMORY),  # plenty: a gigabyte, no more
        (Room(2e9, 32e9, 1e-10), 0.25e9, 0.25e9),  # little memory
        (Room(64e9, 64e6, 1e-10), 16e6, 16e6),  # a container's /dev/shm
        (Room(64e9, None, 0.0), MOST_MEMORY, MOST_MEMORY),  # a system that does not tell
        (Room(64e9, 32e9, 1e-8), 2e8, 2e8),  # a virtual machine whose host has yet to find every page
    ],
)
def test_arrays_are_as_large_as_memory_and_its_first_touch_allow(room, least, most):
    assert least <= choose_memory(room) <= most
