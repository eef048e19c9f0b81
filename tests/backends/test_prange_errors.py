"""What a compiled body raises is raised from there: it is not run again to see what it was."""

from __future__ import annotations

import gc
import math
import weakref

import numba
import numpy as np
import pytest
from watched import wait_for

from compute import Interpreters, Prange, Serial, Threads, run
from compute.lanes.control import SPANS_BOUND
from kernels import Plan, kernel
from kernels.vectors.atomics import fetch_add, load

THREADS = min(4, numba.config.NUMBA_NUM_THREADS)
ON = [Serial(), Threads(2), Prange(1), Prange(2), *([] if Interpreters(2).lacks() else [Interpreters(2)])]
by_one = {"plan": lambda x: Plan(len(x), (x,), grain=1)}


@kernel(**by_one)
def computed(lo, hi, out, x):
    for i in range(lo, hi):
        if x[i] < 0:
            raise ValueError("below", i, x[i])
        out[i] = x[i]


@kernel(**by_one)
def plain(lo, hi, out, x):
    for i in range(lo, hi):
        if x[i] < 0:
            raise KeyError("below")
        out[i] = x[i]


@kernel(**by_one)
def without_arguments(lo, hi, out, x):
    for i in range(lo, hi):
        if x[i] < 0:
            raise StopIteration
        out[i] = x[i]


@kernel(**by_one, reduce=np.sum)
def reduced(lo, hi, out, x):
    if x[lo] < 0:
        raise ValueError("below", lo, x[lo])
    out[0] = x[lo]


@pytest.mark.parametrize("backend", ON, ids=repr)
@pytest.mark.parametrize(
    ("made", "kind", "arguments"),
    [
        (computed, ValueError, ("below", 17, -3.0)),
        (plain, KeyError, ("below",)),
        (without_arguments, StopIteration, ()),
        (reduced, ValueError, ("below", 17, -3.0)),
    ],
    ids=lambda one: getattr(one, "name", None),
)
def test_it_is_raised_as_it_was_and_its_chunk_is_named(pool_of, backend, made, kind, arguments):
    x = np.ones(50)
    x[17] = -3.0
    pool = pool_of(backend)
    for _ in range(2):
        with pytest.raises(kind) as caught:
            pool.run(made.nogil, x)
        assert caught.value.args == arguments
        assert caught.value.__notes__[0] == f"in chunk 17 (indices 17..18) of {made.name}, variant 'nogil'"
        expected = x[x > 0]
        np.testing.assert_array_equal(
            pool.run(made.nogil, expected).value, expected.sum() if made is reduced else expected
        )


@pytest.mark.parametrize("backend", ON, ids=repr)
@pytest.mark.parametrize("made", [computed, plain, without_arguments, reduced], ids=lambda one: one.name)
def test_the_arrays_of_a_run_that_raised_are_freed(pool_of, backend, made):
    pool, x = pool_of(backend), np.ones(50)
    x[17] = -3.0
    alive = weakref.ref(x)
    with pytest.raises((ValueError, KeyError, StopIteration)):
        pool.run(made.nogil, x)
    del x

    def is_freed():
        pool.rest()  # a lane may still answer, and rest gives it 20 ms at the most
        gc.collect()
        return alive() is None

    wait_for(is_freed)


@kernel(plan=lambda together, x: Plan(len(x), (together, x), grain=1), inout=("together",))
def two_at_once(lo, hi, out, together, x):
    fetch_add(together, 0, 1)
    while load(together, 0) < 2:  # both lanes are in their first chunk
        pass
    raise ValueError("mine", lo, x[lo])


def test_of_two_lanes_that_raise_the_lower_chunk_is_told(pool_of):
    for _ in range(20):
        with pytest.raises(ValueError, match="mine") as caught:
            pool_of(Prange(2)).run(two_at_once.nogil, np.zeros(1, np.int64), np.array([5.0, 6.0, 7.0]))
        assert caught.value.args == ("mine", 0, 5.0)
        assert caught.value.__notes__[0].startswith("in chunk 0 (indices 0..1)")


