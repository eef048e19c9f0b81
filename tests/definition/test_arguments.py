"""The command line's words: what they mean, and what is refused, before anything large is made."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kernels
from compute import machine
from compute.cli import words
from kernels.definition.plan import Plan


@pytest.mark.parametrize(
    ("word", "number"),
    [
        ("1000", 1000),
        ("1_000", 1000),
        ("1e9", 10**9),
        ("1E9", 10**9),
        ("1e+3", 1000),
        ("1.5e3", 1500),
        ("2.0", 2),
        (" 7 ", 7),
        ("+7", 7),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_sizes_as_people_write_them(word, number):
    assert words.size(word) == number


@given(st.integers(1, 2**63 - 1))
def test_every_size_is_read_as_python_writes_it(number):
    assert words.size(str(number)) == words.size(f"{number:_}") == number


@pytest.mark.parametrize(
    "word", ["", "abc", "nan", "inf", "1.5", "1e-3", "1.25e1", "0x10", "1e", "1__0", "_1", "1 0", "1,000", "٣", "--3"]
)
def test_what_is_no_whole_number_is_refused_by_name(word):
    with pytest.raises(ValueError, match="SIZE must be a whole number such as 1000, 1_000 or 1e9") as error:
        words.size(word)
    assert repr(word.strip()) in str(error.value)


@pytest.mark.parametrize("word", ["-3", "-1_000", "-1e9", "-1e999999999999", "0"])
def test_a_size_below_one_is_refused(word):
    with pytest.raises(ValueError, match=f"SIZE must be at least 1, not {word}"):
        words.size(word)


@pytest.mark.parametrize("word", ["9223372036854775808", "1e30", "1e999999999999", "1" * 5000])
def test_a_size_that_no_index_holds_is_refused_without_working_it_out(word):
    with pytest.raises(ValueError, match=f"SIZE must be at most 9223372036854775807, not {word[:9]}"):
        words.size(word)


@pytest.mark.parametrize(
    ("word", "seconds"),
    [("30s", 30), ("2m", 120), ("500ms", 0.5), ("10", 10), ("1.5h", 5400), ("1 m", 60), ("1e1s", 10), ("3S", 3)],
)
def test_budgets_as_people_write_them(word, seconds):
    assert words.budget(word) == pytest.approx(seconds)


@pytest.mark.parametrize("word", ["nan", "NaN", "inf", "-inf", "0", "0s", "-3s", "3x", "", "s", "1..2", "ten", "1e400"])
def test_a_budget_that_is_no_time_is_refused(word):
    with pytest.raises(ValueError, match="--budget must be a time above 0 such as 30s, 2m or 500ms") as error:
        words.budget(word)
    assert repr(word) in str(error.value)


def test_worker_counts_are_sorted_and_each_once(monkeypatch):
    monkeypatch.setattr(machine, "usable_cpus", lambda: 6)
    assert words.worker_counts("4,1, 2,4") == [1, 2, 4]
    assert words.worker_counts(None) == [1, 2, 4, 6]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("0", "at least 1, not 0; leave it out to use all 2 CPUs"),
        ("1,-2", "at least 1, not -2"),
        ("two", "whole numbers such as 1,2,4, not 'two'"),
        ("1.5", "whole numbers such as 1,2,4, not '1.5'"),
        ("1,,2", "a comma list such as 1,2,4, not '1,,2'"),
        ("", "a comma list"),
        ("65", "at most 64"),
        ("1" * 40, "whole numbers"),
    ],
)
def test_worker_counts_that_cannot_be_are_refused(given, told, monkeypatch):
    monkeypatch.setattr(machine, "usable_cpus", lambda: 2)
    with pytest.raises(ValueError, match="--workers must be") as error:
        words.worker_counts(given)
    assert told in str(error.value)


def test_backends_and_variants_are_lists_of_each_once():
    assert [b.name for b in words.backends("threads, processes,threads")] == ["threads", "processes"]
    assert words.variants("nogil,python,nogil", kernels.mandelbrot) == ["nogil", "python"]
    assert words.variants(None, kernels.mandelbrot) == [kernels.mandelbrot.variant]


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda: words.backends("thread"), "did you mean 'threads'"),
        (lambda: words.backends("threads,"), "--on must be a comma list"),
        (lambda: words.variants("nogill", kernels.mandelbrot), "did you mean 'nogil'"),
        (lambda: words.kernel("mandelbort"), "did you mean 'mandelbrot'"),
        (lambda: words.kernel("no_such_module:f"), "cannot import 'no_such_module'"),
        (lambda: words.kernel("kernels:mandelbort"), "did you mean 'mandelbrot'"),
        (lambda: words.kernel("math:pi"), "math has no kernel 'pi'"),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(ask, told):
    with pytest.raises(ValueError, match=told):
        ask()


def test_a_kernel_of_the_user_s_own_is_found_in_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "my_arguments_module.py").write_text(
        "from kernels import kernel\n@kernel\ndef twice(lo, hi, out, x):\n    out[lo:hi] = 2 * x[lo:hi]\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert words.kernel("my_arguments_module:twice").name == "twice"


def test_a_module_that_fails_while_it_is_imported_says_how(tmp_path, monkeypatch):
    (tmp_path / "my_broken_module.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(ValueError, match="cannot import 'my_broken_module': ZeroDivisionError: division by zero"):
        words.kernel("my_broken_module:f")


@pytest.mark.parametrize(
    ("name", "size", "least"), [("matmul", 10**7, 2e15), ("mandelbrot", 10**9, 4e18), ("triad", 10**9, 1e16)]
)
def test_memory_is_foretold_without_taking_any(name, size, least):
    assert words.memory_needed(kernels.REGISTRY[name], size) >= least
    with pytest.raises(
        ValueError, match=rf"{name} of size {size} needs [\d.]+ [PE]B and [\d.]+ .B are free; use a small"
    ):
        words.operands(kernels.REGISTRY[name], size)


def test_the_primes_memory_is_known():
    assert words.memory_needed(kernels.count_primes, 10**18) == pytest.approx(2.03e8, rel=0.01)  # 4 π(10^9)
    assert words.operands(kernels.count_primes, 10**13) == (10**13,)
    for n in (10**4, 10**7, 10**8):
        plan = kernels.primes.plan(n)
        taken = 8 * plan.shape[0] + plan.inputs[2].nbytes
        assert words.memory_needed(kernels.primes, n) == pytest.approx(taken, rel=0.25)
    assert words.memory_needed(kernels.primes, 10**18) > 8 * 24_739_954_287_740_860  # 8 π(10^18)


def test_a_kernel_s_own_word_about_memory_counts():
    @kernels.kernel(
        plan=lambda n: Plan(n), example=lambda size: (size,), memory=lambda size: 3e3 * size, compiled=False
    )
    def hungry(lo, hi, out):
        out[lo:hi] = 0

    assert words.memory_needed(hungry, 10**6) == 3e9
    assert words.memory_needed(hungry, 10) == 3e4


def test_operands_are_what_the_kernel_s_plan_takes():
    A, B = words.operands(kernels.matmul, 20)
    assert A.shape == B.shape == (20, 20)


@given(st.integers(1, 10**24))
def test_amounts_of_memory_have_three_digits_and_a_unit(amount):
    number, unit = words.in_bytes(amount).split()
    power = ["bytes", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"].index(unit)
    assert float(number) * 1000**power == pytest.approx(amount, rel=0.006)
    assert float(number) < 1000


def plan_column(n):
    return Plan(n, (), shape=(n, 1))


@kernels.kernel(plan=plan_column, compiled=False)
def column(lo, hi, out):
    out[lo:hi] = 1


@kernels.kernel(reduce=np.sum, compiled=False)
def total(lo, hi, out, x):
    out[0] = x[lo:hi].sum()


def test_what_can_be_drawn_is_a_matrix_with_something_in_it():
    assert words.gives_matrix(column, (3,))
    assert not words.gives_matrix(column, (0,))
    assert not words.gives_matrix(total, (np.ones(3),))
