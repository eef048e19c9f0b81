"""A job's way to another process: arrays as references into segments, the kernel by name or by value, errors back."""

from __future__ import annotations

import hashlib
import os
import pickle
import signal
import threading
import time
import traceback
import types
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from compute import interrupts
from compute.arena import Arena
from compute.backends import children, hosts, output
from compute.control import LANES, LOADING, Control
from compute.lanes import FOREVER, Job, Outcome, compiled_source, python_lane, run_lane
from compute.segments import Array, ArrayRef, Endings, Segment, reference, segment_of
from kernels.arguments import guarded, name_at
from kernels.definition import Kernel, numba_is_here
from kernels.reach import reach_of, same_bytes
from kernels.serially import interpreted

PATIENCE = 60.0  # s that a worker may take to load a kernel: a cold compilation on a busy machine takes ten
PARENT_CHECK = 0.5  # s between looks for the parent where the system cannot wake us at its death


class Sender:
    """The caller's side: turns jobs into short messages, and remembers what is known there.

    A message names what the lanes are to run. That is put into the arena once: machine code that was compiled here, so
    that no worker compiles and all run the same; or a body by value, for Python to run, or for numba where its machine
    code cannot leave this process.
    """

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._codes: dict[Hashable, tuple[Any, Any, _Code]] = {}
        self._arrays: dict[
            int, Array
        ] = {}  # where workers see the large arrays that code and inputs reach, by their id
        self._ended: Endings[int] = Endings()  # which of those arrays are no more
        self._known: Endings[tuple[int, int]] = Endings()
        self._place, self._has_moved = hosts.place(), False

    def message(self, job: Job) -> bytes:
        """The job, pickled: the same for every lane."""
        code = self._code(job)
        items: list[Any] = [job.control, job.out, *job.inputs]
        carried = NOTHING if QUICK.issuperset(map(type, items)) else self._carried(items, job.kernel)
        places = [k for k, x in enumerate(items) if isinstance(x, np.ndarray)]
        fixed = [k for k in places if not items[k].flags.writeable]
        for k in places:
            items[k] = tuple(self._found(items[k]))  # a plain one takes a fifth of an ArrayRef's time to pickle
        where = tuple(self._found(code.content))
        gone = self._known.latest()
        place = None if code.is_machine and not carried[0] else self._moved_to()
        told = code.digest, where, gone, places, fixed, items, carried, place
        return pickle.dumps(told, protocol=pickle.HIGHEST_PROTOCOL)

    def _carried(self, items: list[Any], kernel: Kernel) -> tuple[tuple[int, ...], bytes]:
        """Take out of the items what only a body's own way leads to a worker, such as a namedtuple of __main__.

        Both ways make the same class of it there, so that `isinstance` and `is` hold. Where they stood, and as bytes.
        """
        places = tuple(k for k, x in enumerate(items) if not _is_plain(x))
        if not places:
            return NOTHING
        from compute.backends import carrier

        given = tuple(items[k] for k in places)
        for k in places:
            items[k] = None
        try:
            return places, carrier.packed(given, carrier.attributes_of(given), self._placed)
        except Exception as error:
            names = ", ".join(name_at(kernel.inputs, k - 2) for k in places)
            raise TypeError(
                f"what is given for {names} cannot be sent to worker processes ({type(error).__name__}: {error});"
                " run it on threads, or pass plain values and arrays"
            ) from error

    def _moved_to(self) -> hosts.Place | None:
        """Where this process looks for modules and files, once that is elsewhere than when the workers were started."""
        place = hosts.place()
        self._has_moved = self._has_moved or place != self._place
        return place if self._has_moved else None

    def forget(self) -> None:
        """Let go of all that was put into the arena."""
        self._codes.clear()
        self._arrays.clear()

    def _found(self, array: Array) -> ArrayRef:
        """How the workers find an array; the end of its segment will be told to them."""
        found = reference(array)
        self._known.watch(found.serial, segment_of(array))
        return found

    def _code(self, job: Job) -> _Code:
        """What the lanes are to run, as it is now."""
        kernel: Kernel = job.kernel
        variant = kernel.variants[kernel.variant]
        if variant.compiled:
            others: list[Any] = []
            key: Hashable = id(job.lane), _layouts((job.control, job.out, *job.inputs), others)
            if (known := self._codes.get(key)) and known[0] is job.lane:
                return known[2]
            from kernels.machine_code import exported

            content = exported(job.lane, (job.control, 0, job.out, job.inputs, FOREVER))
            if content is not None:
                return self._keep(key, job.lane, MACHINE + content, others)
        return self._source(variant.source(), kernel.reduce is not None, variant.compiled)

    def _source(self, body: Callable[..., Any], reduces: bool, is_compiled: bool) -> _Code:
        """A body by value; packed again where something in it may have changed in place, to see whether it has."""
        reach = reach_of(body, compiled=False) if isinstance(body, types.FunctionType) else None
        key = id(body), reduces, is_compiled
        held, known, code = self._codes.get(key, (None, None, None))
        if code is not None and held is body and known is reach and reach is not None and not reach.mutable:
            return code
        from compute.backends import carrier

        attributes = reach.attributes if reach is not None else frozenset()
        content = carrier.packed((body, reduces, is_compiled), attributes, self._placed)
        if code is not None and code.digest == _digest(SOURCE + content):
            return code
        return self._keep(key, body, SOURCE + content, reach)

    def _keep(self, key: Hashable, of: Any, content: bytes, reach: Any = None) -> _Code:
        array = self._arena.empty(len(content), np.uint8)
        array[:] = np.frombuffer(content, np.uint8)
        code = _Code(_digest(content), array, content[:1] == MACHINE)
        self._codes.pop(key, None)
        if len(self._codes) == CODES:
            del self._codes[next(iter(self._codes))]
        self._codes[key] = of, reach, code
        return code

    def _placed(self, array: Array) -> ArrayRef:
        """Where workers see a large array that code or inputs reach: itself, or one copy until it has changed."""
        if self._arena.sees(array):
            return self._found(array)
        for gone in self._ended.latest():
            self._arrays.pop(gone, None)
        placed = self._arrays.get(id(array))
        if placed is None or not _equal(array, placed):
            placed = self._arrays[id(array)] = self._arena.copy(array)
            self._ended.watch(id(array), array)
        return self._found(placed)


