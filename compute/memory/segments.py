"""Segments: memory in multiprocessing.shared_memory or in a memory-mapped file that other processes can map too.

- A segment is reserved in full before it is touched. A full /dev/shm is then an error, and not a SIGBUS.
- On Linux other processes open it through its owner's descriptor (/proc/PID/fd). So it has no name (`open_nameless`),
  and nothing is left behind however the owner dies, also while it is being reserved.
- Elsewhere, and in a process that has changed its user (Linux then closes /proc/PID/fd to others), it keeps its name
  until its last view is gone (`_free_name`).
- A view keeps its segment mapped, so no view ever points to unmapped memory.
- A fork of the owner has views of its own. If it may have one, the pages stay until both processes' views are gone.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import mmap
import os
import sys
import warnings
import weakref
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np

from compute import machine, python_executable
from compute.lanes import interrupts
from compute.memory import ownership
from compute.memory.descriptors import File, LimitReached, with_more_files
from compute.memory.ownership import Lending
from kernels.texts import visible
from kernels.vectors.memory import in_bytes

ArenaKind = Literal["heap", "shared", "mapped"]
Array = np.ndarray[Any, Any]

SHARED_MEMORY = "/dev/shm"  # where Linux has it, as a file system
NAMELESS = os.path.isdir("/proc/self/fd")  # others can open our descriptors, so a name is needed only for a moment
_serials = itertools.count(1)


POPULATE_WRITE = 23  # MADV_POPULATE_WRITE, since Linux 5.14; Python has no name for it yet

# mmap opens a descriptor of its own beside ours. Since Python 3.13 it can do without; before, ours is closed instead.
UNTRACKED: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) and os.name == "posix" else {}


class Segment(mmap.mmap):
    """Mapped memory that other processes can map too; unmapped, and given back, when its last view is gone."""

    name: str  # a path, or "shm:NAME"; empty where others open it through our descriptor
    file: File  # the process that made it keeps it open, and so does a fork of that process
    serial: tuple[int, int]  # owner's pid and a number: its key in the workers' tables
    start: int  # the address at which it is mapped here
    user: int  # the effective user of the process when it was made
    lending: Lending
    unused_since = 0.0  # by `recycled.clock`, where it waits to be lent again
    is_nameless = False  # then its pages are freed when it ends

    def __del__(self, is_at_exit: Callable[[], bool] = sys.is_finalizing) -> None:
        # Not a weakref.finalize: mmap calls those only after it has closed its descriptor, which may be the one in use.
        # Not at exit: views may exist until the very end, when this module's names may be None already (without a GIL
        # Python clears them sooner), and the system frees what has no name.
        if not self.is_nameless or is_at_exit():
            return
        if os.getpid() == self.serial[0]:
            if not self.lending.is_copied:  # another process that uses the array would die of SIGBUS
                os.ftruncate(self.file.descriptor, 0)  # frees the pages at once, also where a worker still maps them
            self.file.close()
        elif self.file.is_open():  # in a fork: only close our descriptor; the pages belong to the parent
            self.file.close()
        elif self.file.is_mappings:
            _never_unmapped.append(self)  # mmap would close a number that may be another file's by now

    @classmethod
    def over(cls, file: File, size: int, name: str, serial: tuple[int, int]) -> Segment:
        segment = cls(file.descriptor, size, **UNTRACKED)
        segment.file, segment.name, segment.serial = file, name, serial
        segment.start = np.frombuffer(segment, np.uint8).ctypes.data
        segment.lending, segment.user = Lending(), ownership.user()
        return segment

    def populate(self) -> None:
        """Fill this process's page tables for all of it: otherwise the first access to each page takes a fault.

        The pages exist already; only the tables are filled. Does nothing where the system cannot.
        """
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # an older kernel, or a sandbox
                self.madvise(POPULATE_WRITE)

    @property
    def address(self) -> str:
        """How another process opens it. In a fork by the fork's own descriptor, because the owner may close its own."""
        return self.name or f"/proc/{os.getpid()}/fd/{self.file.descriptor}"

    def reference(self, array: Array) -> ArrayRef:
        """How another process finds an array that lies in here."""
        return ArrayRef(
            self.address,
            len(self),
            self.serial,
            array.__array_interface__["data"][0] - self.start,
            array.shape,
            array.strides,
            array.dtype.str if array.dtype.isbuiltin == 1 else array.dtype,  # a string pickles faster
        )

    def is_reachable(self) -> bool:
        """Whether others can open it at its address. A fork may have closed the descriptor; a name is the owner's."""
        if not self.name and self.user != ownership.latest_user:  # the latter is updated before each run
            return False
        return self.serial[0] == os.getpid() or (not self.name and self.file.is_open())


