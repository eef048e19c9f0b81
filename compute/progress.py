"""run(…, progress=…): call progress(done, total) from a separate thread while lanes run.

The caller's thread is a lane, or waits for lanes, so another thread reads the done words and calls. It exists only
while the lanes of one pass run. So it is never there when this process forks to replace a dead worker, and no thread
reads the control array of the next run.
"""

from __future__ import annotations

import contextvars
import inspect
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from compute.drawing import Drawing, drawing_of
from compute.lanes import interrupts
from compute.lanes.control import ControlArray, Words
from compute.lanes.interrupts import InterruptWatch
from compute.lanes.loop import Job, Outcome, be_a_lane, inside_a_lane
from compute.memory import address_space
from compute.memory.descriptors import LimitReached
from compute.memory.ownership import Owner

Tell = Callable[[int, int], object]
Progress = Tell | bool | None  # as users give it

PERIOD = 0.1  # s between two calls at least: more often looks no different, and would take time from the lanes
SPARING = 20  # after a costly call, wait so many times its CPU time: calls take 5 % of a core at the most
SLOWEST = 1.0  # s between two calls at most, however costly they are
GRACE = 1.0  # s that an interrupted run waits for a callable that has not returned


def as_progress(value: Any) -> Tell | bool:
    """The user's `progress`: a callable of (done, total), or whether to draw. TypeError for anything else."""
    if value is True or value is False:
        return value
    if not callable(value):
        raise TypeError(f"progress must be a function of (done, total), True, False or None, not {value!r}")
    if inspect.iscoroutinefunction(value) or inspect.isgeneratorfunction(value) or inspect.isasyncgenfunction(value):
        raise TypeError(f"progress must be a plain function of (done, total): nobody would await or iterate {value!r}")
    try:
        inspect.signature(value).bind(0, 0)
    except TypeError as error:
        raise TypeError(f"progress must be a function of (done, total), and {value!r} is not: {error}") from None
    except ValueError:  # written in C, without a signature
        pass
    tell: Tell = value
    return tell


def teller_of(progress: Tell | bool, name: str, watch: InterruptWatch) -> Teller | None:
    """The Teller for a run of the kernel of this name; None where nothing would be visible."""
    if callable(progress):
        return Teller(progress, watch)
    # A lane draws nothing: there may be many, and the run that they belong to may draw.
    drawing = drawing_of(name) if progress and not inside_a_lane() else None
    return Teller(drawing, watch, drawing) if drawing else None


class Teller:
    """Calls tell(done, total) for one run, from one thread at a time. What `tell` raises ends the run.

    `done` never falls, since a done word stays when its worker dies; the last call of a run that succeeds is
    (total, total).
    """

    def __init__(self, tell: Tell, watch: InterruptWatch, drawing: Drawing | None = None) -> None:
        self._tell, self._watch, self._drawing = tell, watch, drawing
        self._owner = Owner()
        self._latest = -1
        self._is_over = self._is_hurried = False
        self._asked: SimpleQueue[None] = SimpleQueue()

    def during(self, lanes: Callable[[Job], Sequence[Outcome]], job: Job) -> Sequence[Outcome]:
        """Run lanes(job), and call `tell` meanwhile. There are no calls any more when this returns or raises."""
        done = ControlArray(job.control).done
        serve = contextvars.copy_context().run  # by the context a notebook knows to which cell output belongs
        thread = threading.Thread(target=serve, args=(self._serve, done), name="nfold-progress", daemon=True)
        self._is_over = False
        try:
            # A thread whose start is interrupted is alive all the same. RuntimeError: no more threads can be started,
            # as at the interpreter's end.
            with interrupts.put_off(), suppress(RuntimeError, LimitReached):
                address_space.start(thread)
            return lanes(job)
        finally:
            self._is_over = True  # an assignment, not a call: a Ctrl-C inside a call would leave the thread running
            self._end(thread, done)

    def _end(self, thread: threading.Thread, done: Words) -> None:
        """Let the thread make the last call, if all chunks are done, and wait until it has ended."""
        if not self._owner.is_this_process():  # a body has forked, and this is the child: threads are the parent's
            return
        self._asked.put(None)
        with interrupts.put_off(self._hurry):
            while thread.is_alive() and not (self._is_hurried or self._watch.has_raised):
                thread.join(PERIOD)  # in parts: a signal that comes just before a wait does not end it
            if thread.ident is not None:
                thread.join(GRACE)
        if not self._asked.empty():  # the thread did not start, or has ended before it was asked
            self._serve(done)

    def _hurry(self) -> None:
        self._is_hurried = True

    def _serve(self, done: Words) -> None:
        was_inside = be_a_lane(True)  # runs that the callable starts are serial: the workers are busy
        tell, total, period = self._tell, len(done), PERIOD
        try:
            is_last = False
            while not is_last:
                is_last = self._is_asked(period)
                if self._is_over and not is_last:
                    is_last = self._is_asked(GRACE)
                    if not is_last:  # the caller was interrupted before it could ask: these words may be another run's
                        return
                began = time.thread_time()
                count = int(np.count_nonzero(done))
                if self._is_hurried or self._watch.has_raised or not self._owner.is_this_process():
                    return
                if self._latest < total and (count == total or not is_last):
                    self._latest = count
                    tell(count, total)
                period = min(max(PERIOD, SPARING * (time.thread_time() - began)), SLOWEST)
        except BaseException as error:
            if not self._owner.is_this_process():  # the callable has forked, and this is the child
                raise
            # Without this frame, which refers to the words.
            self._watch.give_up(error.with_traceback(error.__traceback__ and error.__traceback__.tb_next))
        finally:
            if self._drawing:
                self._drawing.close()
            be_a_lane(was_inside)

    def _is_asked(self, period: float) -> bool:
        """Wait up to `period` seconds. Returns whether the caller has asked for the last call, and waits for it."""
        try:
            self._asked.get(timeout=period)
        except Empty:
            return False
        return True
