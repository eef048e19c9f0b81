"""run(…, check=True) finds what a chunk does to others, what depends on the cut, and whole numbers that are lost."""

from __future__ import annotations

import re

import numpy as np
import pytest
from sampling import pairs

from compute import CheckFailed, Serial, Threads, run
from kernels import Plan, kernel


def counts(lo, hi, out, x, bins):
    for i in range(lo, hi):
        bins[int(x[i]) % 4] += 1
        out[i] = 0


def marks(lo, hi, out, x, bins):
    for i in range(lo, hi):
        bins["seen"][0] = 1.0
        out[i] = 0


@pytest.mark.parametrize("variant", ["python", "nogil"])
@pytest.mark.parametrize(
    ("body", "bins", "where"),
    [
        (counts, np.zeros(4), "0"),
        (counts, np.ones((4, 2), np.int32)[:, 1], "0"),
        (marks, np.zeros(3, [("seen", "f8")]), "0"),
    ],
)
def test_an_inout_element_that_two_chunks_write_is_named(variant, body, bins, where):
    made = kernel(inout=("bins",), plan=lambda x, bins: Plan(len(x), (x, bins), grain=10))(body)
    before = bins.copy()
    says = rf"{body.__name__} \({variant}\) writes bins\[{where}\] in chunk 0 \(indices 0..10\) and in chunk 1 \("
    with pytest.raises(CheckFailed, match=says):
        run(made, np.arange(100.0), bins, on=Threads(2), variant=variant, check=True)
    np.testing.assert_array_equal(bins, before)


