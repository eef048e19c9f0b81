"""What is told by a body's text: whether it computes the same from memoryviews as from numpy's arrays.

A body that passes is run on both, whatever interpreter this is: a memoryview is one everywhere.
"""

import array
import inspect
import sys
import types

import numpy as np
import plain_bodies
import pytest

from compute.backends.interpreters import elements
from compute.backends.interpreters.expressions import DiffersFromNumpy
from compute.backends.interpreters.kinds import FLOAT, INT, UNKNOWN, kind_of

A = np.random.default_rng(7).random(50)


def checked(body, out, *inputs):
    elements.check(body, [kind_of(x) for x in (out, *inputs)])


def both(body, out, *inputs):
    """What a body fills from arrays, and from memoryviews of them."""
    checked(body, out, *inputs)
    from_arrays, from_views = out.copy(), out.copy()
    body(0, len(out), from_arrays, *inputs)
    body(0, len(out), *(memoryview(x) if isinstance(x, np.ndarray) else x for x in (from_views, *inputs)))
    return from_arrays, from_views


@pytest.mark.parametrize("body", plain_bodies.SAME, ids=lambda body: body.__name__)
def test_what_passes_computes_the_same_to_the_bit(body):
    from_arrays, from_views = both(body, np.zeros(len(A)), A)
    assert from_arrays.tobytes() == from_views.tobytes()
    assert np.count_nonzero(from_arrays) > 40


@pytest.mark.parametrize("body", plain_bodies.NOT_THE_SAME, ids=lambda body: body.__name__)
def test_what_may_differ_is_refused_in_one_line_with_the_remedy(body):
    with pytest.raises(DiffersFromNumpy) as refusal:
        checked(body, np.zeros(len(A)), A)
    told = str(refusal.value)
    assert "\n" not in told
    assert "run it on Threads" in told
    assert f"in line {inspect.getsourcelines(body)[1]}" not in told  # of the `def`: it names the place itself


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sum adds Python's floats more exactly from 3.12 on")
def test_the_trap_is_real():
    tenths = np.full(10, 0.1)
    assert sum(memoryview(tenths)) != sum(tenths)


@pytest.mark.parametrize(
    ("body", "a", "out"),
    [
        (plain_bodies.moves, np.float32, np.float64),
        (plain_bodies.moves, np.float64, np.float32),
        (plain_bodies.moves, np.int32, np.int64),
        (plain_bodies.moves, np.int64, np.float64),
        (plain_bodies.moves, np.bool_, np.int32),
        (plain_bodies.moves, np.float64, np.bool_),
        (plain_bodies.copies, np.int16, np.int16),
        (plain_bodies.doubles, np.float64, np.float64),
        (plain_bodies.as_ints, np.uint8, np.int64),
        (plain_bodies.spreads, np.int64, np.int64),
        (plain_bodies.counts, np.float64, np.int64),
        (plain_bodies.as_ints, np.int64, np.float64),
        (plain_bodies.as_floats, np.float32, np.float32),
    ],
)
def test_dtypes_that_are_the_same(body, a, out):
    given = A if body is plain_bodies.counts else (100 * A).astype(a)
    from_arrays, from_views = both(body, np.zeros(len(A), out), given)
    assert from_arrays.tobytes() == from_views.tobytes()


@pytest.mark.parametrize(
    ("body", "a", "out", "word"),
    [
        (plain_bodies.by_a_count, np.int64, np.float64, "int(…)"),  # which overflows in numpy alone
        (plain_bodies.by_a_count_as_index, np.int64, np.int64, "int(…)"),
        (plain_bodies.doubles, np.int64, np.float64, "another kind than float64"),
        (plain_bodies.doubles, np.int32, np.int64, "int(…)"),
        (plain_bodies.doubles, np.float32, np.float32, "float(…)"),  # which numpy rounds once more
        (plain_bodies.moves, np.float64, np.int64, "another kind than int64"),  # numpy cuts off
        (plain_bodies.moves, np.int64, np.float32, "another kind than float32"),  # rounded twice
        (plain_bodies.moves, np.int64, np.int8, "another kind than int8"),
        (plain_bodies.moves, np.float16, np.float64, "float16"),
        (plain_bodies.moves, np.complex128, np.complex128, "complex128"),
        (plain_bodies.moves, ">f8", np.float64, ">f8"),
        (plain_bodies.copies, np.float32, np.float64, "slices"),
    ],
)
def test_dtypes_that_are_not(body, a, out, word):
    with pytest.raises(DiffersFromNumpy) as refusal:
        checked(body, np.zeros(len(A), out), A.astype(a))
    assert word in str(refusal.value)


def test_axes():
    from_arrays, from_views = both(plain_bodies.transposed, np.zeros((4, 5)), np.arange(20.0).reshape(5, 4)[::1])
    assert from_arrays.tobytes() == from_views.tobytes()
    with pytest.raises(DiffersFromNumpy, match="2 axes takes 2 indices"):
        checked(plain_bodies.moves, np.zeros((4, 5)), A)


def test_without_inputs_all_is_possible_and_out_of_what_is_known_nothing_is_lost():
    elements.check(plain_bodies.doubles, [UNKNOWN, UNKNOWN])
    elements.check(plain_bodies.moves, [kind_of(np.zeros(3)), UNKNOWN])
    assert (kind_of(3), kind_of(3.0), kind_of((1, 2.0))) == (INT, FLOAT, (INT, FLOAT))
    assert kind_of(True) not in (INT, FLOAT)


def test_a_text_that_is_not_what_runs_is_none(tmp_path, monkeypatch):
    file = tmp_path / "edited_later.py"
    file.write_text("def body(lo, hi, out, a):\n    for i in range(lo, hi):\n        out[i] = round(a[i], 2)\n")
    monkeypatch.syspath_prepend(tmp_path)
    import edited_later

    file.write_text("def body(lo, hi, out, a):\n    for i in range(lo, hi):\n        out[i] = a[i] * 2\n")
    with pytest.raises(DiffersFromNumpy, match="is not what runs"):
        checked(edited_later.body, np.zeros(3), A)
    made = types.FunctionType(plain_bodies.moves.__code__.replace(co_filename="<nowhere>"), {}, "moves")
    with pytest.raises(DiffersFromNumpy, match="cannot be read"):
        checked(made, np.zeros(3), A)


def test_closures_and_decorators_have_their_text():
    factor = 2.5

    def body(lo, hi, out, a):
        for i in range(lo, hi):
            out[i] = factor * a[i]

    from_arrays, from_views = both(body, np.zeros(len(A)), A)
    assert from_arrays.tobytes() == from_views.tobytes()
    assert array.array("d", from_views)[0] == 2.5 * A[0]


def test_a_count_that_has_grown_beyond_int64_is_not_stored():
    large = np.full(3, 2**62)
    checked(plain_bodies.doubles, np.zeros(3, np.int64), large)
    with pytest.raises(ValueError, match="invalid value"):
        plain_bodies.doubles(0, 3, memoryview(np.zeros(3, np.int64)), memoryview(large))
