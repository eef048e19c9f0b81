"""With reduce= a chunk's out is one row: what writes beyond it is refused, when it is made or when it runs."""

from __future__ import annotations

import functools
import re

import numpy as np
import pytest

from compute import Coroutines, Joblib, Prange, Processes, Serial, Threads, run
from kernels import Plan, kernel
from kernels.definition.rows import keeps_to_its_row

pytestmark = pytest.mark.slow

BACKENDS = [Serial(), Threads(2), Prange(2), Coroutines(2), Processes(2), Joblib(2)]
x = np.random.default_rng(0).random(2_011)


def summed(made):
    return kernel(reduce=lambda rows: rows.sum(axis=0), plan=lambda x: Plan(len(x), (x,), shape=(2,)))(made)


def next_row(lo, hi, out, x):
    out[0] = x[lo:hi].sum()
    out[1] = (x[lo:hi] ** 2).sum()


def fills(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = x[i]


def at_lo(lo, hi, out, x):
    out[lo, 0] += x[lo]


def a_slice(lo, hi, out, x):
    out[lo:hi] = 0.0


def from_one(lo, hi, out, x):
    out[2, 1] = 1.0


@pytest.mark.parametrize(
    ("body", "index"), [(next_row, "1"), (fills, "i"), (at_lo, "lo, 0"), (a_slice, "lo:hi"), (from_one, "2, 1")]
)
def test_a_body_that_shows_it_is_refused_when_it_is_made(body, index):
    says = rf"{body.__name__} indexes out\[\(?{re.escape(index)}\)?\], and with reduce= a chunk's out is a single row"
    for options in ({"reduce": sum}, {"reduce": np.sum, "compiled": False}):
        with pytest.raises(ValueError, match=says):
            kernel(**options)(body)
    kernel(body)  # without reduce, out is all of it


def put(array, k, value):
    array[k] = value


def by_helper(lo, hi, out, x):
    out[:] = 0.0
    put(out, hi - lo, x[lo])


def by_loop(lo, hi, out, x):
    for k in range(2):
        out[k] = x[lo]


def by_view(lo, hi, out, x):
    row = out[:]
    row[lo + 1] = 1.0


@pytest.mark.parametrize("backend", BACKENDS, ids=repr)
@pytest.mark.parametrize("body", [by_helper, by_loop, by_view])
def test_what_shows_only_when_it_runs_is_an_error_and_corrupts_nothing(backend, body):
    made = summed(body)
    for variant in ("python", "nogil"):
        if backend.refuses(made.held_to(variant)) is None:
            with pytest.raises(IndexError, match=r"out of bounds.*; a chunk's out is a single row: write out\[0\]"):
                run(made, x, on=backend, variant=variant)
            with pytest.raises(IndexError, match="a chunk's out is a single row"):
                made.held_to(variant)(x)


def moments(lo, hi, out, x):
    out[0, 0], out[0, 1] = 0.0, 0.0
    for i in range(lo, hi):
        out[0, 0] += x[i]
        out[0, 1] += x[i] ** 2


def cleared(lo, hi, out, x):
    out[:] = 0.0
    out[:] += 1.0
    out[-1, 1] = out.shape[1]


def counted_by_helper(lo, hi, out, x):
    for k in range(2):
        put(out[0], k, 1.0)


def with_a_name(lo, hi, out, x):
    first = 0
    out[first, 0], out[first, 1] = 1.0, 2.0


def test_what_keeps_to_its_row_is_compiled_without_checks_and_all_give_their_sums():
    assert [keeps_to_its_row(f) for f in (moments, cleared, counted_by_helper)] == [True] * 3
    assert [keeps_to_its_row(f) for f in (with_a_name, by_helper, by_loop, by_view)] == [False] * 4
    chunks = summed(moments).plan(x).chunks
    for backend in BACKENDS:
        np.testing.assert_allclose(run(summed(moments), x, on=backend).value, [x.sum(), (x**2).sum()])
        np.testing.assert_array_equal(run(summed(cleared), x, on=backend).value, [chunks, 2 * chunks])
        np.testing.assert_array_equal(run(summed(with_a_name), x, on=backend).value, [chunks, 2 * chunks])


def in_a_table(lo, hi, out, x):
    for i in range(lo, hi):
        for j in range(2):
            out[i, j] = x[i]


def every_tenth(lo, hi, out, x):
    for i in range(lo, hi):
        if i % 10 == 0:
            out[i // 10] = x[i]


def up_to_ten(lo, hi, out, x):
    for i in range(lo, hi):
        if i >= 10:
            break
        out[i] = x[i]


def up_to_hi(lo, hi, out, x):
    hi = min(hi, 10)
    for i in range(lo, hi):
        out[i] = x[i]


def down_columns(lo, hi, out, x):
    for i in range(lo, hi):
        out[0, i] = x[i]


@pytest.mark.parametrize(("body", "shape"), [(fills, (50,)), (in_a_table, (50, 2)), (fills, ())])
def test_an_output_that_is_shorter_than_what_the_body_writes_is_refused_before_it_runs(body, shape):
    made = kernel(body, plan=lambda x: Plan(len(x), (x,), shape=shape))
    says = rf"{body.__name__}'s plan gives an output of shape {re.escape(str(shape))} for 100 indices"
    for variant in ("python", "nogil"):
        with pytest.raises(ValueError, match=says):
            run(made, np.ones(100), on=Threads(2), variant=variant)


@pytest.mark.parametrize(
    ("body", "shape"), [(every_tenth, (10,)), (up_to_ten, (10,)), (up_to_hi, (10,)), (down_columns, (1, 100))]
)
def test_an_output_with_fewer_rows_than_indices_may_be_right(body, shape):
    made = kernel(body, plan=lambda x: Plan(len(x), (x,), shape=shape, grain=20))
    np.testing.assert_array_equal(run(made, np.ones(100), on=Threads(2)).value, np.ones(shape))


def spoils_more(function):
    """A decorator whose body writes beyond the row that the one inside keeps to."""

    @functools.wraps(function)
    def body(lo, hi, out, x):
        function(lo, hi, out, x)
        for k in range(1, 4):
            out[k] = -1.0

    return body


@spoils_more
def keeps(lo, hi, out, x):
    out[0] = x[lo:hi].sum()


@pytest.mark.parametrize("variant", ["python", "nogil"])
def test_the_text_of_a_wrapped_body_proves_nothing(variant):
    """It is of the function inside: compiled without checks, the wrapper wrote into memory of something else."""
    made = kernel(reduce=sum)(keeps)
    with pytest.raises(IndexError, match=r"a chunk's out is a single row: write out\[0\]"):
        run(made, x, on=Serial(), variant=variant)