class _Code(NamedTuple):
    """What workers load once: its digest, and where it is."""

    digest: bytes
    content: Array
    is_machine: bool


PLAIN = frozenset({float, bool, complex, str, bytes, type(None)})  # one type of numba's for each
MACHINE, SOURCE = b"M", b"S"  # the first byte of a code
CODES = 64  # a session that edits its kernels would fill the arena: the oldest are forgotten, and sent again if need be


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def _layouts(values: Sequence[Any], others: list[Any]) -> tuple[Any, ...]:
    """What decides numba's types of these values, told in a microsecond.

    A function that numba has compiled is a type of its own, as may be what else is no number: such a value is told by
    its id, and put among the others, to be held.
    """
    told: list[Any] = []
    for value in values:
        if isinstance(value, np.ndarray):
            told.append((value.dtype, value.ndim, value.flags.num))
        elif type(value) is int:
            told.append((int, -(2**63) <= value < 2**63))
        elif isinstance(value, tuple):
            told.append((type(value), _layouts(value, others)))
        elif isinstance(value, np.generic):
            told.append((type(value), value.dtype))
        elif type(value) in PLAIN:
            told.append(type(value))
        else:
            told.append((type(value), id(value)))
            others.append(value)
    return tuple(told)


QUICK = frozenset((np.ndarray, int, float))  # types of inputs that need no second look
NOTHING: tuple[tuple[int, ...], bytes] = (), b""
PLAIN = frozenset((complex, bool, str, bytes, type(None))) | QUICK


def _is_plain(value: Any) -> bool:
    """Whether a plain pickle of it is short, and means the same in a worker."""
    kind = type(value)
    if kind is tuple:
        return all(type(one) is not np.ndarray and _is_plain(one) for one in value)
    return kind in PLAIN or (isinstance(value, np.generic) and kind.__module__ == "numpy")


