"""numpy's own kinds of arrays, as `out` and as inputs: as numpy does, or a line that says what to pass instead."""

from __future__ import annotations

import datetime
import re
import tempfile
from fractions import Fraction

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

from compute import Processes, Threads, shared
from kernels import kernel, mandelbrot, matmul, matvec, transpose, triad
from kernels.definition.plan import Plan

RNG = np.random.default_rng(20)
A, B, X = RNG.random((6, 4)), RNG.random((4, 5)), RNG.random(4)


class Named(np.ndarray):
    """A subclass with something of its own, as numpy's documentation makes one."""

    def __array_finalize__(self, other):
        self.name = getattr(other, "name", None)


class Unwilling(np.ndarray):
    """It cannot be written to by an index, as some arrays that are computed later."""

    def __setitem__(self, key, value):
        raise RuntimeError("written to by an index")


class Doubling(np.ndarray):
    def __setitem__(self, key, value):
        super().__setitem__(key, 2 * np.asarray(value))


class WithUnit(np.ndarray):
    """It takes part in numpy's arithmetic by rules of its own."""

    def __array_ufunc__(self, ufunc, method, *inputs, **kw):
        raise TypeError("metres are no seconds")


@kernel(plan=lambda x, out=None: Plan(len(x), (x,), out=out))
def negated(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = -x[i]


CALLS = {
    "matmul": (matmul, (A, B), A @ B),
    "matvec": (matvec, (A, X), A @ X),
    "transpose": (transpose, (A,), A.T),
    "triad": (triad, (A, 2 * A, 3.0), 7 * A),
    "mandelbrot": (mandelbrot, ((6, 5), -0.5, 3.0, 50), mandelbrot.python((6, 5), -0.5, 3.0, 50)),
    "a user's": (negated, (X,), -X),
}
MASKED = "out is a masked array, and its mask would not be set; pass out.data"
SHARES = "out's elements share memory, so that one would overwrite another; pass out.copy"
DTYPE = r"out has dtype .*, which cannot hold (float64|int32); use np.empty\("


def masked(shape, dtype, hard=False):
    array = np.ma.masked_array(np.zeros(shape, dtype), mask=np.zeros(shape, bool), hard_mask=hard)
    array.mask.flat[:2] = True
    return array


def read_only(shape, dtype):
    array = np.zeros(shape, dtype)
    array.flags.writeable = False
    return array


def apart(shape, dtype):
    return np.zeros([2 * extent for extent in shape], dtype)[(slice(None, None, 2),) * len(shape)]


def unaligned(shape, dtype):
    return np.ndarray(shape, dtype, np.zeros(np.dtype(dtype).itemsize * (np.prod(shape, dtype=int) + 1), np.uint8), 1)


def mapped(shape, dtype):
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, dtype, "w+", shape=shape or 1).reshape(shape)


# What makes an out -> what is said of it, or None where it is filled and returned.
OUTS = {
    "np.matrix": (lambda s, d: np.zeros(s, d).view(np.matrix) if len(s) == 2 else np.zeros(s, d), None),
    "of another dtype": (lambda s, d: np.zeros(s, np.float32).view(Named), None),
    "np.matrix of another dtype": (lambda s, d: np.zeros(s, "f4").view(np.matrix if len(s) == 2 else Named), None),
    "masked": (masked, MASKED),
    "hard-masked": (lambda s, d: masked(s, d, hard=True), MASKED),
    "masked nowhere": (lambda s, d: np.ma.masked_array(np.zeros(s, d)), MASKED),
    "masked in shared memory": (lambda s, d: np.ma.masked_array(shared.array(np.zeros(s, d)), True), MASKED),
    "np.recarray": (lambda s, d: np.zeros(s, d).view(np.recarray), None),
    "a field of records": (lambda s, d: np.zeros(s, [("x", d), ("y", "u1")]).view(np.recarray).x, None),
    "records": (lambda s, d: np.zeros(s, [("x", d)]), DTYPE),
    "np.memmap": (mapped, None),
    "a subclass": (lambda s, d: np.zeros(s, d).view(Named), None),
    "a subclass of its own indexing": (lambda s, d: np.zeros(s, d).view(Unwilling), None),
    "the same, of another dtype": (lambda s, d: np.zeros(s, np.longdouble).view(Doubling), None),
    "a subclass of its own arithmetic": (lambda s, d: np.zeros(s, d).view(WithUnit), "WithUnit, whose own arithmetic"),
    "read-only": (read_only, "out is read-only; pass a writeable array"),
    "columns first": (lambda s, d: np.zeros(s, d, order="F"), None),
    "not contiguous": (apart, None),
    "backwards": (lambda s, d: np.zeros(s, d)[(slice(None, None, -1),) * len(s)], None),
    "not aligned": (unaligned, None),
    "of the other byte order": (lambda s, d: np.zeros(s, np.dtype(d).newbyteorder()), None),
    "of objects": (lambda s, d: np.zeros(s, object), None),
    "complex": (lambda s, d: np.zeros(s, complex), None),
    "of texts": (lambda s, d: np.zeros(s, "U8"), DTYPE),
    "of long texts": (lambda s, d: np.zeros(s, "U99"), DTYPE),
    "of bytes": (lambda s, d: np.zeros(s, "S8"), DTYPE),
    "of raw bytes": (lambda s, d: np.zeros(s, "V8"), DTYPE),
    "of bools": (lambda s, d: np.zeros(s, bool), DTYPE),
    "in a tuple": (lambda s, d: (np.zeros(s, d),), None),
    "in shared memory": (lambda s, d: shared.array(np.zeros(s, d)), None),
    "two in a tuple": (lambda s, d: (np.zeros(s, d), None), "out must be an array, not tuple"),
    "a list": (lambda s, d: np.zeros(s, d).tolist(), "out must be an array, not list"),
    "of another shape": (lambda s, d: np.zeros((*s, 2), d), r"out has (the wrong shape|shape)"),
    "one element for all": (lambda s, d: as_strided(np.zeros(1, d), s, (0,) * len(s)), SHARES),
    "elements that overlap": (lambda s, d: as_strided(np.zeros(99, d), s, (3,) * len(s)), SHARES),
}  # fmt: skip


