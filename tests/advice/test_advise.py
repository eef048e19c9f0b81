"""advise: what it compares and what it refuses, real measurements from end to end, and the command."""

from __future__ import annotations

import itertools
import json
import re
import time

import example_kernels
import numpy as np
import pytest
from compiler import needs_compiler
from patience import PATIENCE

import compute
import kernels
from compute import Processes, Serial, Threads, machine, run
from compute.advice import advise, advise_for_size, asked, search
from compute.advice.bench import Bench, VariantOnPool
from compute.cli.commands import main

pytestmark = needs_compiler


def test_a_name_stands_for_several_numbers_of_workers_from_two_on(monkeypatch):
    monkeypatch.setattr(machine, "usable_cpus", lambda: 12)
    assert asked.contenders(["threads"]) == [Threads(12), Threads(6), Threads(3), Threads(2)]
    assert asked.contenders([Threads(5), "serial", Serial()]) == [Threads(5)]
    monkeypatch.setattr(machine, "usable_cpus", lambda: 1)
    assert asked.contenders(["threads", "processes"]) == []


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
        asked.contenders(on)


def test_smaller_arguments_are_known_where_these_are_like_the_kernel_s_example():
    assert asked.size_alike(kernels.count_primes, (1000,), {}) == 1000
    assert asked.size_alike(kernels.count_primes, (1000,), {"start": 5}) is None
    assert asked.size_alike(kernels.mandelbrot, ((30, 30),), {}) == 30
    assert asked.size_alike(kernels.mandelbrot, ((30, 40),), {}) is None
    assert asked.size_alike(kernels.matmul, (np.ones((8, 8)), np.ones((8, 8))), {}) == 8
    assert asked.size_alike(kernels.matmul, (np.ones((8, 8)), np.ones((8, 9))), {}) is None
    assert asked.size_alike(kernels.count_primes, (), {}) is None
    assert asked.size_alike(kernels.count_primes, (0,), {}) is None


@pytest.mark.slow
def test_end_to_end():
    size = 3_000_000
    # With a budget that a slow machine compiles within; the most rounds of each size end it long before.
    advice = compute.advise(kernels.count_primes, size, on=["threads", "prange"], budget=PATIENCE)
    assert (advice.kernel, advice.size, advice.measured) == ("count_primes", size, size)
    assert advice.use.seconds <= advice.serial.seconds
    assert advice.use in advice.candidates
    assert {c.on for c in advice.candidates} >= {Serial(), *asked.contenders(["threads", "prange"])}
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
    advice = advise(example_kernels.squares.python, [1.0, 2.0, 3.0], on=["threads"], budget=3)
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
    advice = advise_for_size(example_kernels.squares.python, 100, on=[Threads(2), Processes(2)], budget=3)
    assert "left out Processes(2): no /dev/shm" in advice.notes
    assert {c.backend for c in advice.candidates} == {"serial", "threads"}


def test_compiling_for_longer_than_the_budget_is_said_and_begins_nothing_more(monkeypatch):
    variants = search.Search._variants

    def slowly(self, serial):
        found = variants(self, serial)
        time.sleep(2 * self.budget)
        return found

    monkeypatch.setattr(search.Search, "_variants", slowly)
    advice = advise_for_size(example_kernels.squares.python, 100, on=["threads"], budget=0.2)
    assert {c.backend for c in advice.candidates} == {"serial"}
    assert str(advice).startswith("too little to choose by: one core alone was measured in the budget of 0.2 s")
    assert any(note.startswith("importing, compiling, estimating and opening pools took") for note in advice.notes)


def test_a_budget_that_is_over_at_once_still_gets_one_look_and_says_so():
    advice = advise_for_size(example_kernels.squares, 100_000, on=["threads"], budget=1e-6)
    assert str(advice).startswith("too little to choose by")
    assert (advice.use.backend, advice.use.variant) == ("serial", "nogil")


@pytest.fixture(scope="module")
def loaded():
    """The kernels whose growth is told are compiled: what that takes on a slow machine is in no budget."""
    for kernel in (example_kernels.pairs, example_kernels.at_once, example_kernels.hardly_grows):
        run(kernel, *kernel.example(10), on=Serial())
    for dtype in (np.float64, np.float32):
        run(example_kernels.squares, np.ones(10, dtype), on=Serial())
        run(example_kernels.pairs, np.ones(10, dtype), on=Serial())