def test_an_inout_element_of_one_chunk_s_own_is_fine():
    @kernel(inout=("bins",), plan=lambda x, bins: Plan(len(x), (x, bins), grain=10))
    def one_each(lo, hi, out, x, bins):
        for i in range(lo, hi):
            bins[lo // 10] += x[i]
            out[i] = 0

    bins = np.zeros(10)
    run(one_each, np.ones(100), bins, on=Threads(2), check=True)
    np.testing.assert_array_equal(bins, np.full(10, 10.0))


def whole(lo, hi, out, x):
    out[:] = 2 * x


def every_index(lo, hi, out, x):
    for i in range(len(x)):
        out[i] = 2 * x[i]


def every_row(lo, hi, out, x):
    for i in range(len(x)):
        for j in range(2):
            out[i, j] = 2 * x[i, j]


def one_further(lo, hi, out, x):
    out[0] = x[0]
    for i in range(lo, min(hi, len(x) - 1)):
        out[i + 1] = x[i + 1]


@pytest.mark.parametrize(("body", "variant"), pairs([whole, every_index, one_further], ["python", "nogil"]))
def test_a_chunk_that_writes_elsewhere_is_named(variant, body):
    says = r"chunk [01] \(indices \d+..\d+\) writes out\[\d+\], which belongs to chunk"
    with pytest.raises(CheckFailed, match=says):
        run(kernel(body), np.arange(2000.0), on=Threads(2), variant=variant, check=True)
    planned = kernel(every_row, plan=lambda x: Plan(len(x), (x,), shape=x.shape))
    with pytest.raises(CheckFailed, match=r"writes out\[\d+, 0\] in chunk 0 .* and in chunk 1 .*belong to one chunk"):
        run(planned, np.ones((300, 2)), on=Threads(2), variant=variant, check=True)


def test_columns_may_be_what_belongs_to_an_index():
    @kernel(plan=lambda A: Plan(A.shape[1], (A,), shape=A.shape))
    def by_column(lo, hi, out, A):
        for j in range(lo, hi):
            for i in range(A.shape[0]):
                out[i, j] = A[i, j]

    A = np.random.default_rng(0).random((7, 300))
    np.testing.assert_array_equal(run(by_column, A, on=Threads(2), check=True).value, A)


def running_sum(lo, hi, out, x):
    out[lo:hi] = np.cumsum(x[lo:hi])


def centred(lo, hi, out, x):
    middle = x[lo:hi].mean()
    for i in range(lo, hi):
        out[i] = x[i] - middle


def ordered(lo, hi, out, x):
    out[lo:hi] = np.sort(x[lo:hi])


def mean(lo, hi, out, x):
    out[0] = x[lo:hi].mean()


def summed(lo, hi, out, x):
    out[0] = x[lo:hi].sum()


@pytest.mark.parametrize(
    ("made", "variant"),
    pairs([*map(kernel, (running_sum, centred, ordered)), kernel(reduce=np.mean)(mean)], ["python", "nogil"]),
    ids=lambda given: getattr(given, "name", given),
)
def test_a_value_that_depends_on_the_cut_is_named(variant, made):
    x = np.random.default_rng(0).random(2011)
    with pytest.raises(
        CheckFailed, match=r"depends on how indices are cut into chunks: 8 or 17 to a chunk give .*grain=…"
    ):
        run(made, x, on=Serial(), variant=variant, check=True)


@pytest.mark.slow
def test_a_cut_that_is_meant_is_no_fault():
    x = np.random.default_rng(0).random(2011)
    run(kernel(running_sum, grain=100), x, on=Serial(), check=True)
    assert run(kernel(summed, reduce=np.sum), x, on=Serial(), check=True).value == pytest.approx(x.sum())

    @kernel
    def noise(lo, hi, out, x):
        np.random.seed(lo)
        for i in range(lo, hi):
            out[i] = x[i] + np.random.standard_normal()

    for made in (noise, kernel(mean, reduce=list)):
        events = run(made, x, on=Serial(), check=True).timeline.events
        assert any("depends on how indices are cut into chunks" in line for line in events), events


@kernel
def plainly(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = x[i]


def test_whole_numbers_that_a_float_does_not_hold_are_noted():
    large = np.array([3, 2**62 + 1])
    (told,) = run(plainly, large, on=Serial(), check=True).timeline.events
    assert re.match(
        r"1 of 2 values are 9007199254740992 or more, the first at \[1\]: .*@kernel\(dtype=np.int64\)", told
    )
    for x in (np.array([3, 2**53 - 1]), large.astype(float)):
        assert run(plainly, x, on=Serial(), check=True).timeline.events == ()


def test_truth_values_that_are_all_true_were_written():
    @kernel(dtype=bool)
    def always(lo, hi, out, x):
        for i in range(lo, hi):
            out[i] = True

    assert run(always, np.zeros(9), on=Serial(), check=True).value.all()


def full(lo, hi, out, x):
    out[0] = 2**30 if hi > len(x) // 2 else 2**29


@pytest.mark.parametrize("reduce", [sum, np.sum])
@pytest.mark.parametrize("dtype", [np.int32, pytest.param(np.uint32, marks=pytest.mark.slow), np.int64])
def test_a_sum_is_wider_than_its_parts(reduce, dtype):
    made = kernel(full, dtype=dtype, reduce=reduce)
    expected = 128 * (2**29 + 2**30)
    for backend in (Serial(), Threads(2)):
        assert run(made, np.zeros(256), on=backend).value == expected


def test_a_sum_of_rows_and_of_truth_values_is_wider_too():
    plan = lambda x: Plan(len(x), (x,), shape=(2,), dtype=np.uint8)  # noqa: E731

    @kernel(reduce=sum, plan=plan)
    def rows(lo, hi, out, x):
        out[0, 0], out[0, 1] = 200, 1

    assert rows(np.zeros(256)).tolist() == [256 * 200, 256]

    @kernel(reduce=sum, dtype=bool)
    def flags(lo, hi, out, x):
        out[0] = True

    assert flags(np.zeros(256)) == 256


@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_another_reduction_that_overflows_is_named():
    made = kernel(full, dtype=np.int32, reduce=lambda parts: sum(parts), grain=1)
    with pytest.raises(
        CheckFailed,
        match=rf"full \({made.variant}\)'s reduce overflows int32: it gives .* 206158430208; use reduce=sum",
    ):
        run(made, np.zeros(256), on=Serial(), check=True)


def neighbours_flag(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = x[i] > 0
        if i > 0:
            out[i - 1] = True


def the_first(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = 3
    out[0] = -1


@pytest.mark.parametrize("variant", ["python", "nogil"])
@pytest.mark.parametrize(("body", "dtype"), [(neighbours_flag, np.bool_), (the_first, np.int8), (the_first, np.int64)])
def test_a_write_of_what_was_there_before_is_a_write(variant, body, dtype):
    with pytest.raises(CheckFailed, match=r"writes out\[\d+\], which belongs to chunk \d+"):
        run(kernel(dtype=dtype)(body), np.ones(1000), on=Threads(2), variant=variant, check=True)