# Each of these is compiled anew for each of those, which takes seconds; the families' own tests do.
LAYOUTS = "columns first", "not contiguous", "backwards"
FAMILIES = "matmul", "matvec", "transpose"


@pytest.fixture(
    scope="module", params=["called", pytest.param(Threads(2), marks=pytest.mark.slow), Processes(2)], ids=repr
)
def pool(request):
    if request.param == "called":
        yield None
    else:
        with request.param.open() as pool:
            yield pool


@pytest.mark.parametrize(
    "call", [pytest.param(call, marks=pytest.mark.slow if call in ("mandelbrot", "matvec") else ()) for call in CALLS]
)
def test_an_out_is_filled_and_returned_as_by_numpy_or_refused(pool, call):
    of_kernel, args, right = CALLS[call]
    wrong = []
    for name, (make, refusal) in OUTS.items():
        for variant in of_kernel.variants if pool is None else [of_kernel.variant]:
            if variant == "nogil" and name in LAYOUTS and call in FAMILIES:
                continue
            out = make(right.shape, right.dtype)
            held = of_kernel.held_to(variant)
            try:
                value = held(*args, out=out) if pool is None else pool.run(held, *args, out=out).value
            except (ValueError, TypeError) as error:
                if "\n" in str(error) or refusal is None or not re.search(refusal, str(error)):
                    wrong.append((name, variant, repr(error)))
                continue
            target = out[0] if isinstance(out, tuple) else out
            if refusal or value is not target:
                wrong.append((name, variant, refusal, type(value)))
            rough = 1e-6 if np.ndarray.view(value, np.ndarray).dtype.itemsize == 4 else 1e-12
            if not np.allclose(np.asarray(value).astype(complex), right, rtol=rough, atol=0):
                wrong.append((name, variant, value, right))
    assert wrong == []


@kernel(plan=lambda x, out=None: Plan(len(x), (x,), out=out), reduce=np.sum)
def total(lo, hi, out, x):
    out[0] = 0.0
    for i in range(lo, hi):
        out[0] += x[i]


