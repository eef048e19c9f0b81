"""Spools: files in memory into which workers write results of any size, each chunk's at an offset of its own.

The size of results is not known in advance. So the file is sparse: chunk c begins at c * stride, where the stride is
far more than any result, and only what is written takes memory. The file belongs to the caller, so what a worker has
written stays when the worker dies, and a chunk that is run again overwrites it.

A chunk's part is a header (the length of each buffer, in int64), the pickle, and the buffers. The caller reads small
ones into its heap. It maps large ones: the arrays of a result then lie in the memory into which the worker wrote them.
A spool of which nothing is mapped any more is used for the next run with as many chunks, because new pages take longer
than writing to them. A spool that is closed frees what is still mapped when the last array in it is gone.

Most results are a few numbers, though. These are in the chunk's row of an array that caller and workers share, and cost
no system call.

    a row: buffers, or -1 | bytes of the pickle | the pickle, if it fits and there are no buffers
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import pickle
import sys
import tempfile
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from compute import machine
from compute.lanes import interrupts
from compute.lanes.errors import sendable
from compute.memory.descriptors import with_more_files
from compute.memory.ownership import Lending
from compute.memory.regions import Regions
from compute.memory.segments import SHARED_MEMORY, is_open_to_others, open_nameless
from kernels.vectors.memory import check_memory, in_bytes

LARGE = 2**16  # bytes from which a buffer is kept out of the pickle: below, a copy within it costs less
MAPPED = 2**20  # bytes of a chunk's results from which they are mapped: below, copying costs less than a mapping
ALIGNED = 64  # bytes: a cache line, and the widest vector
# Bytes of the file, all chunks together: the largest offset of tmpfs, and (for a file on a disk) that of ext4.
LARGEST_IN_MEMORY, LARGEST_ON_DISK = 2**62, 2**43
ROW = 256  # words: 2 KB, in which 240 floats have room, and 8 MB for the rows of all chunks
PIECES = 512  # to a system call; the system takes 1024


class Spool:
    """The caller's side makes one for a run and reads it; workers get it in a message and write into it."""

    holds_only_arrays = True

    def __init__(self, chunks: int, grain: int, name: str, *, in_memory: bool, folder: str | None) -> None:
        with interrupts.put_off():  # an interruption could leave a name that is never removed
            self._file, self._address, path, largest = with_more_files(lambda: _new_file(in_memory, folder))
        self._chunks, self._grain, self._name = chunks, grain, name
        self._views = _Views()
        self._limit = file_limit()
        self._stride = min(largest, self._limit) // max(chunks, 1) // mmap.PAGESIZE * mmap.PAGESIZE
        self._closing = weakref.finalize(self, _close, self._file, os.getpid(), path, self._views)
        self._closing.atexit = path is not None  # a file without a name is freed by the system

    def __reduce__(self) -> Any:
        return Writer, (self._address, self._grain, self._stride, self._name)

    def write(self, rows: np.ndarray[Any, Any], chunk: int, values: list[Any]) -> None:
        """Write the results of a chunk in place of its lane."""
        writer = Writer(self._address, self._grain, self._stride, self._name)
        writer(rows[chunk : chunk + 1], chunk * self._grain, values)

    def serves(self, chunks: int, grain: int, name: str) -> bool:
        """Whether another run of so many chunks can use it. If so, it belongs to that run now."""
        if self._views.exist or (chunks, grain, file_limit()) != (self._chunks, self._grain, self._limit):
            return False
        self._name = name
        return True

    def close(self) -> None:
        """Close the file; what is mapped of it stays."""
        self._closing()

    def end(self, is_copied: bool) -> bool:
        """Called when a mapping of a part ends. Returns whether its pages should be freed."""
        self._views.are_copied |= is_copied
        return not self._closing.alive and not is_copied

    def results(self, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The lists of results of all chunks, as an array of objects; rows: what `Writer` wrote there for each."""
        lists = np.empty(len(rows), object)
        content = rows.reshape(-1).data.cast("B")
        for chunk, (buffers, length) in enumerate(rows[:, :2].tolist()):
            try:
                if buffers < 0:
                    at = 8 * (ROW * chunk + 2)
                    lists[chunk] = pickle.loads(content[at : at + length])
                else:
                    lists[chunk] = self._read(chunk * self._stride, buffers, length)
            except MemoryError:
                raise
            except Exception as error:  # raised by a class of the user's
                raise unreadable_results(chunk, self._grain, self._name, error) from error
        return lists

    def _read(self, base: int, buffers: int, length: int) -> Any:
        content = self._copy(base, 8 * buffers + length)
        if not buffers:
            return pickle.loads(content)
        sizes = np.frombuffer(content, np.int64, buffers).tolist()
        starts, end = _places(8 * buffers + length, sizes)
        first = starts[0]
        memory = self._memory(base + first, end - first)
        parts = [memory[start - first : start - first + size] for start, size in zip(starts, sizes, strict=True)]
        return pickle.loads(content[8 * buffers :], buffers=parts)

    def _memory(self, start: int, size: int) -> memoryview:
        if size >= MAPPED:
            page = start // mmap.PAGESIZE * mmap.PAGESIZE
            with contextlib.suppress(OSError):  # there may be as many mappings as the system allows
                mapped = with_more_files(lambda: _Mapped.of(self, self._file, page, start + size - page))
                return memoryview(mapped)[start - page :]
        return self._copy(start, size)

    def _copy(self, start: int, size: int) -> memoryview:
        check_memory(size)
        view, done = memoryview(bytearray(size)), 0
        while done < size:
            done += os.preadv(self._file, [view[done:]], start + done)
        return view


class _Views:
    """The mappings of a spool that still exist."""

    def __init__(self) -> None:
        self.mapped: weakref.WeakSet[_Mapped] = weakref.WeakSet()
        self.are_copied = False  # by a fork, which may use them for as long as it lives

    @property
    def exist(self) -> bool:
        return bool(self.mapped) or self.are_copied


class _Mapped(mmap.mmap):
    """Mapped memory of a spool, freed when its last view is gone."""

    spool: Spool | None = None
    lending: Lending
    owner: int

    @classmethod
    def of(cls, spool: Spool, file: int, start: int, size: int) -> _Mapped:
        mapped = cls(file, size, offset=start)
        mapped.spool, mapped.lending, mapped.owner = spool, Lending(), os.getpid()
        mapped.lending.begin()
        spool._views.mapped.add(mapped)
        return mapped

    def __del__(self, is_at_exit: Callable[[], bool] = sys.is_finalizing) -> None:
        if is_at_exit():  # the system frees it, and this module's names may be None already
            return
        if self.spool is None or os.getpid() != self.owner or not self.spool.end(self.lending.is_copied):
            return
        if hasattr(mmap, "MADV_REMOVE"):
            with contextlib.suppress(OSError, ValueError):
                self.madvise(mmap.MADV_REMOVE)


_regions = Regions()


class Writer:
    """A worker's side of a spool."""

    def __init__(self, address: str, grain: int, stride: int, name: str) -> None:
        self._address, self._grain, self._stride, self._name = address, grain, stride, name
        self._file = -1

    def __call__(self, row: np.ndarray[Any, Any], lo: int, values: list[Any]) -> None:
        """Write a chunk's results, for `Spool.results` to read. A TypeError names the first that cannot be pickled."""
        pickled, buffers = pickled_results(values, lo, self._name)
        if not buffers and len(pickled) <= 8 * (ROW - 2):
            row[0, :2] = -1, len(pickled)
            row[0, 2:].view(np.uint8)[: len(pickled)] = np.frombuffer(pickled, np.uint8)
            return
        sizes = [buffer.nbytes for buffer in buffers]
        header = np.array(sizes, np.int64).tobytes()
        starts, end = _places(len(header) + len(pickled), sizes)
        if end > self._stride:
            raise MemoryError(self._too_long(end))
        pieces: list[Any] = [header, pickled]
        last = len(header) + len(pickled)
        for start, size, buffer in zip(starts, sizes, buffers, strict=True):
            pieces += [bytes(start - last), buffer]
            last = start + size
        self._write(pieces, lo // self._grain * self._stride)
        row[0, :2] = len(sizes), len(pickled)

    def _too_long(self, size: int) -> str:
        limit = file_limit()
        why = (
            f" of the {in_bytes(limit)} of a file that `ulimit -f` allows; raise it,"
            if limit < LARGEST_ON_DISK
            else ";"
        )
        return (
            f"the results of {self._name} take {in_bytes(size)} for a chunk, and {in_bytes(self._stride)} are its"
            f" part{why} run on threads, or have the function return less"
        )

    def _write(self, pieces: list[Any], at: int) -> None:
        if self._file < 0:
            self._file = with_more_files(lambda: _open(self._address))
        try:
            if sum(map(len, pieces)) >= MAPPED and _regions.write(self._file, pieces, at):
                return
            if len(pieces) == 2:  # most results are short: one call, one piece
                pieces = [pieces[0] + pieces[1]]
            for k in range(0, len(pieces), PIECES):
                at += _write_all(self._file, pieces[k : k + PIECES], at)
        except OSError as error:
            if error.errno == errno.EFBIG:  # it was raised, or the worker's lowered, after the worker had begun
                raise MemoryError(
                    f"the results of {self._name} do not fit into the {in_bytes(file_limit())} of a file that"
                    " `ulimit -f` allows this worker; set it before the first pool is opened, or run on threads"
                ) from None
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            free = machine.shared_memory_free() if self._address.startswith(("/proc/", "shm:")) else None
            space = "" if free is None else f" (/dev/shm has {in_bytes(free)} free)"
            raise MemoryError(
                f"the results of {self._name} do not fit into shared memory{space}; use a larger /dev/shm (docker run"
                " --shm-size), run on threads, or have the function return less"
            ) from None

    def __del__(self, is_at_exit: Callable[[], bool] = sys.is_finalizing) -> None:
        if self._file >= 0 and not is_at_exit():
            os.close(self._file)


def _write_all(file: int, pieces: Sequence[Any], at: int) -> int:
    """Write all of it, in several system calls if need be; return how many bytes that was."""
    views = [view for view in (memoryview(piece).cast("B") for piece in pieces) if view.nbytes]
    total = 0
    while views:
        written = os.pwritev(file, views, at + total)
        total += written
        while views and written >= views[0].nbytes:
            written -= views.pop(0).nbytes
        if written:
            views[0] = views[0][written:]
    return total


def _places(first: int, sizes: Sequence[int]) -> tuple[list[int], int]:
    """The offsets at which buffers of these sizes begin behind `first` bytes, and where the last one ends."""
    starts, end = [], first
    for size in sizes:
        start = -(-end // ALIGNED) * ALIGNED
        starts.append(start)
        end = start + size
    return starts, end


def unreadable_results(chunk: int, grain: int, name: str, error: Exception) -> TypeError:
    """What to raise where a chunk's results cannot be unpickled: it names the items. name: of the kernel."""
    return TypeError(
        f"the result of {items_of(chunk, grain)} of {name} cannot be unpickled here"
        f" ({type(error).__name__}: {error}); return plain values and arrays, or run on threads"
    )


def items_of(chunk: int, grain: int) -> str:
    """A chunk of items, as errors name it."""
    first = chunk * grain
    return f"item {first}" if grain == 1 else f"one of the items {first} to {first + grain - 1}"


def pickled_results(values: list[Any], lo: int, name: str) -> tuple[bytes, list[memoryview]]:
    """Results as a pickle and the large buffers in them. A TypeError names the first that cannot be pickled."""
    values = [sendable(value) if isinstance(value, BaseException) else value for value in values]
    try:
        return _dumped(values, pickle.dumps)
    except Exception:  # such as a lambda, or an object of a class that only this process knows
        import cloudpickle

        try:
            return _dumped(values, cloudpickle.dumps)
        except Exception:
            for index, value in enumerate(values, lo):
                try:
                    _dumped(value, cloudpickle.dumps)
                except Exception as error:
                    raise TypeError(
                        f"the result of item {index} of {name}, of type {type(value).__name__}, cannot be sent from a"
                        f" worker process ({type(error).__name__}: {error}); return plain values and arrays, or run on"
                        " threads"
                    ) from error
            raise


def _dumped(values: Any, dumps: Callable[..., bytes]) -> tuple[bytes, list[memoryview]]:
    buffers: list[memoryview] = []

    def is_small(buffer: pickle.PickleBuffer) -> bool:
        try:
            raw = buffer.raw()
        except BufferError:  # it has gaps
            return True
        if raw.nbytes < LARGE:
            return True
        buffers.append(raw)
        return False

    return dumps(values, protocol=5, buffer_callback=is_small), buffers


def _new_file(in_memory: bool, folder: str | None) -> tuple[int, str, str | None, int]:
    """A new empty file, its address for others, its path where it keeps one, and its largest size."""
    if not is_open_to_others():
        descriptor, path = tempfile.mkstemp(prefix=f"nfold-mapped-{os.getpid()}-", dir=folder)
        return descriptor, path, path, LARGEST_ON_DISK
    if in_memory:
        with contextlib.suppress(OSError):  # where there is no /dev/shm, a file on the disk is used
            return _nameless(SHARED_MEMORY, LARGEST_IN_MEMORY)
    return _nameless(folder, LARGEST_ON_DISK)


def file_limit() -> int:
    """The most bytes that a file of this process may have, by `ulimit -f`: offsets beyond it cannot be written."""
    try:
        import resource
    except ImportError:  # Windows
        return LARGEST_IN_MEMORY
    limit: int = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return LARGEST_IN_MEMORY if limit == resource.RLIM_INFINITY else limit


def _nameless(folder: str | None, largest: int) -> tuple[int, str, None, int]:
    descriptor = open_nameless(folder)
    return descriptor, f"/proc/{os.getpid()}/fd/{descriptor}", None, largest


def _open(address: str) -> int:
    return os.open(address, os.O_RDWR)


def _close(file: int, owner: int, name: str | None, views: _Views) -> None:
    if os.getpid() == owner and not views.exist:
        with contextlib.suppress(OSError):
            os.ftruncate(file, 0)  # a worker may have it open, because an exception of a failed run can hold its writer
    os.close(file)
    if name is not None and os.getpid() == owner:
        with contextlib.suppress(OSError):
            os.unlink(name)