@kernel(plan=lambda a: Plan(len(a), (a,), grain=1), inout=("a",))
def on_its_input(lo, hi, out, a):
    a[lo] += 1
    if lo == 7 and a[lo] == 1:
        raise ValueError("the first time", a[lo])
    if lo == 7:
        raise KeyError("again")
    out[lo] = a[lo]


@pytest.mark.parametrize("backend", ON, ids=repr)
def test_a_chunk_that_writes_to_its_input_is_run_once(pool_of, backend):
    a = np.zeros(20)
    with pytest.raises(ValueError, match="the first time") as caught:
        pool_of(backend).run(on_its_input.nogil, a)
    assert caught.value.args == ("the first time", 1.0)
    assert a[7] == 1
    assert a.max() == 1


@kernel(plan=lambda a: Plan(2, (a,), grain=1), inout=("a",))
def beside_one_that_never_ends_again(lo, hi, out, a):
    while lo == 1 and a[1] == 1:  # a second run of it would wait for ever
        pass
    a[lo] = 1
    if lo == 1:
        raise ValueError("once")
    out[lo] = 0


@pytest.mark.parametrize("backend", ON, ids=repr)
def test_it_may_be_one_that_would_not_end_a_second_time(pool_of, backend):
    with pytest.raises(ValueError, match="once"):
        pool_of(backend).run(beside_one_that_never_ends_again.nogil, np.zeros(2))


@kernel(plan=lambda n, x: Plan(n, (x,), grain=1))
def beside_a_long_one(lo, hi, out, x):
    if lo == 0:
        raise ValueError("at once", x[0])
    total = 0.0
    for k in range(10**8):  # longer than a slice
        total += math.sqrt(k)
    out[lo] = total


def test_the_others_end_their_chunks_first_and_lanes_are_free_then(pool_of):
    pool = pool_of(Prange(2))
    with pytest.raises(ValueError, match="at once") as caught:
        pool.run(beside_a_long_one.nogil, 2, np.ones(1))
    assert caught.value.args == ("at once", 1.0)
    np.testing.assert_array_equal(pool.run(plain.nogil, np.ones(9)).value, np.ones(9))


def test_nothing_of_one_run_s_error_is_left_for_the_next(pool_of):
    pool, x = pool_of(Prange(2)), np.ones(SPANS_BOUND + 9)
    for k in (0, 1, len(x) - 1):
        x[:] = 1
        np.testing.assert_array_equal(pool.run(computed.nogil, x).value, x)
        x[k] = -k - 1.0
        with pytest.raises(ValueError, match="below") as caught:
            pool.run(computed.nogil, x)
        assert caught.value.args == ("below", k, -k - 1.0)
        with pytest.raises(KeyError):
            run(plain.nogil, x, on=Prange(1))


@pytest.mark.parametrize("lanes", range(1, THREADS + 1))
def test_each_lane_is_an_iteration_on_a_thread_of_its_own(lanes):
    with Prange(lanes).open() as pool:
        pool.warm(plain.nogil, np.ones(1000))
        with pool.observed():
            told = pool.run(plain.nogil, np.ones(100_000)).timeline.lanes
    assert len(told) <= lanes
    if numba.threading_layer() != "tbb":  # whose threads take another lane when they have ended one
        assert len({lane.thread for lane in told}) == len(told)


def in_python():
    raise ValueError("in Python")


@kernel(**by_one)
def leaves_machine_code(lo, hi, out, x):
    with numba.objmode():
        in_python()
    out[lo] = x[lo]


