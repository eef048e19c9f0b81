"""The worker's side of a pool of processes: what a message names is loaded once, its lane is run, errors go back.

Whoever makes a worker process calls `settle` there first, and `perform` for each message.
"""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from compute.backends import ambient, children, hosts, output
from compute.backends.sender import CODES, MACHINE, SETTING
from compute.lanes.control import LOADING, N_LANES, N_TICKETS, line_of
from compute.lanes.errors import sendable
from compute.lanes.loop import FOREVER, Job, Outcome, compiled_source, python_lane, run_lane
from compute.memory.segments import ArrayRef, Segment
from kernels.compilation import kept_code
from kernels.compilation.jitted_in_lanes import prepare_body
from kernels.definition.arguments import guarded
from kernels.definition.kernel_class import checks

PARENT_CHECK = 0.5  # s between two looks whether the parent lives, where the system cannot tell us of its death


_segments: dict[tuple[int, int], Segment] = {}
_loaded: dict[bytes, Callable[..., int]] = {}
_setting: list[bytes] = []  # of these, the one that has set attributes of classes and modules, if one has
_jobs: dict[bytes, Job] = {}  # of the latest messages: a run that is repeated sends the same one
SHORT = 2**16  # bytes of a message that is remembered: a longer one holds data, of which one copy is enough
JOBS = 32  # that are remembered: a repeated run takes turns between a few segments, so it has several messages


def perform(message: bytes, me: int) -> bytes:
    """A worker's side: run lane `me` of the job in the message; return the pickled Outcome, b"" if all is well."""
    try:
        outcome = run_lane(_jobs.get(message) or _job_in(message, me), me)
    except BaseException as error:
        outcome = Outcome(me, error)
    output.flush()
    return b"" if outcome.error is None else pickled_outcome(outcome)


def _job_in(message: bytes, me: int) -> Job:
    try:
        return _opened(message, me)
    except ModuleNotFoundError as error:
        obstacle = f"worker processes cannot import {error.name}, which the kernel or its inputs need: {error}"
        remedy = "put it into a file on sys.path, or run the kernel on threads"
        raise ModuleNotFoundError(f"{obstacle}; {remedy}", name=error.name) from error


def _opened(message: bytes, me: int) -> Job:
    """The job in a message; forget the jobs whose segments are gone, or that are too many."""
    began = time.perf_counter_ns()
    digest, where, gone, places, fixed, items, (carried, content, sets), place, around = pickle.loads(message)
    if place is not None and hosts.move(place):
        _jobs.clear()  # whoever sends one of these again may have moved back
    if gone or len(_jobs) == JOBS:
        _jobs.clear()
    for serial in gone:
        _segments.pop(serial, None)
    serials = {ArrayRef(*items[k]).serial for k in places}
    for k in places:
        items[k] = ArrayRef(*items[k]).open(_segments)
    for k in fixed:
        items[k].flags.writeable = False
    if carried:
        from compute.backends import carrier

        if sets:
            _forget_what_sets()
        for k, value in zip(carried, guarded(carrier.unpacked(content, _segments), ()), strict=True):
            items[k] = value
    control, out, *inputs = items
    if not control[N_TICKETS]:  # this is to be made ready for runs, so that these need not take a fault for each page
        for serial in serials:
            _segments[serial].populate()
    if digest not in _loaded:
        code = ArrayRef(*where).open(_segments).tobytes()
        if code[:1] == SETTING:
            _forget_what_sets()
            _setting.append(digest)
        if code[:1] != MACHINE:
            _make_room()
        _loaded[digest] = _load(code, int(control[N_LANES]), (control, 0, out, tuple(inputs), FOREVER))
    lane = _loaded[digest] if around is None else ambient.within(around, _loaded[digest])
    job = Job(None, lane, control, out, tuple(inputs))
    if len(message) <= SHORT and not carried:  # a body may change an object that is no array
        _jobs[message] = job
    control[line_of(me) + LOADING] += time.perf_counter_ns() - began
    return job


def body_of(digest: bytes, where: tuple[Any, ...]) -> Callable[..., Any]:
    """The function that Python is to run of a code that was sent: itself, where `_load` makes a lane of it."""
    key = b"body" + digest
    if key not in _loaded:
        from compute.backends import carrier

        code = opened(ArrayRef(*where)).tobytes()
        if code[:1] == SETTING:
            _forget_what_sets()
            _setting.append(key)
        _make_room()
        _loaded[key] = prepare_body(carrier.unpacked(code[1:], _segments)[0])
    return _loaded[key]


def opened(array: ArrayRef) -> Any:
    """An array that was sent, through this process's table of segments."""
    return array.open(_segments)


def prepare(gone: Sequence[Any], sets: bool, place: hosts.Place | None) -> None:
    """Before what came is unpacked: be where the caller is, and let go of segments that are no more.

    sets: whether what came sets attributes of classes and modules; what has set them before is forgotten, too.
    """
    if place is not None and hosts.move(place):
        _jobs.clear()  # whoever sends one of these again may have moved back
    if sets:
        _forget_what_sets()
    if gone:
        _jobs.clear()
    for serial in gone:
        _segments.pop(serial, None)


def _forget_what_sets() -> None:
    """Something sets attributes that others have set: who comes again must set them again."""
    while _setting:
        _loaded.pop(_setting.pop(), None)
    _jobs.clear()


def _make_room() -> None:
    """Forget the oldest of too many: what an object in a body has become is another code at each run."""
    if len(_loaded) >= CODES:
        del _loaded[next(iter(_loaded))]
        _jobs.clear()


def _load(content: bytes, lanes: int, arguments: tuple[Any, ...]) -> Callable[..., int]:
    """The lane function of a code that was sent."""
    if content[:1] == MACHINE:
        from kernels.compilation.machine_code import imported

        made: Callable[..., int] = imported(content[1:], arguments)
        return made
    from compute.backends import carrier

    body, reduces, settings, _ = carrier.unpacked(content[1:], _segments)
    if settings is None:
        return python_lane(prepare_body(body), reduces, lanes == 1)
    from kernels.compilation.compiler import compiled, have_settings

    have_settings(settings)
    made = compiled(compiled_source(body, reduces), **checks(body, reduces))
    return made


def pickled_outcome(outcome: Outcome) -> bytes:
    """An outcome with an error, which carries the traceback of this process as a note."""
    assert outcome.error is not None
    import cloudpickle

    pickled: bytes = cloudpickle.dumps(replace(outcome, error=sendable(outcome.error)))
    return pickled


def settle(parent: int) -> None:
    """Make this process a worker: deaf to Ctrl-C (the parent decides), gone when the parent is, one thread for BLAS."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # It may have inherited that SIGTERM is ignored. multiprocessing ends workers by it at exit, and would wait forever.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    children.be_a_worker()
    kept_code.say_nothing()
    output.by_line()
    threading.Thread(target=_die_with, args=(parent,), name="nfold-parent-watch", daemon=True).start()
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)


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
