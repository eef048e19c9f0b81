"""Subinterpreters of this process: a lane in each, with a GIL of its own and the same memory.

A lane is a thread that enters its interpreter for a job. Python's own bodies run side by side there, as in processes,
and nothing is copied, as on threads. What this costs: numpy and other extension modules of one interpreter alone cannot
be imported there. So Python bodies get memoryviews of the arrays, and compiled ones are called by their C address.

messages.py         a job as a message; what is refused
by_value.py         how a Python body gets there, with what it reads
elements.py         whether it computes the same from memoryviews as from arrays: its statements
expressions.py      the same of its expressions
kinds.py            kinds of values, by what memoryviews and arrays make of them; a function's text
native.py           how a compiled lane is called from there
subinterpreter.py   one interpreter: made, entered, ended; whether this Python has any
inside.py           what runs in it: the lane's job, on memoryviews
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import pickle
import time
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from compute.backends.backend import Backend
from compute.backends.interpreters import messages, native
from compute.backends.interpreters.inside import FAILED
from compute.backends.interpreters.subinterpreter import Subinterpreter, pause_all, unavailable
from compute.backends.lane_thread import LaneThreads
from compute.backends.pool import Pool
from compute.lanes import interrupts, ordering, spin
from compute.lanes.control import STOP, ControlArray, Words
from compute.lanes.errors import arrived, text_of
from compute.lanes.loop import Job, Outcome, run_lane
from compute.traits import Traits
from kernels.definition import Kernel, Plan
from kernels.definition.notes import add_note

if TYPE_CHECKING:
    from concurrent.futures import Executor

SHARE_NOTHING = (
    "subinterpreters share no objects with their caller, and tasks that come one by one are such; use pool.map, or"
    " Threads or Processes"
)


@dataclass(frozen=True, repr=False)
class Interpreters(Backend):
    """Lanes in subinterpreters of this process, from Python 3.13 on. `Interpreters(4)`"""

    name = "interpreters"
    traits = Traits(shares_gil=False)

    def open(self) -> InterpreterPool:
        return InterpreterPool(self)

    def refuses(self, kernel: Kernel) -> str | None:
        return super().refuses(kernel) or (None if unavailable() else messages.refused(kernel))

    def lacks(self) -> str | None:
        return unavailable()


class InterpreterPool(Pool):
    """Each lane is run by a thread of its own, which enters its interpreter for that; the caller waits."""

    def start(self) -> None:
        if reason := self.backend.lacks():
            raise ValueError(reason)
        self._spin = spin.spin_time(self.workers + 1)  # the caller has no lane, and would keep a CPU from one
        self._cpus = [cpu for cpu in spin.waiting_cpus(self.workers) if cpu is not None]
        # Lanes that wait on CPUs of their own may spin, whatever the caller does.
        self._threads = LaneThreads(spin.spin_time(self.workers + (not self._cpus)))
        with interrupts.put_off():  # cut off, a start leaves an interpreter that nobody knows of
            try:
                for lane in range(self.workers):
                    there = Subinterpreter()
                    run = functools.partial(_run_there, there, np.zeros(3, np.int64))
                    try:
                        self._threads.add(lane, run, leave=there.close)
                    except BaseException:  # there can be no more threads: nobody else would end it
                        there.close()
                        raise
            except BaseException:
                self.stop()
                raise
        _pools.add(self)

    def make_ready(self, job: Job) -> None:
        """Refuse here, before a lane begins, what cannot be run in a subinterpreter."""
        self._message = messages.message_of(job)
        self._threads.repair()

    def lanes(self, job: Job) -> Sequence[Outcome]:
        sent = replace(job, lane=functools.partial(_lane_there, job.lane, *self._message))
        self._threads.wake_on(self._cpus)
        self._threads.give(sent)
        outcomes: list[Outcome] = []
        # Lanes of Python store plainly there. Where that may be seen in another order, every answer is awaited.
        is_seen = ordering.IS_STRONG or job.kernel.variants[job.kernel.variant].compiled
        if not (is_seen and spin.until_over(job.control, self._spin)):
            while len(outcomes) < job.lanes and not (is_seen and ordering.is_over(job.control, by_processes=True)):
                outcomes += self._threads.next_outcome(sent, outcomes)
        return outcomes

    def rest(self) -> None:
        self._threads.rest()

    def packed(self, kernel: Kernel, plan: Plan) -> Plan:
        return messages.packed(kernel, plan)

    def unpacked(self, job: Job) -> Any:
        return messages.unpacked(job)

    def stop_lanes(self, job: Job) -> None:
        control = ControlArray(job.control)
        with interrupts.put_off():  # a second Ctrl-C changes nothing: the lanes are stopping
            while control.is_busy():
                time.sleep(0.001)

    def executor(self) -> Executor:
        raise ValueError(SHARE_NOTHING)

    def imap(self, *_: Any, **options: Any) -> Iterator[Any]:
        raise ValueError(SHARE_NOTHING)

    def forget(self) -> None:
        _pools.discard(self)

    def stop(self) -> None:
        _pools.discard(self)
        self._threads.dismiss()
        self._threads.join()


def _run_there(there: Subinterpreter, reply: Words, job: Job, me: int) -> Outcome:
    """Run a lane on this thread, in that interpreter. reply: words for its answer."""
    return run_lane(replace(job, lane=functools.partial(job.lane, there, reply)), me)


def _lane_there(
    lane: Any, message: Any, code: Any, there: Subinterpreter, reply: Words, control: Words, line: int, *_: Any
) -> int:
    """Run a lane in that interpreter. lane: as it is called here.

    code: held for as long as this may be called, for the message has its address.
    """
    there.execute(f"serve({line}, {message.ctypes.data}, {len(message)}, {reply.ctypes.data})")
    state, address, length = reply.tolist()
    if state == FAILED:
        control[STOP] = 1  # already now: it may take numba a moment
        native.raise_from(lane, length, address)
    if length:
        error = arrived(*pickle.loads(ctypes.string_at(address, length)))
        if text_of(error).startswith("memoryview: invalid"):
            add_note(error, "out is a memoryview there, which takes numbers of its own kind; make it one by int(…)")
        try:
            raise error
        finally:
            del error  # its traceback holds this frame: the two, and the arrays above, would wait for the collector
    return int(state)


_pools: weakref.WeakSet[InterpreterPool] = weakref.WeakSet()


@atexit.register
def _at_exit() -> None:
    """The program ends: Python cannot, while something runs in a subinterpreter, or while a thread ends one."""
    for pool in list(_pools):
        pool.interrupt(RuntimeError("the program ended in the middle of this run"))
        pool.close()
    pause_all()  # those of pools that nobody closed: their threads may be anywhere
