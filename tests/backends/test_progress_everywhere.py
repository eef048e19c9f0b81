"""run(…, progress=callable), held on every backend and in both variants: what is told, by whom, and what stops it."""

from __future__ import annotations

import gc
import itertools
import threading
import weakref

import numpy as np
import pytest
from example_kernels import gated, nothing, spin, squares
from rules import EVERYWHERE, raises, variants_on

from compute import Coroutines, Serial, Threads, run, shared
from compute.lanes.loop import inside_a_lane
from kernels import Plan, kernel

pytestmark = pytest.mark.slow

CASES = [(backend, variant) for backend in EVERYWHERE for variant in variants_on(backend)]
everywhere = pytest.mark.parametrize(("backend", "variant"), CASES, ids=repr)
CHUNKS = 40


@pytest.fixture
def word():
    """What a gated chunk waits for."""
    word = shared.empty(1, np.int64)
    word[0] = 0
    return word


def tellers():
    return [thread for thread in threading.enumerate() if thread.name == "nfold-progress"]


class Telling:
    """A progress that keeps what it was told and by which thread, and never lets itself be called twice at once."""

    def __init__(self, then=lambda: None):
        self.told, self.threads, self._then = [], set(), then
        self._alone = threading.Lock()

    def __call__(self, done, total):
        assert self._alone.acquire(blocking=False)
        try:
            assert (type(done), type(total)) == (int, int)
            self.told.append((done, total))
            self.threads.add(threading.current_thread())
            self._then()
        finally:
            self._alone.release()

    def check(self, chunks=CHUNKS):
        """It was told of a run that did all of its chunks."""
        assert self.told == sorted(self.told)
        assert {total for _, total in self.told} == {chunks}
        assert [done for done, _ in self.told].index(chunks) == len(self.told) - 1  # once, and last


