"""A job's way to another process: arrays as references into segments, the kernel by name or by value, errors back."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from compute import interrupts
from compute.control import LOADING, Control
from compute.lanes import Job, Outcome, run_lane
from compute.segments import ArrayRef, Endings, Segment, reference, segment_of
from kernels.definition import Kernel

PATIENCE = 60.0  # s that a worker may take to load a kernel: a cold compilation on a busy machine takes ten
PARENT_CHECK = 0.5  # s between looks for the parent where the system cannot wake us at its death


class Sender:
    """The caller's side: turns jobs into short messages, and remembers which segments are known there."""

    def __init__(self) -> None:
        self._kernels: dict[tuple[int, str], tuple[Kernel, bytes]] = {}
        self._known: Endings[tuple[int, int]] = Endings()

    def message(self, job: Job) -> bytes:
        """The job, pickled: the same for every lane."""
        items: list[Any] = [job.control, job.out, *job.inputs]
        places = [k for k, x in enumerate(items) if isinstance(x, np.ndarray)]
        for k in places:
            items[k] = tuple(self._found(items[k]))  # a plain one takes a fifth of an ArrayRef's time to pickle
        gone = self._known.latest()
        return pickle.dumps((self._kernel(job.kernel), gone, places, items), protocol=pickle.HIGHEST_PROTOCOL)

    def _found(self, array: np.ndarray[Any, Any]) -> ArrayRef:
        """How the workers find an array; the end of its segment will be told to them."""
        found = reference(array)
        self._known.watch(found.serial, segment_of(array))
        return found

    def _kernel(self, kernel: Kernel) -> bytes:
        key = (id(kernel.variants), kernel.variant)
        if key not in self._kernels:
            import cloudpickle

            self._kernels[key] = kernel, cloudpickle.dumps(kernel)
        return self._kernels[key][1]


_segments: dict[tuple[int, int], Segment] = {}
_loaded: dict[bytes, Kernel] = {}
_jobs: dict[bytes, Job] = {}  # of the latest messages: a run that is repeated sends the same one
SHORT = 2**16  # bytes of a message that is remembered: a longer one holds data, of which one copy is enough
JOBS = 32  # a repeated run takes turns between pairs of a few segments: with three, six of them


def perform(message: bytes, me: int) -> bytes:
    """A worker's side: run lane `me` of the job in the message; return the pickled Outcome, b"" if all is well."""
    try:
        outcome = run_lane(_jobs.get(message) or _opened(message, me), me)
    except BaseException as error:
        outcome = Outcome(me, error)
    return b"" if outcome.error is None else _pickled(outcome)


def _opened(message: bytes, me: int) -> Job:
    """The job in a message; forget the jobs whose segments are gone, or that are too many."""
    began = time.perf_counter_ns()
    pickled, gone, places, items = pickle.loads(message)
    if gone or len(_jobs) == JOBS:
        _jobs.clear()
    for serial in gone:
        _segments.pop(serial, None)
    if pickled not in _loaded:
        _loaded[pickled] = pickle.loads(pickled)
    for k in places:
        items[k] = ArrayRef(*items[k]).open(_segments)
    control, out, *inputs = items
    job = Job(_loaded[pickled], control, out, tuple(inputs))
    if len(message) <= SHORT:
        _jobs[message] = job
    control[Control.line(me) + LOADING] += time.perf_counter_ns() - began
    return job


def _pickled(outcome: Outcome) -> bytes:
    """An outcome with an error, which carries the traceback of this process as a note."""
    error = outcome.error
    assert error is not None
    lines = "".join(traceback.format_exception(error))
    error.add_note(f"in worker process {os.getpid()}:\n{lines}")
    import cloudpickle

    try:
        pickled: bytes = cloudpickle.dumps(outcome)
        pickle.loads(pickled)
    except Exception:
        stand_in = RuntimeError(f"{type(error).__name__}: {error}")
        stand_in.add_note(f"in worker process {os.getpid()}:\n{lines}")
        return pickle.dumps(replace(outcome, error=stand_in))
    return pickled


def settle(parent: int) -> None:
    """Make this process a worker: deaf to Ctrl-C (the parent decides), gone when the parent is, one thread for BLAS."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with, args=(parent,), name="nfold-parent-watch", daemon=True).start()
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)


@contextmanager
def deaf_children() -> Iterator[None]:
    """Processes started in here never hear Ctrl-C, from birth on; one that comes meanwhile is ours when this ends.

    The blocked signal is inherited; but the system may hand it to a thread that does not block it (BLAS has some), and
    Python would raise it here all the same: so it is put off.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    with interrupts.put_off():
        from multiprocessing import resource_tracker

        resource_tracker.ensure_running()  # now, because it lifts every ban on signals when it starts
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _die_with(parent: int) -> None:
    """Leave as soon as the parent has died. A busy lane cannot delay it: compiled ones hold no GIL, others lend it."""
    if hasattr(os, "pidfd_open"):
        import select

        try:
            select.select([os.pidfd_open(parent)], [], [])
        except ProcessLookupError:
            os._exit(1)
        except OSError:  # no pidfds in this kernel or sandbox
            _poll(parent)
    else:
        _poll(parent)
    os._exit(1)


def _poll(parent: int) -> None:
    while True:
        time.sleep(PARENT_CHECK)
        try:
            os.kill(parent, 0)
        except ProcessLookupError:
            return
        except OSError:
            pass


def check_timeout(timeout: float | None) -> None:
    """ValueError for a timeout that is not a positive number of seconds."""
    if timeout is None:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
        raise ValueError(f"timeout must be more than 0 seconds, not {timeout!r}; leave it out to wait for ever")


def is_hung(control: Control, lane: int, sent: float, timeout: float) -> bool:
    """Whether a lane that got its job at `sent` has been in one place for longer than a chunk may take."""
    now, began = time.perf_counter(), control.started(lane) / 1e9
    return now - began > timeout if began > sent else now - sent > timeout + PATIENCE


def describe_exit(code: int | None) -> str:
    """`SIGKILL` or `exit code 3`, from a process's exit code."""
    if code is not None and code < 0:
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"signal {-code}"
    return f"exit code {code}"