_never_unmapped: list[Segment] = []  # in a fork that has closed its files


def is_open_to_others() -> bool:
    """Whether processes of the same user can open this one's descriptors: not after it has changed its user."""
    if not NAMELESS:
        return False
    prctl = _prctl()
    return prctl is None or prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 1


@functools.cache
def _prctl() -> Any:
    import ctypes

    return getattr(ctypes.CDLL(None), "prctl", None)


PR_GET_DUMPABLE = 3


_unusable: set[int] = set()  # errno values for which shared memory cannot be used at all; users were warned


def create_segment(size: int, kind: ArenaKind, folder: str | None, warned_errnos: set[int]) -> Segment:
    """A new segment of at least `size` bytes, reserved in full. MemoryError where there is not that much.

    warned_errnos: errno values for which users were already warned that shared memory cannot be used.
    """
    # An interruption could leave a name in /dev/shm that is never removed.
    try:
        with interrupts.put_off():
            return with_more_files(lambda: _create(size, kind, folder, warned_errnos))
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
        raise LimitReached(  # a file in memory is one, too
            errno.EFBIG,
            f"{in_bytes(size)} of shared memory are needed, which counts as a file, and `ulimit -f` allows no file"
            " of that size; raise it, or run on threads",
        ) from None


def _create(size: int, kind: ArenaKind, folder: str | None, warned_errnos: set[int]) -> Segment:
    import tempfile

    size = max(mmap.PAGESIZE, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE)
    if kind == "shared":
        try:
            return _create_shared(size)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.ENOENT, errno.ENOSYS, errno.EACCES, errno.EROFS, errno.EPERM):
                raise
            if error.errno in warned_errnos | _unusable:
                return _create_mapped(size, folder)
            warned_errnos.add(error.errno)
            if error.errno == errno.ENOSPC:
                free = in_bytes(machine.shared_memory_free() or 0)
                why = f"has {free} free and {in_bytes(size)} are needed"
                remedy = "a larger /dev/shm (docker run --shm-size) avoids it"
            else:
                _unusable.add(error.errno)  # this does not change while the program runs
                why, remedy = f"cannot be used ({error.strerror})", "a /dev/shm that can be written to avoids it"
            warnings.warn(
                f"shared memory {why}: using a memory-mapped file in {visible(folder or tempfile.gettempdir())}"
                f" instead; {remedy}",
                RuntimeWarning,
                stacklevel=_of_the_caller(),
            )
    return _create_mapped(size, folder)


NOT_THE_CALLER = {"compute", "kernels"} | sys.stdlib_module_names  # a `with` of ours is entered by contextlib


def _of_the_caller() -> int:
    """The stacklevel of the code that called into this package, for a warning from the function that calls this one."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in NOT_THE_CALLER:
        level, frame = level + 1, frame.f_back
    return level


def _create_shared(size: int) -> Segment:
    if is_open_to_others():
        # SharedMemory would start a process, the resource tracker, to watch over a name.
        return _from_descriptor(open_nameless(SHARED_MEMORY), size)
    from compute.memory.named import named_memory

    python_executable.use_for_children()
    memory = named_memory(size)
    try:
        # _fd is a private attribute of SharedMemory, but there is no other way to reserve memory before it is touched.
        descriptor = os.dup(memory._fd)  # type: ignore[attr-defined]
    except OSError:  # too many files are open
        memory.unlink()
        raise
    finally:
        memory.close()
    return _from_descriptor(descriptor, size, f"shm:{memory.name}", memory.unlink)


def open_nameless(folder: str | None) -> int:
    """A descriptor of a new, empty file in a folder, in which it has no name: whoever is killed leaves nothing."""
    import tempfile

    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        return os.dup(file.fileno())


def _create_mapped(size: int, folder: str | None) -> Segment:
    import tempfile

    try:
        if is_open_to_others():
            return _from_descriptor(open_nameless(folder), size)
        descriptor, path = tempfile.mkstemp(prefix=f"nfold-mapped-{os.getpid()}-", dir=folder)
        return _from_descriptor(descriptor, size, path, lambda: os.unlink(path))
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise MemoryError(
                f"{in_bytes(size)} are needed and {visible(folder or tempfile.gettempdir())} has not that much free;"
                " use a smaller size, or point TMPDIR at a larger disk"
            ) from None
        raise


def _from_descriptor(descriptor: int, size: int, name: str = "", unlink: Callable[[], None] | None = None) -> Segment:
    """A segment of an open descriptor, which it takes over. If it has a name, that is unlinked at the segment's end."""
    owner = os.getpid()
    serial = (owner, next(_serials))
    file = File(descriptor)
    try:
        _reserve(descriptor, size)
        is_duplicated = unlink is None and not UNTRACKED
        likely = file.next_number() if is_duplicated else -1
        segment = Segment.over(file, size, name, serial)
        if is_duplicated:
            file.leave_to_mapping(likely)
    except BaseException:
        file.close()
        if unlink is not None:
            unlink()
        raise
    if unlink is None:
        segment.is_nameless = True
    else:
        weakref.finalize(segment, _free_name, owner, file, unlink)
    return segment


