"""Whether lanes take the GIL or not is told apart, whatever else the machine is doing. No test looks at a time."""

from __future__ import annotations

import ctypes
import hashlib
import random
import threading
import time
from collections.abc import Callable

import pytest

from compute.scaling import probe
from compute.scaling.probe import ENOUGH, FEWEST_LOOKS, Probe

readable = pytest.mark.skipif(
    not probe.has_gil() or probe.RUSAGE_THREAD is None, reason="no GIL here, or no count of a thread's switches"
)

LOOKS = 40  # enough that a few unlucky ones, at threads stopped in the middle of a step of Python, say nothing
LARGE = bytes(16 << 20)  # hashed without the GIL, in about 10 ms: of that the Python around it is nothing
LOCK = threading.Lock()


def counts() -> None:
    for _ in range(10_000):
        pass


def hashes() -> None:
    hashlib.sha256(LARGE).digest()


def hashes_in_turn() -> None:
    with LOCK:
        hashes()


def sleeps_in_turn() -> None:
    with LOCK:
        time.sleep(0.005)


@pytest.fixture
def taken() -> Callable[[Callable[[], None], int], float]:
    """taken(step, n): the probe's answer while n threads repeat the step, until it has looked LOOKS times."""

    def measure(step: Callable[[], None], n: int) -> float:
        enough = threading.Event()

        def lane() -> None:
            while not enough.is_set():
                step()

        lanes = [threading.Thread(target=lane) for _ in range(n)]
        try:
            with Probe() as seen:
                for one in lanes:
                    one.start()
                while seen.looks < LOOKS:
                    time.sleep(0.02)
        finally:
            enough.set()
            for one in lanes:
                one.join()
        assert seen.taken is not None
        return seen.taken

    return measure


@readable
@pytest.mark.parametrize("n", [1, 2, 4])
def test_lanes_in_python_take_the_gil(taken, n):
    assert any(taken(counts, n) > 0.8 for _ in range(3))  # beside five busy processes, one of twenty was 0.77


@readable
@pytest.mark.parametrize("step", [hashes_in_turn, sleeps_in_turn])
def test_lanes_that_take_turns_at_a_lock_leave_the_gil_free(taken, step):
    assert taken(step, 2) < 0.4


@readable
@pytest.mark.parametrize("n", [2, 4, 8])
def test_more_busy_threads_than_cpus_are_no_gil(taken, n):
    assert taken(hashes, n) < 0.4


@readable
def test_a_gil_taken_for_half_of_the_time_is_found_so(taken):
    def half() -> None:
        end = time.monotonic() + 0.01
        while time.monotonic() < end:
            pass
        time.sleep(0.01)

    assert 0.15 < taken(half, 1) < 0.95


@readable
def test_a_call_that_never_gives_the_gil_up_is_seen_though_it_allows_a_single_look():
    hold = ctypes.PyDLL(None).usleep  # PyDLL calls without releasing the GIL

    def taken() -> float:
        with Probe() as seen:
            hold(400_000)
        assert seen.taken is not None
        return seen.taken

    assert any(taken() > 0.5 for _ in range(3))  # beside busy processes the only look may come after the call


@readable
def test_one_more_switch_than_the_sleep_is_a_taken_gil(monkeypatch):
    switches = iter([0, 1, 2, *range(4, 1000, 2)])  # two free looks, then each finds the GIL taken
    monkeypatch.setattr(probe, "switches", lambda: next(switches))
    with Probe() as seen:
        while seen.looks < FEWEST_LOOKS:
            time.sleep(0.001)
    assert seen.taken == seen._seconds[True] / (seen._seconds[True] + seen._seconds[False])
    assert 0 < seen.taken < 1


@readable
@pytest.mark.parametrize("more", [1, 2])
def test_looks_of_one_kind_make_a_share_of_nought_or_one(monkeypatch, more):
    switches = iter(range(0, 1000, more))
    monkeypatch.setattr(probe, "switches", lambda: next(switches))
    with Probe() as seen:
        while seen.looks < FEWEST_LOOKS:
            time.sleep(0.001)
    assert seen.taken == more - 1


def test_too_few_looks_say_nothing():
    with Probe(period=0.02) as seen:
        pass
    seen.watched = min(seen.watched, ENOUGH / 2)  # on a machine that was busy elsewhere
    assert seen.looks < FEWEST_LOOKS
    assert seen.taken is None


def test_without_a_gil_nothing_is_taken_and_no_thread_starts(monkeypatch):
    monkeypatch.setattr(probe, "has_gil", lambda: False)
    with Probe() as seen:
        assert seen._thread not in threading.enumerate()
    assert seen.taken is None


def test_a_system_that_has_no_count_of_switches_is_not_guessed_at(monkeypatch):
    monkeypatch.setattr(probe, "RUSAGE_THREAD", None)
    with Probe() as seen:
        assert seen._thread not in threading.enumerate()
    assert seen.taken is None


@readable
def test_a_system_that_leaves_the_count_at_zero_is_not_guessed_at(monkeypatch):
    asked = []
    monkeypatch.setattr(probe, "switches", lambda: asked.append(1) or 0)
    with Probe() as seen:
        while len(asked) <= FEWEST_LOOKS:
            time.sleep(0.001)
    assert (seen.looks, seen.taken) == (0, None)


@readable
def test_the_thread_is_gone_afterwards_also_after_an_error():
    seen = Probe()

    def fails() -> None:
        with seen:
            assert seen._thread in threading.enumerate()
            raise LookupError

    with pytest.raises(LookupError):
        fails()
    assert seen._thread not in threading.enumerate()


def test_the_callers_random_numbers_stay_as_they_were():
    random.seed(7)
    expected = random.random()
    random.seed(7)
    with Probe(period=0.001):
        time.sleep(0.01)
    assert random.random() == expected


@pytest.mark.parametrize("period", [0, -1.0, float("nan")])
def test_a_period_that_is_none_is_refused(period):
    with pytest.raises(ValueError, match=r"period must be above 0 seconds, not .*; leave it out for 0\.002"):
        Probe(period)
