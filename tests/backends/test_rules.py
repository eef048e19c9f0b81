"""Rules for bodies, held on every backend in the same way: inputs are read-only, dtypes are named, lanes run alone."""

from __future__ import annotations

import gc
import re

import numpy as np
import pytest
import rules
from rules import EVERYWHERE, variants_on

from compute import Joblib, Prange, Processes, Threads, run, shared
from compute.dispatch import WorkerDied
from kernels import kernel
from kernels.definition.refusals import WritesToInput

pytestmark = pytest.mark.slow

FAR = [backend for backend in EVERYWHERE if isinstance(backend, Processes) or backend == Joblib(2)]
RECORDS = np.dtype([("u", np.float64), ("v", np.int32)])


@pytest.mark.parametrize("backend", EVERYWHERE, ids=repr)
def test_inputs_are_read_only(pool_of, backend):
    pool, a = pool_of(backend), np.arange(20.0)
    one = "writes to its input a, and inputs are read-only; write into out, or say @kernel\\(inout=\\('a',\\)\\)"
    for variant in variants_on(backend):
        for made in (rules.writes, rules.sorts, rules.adds_in_place):
            with pytest.raises(WritesToInput, match=one):
                pool.run(made, a, variant=variant)
        with pytest.raises(WritesToInput, match="writes to one of its inputs a, b"):
            pool.run(rules.writes_by_helper, a, a, variant=variant)
        np.testing.assert_array_equal(pool.run(rules.has_a_copy, a, variant=variant).value, a + 1)
    np.testing.assert_array_equal(a, np.arange(20.0))


@pytest.mark.parametrize("backend", EVERYWHERE, ids=repr)
def test_what_numba_would_let_a_body_write_to_is_refused(pool_of, backend):
    for made, a in ((rules.writes_a_field, np.zeros(20, RECORDS)), (rules.writes_flat, np.zeros(20))):
        with pytest.raises(WritesToInput, match="writes to its input a, "):
            pool_of(backend).run(made.nogil, a)
        assert not a.view(np.uint8).any()


@pytest.mark.parametrize("backend", EVERYWHERE, ids=repr)
def test_a_chunk_that_fails_once_is_never_taken_for_done(pool_of, backend):
    a = np.ones(50)
    a[17] = 0
    with pytest.raises(ValueError, match="zero"):
        pool_of(backend).run(rules.fails_once, a)


@pytest.mark.parametrize("backend", [Threads(2), Prange(2)], ids=repr)
def test_a_lane_that_outlasts_a_failed_one_by_a_slice_hides_nothing(pool_of, backend):
    with pytest.raises(ValueError, match="once"):
        pool_of(backend).run(rules.fails_once_beside_a_long_chunk.nogil, 10**7, np.zeros(2))


def test_an_error_of_a_body_s_own_stays_as_it_is():
    @kernel(compiled=False)
    def complains(lo, hi, out, x):
        try:
            out[hi + 9]
        except IndexError as error:
            raise ValueError("this file is read-only") from error

    for attempt in (lambda: complains(np.zeros(3)), lambda: run(complains, np.zeros(3), on=EVERYWHERE[0])):
        with pytest.raises(ValueError, match=r"^this file is read-only(\n|$)") as caught:
            attempt()
        assert isinstance(caught.value.__cause__, IndexError)


def test_inputs_are_read_only_where_a_kernel_is_called():
    a = np.arange(5.0)
    for made in (rules.writes, rules.writes.python, rules.sorts, rules.sorts.python):
        with pytest.raises(WritesToInput, match="its input a, and"):
            made(a)
    np.testing.assert_array_equal(a, np.arange(5.0))


@pytest.mark.parametrize("backend", EVERYWHERE, ids=repr)
def test_what_a_kernel_says_that_it_writes_to_is_changed(pool_of, backend):
    pool = pool_of(backend)
    for variant in variants_on(backend):
        for a in (np.arange(40.0), np.arange(80.0)[::-2], shared.array(np.arange(40.0)), np.arange(40, dtype=np.int32)):
            was = a.copy()
            np.testing.assert_array_equal(pool.run(rules.counted, a, 3.0, variant=variant).value, was)
            np.testing.assert_array_equal(a, was + 3)


def test_a_kernel_that_is_called_changes_what_it_says():
    a = np.arange(40.0)
    np.testing.assert_array_equal(rules.counted(a, 3.0), np.arange(40.0))
    np.testing.assert_array_equal(a, np.arange(40.0) + 3)


