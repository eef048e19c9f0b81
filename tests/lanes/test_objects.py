"""To each lane objects of its own, where there is no GIL: the same values, to the bit, and the same memory."""

from __future__ import annotations

import struct
import sys
import threading

import numpy as np
import pytest
from patience import PATIENCE

from compute import Threads, machine
from compute.lanes import loop, objects
from kernels import Plan, kernel

NAN = struct.unpack("<d", struct.pack("<Q", 0x7FF8_0000_0000_0123))[0]  # with bits of its own


@pytest.mark.parametrize("number", [0.0, -0.0, 1.5, -2e300, 5e-324, float("inf"), NAN, 10**30, -(2**40), 3 - 0j, -0.0j])
def test_a_number_is_another_object_of_the_same_bits(number):
    made = objects.own(number)
    assert type(made) is type(number)
    if isinstance(number, int):
        assert made == number
    else:
        assert np.array(made).tobytes() == np.array(number).tobytes()
    assert made is not number


def test_an_array_is_a_view_and_what_is_in_a_tuple_is_treated_alike():
    array = np.arange(12.0).reshape(3, 4)[::2, ::-1]
    array.flags.writeable = False
    given = (array, (2.5, "text"), np.float32(0.1), None, [1.0])
    made = objects.own(given)
    assert made[0] is not array
    assert made[0].__array_interface__ == array.__array_interface__
    assert not made[0].flags.writeable
    assert made[1] == (2.5, "text")
    assert made[1][0] is not given[1][0]
    assert (type(made[2]), made[2]) == (np.float32, given[2])
    assert made[3:] == given[3:]
    assert made[4] is given[4]  # a body may have meant the very object


def test_a_subclass_of_an_array_is_left_alone():
    masked = np.ma.masked_array([1.0, 2.0], [True, False])
    assert objects.own(masked) is masked


MET: list[tuple[int, object, object, object]] = []
TOGETHER = threading.Barrier(2)


@kernel(plan=lambda x, s: Plan(2, (x, s), grain=1), compiled=False)
def meets(lo, hi, out, x, s):
    """Each of two lanes has a chunk, at the same time, and notes what it was given."""
    TOGETHER.wait(PATIENCE)
    MET.append((threading.get_ident(), out, x, s))
    out[lo] = s * x[lo]


@pytest.mark.parametrize("has_gil", [True, False])
def test_lanes_have_objects_of_their_own_where_there_is_no_gil(monkeypatch, has_gil):
    monkeypatch.setattr(loop, "has_gil", lambda: has_gil)
    monkeypatch.setattr(loop, "_python_lanes", type(loop._python_lanes)(8))
    MET.clear()
    with Threads(2).open() as pool:
        assert pool.run(meets, np.array([3.0, 4.0]), 2.5).value.tolist() == [7.5, 10.0]
    (one, *mine), (other, *theirs) = MET
    assert one != other
    assert [a is b for a, b in zip(mine, theirs, strict=True)] == [has_gil] * 3
    assert all(np.shares_memory(a, b) for a, b in zip(mine[:2], theirs[:2], strict=True))
    MET.clear()


@pytest.fixture
def written(importable):
    """A module that was imported, as a user's are: its functions' constants are as Python reads them from a file."""
    (importable / "constants_of.py").write_text(
        "from json import dumps\n\n\ndef helper(x):\n    return x * 0.37 + 1234567.0\n\n\n"
        "def body(x):\n    return helper(x) + 7.125, dumps\n"
    )
    import constants_of

    return constants_of


def test_constants_of_a_body_and_its_helpers_are_counted_no_more(written):
    before = {f: f.__code__ for f in (written.body, written.helper, written.dumps)}
    objects.settle_constants(written.body)
    assert written.body(2.0)[0] == 2.0 * 0.37 + 1234567.0 + 7.125
    assert {f: f.__code__ for f in before} == before  # the same code, if another object
    assert written.dumps.__code__ is before[written.dumps]  # a library's
    if not machine.has_gil() and sys.version_info < (3, 14):
        numbers = [c for f in (written.body, written.helper) for c in f.__code__.co_consts if type(c) is float]
        assert len(numbers) == 3
        assert all(sys.getrefcount(number) >= objects.IMMORTAL for number in numbers)
