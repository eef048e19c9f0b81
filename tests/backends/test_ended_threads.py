"""A pool's threads that are ended from outside: a run goes on, or ends in an error, and the next one has all lanes."""

from __future__ import annotations

import ctypes
import importlib
import threading
import time

import numpy as np
import pytest
from example_kernels import meeting, nothing
from patience import PATIENCE

from compute import Interpreters, Threads
from compute.backends import threads
from compute.lanes.control import TICKET

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
POOLS = [Threads(2), *([] if Interpreters(2).lacks() else [Interpreters(2)])]


def interpreters() -> list:
    """Those of this process; a fork in which there are some dies in Python 3.13."""
    return [] if Interpreters(2).lacks() else importlib.import_module("_interpreters").list_all()


def raise_in(thread: threading.Thread, kind: type[BaseException]) -> None:
    """What an IDE does to stop a thread. One that waits notices it when it wakes."""
    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(kind)) == 1


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, ValueError])
@pytest.mark.parametrize("backend", POOLS, ids=repr)
def test_threads_that_are_ended_while_they_wait_are_started_again(backend, kind):
    before = interpreters()
    with backend.open() as pool:
        for _ in range(2):
            assert pool.run(meeting, 2, PATIENCE, variant="nogil").value.tolist() == [1.0, 1.0]
            former = list(pool._threads._lanes)
            for lane in former:
                raise_in(lane.thread, kind)
            try:
                told = pool.run(nothing, 9).value.tolist()  # the caller's own lane may have done all
            except RuntimeError as error:
                told = str(error)
            assert told == list(range(9)) or f"was ended ({kind.__name__})" in told
            for lane in former:  # one that noticed it within the run lives on
                while not (lane.is_dead or lane.served == pool._threads._bell[0]):
                    time.sleep(0.001)
    assert interpreters() == before


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_a_thread_that_ends_with_a_ticket_is_an_error(monkeypatch, kind):
    run_lane = threads.run_lane

    def ends_early(job, me, *until):
        if threading.current_thread().name == "nfold-lane-1":
            job.control[TICKET] += 1
            has_taken.set()
            raise kind
        assert has_taken.wait(PATIENCE)
        return run_lane(job, me, *until)

    has_taken = threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(threads, "run_lane", ends_early)
        pool = Threads(2).open()
        with pytest.raises(RuntimeError, match=rf"thread of lane 1 was ended \({kind.__name__}\)"):
            pool.run(nothing, 9)
        has_taken.clear()
        with pytest.raises(RuntimeError, match="thread of lane 1 was ended"):
            pool.run(nothing, 9)
    pool.close()


def test_tasks_of_an_executor_whose_thread_is_ended_fail():
    with Threads(2).open() as pool, pool.executor() as executor:
        raise_in(executor._service._thread, SystemExit)
        task = executor.submit(np.ones, 3)
        with pytest.raises(RuntimeError, match=r"thread was ended \(SystemExit\) before this task began"):
            task.result(PATIENCE)
        executor._service._thread.join(PATIENCE)
        with pytest.raises(RuntimeError, match=r"was ended \(SystemExit\); open another"):
            executor.submit(np.ones, 3)
        with pool.executor() as another:
            assert another.submit(np.ones, 3).result(PATIENCE).tolist() == [1.0, 1.0, 1.0]