@pytest.mark.parametrize("backend", FAR, ids=repr)
def test_a_chunk_that_writes_to_what_it_reads_is_not_run_again(backend, tmp_path):
    for a in (np.zeros(8), shared.array(np.zeros(8))):
        flag = tmp_path / f"{id(a)}"
        with pytest.raises(WorkerDied, match="writes to its input a: what that holds now is not known"):
            run(rules.dies_once_in_place, a, str(flag), on=backend)
        gc.collect()  # loky's semaphores have been seen to outlive its pool by a moment


@pytest.mark.parametrize("backend", FAR, ids=repr)
def test_a_chunk_whose_out_is_its_input_is_run_again_on_what_it_read_before(backend, tmp_path):
    a = shared.array(np.arange(8.0))
    result = run(rules.dies_once, a, str(tmp_path / "flag"), out=a, on=backend)
    assert result.value is a
    np.testing.assert_array_equal(a, 2 * np.arange(8.0))
    assert "which was run again" in "".join(result.timeline.events)


def test_arrays_that_a_body_writes_to_share_no_memory_with_others():
    a = np.arange(10.0)
    with pytest.raises(ValueError, match=r"a is written to, and by shares its memory; pass a.copy\(\)"):
        rules.counted(a, a)
    with pytest.raises(ValueError, match=r"a is written to, and this one is read-only; pass a.copy\(\)"):
        rules.counted(np.broadcast_to(a, (10,)), 1.0)
    with pytest.raises(ValueError, match="a is written to, so it must be an array, not list"):
        rules.counted([1.0, 2.0], 1.0)
    with pytest.raises(ValueError, match="elements share memory"):
        rules.counted(np.lib.stride_tricks.as_strided(a, (10,), (0,)), 1.0)


def test_inout_names_inputs():
    with pytest.raises(ValueError, match="inout names 'b', which is no input of f; it has a"):

        @kernel(inout=("b",))
        def f(lo, hi, out, a):
            out[lo:hi] = a[lo:hi]

    with pytest.raises(ValueError, match=re.escape("inout must be a tuple of names, not 'a'; write inout=('a',)")):
        kernel(inout="a")(lambda lo, hi, out, a: None)


@pytest.mark.parametrize("backend", EVERYWHERE, ids=repr)
def test_a_body_that_turns_out_to_return_something_is_named(pool_of, backend):
    for variant in variants_on(backend):
        with pytest.raises(ValueError, match="must return nothing: what it returns is lost"):
            pool_of(backend).run(rules.returns_by_call, np.zeros(9), variant=variant)
        assert pool_of(backend).run(rules.returns_at_times, np.zeros(9), variant=variant).value.sum() == 0
        with pytest.raises(ValueError, match="must return nothing: what it returns is lost"):
            pool_of(backend).run(rules.returns_at_times, np.arange(9.0), variant=variant)
    with pytest.raises(ValueError, match="must return nothing"):
        rules.returns_by_call(np.zeros(9))


@pytest.mark.parametrize("backend", EVERYWHERE, ids=repr)
def test_dtypes_that_compiled_code_cannot_take_are_named(pool_of, backend):
    pool = pool_of(backend)
    x = np.arange(9.0)
    for bad, remedy in {
        np.float16: "x.astype(np.float32)",
        ">f8": "x.astype(x.dtype.newbyteorder('='))",
        np.longdouble: "x.astype(np.float64)",
        np.clongdouble: "x.astype(np.complex128)",
    }.items():
        with pytest.raises(ValueError, match="^x has dtype .*" + re.escape(f"pass {remedy}, or run the 'python'")):
            pool.run(rules.doubled.nogil, x.astype(bad))
        if "python" in variants_on(backend):
            np.testing.assert_array_equal(pool.run(rules.copied.python, x.astype(bad)).value, x)
    with pytest.raises(ValueError, match=r"x has dtype object, which holds Python objects.*pass x.astype\(float\)"):
        pool.run(rules.doubled, x.astype(object))


class Metres(np.ndarray):
    """An array with a unit."""


