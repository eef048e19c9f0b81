"""Partial results: a body that has them and no reduce=, and a reduce= that is given none or rows of several."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from compute import Processes, Serial, Threads, run
from kernels import Plan, kernel


def first_only(lo, hi, out, x):
    total = 0.0
    for i in range(lo, hi):
        total += x[i]
    out[0] = total


def adds_up(lo, hi, out, x):
    out[0] = 0.0
    for i in range(lo, hi):
        out[0] += x[i]


def at_lo(lo, hi, out, x):
    out[lo] = x[lo:hi].sum()


def at_lo_and_further(lo, hi, out, x):
    out[lo] = x[lo]
    for i in range(lo + 1, hi):
        out[i] = x[i]


def counts_lo_up(lo, hi, out, x):
    while lo < hi:
        out[lo] = x[lo]
        lo += 1


@pytest.mark.parametrize("body", [first_only, adds_up, at_lo], ids=lambda body: body.__name__)
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("backend", [Serial(), Threads(2), Processes(2)], ids=repr)
def test_a_body_with_one_partial_result_and_no_reduce_is_refused(body, compiled, backend):
    made = kernel(compiled=compiled)(body)
    says = rf"{body.__name__} writes out\[(0|lo)\] and nothing else, .* into out\[0\], and @kernel\(reduce=sum\) makes"
    for call in (made, lambda x: run(made, x, on=backend), lambda x: run(made, x, on=backend, check=True)):
        with pytest.raises(ValueError, match=says):
            call(np.ones(1000))
    assert made(np.ones(1)).tolist() == [1.0]  # its one chunk is filled


@pytest.mark.parametrize("body", [first_only, adds_up], ids=lambda body: body.__name__)
def test_the_reduction_that_the_refusal_names_gives_the_sum(body):
    assert run(kernel(reduce=sum)(body), np.ones(1000), on=Threads(2)).value == 1000


def test_a_body_that_fills_its_chunk_is_taken():
    x = np.arange(1000.0)
    for body in (at_lo_and_further, counts_lo_up):
        assert kernel(compiled=False)(body)(x).tolist() == x.tolist()
    assert kernel(compiled=False, grain=1)(at_lo)(x).tolist() == x.tolist()
    assert kernel(compiled=False)(at_lo)(x[:200]).tolist() == x[:200].tolist()  # chunks of one index
    assert kernel(compiled=False, plan=lambda x: Plan(1, (x,)))(first_only)(x).tolist() == [1.0 * x[0]]


def for_each(function):
    """A decorator whose body calls the one that is written, index by index."""

    @functools.wraps(function)
    def body(lo, hi, out, *inputs):
        for i in range(lo, hi):
            function(i, i + 1, out, *inputs)

    return body


def on_its_element(function):
    @functools.wraps(function)
    def body(lo, hi, out, x):
        for i in range(lo, hi):
            function(0, 1, out[i : i + 1], x[i : i + 1])

    return body


@for_each
def wrapped_at_lo(lo, hi, out, x):
    out[lo] = x[lo]


@on_its_element
def wrapped_first(lo, hi, out, x):
    out[0] = x[0]


def puts_one(lo, hi, out, x):
    def put(lo):
        out[lo] = x[lo]

    for i in range(lo, hi):
        put(i)


@pytest.mark.parametrize("body", [wrapped_at_lo, wrapped_first, puts_one], ids=lambda body: body.__name__)
@pytest.mark.parametrize("backend", [Serial(), Threads(2), Processes(2)], ids=repr)
def test_a_body_that_is_called_for_each_index_is_taken(body, backend):
    x = np.arange(1000.0)
    made = kernel(compiled=False)(body)
    assert run(made, x, on=backend).value.tolist() == x.tolist()


def test_a_finish_may_read_one_element_of_each_chunk():
    x = np.arange(1000.0)
    made = kernel(finish=lambda out, plan: sum(out[:: plan.step]), compiled=False)(at_lo)
    assert run(made, x, on=Threads(2)).value == made(x) == x.sum()
    assert kernel(finish=lambda out, plan: out[0], grain=1000, compiled=False)(first_only)(x) == x.sum()


def test_what_a_decorator_calls_out_is_another_out():
    @kernel(compiled=False, check=lambda out, x: out[5])
    def decorated(lo, hi, out, x):
        out[0] = x[lo:hi].sum()

    with pytest.raises(ValueError, match=r"decorated writes out\[0\] and nothing else"):
        decorated(np.ones(1000))

    @kernel(reduce=lambda out: out[1:].sum() + out[0])
    def total(lo, hi, out, x):
        out[0] = x[lo:hi].sum()

    assert total(np.ones(1000)) == 1000


@pytest.mark.parametrize(
    ("reduce", "say"),
    [
        (max, r"reduce=lambda rows: max\(rows, default=0.0\)"),
        (min, r"reduce=lambda rows: min\(rows, default=0.0\)"),
        (np.max, r"reduce=lambda rows: … if len\(rows\) else 0.0"),
        (lambda rows: rows[0], r"reduce=lambda rows: … if len\(rows\) else 0.0"),
        (lambda rows: functools.reduce(max, rows), r"reduce=lambda rows: … if len\(rows\) else 0.0"),
    ],
    ids=["max", "min", "numpy's", "the first", "functools"],
)
def test_a_reduce_that_has_no_value_for_no_indices_is_told_what_to_say(reduce, say):
    made = kernel(reduce=reduce, compiled=False)(first_only)
    says = f"first_only is given no indices, and its reduce makes no value of no partial results .*; say {say}"
    for call in (made, lambda x: run(made, x, on=Threads(2))):
        with pytest.raises(ValueError, match=says):
            call(np.ones(0))
    assert made(np.ones(3)) == 1.0


def test_what_is_said_for_no_indices_is_right():
    for reduce in (lambda rows: max(rows, default=0.0), lambda rows: np.max(rows) if len(rows) else 0.0):
        made = kernel(reduce=reduce, compiled=False)(first_only)
        assert (made(np.ones(0)), made(np.ones(3))) == (0.0, 1.0)


def extremes(lo, hi, out, x):
    out[0, 0], out[0, 1] = x[lo], -x[lo]


def test_max_of_rows_of_several_numbers_names_what_takes_them():
    def made(reduce):
        return kernel(reduce=reduce, compiled=False, plan=lambda x: Plan(len(x), (x,), shape=(2,)))(extremes)

    with pytest.raises(
        ValueError, match=r"extremes has .* of several numbers, .* reduce=lambda rows: rows.max\(axis=0\)"
    ):
        made(max)(np.arange(9.0))
    assert made(lambda rows: rows.max(axis=0))(np.arange(9.0)).tolist() == [8.0, 0.0]


def test_an_error_of_a_reduce_is_its_own():
    def fails(rows):
        raise ValueError("of the reduce")

    with pytest.raises(ValueError, match=r"^of the reduce$"):
        kernel(reduce=fails, compiled=False)(first_only)(np.ones(3))


def test_a_body_that_returns_its_partial_result_is_told_where_it_goes():
    def returns(lo, hi, out, x):
        return x[lo:hi].sum() + 0

    with pytest.raises(ValueError, match=r"into out\[lo:hi\], or .* into out\[0\] with @kernel\(reduce=sum\)$"):
        kernel(returns)

    def takes_no_out(lo, hi, x):
        return x[lo:hi].sum() + 0

    with pytest.raises(ValueError, match=r"into x\[lo:hi\], .* into x\[0\] .* \(x, the third .* is the output\)"):
        kernel(takes_no_out)
