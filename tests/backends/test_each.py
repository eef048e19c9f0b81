"""Functions over items: every kind of function, item and result, on every backend, against a plain loop."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import enum
import functools
import math
import os
import random
import signal
import sys
import time
import warnings
from random import gauss

import numpy as np
import pytest

from compute import Coroutines, Joblib, Processes, Serial, Threads, WorkerDied, advise, run, scale
from compute.backends import carrier
from kernels import Plan, each, kernel
from kernels.definition.each import rng_of
from kernels.definition.plan import MOST_CHUNKS

pytestmark = pytest.mark.sampled

BACKENDS = [
    Serial(),
    Threads(2),
    Coroutines(2),
    Processes(2),
    Processes(2, start="spawn"),
    Joblib(2),
    Joblib(2, kind="threading"),
]
PROCESSES = [backend for backend in BACKENDS if not backend.traits.shares_memory]
everywhere = pytest.mark.parametrize("backend", BACKENDS, ids=repr)
slow = pytest.mark.slow
on_processes = pytest.mark.parametrize("backend", PROCESSES, ids=repr)

factor = 3


@dataclasses.dataclass
class Case:
    number: int
    data: object = None


class Colour(enum.IntEnum):
    RED = 1
    BLUE = 2


Point = collections.namedtuple("Point", "x y")


class Scaled:
    def __init__(self, by):
        self.by = by

    def of(self, x):
        return x * self.by

    def __call__(self, x):
        return x + self.by


def times(x):
    return x * factor


def deep(case):
    return Case(case.number + 1, np.full(100_000, case.number))


FUNCTIONS = {
    "function": (times, range(100)),
    "lambda": (lambda x: x + factor, range(5)),
    "closure": ((lambda by: lambda x: x * by)(7), [1.5, 2.5]),
    "builtin": (math.sqrt, [4, 9]),
    "method of a type": (str.upper, ["a", "b"]),
    "bound method": (Scaled(3).of, [1, 2]),
    "callable object": (Scaled(3), [1, 2]),
    "class": (complex, [1, 2]),
    "partial": (functools.partial(pow, 2), [1, 2, 3]),
    "ufunc": (np.negative, [1, 2]),
    "strings": (times, ["a", "bc"]),
    "tuples": (times, [(1,), (2, 3)]),
    "lists": (times, [[1], []]),
    "dictionaries": (sorted, [{"b": 1, "a": 2}, {}]),
    "namedtuples": (lambda p: Point(p.y, p.x), [Point(1, 2), Point(3, 4)]),
    "enumerations": (lambda c: Colour(3 - c), [Colour.RED, Colour.BLUE]),
    "None": (lambda x: None, [None, None]),
    "one": (times, [5]),
    "none": (times, []),
    "generator": (times, (k for k in range(10))),
    "more than chunks": (times, range(3 * MOST_CHUNKS + 5)),
    "dictionary's items": (lambda pair: pair[0], {"a": 1, "b": 2}.items()),
    "large text": (len, ["x" * 200_000, "y"]),
    "0-dimensional": (lambda x: np.array(x), [1, 2]),
}


@pytest.mark.parametrize("case", FUNCTIONS)
@everywhere
def test_results_are_those_of_a_loop(pool_of, backend, case):
    f, items = FUNCTIONS[case]
    items = items if isinstance(items, range) else list(items)
    found = pool_of(backend).map(f, iter(items))
    expected = [f(item) for item in items]
    assert found == expected
    assert list(map(type, found)) == list(map(type, expected))


@everywhere
def test_run_takes_them_too_and_a_kernel_is_a_function(backend):
    assert run(each(times), iter([1, 2]), on=backend).value == [3, 6] == each(times)([1, 2])


@everywhere
def test_globals_are_as_they_are_now(pool_of, backend, monkeypatch):
    pool = pool_of(backend)
    assert pool.map(times, [1, 2]) == [3, 6]
    monkeypatch.setitem(globals(), "factor", 10)
    assert pool.map(times, [1, 2]) == [10, 20]


@everywhere
def test_large_arrays_in_items_and_results(pool_of, backend):
    pool = pool_of(backend)
    cases = pool.map(deep, [Case(k) for k in range(5)])
    assert all(type(case) is Case for case in cases)
    assert [case.number for case in cases] == [1, 2, 3, 4, 5]
    assert all(case.data.shape == (100_000,) and (case.data == k).all() for k, case in enumerate(cases))
    shared = np.arange(50_000.0)
    assert pool.map(lambda pair: pair[0] * pair[1].sum(), [(k, shared) for k in range(7)]) == [
        k * shared.sum() for k in range(7)
    ]


@pytest.mark.parametrize("size", [10, 8_191, 8_192, 131_071, 131_072, 3_000_000])
@pytest.mark.parametrize("cut", [slice(None), slice(None, None, 2), slice(None, None, -1)], ids=str)
@on_processes
def test_arrays_come_back_to_the_bit_and_can_be_written_to(pool_of, backend, size, cut):
    values = np.random.default_rng(size).random(size)
    (found, again) = pool_of(backend).map(lambda x: (np.array(x)[cut], "mark"), [values, values[:3]])
    assert found[0].tobytes() == values[cut].tobytes()
    assert again[0].tobytes() == values[:3][cut].tobytes()
    found[0][:1] = -1
    assert found[0][0] == -1


@on_processes
def test_large_arrays_are_read_only_to_the_function(pool_of, backend):
    def spoils(x):
        x[0] = 1

    with pytest.raises(ValueError, match="read-only"):
        pool_of(backend).map(spoils, [np.zeros(100_000)])


@on_processes
def test_a_large_array_that_a_function_reaches_is_read_only(pool_of, backend):
    """Workers share one copy of it: as scratch memory, it would hold what another worker has just written."""
    scratch = np.zeros(50_000)

    class Holds:
        def __init__(self):
            self.room = np.zeros(50_000)

        def total(self, k):
            self.room[:] = k
            return float(self.room.sum())

    def total(k, room=scratch):
        room[:] = k
        return float(room.sum())

    def in_closure(k):
        scratch[:] = k

    def of_its_own(k):
        room = np.empty(50_000)
        room[:] = k + scratch[k]
        return float(room.sum())

    pool = pool_of(backend)
    for f in total, in_closure, Holds().total, functools.partial(lambda room, k: total(k, room), np.zeros(50_000)):
        with pytest.raises(ValueError, match="read-only"):
            pool.map(f, range(20))
    assert pool.map(of_its_own, range(20)) == [50_000.0 * k for k in range(20)]
    small = np.zeros(100)  # travels by value, and is each worker's own
    assert pool.map(lambda k: total(k, small), range(20)) == [100.0 * k for k in range(20)]


@everywhere
def test_an_exception_names_the_item(pool_of, backend):
    with pytest.raises(ZeroDivisionError) as caught:
        pool_of(backend).map(lambda x: 1 // x, [1, 2, 0, 4])
    assert "in item 2 of <lambda>: 0" in caught.value.__notes__


@everywhere
def test_exceptions_of_a_functions_own_stay_as_they_are(pool_of, backend):
    def finds(x):
        return [1, 2][x]

    with pytest.raises(IndexError) as caught:
        pool_of(backend).map(finds, [0, 5])
    assert str(caught.value) == "list index out of range"


@everywhere
def test_exceptions_as_results(pool_of, backend):
    found = pool_of(backend).map(lambda x: 1 // x, [1, 0, 4, 0], errors="return")
    assert [found[0], found[2]] == [1, 0]
    assert [type(found[1]), type(found[3])] == [ZeroDivisionError] * 2
    assert "in item 3 of <lambda>: 0" in found[3].__notes__


def raises_stop(x):
    raise StopIteration(x)


@everywhere
def test_stop_iteration_ends_nothing_early(pool_of, backend):
    with pytest.raises(StopIteration):
        pool_of(backend).map(raises_stop, [1, 2])
    found = pool_of(backend).map(raises_stop, [1, 2], errors="return")
    assert [error.value for error in found] == [1, 2]


class Unsendable(Exception):
    def __reduce__(self):
        raise TypeError("not this one")


def raises_unsendable(x):
    raise Unsendable("what happened")


@on_processes
def test_exceptions_that_do_not_pickle_are_told_of(pool_of, backend):
    with pytest.raises(RuntimeError, match="Unsendable: what happened"):
        pool_of(backend).map(raises_unsendable, [1])


class TakesMore(Exception):
    """It is pickled and does not come back."""

    def __init__(self, code, reason):
        super().__init__(f"{code}: {reason}")


class SaysNothing(Unsendable):
    def __str__(self):
        raise RuntimeError("no words")


def raises_oddly(x):
    raise (TakesMore(x, "why"), Unsendable("what happened"), SaysNothing(), KeyError(x))[x]


@on_processes
def test_exceptions_as_results_come_back_whatever_they_are(pool_of, backend):
    taken, unsendable, nothing, plain = pool_of(backend).map(raises_oddly, range(4), errors="return")
    assert (type(taken), str(taken)) == (RuntimeError, "TakesMore: 0: why")
    assert (type(unsendable), str(unsendable)) == (RuntimeError, "Unsendable: what happened")
    assert (type(nothing), str(nothing)) == (RuntimeError, "SaysNothing: its words cannot be had (RuntimeError)")
    assert repr(plain) == "KeyError(3)"
    assert all(any("in raises_oddly" in note for note in error.__notes__) for error in (taken, nothing, plain))
    for number, told in enumerate(["TakesMore: 0: why", "Unsendable: what happened", "SaysNothing: its words"]):
        with pytest.raises(RuntimeError, match=told):
            pool_of(backend).map(lambda x, by=number: raises_oddly(x + by), [0])


class Exits(Exception):
    def __reduce__(self):
        return sys.exit, (3,)


class Fives(Exception):
    def __reduce__(self):
        return int, ("5",)


@on_processes
@pytest.mark.parametrize("kind", [Exits, Fives])
def test_an_exception_comes_back_as_one_whatever_its_pickle_does(pool_of, backend, kind):
    def raises(x):
        if x:
            raise kind("what happened")
        return x

    pool = pool_of(backend)
    for found in pool.map(raises, [0, 1], errors="return"), list(pool.imap(raises, [0, 1], errors="return")):
        assert (found[0], type(found[1]), str(found[1])) == (0, RuntimeError, f"{kind.__name__}: what happened")
    with pytest.raises(RuntimeError, match=f"{kind.__name__}: what happened"):
        pool.map(raises, [1])


class OneWay:
    """It is pickled, and cannot be unpickled."""

    def __reduce__(self):
        return int, ("not a number",)


@on_processes
def test_what_does_not_unpickle_is_named(pool_of, backend):
    pool = pool_of(backend)
    told = r"the result of item 1 of .*lambda.* cannot be unpickled here \(ValueError: invalid literal.* or run on"
    with pytest.raises(TypeError, match=told):
        pool.map(lambda x: OneWay() if x else x, [0, 1, 0])
    with pytest.raises(TypeError, match=told):
        pool.map(lambda x: (OneWay(), np.ones(10**6)) if x else x, [0, 1, 0])
    with pytest.raises(TypeError, match=r"item 2 of times cannot be unpickled in a worker process \(ValueError"):
        pool.map(times, [1, 2, OneWay()])
    many = 2 * MOST_CHUNKS
    with pytest.raises(TypeError, match=rf"one of the items {many - 2} to {many - 1} of times cannot be unpickled"):
        pool.map(times, [1] * (many - 1) + [OneWay()])
    assert pool.map(times, [1]) == [3]


@on_processes
def test_a_result_that_does_not_pickle_is_named(pool_of, backend):
    pool = pool_of(backend)
    with pytest.raises(TypeError, match=r"the result of item 1 of .*lambda.*, of type generator, cannot be sent"):
        pool.map(lambda x: (k for k in ()) if x == 2 else x, [1, 2, 3])
    assert pool.map(times, [1]) == [3]


@on_processes
def test_an_item_that_does_not_pickle_is_named_before_any_work(pool_of, backend, tmp_path):
    with pytest.raises(TypeError, match=r"item 1 of .*lambda.*, <generator.* cannot be sent"):
        pool_of(backend).map(lambda x: (tmp_path / "began").touch(), [1, (k for k in ())])
    assert not (tmp_path / "began").exists()


ONCE = {
    "a generator": lambda: (x for x in (1, 2, 3)),
    "an iterator": lambda: iter([1, 2, 3]),
    "a map": lambda: map(int, "123"),
    "a file's like": lambda: filter(None, [1, 0, 2, 3]),
}


@everywhere
@pytest.mark.parametrize("once", ONCE)
def test_what_can_be_read_once_is_read_once(pool_of, backend, once):
    """By every way in: who plans twice has no items left for the second time."""
    pool = pool_of(backend)
    assert pool.map(times, ONCE[once]()) == pool.run(each(times), ONCE[once]()).value == [3, 6, 9]
    assert each(times)(ONCE[once]()) == [3, 6, 9]
    assert pool.warm(each(times), ONCE[once]()) >= 0
    assert pool.map(lambda x: run(each(times), ONCE[once]()).value, [0]) == [[3, 6, 9]]


@pytest.mark.parametrize("once", ONCE)
def test_run_reads_once_what_can_be_read_once(once):
    assert run(each(times), ONCE[once](), on=Threads(2)).value == [3, 6, 9]
    assert run(each(times), items=ONCE[once](), on=Threads(2)).value == [3, 6, 9]


def test_what_is_measured_reads_items_once():
    (serial, *rest) = scale(each(times), iter(range(500)), on=["serial", "threads"], workers=[2], budget=1).points
    assert serial.seconds > 0
    assert rest
    assert "times" in str(advise(each(times), iter(range(500)), on=["serial", "threads"], budget=1))
    with pytest.raises(TypeError, match=r"items for times can be read only once; pass list\(items\)"):
        each(times).plan(iter([1]))


@everywhere
def test_items_may_come_of_the_pool_itself(pool_of, backend):
    pool = pool_of(backend)
    assert pool.map(times, pool.imap(times, range(5))) == [9 * x for x in range(5)]


@everywhere
def test_a_generator_that_raises_is_heard_before_any_work(pool_of, backend, tmp_path):
    def items():
        yield 1
        raise KeyError("no more")

    with pytest.raises(KeyError, match="no more"):
        pool_of(backend).map(lambda x: (tmp_path / "began").touch(), items())
    assert not (tmp_path / "began").exists()


def dies_once(path):
    if not os.path.exists(path):
        open(path, "x").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


@on_processes
def test_an_item_whose_worker_dies_is_run_again(pool_of, backend, tmp_path):
    paths = [str(tmp_path / str(k)) for k in range(3)]
    result = pool_of(backend).run(each(dies_once), paths)
    assert result.value == ["alive"] * 3
    assert any("SIGKILL" in event for event in result.timeline.events)


@on_processes
def test_an_item_that_may_not_be_repeated_is_not(pool_of, backend, tmp_path):
    with pytest.raises(WorkerDied, match="retry=False"):
        pool_of(backend).map(dies_once, [str(tmp_path / "once")], retry=False)
    assert pool_of(backend).map(times, [1]) == [3]


def dies(x):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("backend", [b if b != Joblib(2) else pytest.param(b, marks=slow) for b in PROCESSES], ids=repr)
def test_an_item_that_kills_every_worker_is_an_error(pool_of, backend):
    with pytest.raises(WorkerDied, match=r"chunk 1 \(indices 1\.\.2\) of <lambda> was tried 3 times"):
        pool_of(backend).map(lambda x: dies(x) if x else x, [0, 1, 0])


@everywhere
def test_random_numbers_are_an_items_own(pool_of, backend):
    found = pool_of(backend).map(lambda item, rng: rng.random(), range(6), seed=5)
    children = np.random.SeedSequence(5).spawn(6)
    assert found == [np.random.default_rng(child).random() for child in children]
    assert rng_of(5, 3).random() == found[3]


@everywhere
def test_the_longest_are_begun_first(pool_of, backend):
    result = pool_of(backend).run(each(times, cost=lambda x: x), [1, 5, 3, 4, 2])
    assert result.value == [3, 15, 9, 12, 6]
    spans = np.sort(result.timeline.spans, order="start")
    assert spans["chunk"][0] in (1, 3)  # lanes that begin at once may be written down in any order


@everywhere
def test_starmap(pool_of, backend):
    assert pool_of(backend).starmap(pow, [(2, 3), (3, 2)]) == [8, 9]


def nests(x):
    return run(each(times), [x, x], on=Processes(2)).value


@everywhere
def test_a_map_inside_a_map_runs_serially(pool_of, backend):
    assert pool_of(backend).map(nests, [1, 2]) == [[3, 3], [6, 6]]


BAD = {
    "no function": (lambda: each(5), TypeError, "each takes a function of one item, not 5"),
    "a kernel": (lambda: each(each(times)), TypeError, "is a kernel already"),
    "a generator": (lambda: each(lambda x: (yield)), TypeError, "is a generator function"),
    "errors": (lambda: each(times, errors="retrun"), ValueError, "did you mean 'return'"),
    "seed": (lambda: each(times, seed=1.5), ValueError, "seed must be a whole number, not 1.5"),
    "cost": (lambda: each(times, cost=3), ValueError, "cost must be a function of an item, not 3"),
    "cost gives nan": (lambda: each(times, cost=float)(["1", "nan"]), ValueError, "cost gives nan for item 1, 'nan'"),
    "cost gives text": (
        lambda: each(times, cost=lambda x: "1 h")([4, 5]),
        ValueError,
        "cost gives '1 h' for item 0, 4",
    ),
    "cost gives nothing": (lambda: each(times, cost=lambda x: None)([4]), ValueError, "cost gives None for item 0, 4"),
    "cost is too large": (lambda: each(times, cost=lambda x: 10**999)([4]), ValueError, "for item 0, 4; return a num"),
    "no time": (lambda: each(times, timeout=0), ValueError, "timeout must be more than 0 seconds, not 0"),
    "nan": (lambda: each(times, timeout=math.nan), ValueError, "timeout must be more than 0 seconds, not nan"),
    "for ever": (lambda: each(times, timeout=math.inf), ValueError, "timeout must be under 100,000,000 seconds, not"),
    "too long": (lambda: each(times, timeout=1e300), ValueError, "not 1e.300; leave it out to wait for ever"),
    "no items": (lambda: each(times)(), TypeError, r"times\(items.*: missing a required argument: 'items'"),
    "items": (lambda: each(times)(5), TypeError, "the items for times must be iterable, not 5"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_use_is_one_line_with_the_remedy(case):
    do, kind, told = BAD[case]
    with pytest.raises(kind, match=told):
        do()


def test_items_are_no_copies_on_threads():
    items = [Case(1), Case(2)]
    with Threads(2).open() as pool:
        assert [a is b for a, b in zip(pool.map(lambda x: x, items), items, strict=True)] == [True, True]


def test_the_decorator_and_its_options():
    @each(star=True)
    def added(a, b):
        """Add two numbers."""
        return a + b

    assert added([(1, 2)]) == [3]
    assert added.__doc__ == "Add two numbers."
    assert repr(added) == f"<kernel {__name__}:added>"


def sleeps(seconds):
    time.sleep(seconds)
    return seconds


async def waits(seconds):
    await asyncio.sleep(seconds)
    return seconds


LATE = "item 1 of sleeps, 1000, took longer than 0.3 s"


# Workers of spawn that were killed are started again in test_an_item_that_may_not_be_repeated_is_not, too.
@pytest.mark.parametrize("start", ["forkserver", pytest.param("spawn", marks=slow)])
def test_an_item_that_takes_too_long_ends_the_run(start):
    with Processes(2, start=start).open() as pool:
        with pytest.raises(TimeoutError, match=LATE):
            pool.map(sleeps, [0, 1000, 0], timeout=0.3)
        found = pool.map(sleeps, [0, 1000, 0, 1000, 0], timeout=0.3, errors="return")
        assert found[::2] == [0, 0, 0]
        assert [type(error) for error in found[1::2]] == [TimeoutError] * 2
        assert str(found[1]) == LATE
        assert pool.map(sleeps, [0], timeout=1000) == [0]


@everywhere
def test_an_item_that_waits_too_long_is_cancelled(pool_of, backend):
    pool = pool_of(backend)
    with pytest.raises(TimeoutError) as caught:
        pool.map(waits, [0, 1000], timeout=0.1)
    assert str(caught.value) == "item 1 of waits, 1000, took longer than 0.1 s"
    assert "in item 1 of waits: 1000" in caught.value.__notes__
    found = pool.map(waits, [0, 1000, 0], timeout=0.1, errors="return")
    assert (found[0], type(found[1]), found[2]) == (0, TimeoutError, 0)


@pytest.mark.parametrize("backend", [Serial(), Threads(2), Coroutines(2), Joblib(2)], ids=repr)
def test_where_nobody_can_end_an_item_a_timeout_is_refused(pool_of, backend):
    with pytest.raises(ValueError, match=r"sleeps has a timeout, .*Processes"):
        pool_of(backend).map(sleeps, [0], timeout=1)
    with pytest.raises(ValueError, match="run it on Processes"):
        each(sleeps, timeout=1)([0])
    with pytest.raises(ValueError, match="within a lane nobody can end it"):
        pool_of(backend).map(lambda x: run(each(sleeps, timeout=1), [x], on=Processes(1)).value, [0])
    with pytest.raises(ValueError, match="timeout must be more than 0 seconds, not 0"):
        each(sleeps, timeout=0)


def drawn(rng, _=None):
    return rng.random()


generator = np.random.default_rng(7)
OWN = random.Random(7)


@pytest.mark.parametrize("backend", [Processes(2), Joblib(2)], ids=repr)
def test_a_generator_that_a_function_reads_is_warned_of(backend):
    """Each worker process would draw the same numbers from its copy, and nothing would show it."""
    enclosed = np.random.RandomState(7)
    normal = enclosed.normal
    draws = {
        "generator": lambda _: generator.random(),
        "OWN": lambda _: OWN.random(),
        "enclosed": lambda _: enclosed.random(),
        "gauss": lambda _: gauss(0, 1),  # a method of Python's own generator
        "normal": lambda _: normal(),
        "rng": functools.partial(lambda _, rng: drawn(rng), rng=np.random.default_rng(7)),
        "an argument": functools.partial(drawn, np.random.default_rng(7)),
    }
    with backend.open() as pool:
        for name, draw in draws.items():
            carrier._warned_of.clear()
            with pytest.warns(RuntimeWarning, match=rf"draws from {name}, a \w+ of which each worker process has"):
                assert len(pool.map(draw, range(4))) == 4
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            pool.map(draw, range(4))  # once is enough
            assert len(set(pool.map(lambda _, rng: rng.random(), range(40), seed=7))) == 40
            partials = [
                functools.partial(drawn, np.random.default_rng(k)) for k in range(4)
            ]  # items, each with its own
            assert len(set(pool.map(lambda partial: partial(), partials))) == 4
    with Threads(2).open() as pool, warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(set(pool.map(draws["generator"], range(40)))) == 40


class Generator:
    """A user's own, of a field and not of numbers, from a module whose name begins as Python's random does."""

    __module__ = "random_fields"

    def __init__(self, scale):
        self.scale = scale


def test_a_users_own_class_is_no_generator_of_random_numbers(pool_of):
    field = Generator(2.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pool_of(Processes(2)).map(lambda i: i * field.scale, range(4)) == [0.0, 2.0, 4.0, 6.0]
        assert pool_of(Processes(2)).map(lambda one: one.scale, [field]) == [2.0]
    taking = kernel(lambda lo, hi, out, x: None, compiled=False, plan=lambda field: Plan(0, (field,)))
    assert len(taking(field)) == 0


def test_the_systems_random_numbers_are_refused_by_their_own_error_alone(pool_of):
    system = random.SystemRandom()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(NotImplementedError, match="does not have state"):
            pool_of(Processes(2)).map(lambda _: system.random(), range(4))