@everywhere
def test_what_is_told(pool_of, word, backend, variant):
    pool = pool_of(backend)
    before = threading.enumerate()
    telling = Telling(lambda: word.fill(1))
    value = pool.run(gated, CHUNKS, CHUNKS // 2, word, variant=variant, progress=telling).value
    assert value.tobytes() == np.arange(CHUNKS).tobytes()
    telling.check()
    assert len(telling.told) > 1
    assert telling.told[0][0] < CHUNKS
    (thread,) = telling.threads
    assert thread not in {*before, threading.current_thread()}
    assert not tellers()


@everywhere
def test_one_chunk_none_and_very_many(pool_of, backend, variant):
    pool = pool_of(backend)
    for chunks in (1, 100_000):
        telling = Telling()
        value = pool.run(nothing, chunks, variant=variant, progress=telling).value
        assert value.tobytes() == pool.run(nothing, chunks, variant=variant).value.tobytes()
        telling.check(chunks)
    telling = Telling()
    assert pool.run(nothing, 0, variant=variant, progress=telling).value.tolist() == []
    assert telling.told == []


@everywhere
def test_what_it_raises_ends_the_run(pool_of, backend, variant):
    pool = pool_of(backend)

    class Enough(BaseException):
        pass

    for error in (LookupError("enough"), Enough("enough")):

        def give_up(done, total, error=error):
            raise error

        with pytest.raises(type(error), match=r"^enough$") as caught:
            pool.run(spin, 100_000, 10_000_000, variant=variant, progress=give_up)  # it would take minutes
        assert caught.value is error
        names = [entry.name for entry in caught.traceback]
        assert names[-1] == "give_up"
        assert "_serve" not in names
        assert not tellers()
        assert pool.run(squares, np.arange(9.0)).value.tolist() == [k * k for k in range(9)]


@everywhere
def test_what_its_last_call_raises_is_raised(pool_of, backend, variant):
    pool = pool_of(backend)
    with pytest.raises(ZeroDivisionError):
        pool.run(nothing, 1, variant=variant, progress=lambda done, total: 1 // (total - done))
    assert pool.run(nothing, 3, variant=variant).value.tolist() == [0, 1, 2]


@everywhere
def test_it_may_run_kernels_and_close_pools(word, backend, variant):
    found = []
    with Threads(2).open() as other, backend.open() as pool:

        def runs_and_closes():
            assert inside_a_lane()
            x = np.arange(5.0)
            if not found:
                found.append(pool.run(squares, x, progress=True).value.tolist())
            found.append(other.run(squares, x).value.tolist())
            found.append(run(squares, x).value.tolist())
            pool.close()
            word[0] = 1

        telling = Telling(runs_and_closes)
        value = pool.run(gated, CHUNKS, CHUNKS // 2, word, variant=variant, progress=telling).value
        assert value.tolist() == list(range(CHUNKS))
        telling.check()
        assert set(map(tuple, found)) == {(0, 1, 4, 9, 16)}
        with pytest.raises(RuntimeError, match="this pool is closed"):
            pool.run(nothing, 1)


@everywhere
def test_an_error_of_a_body_ends_the_telling(pool_of, backend, variant):
    telling = Telling()
    with pytest.raises(ValueError, match="no good"):
        pool_of(backend).run(raises, np.arange(9.0), 5, variant=variant, progress=telling)
    assert 9 not in [done for done, _ in telling.told]
    assert not tellers()


@everywhere
def test_a_checked_run_tells_of_the_run_alone(pool_of, backend, variant):
    telling = Telling()
    pool_of(backend).run(squares, np.arange(7.0), variant=variant, check=True, progress=telling)
    telling.check(7)


@pytest.mark.parametrize("backend", EVERYWHERE, ids=repr)
def test_compute_run_tells(word, backend):
    telling = Telling(lambda: word.fill(1))
    run(gated, CHUNKS, 0, word, on=backend, progress=telling)
    telling.check()
    for nobody in (None, False):
        assert run(nothing, 2, on=backend, progress=nobody).value.tolist() == [0, 1]


# Where no lane can come late: it holds its run until the next one, told of or not.
@pytest.mark.parametrize("backend", [Serial(), Coroutines(2)], ids=repr)
def test_what_it_raised_does_not_hold_the_arrays(pool_of, word, backend):
    class Own:
        pass

    own = Own()

    def give_up(done, total, kept=own):
        word[0] = 1
        raise LookupError(kept)

    pool = pool_of(backend)
    gone, here = weakref.ref(own), threading.active_count()
    with pytest.raises(LookupError):
        pool.run(gated, CHUNKS, 0, word, progress=give_up)
    result = weakref.ref(pool.run(gated, CHUNKS, 0, word, progress=lambda done, total: None).value)
    del own, give_up
    gc.collect()
    assert gone() is None
    assert result() is None
    assert threading.active_count() == here


told_in_lanes: list = []


@kernel(plan=lambda n: Plan(n, grain=1), compiled=False)
def telling_within(lo, hi, out):
    one = Telling()
    out[lo] = run(nothing, 5, variant="python", progress=one).value.sum()
    run(nothing, 5, variant="python", progress=True)
    one.check(5)
    told_in_lanes.append(one)


@pytest.mark.filterwarnings("ignore:.*told_in_lanes.*cannot be sent to worker processes:RuntimeWarning")  # nor read
@pytest.mark.parametrize("backend", [b for b in EVERYWHERE if "python" in variants_on(b)], ids=repr)
def test_a_run_within_a_lane_tells_too(pool_of, backend):
    telling = Telling()
    assert pool_of(backend).run(telling_within, 6, progress=telling).value.tolist() == [10.0] * 6
    telling.check(6)


@pytest.mark.parametrize(
    ("progress", "told"),
    [
        (1, "progress must be a function of (done, total), True, False or None, not 1"),
        ("yes", "progress must be a function of (done, total), True, False or None, not 'yes'"),
        (np.True_, "progress must be a function of (done, total), True, False or None, not "),
        (np.arange(3), "progress must be a function of (done, total), True, False or None, not array([0, 1, 2])"),
        (lambda done: None, "progress must be a function of (done, total), and "),
        (lambda done, total, label: None, "progress must be a function of (done, total), and "),
        (itertools.count().__next__, "progress must be a function of (done, total), and "),
    ],
)
def test_bad_progress_is_refused_in_one_line(pool_of, progress, told):
    def never():
        raise AssertionError("it was opened")

    class Never:
        open = never

    never_planned = kernel(plan=lambda n: never())(lambda lo, hi, out: None)
    for call in (
        lambda: pool_of(Serial()).run(never_planned, 3, progress=progress),
        lambda: run(never_planned, 3, on=Never(), progress=progress),
    ):
        with pytest.raises(TypeError) as caught:
            call()
        assert str(caught.value).startswith(told)
        assert "\n" not in str(caught.value)


def test_what_nobody_would_await_is_refused(pool_of):
    async def awaits(done, total):
        raise AssertionError

    def yields(done, total):
        yield

    async def does_both(done, total):
        yield

    for made in (awaits, yields, does_both):
        with pytest.raises(TypeError, match=r"^progress must be a plain function of \(done, total\): nobody would"):
            pool_of(Serial()).run(nothing, 3, progress=made)


def test_callables_of_any_kind(pool_of):
    told = []
    for made in (
        lambda *done: told.append(done),
        lambda done, total, label="": told.append((done, total)),
        max,
        divmod,
    ):
        assert pool_of(Serial()).run(nothing, 3, progress=made).value.tolist() == [0, 1, 2]
    assert told == [(3, 3), (3, 3)]


@kernel
def with_own_names(lo, hi, out, x, progress=1.0, check=0.0):
    for i in range(lo, hi):
        out[i] = x[i] * progress + check


def test_an_input_named_like_run_s_own_is_given_by_position(pool_of):
    pool, x, telling = pool_of(Serial()), np.arange(3.0), Telling()
    for call in (pool.run, run):
        for own in ({"progress": True}, {"progress": 0.5}, {"progress": False}, {"check": True}, {"check": 2.0}):
            (name,) = own
            with pytest.raises(TypeError, match=f"^{name}= is run's own, and with_own_names has an input of that name"):
                call(with_own_names, x, **own)
        assert call(with_own_names, x, 2.0, progress=telling).value.tolist() == [0, 2, 4]
        assert call(with_own_names, x, 2.0, 1.0, progress=telling, check=True).value.tolist() == [1, 3, 5]
        assert call(with_own_names, x).value.tolist() == [0, 1, 2]
