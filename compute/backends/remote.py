"""Code that runs in every worker process, of Processes, of loky and of other pools.

`become_worker` is called once, at its start, and `perform` for each message: it loads what the message names, if that
is new, runs one lane, and returns errors as bytes.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import signal
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from compute.backends import ambient, blas, children, host_program, output
from compute.backends.sender import CODES, MACHINE, NATIVE, PATCHING, ByValue, Message
from compute.lanes.control import LOADING, N_LANES, N_TICKETS, Words, line_of
from compute.lanes.errors import sendable
from compute.lanes.loop import Job, Outcome, arguments_of, compiled_source, python_lane, run_lane
from compute.memory.segments import ArrayRef, Segment
from kernels.compilation import importing, kept_code
from kernels.compilation.jitted_in_lanes import prepare_body
from kernels.compilation.native_code import NativeCode
from kernels.definition.arguments import guarded
from kernels.definition.variant import checks

PARENT_CHECK = 0.5  # s between two checks whether the parent lives, on systems that do not signal its death


_segments: dict[tuple[int, int], Segment] = {}  # in the order in which messages have named them last
SEGMENTS = 64  # segments that stay mapped after their message: an arena has some thirty, and each code has one
_loaded: dict[bytes, Callable[..., int]] = {}
_patching_digests: list[bytes] = []  # the loaded code that is patching (see carrier.py), if there is one
_jobs: dict[bytes, Job] = {}  # by the latest messages: a run that is repeated sends the same one
SHORT = 2**16  # bytes; a longer message contains data, and is not kept beside it
JOBS = 32  # jobs that are kept: a repeated run alternates between a few segments, so it has several messages


def perform(message: bytes, me: int) -> bytes:
    """Run lane `me` of the job in the message; return the pickled Outcome, b"" if there was no error."""
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
    """The job in a message. Jobs are forgotten when a segment is released, or when there are too many."""
    began = time.perf_counter_ns()
    digest, where, gone, positions, read_only, items, plain, place, settings = Message(*pickle.loads(message))
    by_value = ByValue(*plain)
    if place is not None and host_program.move_to(place):
        _jobs.clear()  # these jobs assume the old folder
    if len(_jobs) == JOBS:
        _jobs.clear()
    _release(gone)
    serials = {ArrayRef(*items[k]).serial for k in positions}
    for k in positions:
        items[k] = ArrayRef(*items[k]).open(_segments)
    for k in read_only:
        items[k].flags.writeable = False
    if by_value.positions:
        from compute.backends import carrier

        if by_value.is_patching:
            _forget_patching()
        values = guarded(carrier.unpacked(by_value.content, _segments), ())
        for k, value in zip(by_value.positions, values, strict=True):
            items[k] = value
    control, out, *inputs = items
    if not control[N_TICKETS]:  # a job that only prepares: map the pages now, so that runs have no page faults
        for serial in serials:
            _segments[serial].populate()
    if digest not in _loaded:
        code = ArrayRef(*where).open(_segments).tobytes()
        if code[:1] == PATCHING:
            _forget_patching()
            _patching_digests.append(digest)
        if code[:1] not in (NATIVE, MACHINE):
            _make_room()
        _loaded[digest] = _load(code, int(control[N_LANES]), arguments_of(control, out, tuple(inputs)))
    lane = _loaded[digest] if settings is None else ambient.within(settings, _loaded[digest])
    if isinstance(lane, NativeCode):
        lane = _bound(lane, control, out, tuple(inputs))
    job = Job(None, lane, control, out, tuple(inputs))
    if len(message) <= SHORT and not by_value.positions:  # a body may change an object that is not an array
        _jobs[message] = job
    control[line_of(me) + LOADING] += time.perf_counter_ns() - began
    return job


def _bound(lane: NativeCode, control: Words, out: Any, inputs: tuple[Any, ...]) -> Callable[..., int]:
    """The lane function for one job: laying its arguments flat takes as long as the rest of a short lane."""
    run = lane.but_for(1, *arguments_of(control, out, inputs))
    return lambda control, line, out, inputs, until: run(line)


def body_of(digest: bytes, where: tuple[Any, ...]) -> Callable[..., Any]:
    """The function in a code that was sent, for Python to call; `_load` would make a lane of it."""
    key = b"body" + digest
    if key not in _loaded:
        from compute.backends import carrier

        code = opened(ArrayRef(*where)).tobytes()
        if code[:1] == PATCHING:
            _forget_patching()
            _patching_digests.append(key)
        _make_room()
        blas.keep_to_one_thread()
        _loaded[key] = prepare_body(carrier.unpacked(code[1:], _segments)[0])
    return _loaded[key]


def opened(array: ArrayRef) -> Any:
    """An array that was sent, by this process's table of segments."""
    return array.open(_segments)


