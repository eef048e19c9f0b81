"""advise: what it compares and what it refuses, real measurements from end to end, and the command."""

from __future__ import annotations

import itertools
import json
import time

import example_kernels
import numpy as np
import pytest

import compute
import kernels
from compute import Processes, Serial, Threads, machine, run
from compute.advice import advise, advise_for_size, search
from compute.cli import main


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


def test_end_to_end():
    size = 3_000_000
    advice = compute.advise(kernels.count_primes, size, on=["threads", "prange"], budget=0.8)
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
    advice = advise_for_size(kernels.mandelbrot.python, 2000, on=["threads"], budget=0.2)
    assert advice.size == 2000
    assert advice.measured < 1000
    assert any("does not fit into a budget of 0.2 s" in note for note in advice.notes)


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