class Frame:
    """What pandas and its like look like to numpy."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype)

    def to_numpy(self):
        return self.values


@pytest.mark.parametrize("backend", EVERYWHERE, ids=repr)
def test_arrays_of_other_kinds_are_honoured_or_named(pool_of, backend, tmp_path):
    pool, x = pool_of(backend), np.arange(9.0)
    for bad, says in (
        (np.ma.masked_array(x, x > 4), "x is a masked array, and its mask would be lost; pass x.filled(value)"),
        (x[None].view(np.matrix), "x is a matrix, and its own arithmetic would be lost; pass np.asarray(x)"),
        (x.view(Metres), "x is a Metres, and what it adds to an array would be lost; pass np.asarray(x)"),
        (np.zeros(9, RECORDS).view(np.recarray), "x is a recarray"),
    ):
        for made in (rules.doubled, rules.copied):  # without a plan, and with one
            for variant in variants_on(backend):
                with pytest.raises(ValueError, match=re.escape(says)):
                    pool.run(made, bad, variant=variant)
    mapped = np.memmap(tmp_path / "x", np.float64, "w+", shape=(9,))
    mapped[:] = x
    for good in (Frame(x), mapped):
        np.testing.assert_array_equal(pool.run(rules.doubled, good).value, 2 * x)


def layouts():
    """Name -> an array, of every layout and dtype that people bring."""
    rng = np.random.default_rng(3)
    x, m = rng.random(40), rng.random((12, 10))
    readonly = x.copy()
    readonly.flags.writeable = False
    unaligned = np.frombuffer(bytearray(8 * 20 + 1), np.uint8)[1:].view(np.float64)
    unaligned[:] = x[:20]
    records = np.zeros(12, RECORDS)
    records["u"], records["v"] = x[:12], np.arange(12)
    return {
        "fortran": np.asfortranarray(m),
        "transposed": m.T,
        "reversed": x[::-1],
        "strided": x[::3],
        "column": m[:, 3],
        "zero strides": np.broadcast_to(np.float64(2.5), (17,)),
        "broadcast rows": np.broadcast_to(x[:5], (7, 5)),
        "empty": x[:0],
        "no columns": m[:, :0],
        "one": x[:1],
        "3-d slice": rng.random((6, 7, 8))[1:5, ::2, ::-1],
        "read-only": readonly,
        "unaligned": unaligned,
        "structured": records,
        "datetime": np.arange(9).astype("M8[s]"),
        **{np.dtype(code).name: (99 * x).astype(code) for code in "?bhilBHILfdFD"},
    }


@pytest.mark.parametrize("backend", EVERYWHERE, ids=repr)
def test_every_layout_and_dtype_gives_its_elements(pool_of, backend):
    pool = pool_of(backend)
    for name, x in layouts().items():
        if isinstance(backend, Prange) and name not in ("reversed", "float32"):
            continue  # it compiles every one anew, seconds each
        for variant in variants_on(backend):
            value = pool.run(rules.copied, x, variant=variant).value
            assert (value.shape, value.dtype) == (x.shape, x.dtype), name
            assert value.tobytes() == np.ascontiguousarray(x).tobytes(), name
    for variant in variants_on(backend):
        np.testing.assert_array_equal(
            pool.run(rules.spread, x := np.arange(9.0), np.array(2.5), variant=variant).value, 2.5 * x
        )
        if not isinstance(backend, Prange):  # numba makes numbers of such arrays where a parallel loop begins
            assert (pool.run(rules.constant, 30, np.array(2.5), variant=variant).value == 2.5).all()


@pytest.mark.parametrize("backend", EVERYWHERE, ids=repr)
def test_uint64_is_computed_as_uint64(pool_of, backend):
    x = np.array([0, 1, 2**63, 2**64 - 1], np.uint64)
    for variant in variants_on(backend):
        value = pool_of(backend).run(rules.thirds, x, np.uint64(3), variant=variant).value
        assert value.tolist() == [0, 0, 2**63 - 2, 2**64 - 1]


@pytest.mark.parametrize("backend", EVERYWHERE, ids=repr)
def test_an_exception_names_its_chunk(pool_of, backend):
    for variant in variants_on(backend):
        with pytest.raises(ValueError, match="no good") as caught:
            pool_of(backend).run(rules.raises, np.arange(30.0), 17, variant=variant)
        assert any("chunk 17 (indices 17..18)" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("backend", EVERYWHERE, ids=repr)
def test_parameters_are_bound_as_python_binds_them(pool_of, backend):
    pool, x = pool_of(backend), np.arange(9.0)
    for variant in variants_on(backend):
        for args, kw, expected in (
            ((x,), {}, 2 * x),
            ((x, 3.0), {}, 3 * x),
            ((x,), {"shift": 4}, 2 * x + 4),
            ((), {"shift": 1, "x": x, "scale": 5.0}, 5 * x + 1),
        ):
            np.testing.assert_array_equal(pool.run(rules.spread, *args, **kw, variant=variant).value, expected)
        np.testing.assert_array_equal(pool.run(rules.summed, x, 2 * x, variant=variant).value, 3 * x)
        np.testing.assert_array_equal(pool.run(rules.with_none, x, variant=variant).value, x)
        np.testing.assert_array_equal(pool.run(rules.with_none, x, table=x, variant=variant).value, x * x)
