"""run(…, progress=…): how many chunks are done, told while the lanes are at work.

The caller's thread is a lane, or waits for lanes, so a thread of its own looks at the done words and tells. It lives as
long as the lanes of one pass are at work: it is never there when a worker that died is replaced by a fork of this
process, and when the run has ended, nobody looks at words that belong to the next one.
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
from compute.memory.ownership import Owner

Tell = Callable[[int, int], object]
Progress = Tell | bool | None  # as users give it

PERIOD = 0.1  # s between two calls at least: more often looks no different, and would take time from the lanes
SPARING = 20  # after a costly call, so many times its CPU time passes: calls take 5 % of a core at the most
SLOWEST = 1.0  # s between two calls at most, however costly they are
GRACE = 1.0  # s that an interrupted run waits for a callable that has not returned


def as_progress(given: Any) -> Tell | bool:
    """What was given as `progress`: a callable of (done, total), or whether to draw. TypeError for anything else."""
    if given is True or given is False:
        return given
    if not callable(given):
        raise TypeError(f"progress must be a function of (done, total), True, False or None, not {given!r}")
    if inspect.iscoroutinefunction(given) or inspect.isgeneratorfunction(given) or inspect.isasyncgenfunction(given):
        raise TypeError(f"progress must be a plain function of (done, total): nobody would await or iterate {given!r}")
    try:
        inspect.signature(given).bind(0, 0)
    except TypeError as error:
        raise TypeError(f"progress must be a function of (done, total), and {given!r} is not: {error}") from None
    except ValueError:  # written in C, without a signature
        pass
    tell: Tell = given
    return tell


def teller_of(progress: Tell | bool, name: str, watch: InterruptWatch) -> Teller | None:
    """What tells of a run of the kernel of this name; None where nobody would see it."""
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
        """lanes(job), told of meanwhile; nothing is told any more when this returns or raises."""
        done = ControlArray(job.control).done
        serve = contextvars.copy_context().run  # by which a notebook knows whose output it is
        thread = threading.Thread(target=serve, args=(self._serve, done), name="nfold-progress", daemon=True)
        self._is_over = False
        try:
            # A thread whose start is cut off is alive all the same. There may be no more, as at the interpreter's end.
            with interrupts.put_off(), suppress(RuntimeError):
                thread.start()
            return lanes(job)
        finally:
            self._is_over = True  # no call, at which a Ctrl-C could come: the thread would look for good
            self._end(thread, done)

    def _end(self, thread: threading.Thread, done: Words) -> None:
        """Have the thread tell of the end, if that has come, and see it gone."""
        if not self._owner.is_this_process():  # a body has forked, and this is the child: threads are the parent's
            return
        self._asked.put(None)
        with interrupts.put_off(self._hurry):
            while thread.is_alive() and not (self._is_hurried or self._watch.has_heard):
                thread.join(PERIOD)  # in parts: a signal that comes just before a wait does not end it
            if thread.ident is not None:
                thread.join(GRACE)
        if not self._asked.empty():  # there is no thread, or it did not wait so long to be asked
            self._serve(done)

    def _hurry(self) -> None:
        self._is_hurried = True

    def _serve(self, done: Words) -> None:
        was_inside = be_a_lane(True)  # what the callable runs in turn runs serially: the workers are taken
        tell, total, period = self._tell, len(done), PERIOD
        try:
            is_last = False
            while not is_last:
                is_last = self._is_asked(period)
                if self._is_over and not is_last:
                    is_last = self._is_asked(GRACE)
                    if not is_last:  # the caller was cut off before it could ask: these words are not ours any more
                        return
                began = time.thread_time()
                count = int(np.count_nonzero(done))
                if self._is_hurried or self._watch.has_heard or not self._owner.is_this_process():
                    return
                if self._latest < total and (count == total or not is_last):
                    self._latest = count
                    tell(count, total)
                period = min(max(PERIOD, SPARING * (time.thread_time() - began)), SLOWEST)
        except BaseException as error:
            if not self._owner.is_this_process():  # the callable has forked, and this is the child
                raise
            # Without this frame, which holds the words.
            self._watch.give_up(error.with_traceback(error.__traceback__ and error.__traceback__.tb_next))
        finally:
            if self._drawing:
                self._drawing.close()
            be_a_lane(was_inside)

    def _is_asked(self, period: float) -> bool:
        """Wait for so long; whether the caller has asked for the end meanwhile, and waits for it."""
        try:
            self._asked.get(timeout=period)
        except Empty:
            return False
        return True
