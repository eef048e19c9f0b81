"""What travels between the caller and the workers of a cluster, and how large outputs are cut into pieces.

A worker fills an array of zeros of the output's shape, of which only the pages that it writes to take memory. What is
not zero afterwards goes back, and is put into the caller's array of zeros. So nobody has to say which elements belong
to which chunk, and an element that is zero is right without having been sent.
"""

from __future__ import annotations

import functools
import math
import pickle
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from compute.backends import ambient
from compute.backends.sender import ByValue
from compute.lanes.control import Part
from compute.memory.arena import memory_of
from compute.memory.segments import ArrayRef, Segment
from compute.memory.spool import pickled_results, unreadable_results
from kernels.vectors.caches import BYTES_PER_LINE

Array = np.ndarray[Any, Any]

FIRST_INPUT = 2  # positions in by_value count the control array and the output, as sender.py does
BLOCK = 2**16  # bytes: pieces of the output begin and end at multiples; smaller ones cost more to name than to send


class Sent(NamedTuple):
    """An array as a message holds it: its memory as bytes, or None for that of `ref`, and how to see it there."""

    memory: Any
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: Any
    ref: tuple[Any, ...] | None = None

    @classmethod
    def of(cls, array: Array) -> Sent:
        memory, offset, strides = memory_of(array)
        return cls(memory, offset, array.shape, strides, array.dtype)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that are sent."""
        return 0 if self.memory is None else int(self.memory.nbytes)

    def open(self, segments: dict[tuple[int, int], Segment]) -> Array:
        """The array, read-only."""
        if self.ref is not None:
            array: Array = ArrayRef(*self.ref).open(segments)
        else:
            array = np.ndarray(self.shape, self.dtype, aligned(self.memory), self.offset, self.strides)
        array.flags.writeable = False
        return array


def aligned(memory: Array) -> Array:
    """The bytes themselves where they begin at a cache line, else a copy that does: compiled code expects it."""
    memory = np.frombuffer(memory, np.uint8)
    if memory.ctypes.data % BYTES_PER_LINE == 0:
        return memory
    room = np.empty(len(memory) + BYTES_PER_LINE, np.uint8)
    start = -room.ctypes.data % BYTES_PER_LINE
    copy = room[start : start + len(memory)]
    copy[:] = memory
    return copy


class Parcel:
    """What every group of a run needs; a worker gets it once. It is opened by at_worker.py.

    code: a body by value, of sender.packed_source. is_alone: whether the code reaches no array of `arrays`. items: the
    inputs, with None for those of `positions` (which of `arrays` is input k) and those in `by_value`. out: the shape
    and dtype of the output. room: where it is, for a worker that sees the caller's memory. shape: the grain and the
    number of indices. fuses: of `fuses`, where the body is one of this library's that adds floats.
    """

    def __init__(self, **parts: Any) -> None:
        self.name: str
        self.code: bytes
        self.is_alone: bool
        self.reduces: bool
        self.items: list[Any]
        self.positions: dict[int, int]
        self.by_value: ByValue
        self.arrays: list[Sent]
        self.out: tuple[tuple[int, ...], Any]
        self.room: tuple[Any, ...] | None
        self.shape: tuple[int, int]
        self.records: bool
        self.detailed: bool
        self.settings: ambient.Ambient | None
        self.fuses: bool | None
        self.is_compiled: bool
        self.__dict__.update(parts)
        self.opened: Any = None  # in a worker: what at_worker.py has made of it

    def __reduce__(self) -> Any:
        return _parcel, ({name: value for name, value in vars(self).items() if name != "opened"},)

    @property
    def nbytes(self) -> int:
        """How many bytes of arrays are in it."""
        return sum(sent.nbytes for sent in self.arrays)

    def __sizeof__(self) -> int:  # dask decides by it what it keeps in memory
        return len(self.code) + len(self.by_value.content) + self.nbytes


def _parcel(parts: dict[str, Any]) -> Parcel:
    return Parcel(**parts)


class Group(NamedTuple):
    """Which chunks of a run one task has, and with how many threads.

    chunks: an array, or (first, end) for a range. number: of this run's groups. life: of the worker's process, at whose
    address another one may have come.
    """

    run: str
    number: int
    chunks: Any
    lanes: int
    life: str

    def listed(self) -> Array:
        return np.arange(*self.chunks) if isinstance(self.chunks, tuple) else self.chunks


class Reply(NamedTuple):
    """What a group's task gives back.

    outcome: of remote.pickled_outcome, b"" where no body has raised. part: what the lanes have noted, without the
    chunks, which the caller knows. pieces: of the output, each with the byte at which it begins; for a kernel that
    reduces, a single one: the rows of the chunks that are done. results: of a function over items, by chunk. clock: ns
    of the worker's clock, as the task arrived, got its threads and ended. carried: from, to, by the same clock: when
    dask had its inputs brought from elsewhere.
    """

    outcome: bytes
    part: Part | None
    pieces: tuple[tuple[int, Array], ...]
    results: dict[int, Any] | None
    clock: tuple[int, int, int]
    carried: tuple[tuple[int, int], ...] = ()

    @property
    def nbytes(self) -> int:
        """How many bytes are in it, but for a few."""
        arrays = [x for x in self.part or () if x is not None] + [piece for _, piece in self.pieces]
        size = sum(int(array.nbytes) for array in arrays)
        for pickled, buffers in (self.results or {}).values():
            size += len(pickled) + sum(int(buffer.nbytes) for buffer in buffers)
        return size


class Returned:
    """Stands for `keep` in a run of a function over items: collects the results, pickled, a chunk at a time."""

    holds_only_arrays = True

    def __init__(self, grain: int, name: str) -> None:
        self._grain, self._name = grain, name
        self.results: dict[int, Any] = {}

    def __reduce__(self) -> Any:
        return Returned, (self._grain, self._name)

    def __call__(self, row: Array, lo: int, values: list[Any]) -> None:
        """Keep a chunk's results. A TypeError names the first that cannot be pickled."""
        pickled, buffers = pickled_results(values, lo, self._name)
        self.results[lo // self._grain] = pickled, [np.frombuffer(buffer, np.uint8) for buffer in buffers]

    def lists(self, chunks: int) -> Array:
        """The results of all chunks, unpickled, as an array of lists."""
        lists = np.empty(chunks, object)
        for chunk in range(chunks):
            pickled, buffers = self.results.pop(chunk)
            try:
                # In writable memory of their own, as results are elsewhere.
                lists[chunk] = pickle.loads(pickled, buffers=[bytearray(buffer) for buffer in buffers])
            except MemoryError:
                raise
            except Exception as error:  # raised by a class of the user's
                raise unreadable_results(chunk, self._grain, self._name, error) from error
        return lists


def zeros(shape: tuple[int, ...], dtype: Any) -> Array:
    """Zeros from a cache line on. Pages that nobody writes to take no memory."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    room = np.zeros(size + BYTES_PER_LINE, np.uint8)
    start = -room.ctypes.data % BYTES_PER_LINE
    array: Array = room[start : start + size].view(dtype).reshape(shape)
    return array


def pieces_of(out: Array) -> Iterator[tuple[int, Array]]:
    """The parts of an output, in bytes, that hold all of it that is not zero; each with the byte at which it begins."""
    memory = out.reshape(-1).view(np.uint8)
    begin = None
    for start in range(0, len(memory), BLOCK):
        is_used = memory[start : start + BLOCK].any()
        if is_used and begin is None:
            begin = start
        elif not is_used and begin is not None:
            yield begin, memory[begin:start]
            begin = None
    if begin is not None:
        yield begin, memory[begin:]


class Merge:
    """The caller's output, zero at first, into which pieces of `pieces_of` are put."""

    def __init__(self, out: Array) -> None:
        self._out = out
        self._whole = out if out.flags.c_contiguous else np.empty(out.shape, out.dtype)
        self._whole[...] = 0
        self._memory = self._whole.reshape(-1).view(np.uint8)
        self._unit = np.dtype(f"u{math.gcd(out.dtype.itemsize, 8)}")  # of which one element has one or several
        self._used = np.zeros(-(-len(self._memory) // BLOCK), bool)

    def put(self, start: int, piece: Array) -> bool:
        """Put a piece in. False where another chunk has written something else to one of its elements."""
        end = start + len(piece)
        used = self._used[start // BLOCK : -(-end // BLOCK)]
        agrees = True
        for k in range(len(used)):
            part = np.frombuffer(piece[k * BLOCK : (k + 1) * BLOCK], self._unit)
            own = self._memory[start + k * BLOCK :][: part.nbytes].view(self._unit)
            if not used[k]:
                own[:] = part
                continue
            agrees &= not ((own != part) & (own != 0) & (part != 0)).any()
            np.bitwise_or(own, part, out=own)
        used[:] = True
        return agrees

    def finish(self) -> None:
        """Called when all is in: fill the caller's array, where that is not contiguous."""
        if self._whole is not self._out:
            self._out[...] = self._whole


@functools.cache
def fuses() -> bool:
    """Whether compiled code rounds a·b + c once: of all that CPUs differ in, this alone shows in the last bits."""
    from kernels.vectors.target import has_fma

    return has_fma()