def advised(kernel, size, budget, on=("threads",)):
    """An advice, and what was said before each step: (share of the budget that was over, label)."""
    told = []
    advice = advise_for_size(
        kernel, size, on=on, budget=budget, progress=lambda done, _, label: told.append((done, label))
    )
    return advice, told


@pytest.mark.parametrize(
    ("kernel", "size"),
    [
        pytest.param(example_kernels.pairs, 4000, marks=pytest.mark.slow),
        pytest.param(example_kernels.pairs, 3_000_000, marks=pytest.mark.slow),  # hours
        pytest.param(example_kernels.at_once, 10_000_000, marks=pytest.mark.slow),
        pytest.param(example_kernels.at_once, 10**13, marks=pytest.mark.slow),
        pytest.param(example_kernels.hardly_grows, 100_000_000, marks=pytest.mark.slow),
        (example_kernels.squares, 300_000),
    ],
    ids=lambda x: getattr(x, "name", x),
)
def test_a_kernel_of_any_growth_gets_its_compiled_variant_within_the_budget(loaded, kernel, size):
    advice, told = advised(kernel, size, 6.0)
    assert advice.use.variant == "nogil"
    assert advice.use.seconds <= advice.serial.seconds
    assert any(note.startswith("python is left out") for note in advice.notes)
    assert [label for done, label in told if label.startswith("over the budget") and "opening" not in label] == []
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    if advice.measured < size:
        assert any("does not fit into a budget of 6 s" in note for note in advice.notes)
    for one in advice.break_evens:
        beats = one.warm.how in ("measured", "always")
        assert beats or advice.use.backend == "serial"


def test_what_no_smaller_arguments_are_known_of_and_takes_too_long_is_refused_before_it_runs():
    began = time.perf_counter()
    with pytest.raises(ValueError, match=r"about \d.* more than what the budget of 2 s has left; give it"):
        advise(example_kernels.naps, np.zeros(1000, np.float32), on=["threads"], budget=2)
    assert time.perf_counter() - began < 50  # all of them take that long


def test_a_look_at_python_code_that_may_take_long_is_not_taken(loaded):
    x = np.zeros(10_000, np.float32)
    advice = advise(example_kernels.pairs, x, on=["threads"], budget=4)
    assert advice.use.variant == "nogil"
    assert any(note.startswith("python is left out") for note in advice.notes)


def test_a_variant_that_raises_is_left_out(monkeypatch):
    def raises(lo, hi, out, x):
        raise ZeroDivisionError("division by zero")

    made = kernels.kernel(example_kernels.square_all)
    made.add_variant("broken", raises)
    advice = advise_for_size(made, 1000, on=["threads"], budget=3)
    assert "broken is left out: it raises ZeroDivisionError: division by zero" in advice.notes
    assert advice.use.variant != "broken"


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
    assert main(["advise", "count_primes", "1e5", "--on", "threads", "--budget", "5s", "--json", str(kept)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith(("use ", "too little to choose by: "))  # which a busy machine may have measured
    assert re.search("^use ", out, re.MULTILINE)
    assert "count_primes · size 100,000" in out
    assert json.loads(kept.read_text())["kernel"] == "count_primes"


def test_variants_that_differ_and_inputs_that_are_written_to_are_named():
    @kernels.kernel
    def wraps(lo, hi, out, x):
        for i in range(lo, hi):
            n = 1
            for k in range(1, 23):
                n *= k  # 22! is no int64
            out[i] = n

    bench = Bench(cost=float, left=lambda: 60.0, tell=lambda label: None)
    bench.works[300] = (np.ones(300),)
    with Serial().open() as pool:
        for variant in ("nogil", "python"):
            bench.check(VariantOnPool(pool, wraps.held_to(variant), 0.0), 300)
    (told,) = bench.differing.values()
    assert told.startswith("wraps's variants python and nogil do not give the same: 300 of 300 elements, by up to")

    @kernels.kernel(inout=("a",))
    def steps(lo, hi, out, a):
        for i in range(lo, hi):
            a[i] += 1
            out[i] = a[i]

    with pytest.raises(ValueError, match="writes to its input a, so that each run would change the next one's"):
        advise(steps, np.ones(300), budget=1)
