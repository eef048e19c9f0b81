"""Executors on worker processes: what cannot be sent, who dies, and what it costs the others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor

import numpy as np
import pytest
from patience import PATIENCE
from tasks import square, wait_for

from compute import Joblib, Processes


@pytest.fixture(scope="module")
def processes():
    with Processes(2).open() as pool:
        yield pool


def die_once(path):
    if not os.path.exists(path):
        open(path, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def test_a_task_in_a_process_cannot_reach_the_executor(processes):
    with processes.executor() as executor:
        task = executor.submit(lambda: executor.submit(square, 1))
        assert isinstance(task.exception(PATIENCE), TypeError)
        assert executor.submit(square, 2).result(PATIENCE) == 4


def test_workers_are_where_the_caller_is(processes, tmp_path, monkeypatch):
    (tmp_path / "made_late.py").write_text("def answer(): return 42")
    with processes.executor() as executor:
        assert executor.submit(os.getcwd).result(PATIENCE) == os.getcwd()
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(tmp_path)
        assert executor.submit(os.getcwd).result(PATIENCE) == str(tmp_path)
        import made_late

        assert executor.submit(made_late.answer).result(PATIENCE) == 42


def test_what_cannot_be_sent_fails_alone(processes):
    with processes.executor() as executor:
        bad = [executor.submit(square, (x for x in ())), executor.submit(lambda: (x for x in ()))]
        good = [executor.submit(square, x) for x in range(4)]
        for task, told in zip(bad, ["argument 0, <generator", "the result, of type generator"], strict=True):
            with pytest.raises(TypeError, match=told):
                task.result(PATIENCE)
        assert [task.result(PATIENCE) for task in good] == [0, 1, 4, 9]


def test_a_task_that_kills_its_worker_breaks_alone(processes, tmp_path):
    with processes.executor() as executor:
        killer = executor.submit(os._exit, 3)
        others = [executor.submit(square, x) for x in range(50)]
        with pytest.raises(BrokenExecutor, match="_exit was tried 3 times, and each time its worker died"):
            killer.result(PATIENCE)
        assert [task.result(PATIENCE) for task in others] == [x * x for x in range(50)]
        assert processes.map(square, [3]) == [9]


def test_a_task_whose_worker_is_killed_is_done_again(processes, tmp_path):
    with processes.executor() as executor:
        tasks = [executor.submit(die_once, str(tmp_path / f"died-{k}")) for k in range(4)]
        assert [task.result(PATIENCE) for task in tasks] == ["done"] * 4


@pytest.mark.slow
def test_where_all_workers_die_together_one_task_is_to_blame(tmp_path):
    with Joblib(2).open() as pool, pool.executor() as executor:
        killer = executor.submit(os._exit, 3)
        others = [executor.submit(time.sleep, 0.2) for _ in range(4)]
        assert isinstance(killer.exception(PATIENCE), BrokenExecutor)
        assert [task.result(PATIENCE) for task in others] == [None] * 4


def test_an_idle_worker_that_is_killed_is_missed_by_nobody(processes):
    with processes.executor() as executor:
        for _ in range(3):
            os.kill(executor.submit(os.getpid).result(PATIENCE), signal.SIGKILL)
            assert executor.submit(square, 5).result(PATIENCE) == 25


def test_a_long_task_does_not_keep_one_from_being_done_again(tmp_path):
    path = str(tmp_path / "now")
    with Processes(3).open() as pool, pool.executor() as executor:
        long = executor.submit(wait_for, path)
        again = executor.submit(die_once, str(tmp_path / "died"))
        assert again.result(PATIENCE) == "done"
        assert not long.done()
        open(path, "w").close()
        assert long.result(PATIENCE) == path


def test_workers_that_cannot_connect_are_no_reason_to_wait_for_ever(processes, tmp_path, monkeypatch):
    with processes.executor() as executor:
        listener = executor._service._between_runs.listener()
        monkeypatch.setattr(listener, "address", str(tmp_path / "nowhere"))
        monkeypatch.setattr(executor._service._between_runs, "listener", lambda: listener)
        with pytest.raises(RuntimeError, match="do not reach the socket"):
            executor.submit(square, 1).result(PATIENCE)
        monkeypatch.undo()
        assert executor.submit(square, 2).result(PATIENCE) == 4


def test_a_socket_that_somebody_removes_is_made_anew(processes):
    with processes.executor() as executor:
        os.unlink(executor._service._between_runs.listener().address)
        assert executor.submit(square, 2).result(PATIENCE) == 4


def test_a_large_array_is_sent_once_and_is_read_only(processes):
    def written(x):
        x[0] = 1

    x = np.ones(10**5)
    with processes.executor() as executor:
        assert executor.submit(lambda x: float(x.sum()), x).result(PATIENCE) == 1e5
        x[0] = 3  # the next task sees it
        assert executor.submit(lambda x: float(x.sum()), x).result(PATIENCE) == 1e5 + 2
        with pytest.raises(ValueError, match="read-only"):
            executor.submit(written, x).result(PATIENCE)


def test_what_a_task_prints_is_there_with_its_result():
    text = """
from compute import Processes
with Processes(1).open() as pool, pool.executor() as executor:
    executor.submit(print, "pear", end=" ").result()
    print("apple", flush=True)
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=PATIENCE)
    assert (done.stdout, done.stderr) == ("pear apple\n", "")