@pytest.mark.filterwarnings("ignore::numba.NumbaWarning")  # objmode holds the GIL
def test_what_python_raises_on_a_thread_of_numbas_is_lost_and_this_is_said(pool_of):
    with pytest.raises(ValueError, match="in Python"):
        pool_of(Threads(2)).run(leaves_machine_code.nogil, np.ones(2))
    pool = pool_of(Prange(2))
    for _ in range(20):
        with pytest.raises((ValueError, RuntimeError), match=r"in Python|where it is lost; use Threads") as told:
            pool.run(leaves_machine_code.nogil, np.ones(2))
        assert told.value.__notes__[0].startswith("in chunk ")
    np.testing.assert_array_equal(pool.run(plain.nogil, np.ones(9)).value, np.ones(9))


def of_the_system():
    raise SystemError("mine")


@kernel(**by_one)
def leaves_for_the_system(lo, hi, out, x):
    with numba.objmode():
        of_the_system()
    out[lo] = x[lo]


@pytest.mark.filterwarnings("ignore::numba.NumbaWarning")
def test_a_system_error_of_the_users_is_lost_only_where_it_is(pool_of):
    for _ in range(10):
        with pytest.raises((SystemError, RuntimeError)) as told:
            pool_of(Prange(1)).run(leaves_for_the_system.nogil, np.ones(2))
        assert (str(told.value) == "mine") == isinstance(told.value, SystemError)
        if numba.threading_layer() != "workqueue":  # its one lane is on the caller's thread
            assert isinstance(told.value, SystemError)


WITHIN = """
import warnings
import numba, numpy as np
warnings.simplefilter("ignore", numba.NumbaWarning)  # objmode holds the GIL
from compute import Prange, Serial, run
from kernels import Plan, kernel, triad

@kernel(plan=lambda x: Plan(len(x), (x,), grain=1))
def outer(lo, hi, out, x):
    with numba.objmode(y="float64"):
        y = inner()
    out[lo] = x[lo] + y

def inner():
    try:
        run(triad, np.ones(3), np.ones(3), 1.0, on=Prange(1))
    except RuntimeError as error:
        told.add(str(error))
    return float(run(triad, np.ones(3), np.ones(3), 1.0, on=Serial()).value.sum())

for workers in (1, 2):
    told = set()
    with Prange(workers).open() as pool:
        print(pool.run(outer.nogil, np.ones(8)).value.tolist() == [7.0] * 8, told)
"""


SAME_POOL = WITHIN.replace(
    "run(triad, np.ones(3), np.ones(3), 1.0, on=Prange(1))", "pool.run(triad, np.ones(3), np.ones(3), 1.0)"
)


def test_the_same_pool_inside_its_lane_does_not_wait(warm_python):
    """On the caller's own thread it runs serially, as in any lane; on one of numba's it is refused."""
    assert SAME_POOL != WITHIN
    lines = warm_python.run(SAME_POOL).splitlines()
    assert len(lines) == 2
    for workers, line in enumerate(lines, 1):
        said = f"Prange({workers}) was asked to run inside a lane of Prange, which waits for it; run on Serial() there"
        assert line in ("True set()", f"True {{'{said}'}}")


def test_prange_inside_a_lane_of_prange_is_refused(warm_python):
    """It would wait for the lane that waits for it."""
    said = "Prange(1) was asked to run inside a lane of Prange, which waits for it; run on Serial() there"
    assert warm_python.run(WITHIN) == f"True {{'{said}'}}\n" * 2


WITHOUT_THREADS = """
from compute import Prange, run
from kernels import triad
try:
    run(triad, 1.0, 2.0, 3.0, on=Prange(1))
except ValueError as error:
    print(error)
"""


def test_a_threading_layer_that_is_not_there_is_named(script):
    assert script(WITHOUT_THREADS, NUMBA_THREADING_LAYER="nonsense").stdout == (
        "numba has no threads here: The threading layer requested 'nonsense' is unknown to Numba"
        " (NUMBA_THREADING_LAYER=nonsense); set it to workqueue, or use Threads\n"
    )