def _reserve(descriptor: int, size: int) -> None:
    """Make a file so long. OSError where the disk has not so much, or this user may not."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.ftruncate(descriptor, size)


def _free_name(owner: int, file: File, unlink: Callable[[], None]) -> None:
    if os.getpid() == owner:
        file.close()
        with contextlib.suppress(OSError):
            unlink()


def attach_segment(address: str, size: int, serial: tuple[int, int]) -> Segment:
    """Map another process's segment, without becoming responsible for it."""
    return with_more_files(lambda: _attach(address, size, serial))


def _attach(address: str, size: int, serial: tuple[int, int]) -> Segment:
    if address.startswith("shm:"):
        descriptor = open_by_name(address.removeprefix("shm:"))
    else:
        try:
            descriptor = os.open(address, os.O_RDWR)
        except PermissionError as error:
            raise PermissionError(
                error.errno,
                f"a worker (user {ownership.user()}) may not see the memory of the process that it works for"
                f" ({visible(address)}); where that process gives up privileges, open pools after it has done so",
            ) from None
    try:
        return Segment.over(File(descriptor), size, address, serial)
    finally:
        os.close(descriptor)


def open_by_name(name: str, flags: int = 0) -> int:
    """A descriptor of shared memory, another process's or a new one (O_CREAT).

    SharedMemory would register the name with the resource tracker, which all of a parent's workers share. Unregistering
    it would remove the owner's entry as well (cpython#82300), and the owner's unlink would then be an error.
    """
    from _posixshmem import shm_open  # type: ignore[import-not-found]

    descriptor: int = shm_open(f"/{name}", os.O_RDWR | flags, mode=0o600)
    return descriptor


class ArrayRef(NamedTuple):
    """What is sent to another process in place of an array in a segment: some hundred bytes, whatever its size."""

    address: str
    segment_size: int
    serial: tuple[int, int]
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: Any

    def open(self, segments: dict[tuple[int, int], Segment]) -> Array:
        """The array. segments: what this process has mapped, the latest used last; its own is mapped if it must be."""
        segment = segments.pop(self.serial, None)
        if segment is None:
            segment = attach_segment(self.address, self.segment_size, self.serial)
        segments[self.serial] = segment
        return np.ndarray(self.shape, self.dtype, np.frombuffer(segment, np.uint8), self.offset, self.strides)


# What is between an array and its memory: other arrays, and objects of as_strided and sliding_window_view.
_OVER_ARRAYS: Any = np.ndarray, type(np.lib.stride_tricks.as_strided(np.empty(1)).base)


def segment_of(array: Array) -> Segment | None:
    """The segment that holds an array's memory, or None where others cannot see it, as in the heap."""
    base: Any = array
    while isinstance(base, _OVER_ARRAYS):
        base = base.base
    if isinstance(base, memoryview):
        base = base.obj
    return base if isinstance(base, Segment) and base.is_reachable() else None


def home_of(array: Array) -> Segment:
    """The segment that holds an array's memory. ValueError for one that lies in the heap."""
    segment = segment_of(array)
    if segment is None:
        raise ValueError("an array in this process's heap cannot be seen by another process")
    return segment


def reference(array: Array) -> ArrayRef:
    """How another process finds this array. ValueError for one that lies in the heap."""
    return home_of(array).reference(array)