def _equal(array: Array, placed: Array) -> bool:
    same = array.shape == placed.shape and array.dtype == placed.dtype
    return same and (_is_fixed(array) or same_bytes(array, placed))


def _is_fixed(array: Any) -> bool:
    """Whether nobody writes to an array: it is read-only, and so is everything that it is a view of."""
    while isinstance(array, np.ndarray):
        if array.flags.writeable:
            return False
        array = array.base
    return array is None or isinstance(array, bytes)


_segments: dict[tuple[int, int], Segment] = {}
_loaded: dict[bytes, Callable[..., int]] = {}
_jobs: dict[bytes, Job] = {}  # of the latest messages: a run that is repeated sends the same one
SHORT = 2**16  # bytes of a message that is remembered: a longer one holds data, of which one copy is enough
JOBS = 32  # a repeated run takes turns between pairs of a few segments: with three, six of them


def perform(message: bytes, me: int) -> bytes:
    """A worker's side: run lane `me` of the job in the message; return the pickled Outcome, b"" if all is well."""
    try:
        outcome = run_lane(_jobs.get(message) or _job_in(message, me), me)
    except BaseException as error:
        outcome = Outcome(me, error)
    output.flush()
    return b"" if outcome.error is None else _pickled(outcome)


def _job_in(message: bytes, me: int) -> Job:
    try:
        return _opened(message, me)
    except ModuleNotFoundError as error:
        told = f"worker processes cannot import {error.name}, which the kernel or its inputs need: {error}"
        remedy = "put it into a file on sys.path, or run the kernel on threads"
        raise ModuleNotFoundError(f"{told}; {remedy}", name=error.name) from error


def _opened(message: bytes, me: int) -> Job:
    """The job in a message; forget the jobs whose segments are gone, or that are too many."""
    began = time.perf_counter_ns()
    digest, where, gone, places, fixed, items, (carried, content), place = pickle.loads(message)
    if place is not None and hosts.move(place):
        _jobs.clear()  # whoever sends one of these again may have moved back
    if gone or len(_jobs) == JOBS:
        _jobs.clear()
    for serial in gone:
        _segments.pop(serial, None)
    for k in places:
        items[k] = ArrayRef(*items[k]).open(_segments)
    for k in fixed:
        items[k].flags.writeable = False
    if carried:
        from compute.backends import carrier

        for k, value in zip(carried, guarded(carrier.unpacked(content, _segments), ()), strict=True):
            items[k] = value
    control, out, *inputs = items
    if digest not in _loaded:
        code = ArrayRef(*where).open(_segments).tobytes()
        _loaded[digest] = _load(code, int(control[LANES]), (control, 0, out, tuple(inputs), FOREVER))
    job = Job(None, _loaded[digest], control, out, tuple(inputs))
    if len(message) <= SHORT and not carried:  # a body may change an object that is no array
        _jobs[message] = job
    control[Control.line(me) + LOADING] += time.perf_counter_ns() - began
    return job


def _load(content: bytes, lanes: int, arguments: tuple[Any, ...]) -> Callable[..., int]:
    """The lane function of a code that was sent."""
    if content[:1] == MACHINE:
        from kernels.machine_code import imported

        made: Callable[..., int] = imported(content[1:], arguments)
        return made
    from compute.backends import carrier

    body, reduces, is_compiled = carrier.unpacked(content[1:], _segments)
    if not is_compiled:
        return python_lane(interpreted(body), reduces, lanes == 1)
    from kernels.compilation import compiled

    made = compiled(compiled_source(body, reduces))
    return made


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
    # It may have been born deaf to it. multiprocessing, which ends workers by it at exit, would wait for ever.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    children.be_a_worker()
    output.by_line()
    threading.Thread(target=_die_with, args=(parent,), name="nfold-parent-watch", daemon=True).start()
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)


def import_numba() -> None:
    """Have ready what compiles for workers, and tells with them; nothing where there is no numba."""
    if numba_is_here():
        import kernels.compilation  # noqa: F401


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
