"""Answers are equal, or the difference is told."""

import numpy as np
import pytest

from compute import Threads
from compute.scaling import verify
from kernels import kernel

NAN = float("nan")


def refuse(value, n):
    assert value == n, f"{value} for {n}"


@kernel(compiled=False, check=refuse)
def filled(lo, hi, out, n):
    out[lo:hi] = n


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        (3, 3, True), (3, 4, False), (3, 3.0, False), (NAN, NAN, True), ((1, [NAN]), (1, [NAN]), True),
        ((1, 2), (1, 2, 3), False), ({"a": 1}, {"a": 1}, True), ({"a": 1}, {"b": 1}, False), (None, None, True),
        (np.array([1.0, NAN]), np.array([1.0, NAN]), True),
        (np.array([1.0, 2.0]), np.array([1.0, np.nextafter(2.0, 3.0)]), False),
        (np.array([1]), np.array([1.0]), False), (np.array([1, 2]), np.array([[1, 2]]), False),
        (np.array([1]), [1], False), (np.array(["a"]), np.array(["a"]), True),
        (np.zeros(2, "i4,f8"), np.zeros(2, "i4,f8"), True), (np.zeros(2, "i4,f8"), np.ones(2, "i4,f8"), False),
    ],
)  # fmt: skip
def test_same(a, b, equal):
    assert verify.same(a, b) is equal


def test_a_difference_is_told_with_its_first_place():
    right = np.zeros((3, 4))
    wrong = right.copy()
    wrong[1, 2] = wrong[2, 0] = NAN
    with pytest.raises(
        verify.WrongAnswer, match=r"filled .python. on Threads.*2. .* 2 of 12 elements differ, the first at .1, 2."
    ):
        verify.compare(filled, Threads(2), wrong, right)
    with pytest.raises(verify.WrongAnswer, match=r"float64\[3, 4\], not float64\[12\]"):
        verify.compare(filled, Threads(2), wrong, right.ravel())
    with pytest.raises(verify.WrongAnswer, match="4, not 3"):
        verify.compare(filled, Threads(2), 4, 3)
    verify.compare(filled, Threads(2), right, right.copy())


def test_a_kernels_own_check_is_asked():
    verify.check(filled, 3, (3,), {})
    with pytest.raises(verify.WrongAnswer, match="fails its own check: 4 for 3"):
        verify.check(filled, 4, (3,), {})
