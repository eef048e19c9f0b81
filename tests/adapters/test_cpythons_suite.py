"""CPython's own tests of executors, futures, wait and as_completed, on our executors.

They are in the interpreter's `test` package, which some distributions leave out. They are run as they are; the few that
ask for what only CPython's executors have are listed with the reason.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from cpythons import OnProcesses, OnThreads, close_pools

MODULES = ["util", "executor"] + [
    f"test_{name}" for name in ("wait", "as_completed", "future", "shutdown", "deadlock", "thread_pool", "process_pool")
]


def _suite() -> list[Any]:
    """The modules of the suite: one file on 3.11, a package from 3.12 on."""
    try:
        whole = importlib.import_module("test.test_concurrent_futures")
    except ImportError:
        pytest.skip("this Python comes without its test.test_concurrent_futures", allow_module_level=True)
    if not hasattr(whole, "__path__"):
        return [whole]
    return [importlib.import_module(f"{whole.__name__}.{name}") for name in MODULES]


SUITE = _suite()


def found(name: str) -> Any:
    return next(getattr(module, name) for module in SUITE if hasattr(module, name))


THREADS_OF_ITS_OWN = (
    "looks at threads that CPython's executor starts one by one; our pool has its threads from the start"
)
PROCESSES_OF_ITS_OWN = "looks at attributes of CPython's executor; our workers belong to the pool"
MAKES_ITS_OWN = "makes a CPython executor itself, and looks at its attributes"
LESS_BREAKS = "breaks CPython's executor; here the call alone fails, with what was raised"

# Every case of the suite that says nothing of ours, and why.
NOT_OURS = {
    "test_saturation": THREADS_OF_ITS_OWN,
    "test_idle_thread_reuse": THREADS_OF_ITS_OWN,
    "test_threads_terminate": THREADS_OF_ITS_OWN,
    "test_default_workers": "our default is the usable CPUs",
    "test_hang_global_shutdown_lock": "is about a lock of CPython's module, and makes its executors itself",
    "test_context_manager_shutdown": MAKES_ITS_OWN,
    "test_del_shutdown": MAKES_ITS_OWN,
    "test_shutdown_no_wait": MAKES_ITS_OWN,
    "test_thread_names_assigned": "our executor has no thread_name_prefix",
    "test_thread_names_default": "our threads are named after the pool's lanes",
    "test_processes_terminate": PROCESSES_OF_ITS_OWN,
    "test_max_workers_too_large": "is about Windows' limit for CPython's executor",
    "test_killed_child": PROCESSES_OF_ITS_OWN + "; test_executor_on_processes.py has the like",
    "test_traceback": "our traceback of the worker is a note, not a cause; test_executor.py has the like",
    "test_idle_process_reuse_one": PROCESSES_OF_ITS_OWN,
    "test_idle_process_reuse_multiple": PROCESSES_OF_ITS_OWN,
    "test_max_tasks_per_child": "our executor has no max_tasks_per_child",
    "test_max_tasks_per_child_defaults_to_spawn_context": "our executor has no max_tasks_per_child",
    "test_max_tasks_early_shutdown": "our executor has no max_tasks_per_child",
    "test_python_finalization_error": "is about starting processes late, which CPython's executor does",
    "test_force_shutdown_workers": "our executor cannot kill workers, which belong to the pool",
    "test_force_shutdown_workers_invalid_op": "our executor cannot kill workers, which belong to the pool",
    "test_force_shutdown_workers_stops_pool": "our executor cannot kill workers, which belong to the pool",
    "test_process_pool_executor_terminate_workers": "our executor cannot kill workers, which belong to the pool",
    "test_process_pool_executor_kill_workers": "our executor cannot kill workers, which belong to the pool",
    "test_exit_at_task_unpickle": LESS_BREAKS,
    "test_error_at_task_unpickle": LESS_BREAKS,
    "test_exit_during_result_unpickle_in_result_handler": LESS_BREAKS,
    "test_error_during_result_unpickle_in_result_handler": LESS_BREAKS,
    "test_shutdown_deadlock": PROCESSES_OF_ITS_OWN,
    "test_shutdown_deadlock_pickle": PROCESSES_OF_ITS_OWN,
    "test_gh105829_should_not_deadlock_if_wakeup_pipe_full": "is about a pipe within CPython's executor",
}


def _in_scripts(ok: Any) -> Any:
    """The suite's way to run a script, with our executors in the place of CPython's."""

    def run(option: str, text: str, **env: str) -> Any:
        ours = text.replace("from concurrent.futures import", "import multiprocessing; from cpythons import")
        return ok(option, ours, PYTHONPATH=os.pathsep.join([str(Path(__file__).parent), *sys.path]))

    return run


def _ours(mixin: str, kind: str) -> type:
    """One of the suite's groups of cases, on our executor of this kind."""
    of_its_kind = "ThreadPoolMixin" if kind == "Threads" else "ProcessPoolForkserverMixin"
    case: Any = type(f"{kind}{mixin}", (found(mixin), found(of_its_kind), found("BaseTestCase")), {})
    case.executor_type = OnThreads if kind == "Threads" else OnProcesses
    case.__module__ = __name__
    for name in dir(case):
        if name in NOT_OURS:
            setattr(case, name, unittest.skip(NOT_OURS[name])(getattr(case, name)))
    return case


for group, kinds in {
    "WaitTests": ("Processes",),
    "AsCompletedTests": ("Threads", "Processes"),
    "ThreadPoolExecutorTest": ("Threads",),  # the cases of any executor, and these
    "ThreadPoolWaitTests": ("Threads",),
    "ThreadPoolShutdownTest": ("Threads",),
    "ProcessPoolExecutorTest": ("Processes",),
    "ProcessPoolShutdownTest": ("Processes",),
    "ExecutorDeadlockTest": ("Processes",),
}.items():
    for kind in kinds:
        globals()[f"{kind}{group}"] = _ours(group, kind)

FutureTests = found("FutureTests")  # of Future itself, which ours are


@pytest.fixture(scope="module", autouse=True)
def our_scripts():
    module = next(one for one in SUITE if hasattr(one, "assert_python_ok"))
    # pytest hears of errors in callbacks in the place of stderr, where the suite looks for them.
    logging.getLogger("concurrent.futures").addHandler(logging.lastResort)
    with mock.patch.object(module, "assert_python_ok", _in_scripts(module.assert_python_ok)):
        yield
    logging.getLogger("concurrent.futures").removeHandler(logging.lastResort)
    close_pools()


def test_every_case_that_is_left_out_is_there():
    names = {name for module in SUITE for value in vars(module).values() for name in dir(value)}
    newer = {name for name in NOT_OURS if "force" in name or "workers" in name or "finalization" in name}
    newer.add("test_gh105829_should_not_deadlock_if_wakeup_pipe_full")
    assert set(NOT_OURS) - names <= newer