def prepare(gone: Sequence[Any], is_patching: bool, place: host_program.Place | None) -> None:
    """Called before a call's bytes are unpickled: go to the caller's folder, and release segments that are gone.

    is_patching: whether these bytes are, as carrier.py explains; code that was patching before is then forgotten.
    """
    if place is not None and host_program.move_to(place):
        _jobs.clear()  # these jobs assume the old folder
    if is_patching:
        _forget_patching()
    _release(gone)


def _release(gone: Sequence[Any]) -> None:
    """Unmap segments that are gone, and those that messages have not named for longest.

    A worker that is not sent a run (loky gives tasks to any worker, and a run of few chunks needs few) does not hear
    what is gone. It would keep a descriptor and a mapping of each, for ever.
    """
    unmapped = [_segments.pop(serial, None) for serial in gone]
    while len(_segments) > SEGMENTS:
        unmapped.append(_segments.pop(next(iter(_segments))))
    if unmapped:
        _jobs.clear()  # they hold arrays in them


def _forget_patching() -> None:
    """Attributes are about to be set again: earlier patching code must be unpickled again before its next run."""
    while _patching_digests:
        _loaded.pop(_patching_digests.pop(), None)
    _jobs.clear()


def _make_room() -> None:
    """Forget the oldest code if there is too much: a body with a mutable object is sent as new code at every run."""
    if len(_loaded) >= CODES:
        del _loaded[next(iter(_loaded))]
        _jobs.clear()


def _load(content: bytes, lanes: int, arguments: tuple[Any, ...]) -> Callable[..., int]:
    """The lane function of a code that was sent."""
    if content[:1] == NATIVE:
        return NativeCode(content[1:])
    if content[:1] == MACHINE:
        from kernels.compilation.machine_code import imported

        lane: Callable[..., int] = imported(content[1:], arguments)
        return lane
    from compute.backends import carrier

    blas.keep_to_one_thread()
    body, reduces, settings, _ = carrier.unpacked(content[1:], _segments)
    if settings is None:
        return python_lane(prepare_body(body), reduces, lanes == 1)
    compiler = importing.compiler()
    compiler.have_settings(settings)
    lane = compiler.compiled(compiled_source(body, reduces), **checks(body, reduces))
    return lane


def pickled_outcome(outcome: Outcome) -> bytes:
    """An outcome with an error, pickled; the error has this process's traceback as a note."""
    assert outcome.error is not None
    import cloudpickle

    pickled: bytes = cloudpickle.dumps(replace(outcome, error=sendable(outcome.error)))
    return pickled


def become_worker(parent: int) -> None:
    """Make this process a worker: it ignores Ctrl-C (the parent decides), and ends with its parent.

    BLAS has one thread from the first function on that Python runs here: to say so takes 5 ms of opening a pool.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # It may have inherited that SIGTERM is ignored. multiprocessing ends workers with it at exit, and then waits.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    children.be_a_worker()
    host_program.forget_start()
    kept_code.say_nothing()
    # numba says in four lines that its threads begin without a lock where /dev/shm is missing: the caller has told so.
    warnings.filterwarnings("ignore", "Could not obtain multiprocessing lock")
    output.by_line()
    _keep_freed_memory()
    threading.Thread(target=_die_with, args=(parent,), name="nfold-parent-watch", daemon=True).start()


# mallopt's numbers for: how much free memory is kept at the heap's end, and from which size on memory is mapped apart.
TRIM_THRESHOLD, MMAP_THRESHOLD = (-1, 64 << 20), (-3, 32 << 20)


def _keep_freed_memory() -> None:
    """Keep what a chunk frees for the next one: glibc may give a small heap's end back each time, and faults follow.

    These are the thresholds that glibc comes to by itself in a process that has freed large arrays.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        c_library = ctypes.CDLL(None)
        for threshold in (TRIM_THRESHOLD, MMAP_THRESHOLD):
            c_library.mallopt(*threshold)


def _die_with(parent: int) -> None:
    """Exit as soon as the parent has died.

    A busy lane cannot delay that: compiled lanes do not hold the GIL, Python lanes release it regularly.
    """
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