@kernel(plan=lambda x, out=None: Plan(len(x), (x,), out=out), finish=lambda out, plan: out / 2)
def halved(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = x[i]


@pytest.mark.parametrize("dtype", ["U8", "S99", "V8", "M8[s]", "m8[s]", "i4", "?", [("x", "f8")]], ids=str)
@pytest.mark.parametrize("of_kernel", [total, halved], ids=lambda k: k.name)
def test_an_out_that_a_reduced_or_finished_value_does_not_fit_is_left_alone(pool, of_kernel, dtype):
    out = np.zeros(() if of_kernel is total else 4, dtype)
    before = out.copy()
    with pytest.raises(ValueError, match=r"out has dtype .*, which cannot hold float64; use np\.empty"):
        _ = of_kernel(X + 0.3, out=out) if pool is None else pool.run(of_kernel, X + 0.3, out=out)
    assert (out == before).all()


def test_an_out_that_holds_a_reduced_value_is_filled(pool):
    for dtype in (object, complex, np.float32, ">f8"):
        out = np.zeros((), dtype)
        value = total(X, out=out) if pool is None else pool.run(total, X, out=out).value
        assert value is out
        assert np.isclose(complex(out), X.sum())


def test_an_out_without_axes(pool):
    for make in (np.zeros, lambda shape: np.zeros(shape).view(Named), lambda shape: np.zeros(shape, ">f8")):
        out = make(())
        value = triad(1.0, 2.0, 3.0, out=out) if pool is None else pool.run(triad, 1.0, 2.0, 3.0, out=out).value
        assert value is out
        assert float(out) == 7.0


@pytest.mark.parametrize(
    ("array", "refusal"),
    [
        (A.view(np.matrix), "is a matrix, and its own arithmetic would be lost; pass np.asarray("),
        (np.ma.masked_greater(A, 0.5), "is a masked array, and its mask would be lost; pass "),
        (A.view(Named), "is a Named, and what it adds to an array would be lost; pass np.asarray("),
        (A.view(WithUnit), "is a WithUnit, and what it adds to an array would be lost; pass np.asarray("),
        (A.view(np.recarray), "is a recarray, and what it adds to an array would be lost; pass np.asarray("),
        (A.astype(object), "object"),
        (np.zeros((6, 4), [("x", float)]), "[('x', '<f8')]"),
        pytest.param(A.astype(complex), "complex", marks=pytest.mark.slow),  # test_own_dtypes.py has it as well
        (A.astype(">f8"), None),
        (A.astype(np.float16), None),
        (unaligned((6, 4), float), None),
        (read_only((6, 4), float), None),
        (mapped((6, 4), float), None),
    ],
    ids=lambda x: f"{type(x).__name__} {x.dtype}" if isinstance(x, np.ndarray) else "",
)
def test_an_operand_is_read_as_by_numpy_or_refused(pool, array, refusal):
    calls = [
        (matmul, (array, B), lambda a: a @ B), (matvec, (array, X), lambda a: a @ X),
        (transpose, (array,), np.transpose), (triad, (array, 1.0, 2.0), lambda a: a + 2.0),
    ]  # fmt: skip
    for of_kernel, args, right in calls:
        for variant in of_kernel.variants if pool is None else [of_kernel.variant]:
            held = of_kernel.held_to(variant)
            if refusal and not (refusal == "complex" and of_kernel in (transpose, triad)):  # which compute it
                with pytest.raises(ValueError, match=re.escape(refusal)) as refused:
                    held(*args) if pool is None else pool.run(held, *args)
                assert "\n" not in str(refused.value)
            else:
                value = held(*args) if pool is None else pool.run(held, *args).value
                np.testing.assert_allclose(
                    value, right(array.astype(complex if array.dtype.kind == "c" else float)), rtol=1e-12
                )


def test_an_out_that_overlaps_what_is_read_gets_the_right_values(pool):
    for of_kernel, view, more in (
        (triad, lambda a: (a[1:], a[:-1], 2.0), lambda a: a[:-1]),
        (triad, lambda a: (a[:-1], a[1:], 2.0), lambda a: a[1:]),
        (transpose, lambda a: (a[:4, :4],), lambda a: a[1:5, :4]),
        (matmul, lambda a: (a, a), lambda a: a[::-1]),
        (matvec, lambda a: (a, a[0]), lambda a: a[:, 0]),
    ):
        square = RNG.random((6, 6))
        args = view(square)
        right = np.array(of_kernel.python(*[np.array(x) for x in args]))
        out = more(square)
        value = of_kernel(*args, out=out) if pool is None else pool.run(of_kernel, *args, out=out).value
        assert value is out
        np.testing.assert_allclose(out, right, rtol=1e-12)


@kernel(finish=lambda filled, plan: 5.0, plan=lambda x, out=None: Plan(len(x), (x,), out=out))
def five(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = x[i]


@pytest.mark.parametrize("of_kernel", [five, total], ids=lambda k: k.name)
def test_bodies_fill_no_out_of_another_shape_than_theirs(pool, of_kernel):
    base = np.zeros(1000)
    for out in (base[:3], base[:1].reshape(())):
        value = of_kernel(np.ones(100), out=out) if pool is None else pool.run(of_kernel, np.ones(100), out=out).value
        assert value is out
        assert (out == (5 if of_kernel is five else 100)).all()
        assert not base[3:].any()


FIELDS = [("a", "f8"), ("b", "f8")]
FIT = [
    (np.int32, 7), (np.uint64, [1, 2]), (np.uint64, np.int64(7)), (np.int64, []), (FIELDS, (1.0, 2.0)), (float, True),
    ("M8[D]", datetime.date(2020, 1, 1)), (object, 2.5), (np.float32, np.float64(1)), (float, Fraction(1, 2)),
]  # fmt: skip
DO_NOT = [
    (np.int32, [2.5]), (np.uint64, np.array([-1, 2])), (FIELDS, np.float64(1)), ("U8", 3), ("U8", np.int64(3)),
    ("S8", 2.5), (bool, 2.5), ("M8[s]", 2),
]  # fmt: skip


@pytest.mark.parametrize(("dtype", "value", "fits"), [(*c, True) for c in FIT] + [(*c, False) for c in DO_NOT], ids=str)
def test_an_out_takes_what_numpy_makes_of_a_finished_value_and_loses_nothing(dtype, value, fits):
    ends = kernel(finish=lambda filled, plan: value, plan=lambda x, out=None: Plan(len(x), (x,), out=out))
    out = np.zeros(np.shape(value) if not isinstance(value, tuple) else (), dtype)
    right = out.copy()
    if fits:
        right[...] = value
        assert ends(_copied)(X, out=out) is out
    else:
        with pytest.raises(ValueError, match="cannot hold"):
            ends(_copied)(X, out=out)
    assert (out == right).all()


def _copied(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = x[i]
