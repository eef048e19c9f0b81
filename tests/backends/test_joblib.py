"""joblib's workers, where they differ from others: loky must not take mapped arrays for a memory leak."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import wait
from pathlib import Path

import pytest
from example_kernels import squares, who
from watched import wait_for

from compute import Joblib, WorkerDied
from kernels import each

LEAK = 3e8  # bytes by which a worker may grow before loky replaces it
LOOKS_EVERY = 1.0  # s


@pytest.mark.slow
def test_a_worker_that_maps_large_arrays_is_not_replaced(no_leaks):
    with Joblib(1, arrays="memmap").open() as pool:  # a small /dev/shm would not hold them
        x = pool.arena.empty(int(0.55 * LEAK / 8))  # with as much output: more than loky's limit
        x[:] = 3.0
        before = {lane.process for lane in pool.run(who, 3).timeline.lanes}
        time.sleep(LOOKS_EVERY)
        values = [pool.run(squares, x).value for _ in range(2)]  # it would look after the first, and leave
        after = {lane.process for lane in pool.run(who, 3).timeline.lanes}
    assert all(value[-1] == 9.0 for value in values)
    assert after == before


def kills_once(path):
    with open(path, "a") as file:
        file.write("begun\n")
    if len(Path(path).read_text().splitlines()) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


def raises_or_dies(what, begun, known):
    """One raises when both have begun; the other one dies when the caller knows of it."""
    if what == "raise":
        wait_for(Path(begun).exists)
        raise ValueError("no good")
    Path(begun).touch()
    wait_for(Path(known).exists)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def slowly_sent(monkeypatch):
    """A pool whose caller sends each lane only when the one before has ended: other threads may hold it up so long."""
    with Joblib(2).open() as pool:
        send = pool._executor.submit

        def submit(perform, message, lane):
            if sent and lane:
                wait(sent)
            sent.append(send(perform, message, lane))
            return sent[-1]

        sent = []
        monkeypatch.setattr(pool._executor, "submit", submit)
        yield pool


def test_a_lane_that_dies_before_the_others_are_sent_had_begun(no_leaks, slowly_sent, tmp_path):
    paths = [str(tmp_path / "one"), str(tmp_path / "two")]
    with pytest.raises(WorkerDied, match=r"died \(SIGKILL.* in chunk 0 .*retry=False"):
        slowly_sent.run(each(kills_once, retry=False), paths)
    assert (tmp_path / "one").read_text() == "begun\n"
    assert not (tmp_path / "two").exists()
    assert slowly_sent.map(abs, [-1, -2]) == [1, 2]


def test_it_is_run_again_where_it_may_be(slowly_sent, tmp_path):
    assert slowly_sent.map(kills_once, [str(tmp_path / "one")]) == ["alive"]
    assert (tmp_path / "one").read_text() == "begun\nbegun\n"


@pytest.mark.slow
def test_what_a_lane_raised_is_not_lost_where_another_dies(tmp_path, monkeypatch):
    begun, known = tmp_path / "begun", tmp_path / "known"
    with Joblib(2).open() as pool:
        send = pool._executor.submit

        def submit(*args):
            task = send(*args)
            task.add_done_callback(lambda _: known.touch())
            return task

        monkeypatch.setattr(pool._executor, "submit", submit)
        with pytest.raises(ValueError, match="no good"):
            pool.run(
                each(raises_or_dies, retry=False, star=True),
                [(what, str(begun), str(known)) for what in ("raise", "die")],
            )
    assert begun.exists()


@pytest.fixture
def dying_as_they_start(monkeypatch, tmp_path):
    """`deaths(count)`: so many workers of loky's die before they are ready."""
    path = str(tmp_path / "deaths")

    def deaths(count):
        Path(path).write_text("." * count)

    def arrive():
        if left := os.stat(path).st_size:
            os.truncate(path, left - 1)
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        return os.getpid()

    monkeypatch.setattr("compute.backends.loky._arrive", arrive)
    return deaths


def test_a_worker_that_dies_as_it_starts_is_started_again(no_leaks, dying_as_they_start):
    dying_as_they_start(1)
    with Joblib(1).open() as pool:
        assert pool.map(abs, [-1, 2]) == [1, 2]
        dying_as_they_start(1)
        pool.repair()  # as after a death in a run
        assert pool.map(abs, [-1, 2]) == [1, 2]


def test_workers_that_die_again_and_again_as_they_start_are_told_of(no_leaks, dying_as_they_start):
    dying_as_they_start(0)
    with Joblib(1).open() as pool:
        dying_as_they_start(99)
        with pytest.raises(WorkerDied, match=r"loky's workers died 3 times before they were ready \(SIGTERM\(-15\)\)"):
            pool.repair()
        dying_as_they_start(0)
        assert pool.map(abs, [-1, 2]) == [1, 2]
