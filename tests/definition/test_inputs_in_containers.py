"""Arrays inside of inputs are read-only to bodies as well, on every backend; a check finds what gets round that."""

from __future__ import annotations

import collections
import dataclasses
import types
from collections import namedtuple
from contextlib import ExitStack

import numpy as np
import pytest

from compute import Joblib, Processes, Serial, Threads, run
from compute.checking import CheckFailed
from kernels import Plan, kernel
from kernels.definition.refusals import WritesToInput

Pair = namedtuple("Pair", "a b")


class Named(Pair):
    """A named tuple with a dictionary of its own."""


class Plain:
    def __init__(self, a):
        self.a = a


class Slots:
    __slots__ = ("a",)

    def __init__(self, a):
        self.a = a


class PrivateSlots:
    __slots__ = ("__a",)

    def __init__(self, a):
        self.__a = a

    a = property(lambda self: self.__a)


@dataclasses.dataclass(frozen=True)
class Frozen:
    a: object
    b: float = 1.0


def of_objects(a):
    made = np.empty(1, object)
    made[0] = a
    return made


def circular(a):
    made = [a]
    made.append(made)
    return made


class NeedsArguments(Plain):
    def __new__(cls, a):
        return super().__new__(cls)

    def __getnewargs__(self):
        return (None,)


class HasAProperty:
    def __init__(self, a):
        vars(self)["a"] = a

    a = property(lambda self: vars(self)["a"], None)


HOLDERS = {
    "tuple": (lambda a: (a, 1), lambda held: held[0]),
    "list": (lambda a: [a], lambda held: held[0]),
    "list in itself": (circular, lambda held: held[1][1][0]),
    "dict": (lambda a: {"a": a}, lambda held: held["a"]),
    "defaultdict": (lambda a: collections.defaultdict(list, a=a), lambda held: held["a"]),
    "deque": (lambda a: collections.deque([a]), lambda held: held[0]),
    "namedtuple": (lambda a: Pair(a, 1), lambda held: held.a),
    "subclass of a namedtuple": (lambda a: Named(a, 1), lambda held: held.a),
    "frozen dataclass": (Frozen, lambda held: held.a),
    "object": (Plain, lambda held: held.a),
    "object with slots": (Slots, lambda held: held.a),
    "object with private slots": (PrivateSlots, lambda held: held.a),
    "object whose __new__ takes arguments": (NeedsArguments, lambda held: held.a),
    "object with a property": (HasAProperty, lambda held: held.a),
    "namespace": (lambda a: types.SimpleNamespace(a=a), lambda held: held.a),
    "array of objects": (lambda a: [of_objects(a)], lambda held: held[0][0]),
    "deep": (lambda a: [{"p": Pair(Plain((a,)), 2)}], lambda held: held[0]["p"].a.a[0]),
}


@pytest.fixture(scope="module")
def pools():
    with ExitStack() as stack:
        backends = Serial(), Threads(2), Processes(2), Joblib(2)
        yield [stack.enter_context(backend.open()) for backend in backends]


def kernel_with(make, body):
    return kernel(plan=lambda a: Plan(len(a), (make(a),)), compiled=False)(body)


@pytest.mark.parametrize("size", [4, 20_000])
@pytest.mark.parametrize("holder", HOLDERS)
def test_an_array_in_a_container_is_read_only(pools, holder, size):
    make, get = HOLDERS[holder]

    def reads(lo, hi, out, held):
        out[lo:hi] = get(held)[lo:hi]

    def writes(lo, hi, out, held):
        array = get(held)
        array[lo:hi] += 1
        out[lo:hi] = array[lo:hi]

    a = np.arange(float(size))
    for pool in pools:
        np.testing.assert_array_equal(pool.run(kernel_with(make, reads), a).value, a)
        with pytest.raises(WritesToInput, match="writes to its input held"):
            pool.run(kernel_with(make, writes), a)
        np.testing.assert_array_equal(a, np.arange(float(size)))
    with pytest.raises(CheckFailed, match="writes to its input held"):
        run(kernel_with(make, writes), a, on=Serial(), check=True)
    with pytest.raises(WritesToInput):
        kernel_with(make, writes)(a)
    assert a.flags.writeable
    np.testing.assert_array_equal(a, np.arange(float(size)))


def test_a_helper_that_writes_into_a_namedtuple(pools):
    def helper(pair, i):
        pair.a[i] = 7.0

    @kernel(plan=lambda a: Plan(len(a), (Pair(a, 1.0),)))
    def body(lo, hi, out, pair):
        for i in range(lo, hi):
            helper(pair, i)
            out[i] = pair.a[i]

    a = np.zeros(4)
    for pool in pools:
        for variant in ("python", "nogil"):
            with pytest.raises(WritesToInput, match="writes to its input pair"):
                pool.run(body, a, variant=variant)
    assert not a.any()


def test_a_list_of_the_callers_stays_as_it_is(pools):
    given = [1.0, [2.0], {3.0}, bytearray(b"4")]

    @kernel(plan=lambda n: Plan(n, (given,)), compiled=False)
    def body(lo, hi, out, held):
        held[1].append(5.0)
        held[2].add(5.0)
        held[3][0] = 5
        held.append(5.0)
        out[lo:hi] = held[0]

    for pool in pools:
        np.testing.assert_array_equal(pool.run(body, 4).value, np.ones(4))
        assert given == [1.0, [2.0], {3.0}, bytearray(b"4")]


@pytest.mark.filterwarnings("ignore::numba.core.errors.NumbaPendingDeprecationWarning")
def test_a_list_of_numbers_is_compiled_for_once(pools):
    @kernel(plan=lambda x: Plan(3, (x,)))
    def body(lo, hi, out, values):
        for i in range(lo, hi):
            out[i] = values[i] * 2

    for numbers in ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [1, 2, 3]):
        for pool in pools:
            np.testing.assert_array_equal(pool.run(body, numbers, variant="nogil").value, np.array(numbers) * 2)


class SaysHow(Plain):
    """An object that is left as it is, since its class says itself how it is copied."""

    def __reduce__(self):
        return SaysHow, (self.a,)


@pytest.mark.parametrize("kind", [list, SaysHow])
def test_a_check_finds_what_an_object_lets_through_and_puts_it_back(kind):
    """A body that adds to an array left 14 of it: each of the check's trials had added to what the others left."""

    def body(lo, hi, out, held):
        array = held[0] if isinstance(held, list) else held.a
        array[lo:hi] += 1
        out[lo:hi] = 1.0

    made = (lambda a: [a]) if kind is list else kind
    a = np.zeros(4)
    with pytest.raises(CheckFailed, match="its input held"):
        run(kernel_with(made, body), a, on=Serial(), check=True)
    assert not a.any()
