"""read: blocks of a file, from the disk and not from memory. Lanes wait for the disk, which serves several at once."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import mmap
import os
import stat
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from kernels.definition import as_index, kernel
from kernels.definition.plan import MOST_CHUNKS, Plan
from kernels.texts import visible

Array = np.ndarray[Any, Any]
BLOCK = 2**20  # bytes: large enough that the time of a request is small against reading
PAGE = 4096  # bytes: O_DIRECT takes addresses, offsets and sizes that are multiples of it, on every disk that is sold
LARGEST_BLOCK = 2**30  # bytes: each lane has a buffer of one block
DIRECT, ADVISED = 1, 0  # how the page cache is avoided: by O_DIRECT, or by advice to drop what is in it


def plan_read(path: Any, blocks: Any = None, block: Any = BLOCK) -> Plan:
    """Read a file's first blocks, past the page cache; all of them where `blocks` is left out.

    path: of a file that can be read. block: bytes, a multiple of 4096.
    Returns each block's CRC-32, an int64 array.
    Raises ValueError for a block that is no such multiple, for more blocks than there are, and where this system has no
    way round its page cache; OSError for what cannot be opened.
    """
    size = as_index(block, "block", least=PAGE)
    if size > LARGEST_BLOCK:
        raise ValueError(f"block must be at most {LARGEST_BLOCK} bytes, not {size}")
    if size % PAGE:
        raise ValueError(f"block must be a multiple of {PAGE} bytes, not {size}")
    try:
        name = os.fsencode(path)
    except TypeError:
        raise ValueError(f"path must be that of a file, not {path!r}") from None
    if not stat.S_ISREG(os.stat(path).st_mode):  # a device has no size, and to open a pipe may take for ever
        raise ValueError(f"path must be that of a regular file, not {path!r}")
    with open(name, "rb") as file:
        there = -(-os.fstat(file.fileno()).st_size // size)
    count = there if blocks is None else as_index(blocks, "blocks")
    if count > there:
        raise ValueError(f"{visible(os.fsdecode(name))} has {there} blocks of {size} bytes, not {count}")
    way = _way_of(name)
    grain = max(1, -(-count // MOST_CHUNKS))
    return Plan(count, (os.path.abspath(name), size, way), dtype=np.int64, grain=grain, work=float(count * size))


def _way_of(path: bytes) -> int:
    if hasattr(os, "O_DIRECT"):
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_DIRECT))
            return DIRECT
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
    if hasattr(os, "posix_fadvise"):
        return ADVISED
    raise ValueError(
        f"{visible(os.fsdecode(path))} can be read only through the page cache on this system, which would time"
        " memory and not the disk; take a file on a disk"
    )


def check_read(value: Any, path: Any, blocks: Any = None, block: Any = BLOCK) -> None:
    """The first block and the last, read in the usual way."""
    with open(path, "rb") as file:
        for k in {0, len(value) - 1} if len(value) else ():
            file.seek(k * int(block))
            assert value[k] == zlib.crc32(file.read(int(block)))


def _example(size: int) -> tuple[Any, ...]:
    """A large file that every installation has, and so many blocks of it: LLVM's library, or numpy's without numba."""
    numpy = os.path.dirname(np.__file__)
    folders = [os.path.join(numpy, "_core"), os.path.join(os.path.dirname(numpy), "numpy.libs")]
    if (llvmlite := importlib.util.find_spec("llvmlite")) and llvmlite.origin:
        folders.append(os.path.join(os.path.dirname(llvmlite.origin), "binding"))
    there = [os.path.join(folder, name) for folder in folders if os.path.isdir(folder) for name in os.listdir(folder)]
    largest = max(there, key=os.path.getsize)
    return largest, min(as_index(size, "size"), os.path.getsize(largest) // BLOCK)


@kernel(
    plan=plan_read,
    compiled=False,
    example=_example,
    cost=lambda size: float(size * BLOCK),
    check=check_read,
    unit="byte",
    bound="wait",
)
def read(lo: int, hi: int, out: Array, path: bytes, block: int, way: int) -> None:
    """Fill out[lo:hi] with the checksums of these blocks; touch nothing else."""
    with _opened(path, way) as file, mmap.mmap(-1, block) as buffer:  # of whole pages, as O_DIRECT asks
        for k in range(lo, hi):
            out[k] = _checksum(file, buffer, k * block, way)


async def read_awaiting(lo: int, hi: int, out: Array, path: bytes, block: int, way: int) -> None:
    """The same on threads of the loop: Linux has no non-blocking read of files that asyncio could use."""
    import asyncio

    await asyncio.to_thread(read.python.variants["python"].source(), lo, hi, out, path, block, way)


def _checksum(file: int, buffer: mmap.mmap, start: int, way: int) -> int:
    if way == ADVISED:
        os.posix_fadvise(file, start, len(buffer), os.POSIX_FADV_DONTNEED)
    done, view = 0, memoryview(buffer)
    try:
        while done < len(buffer) and (got := os.preadv(file, [view[done:]], start + done)):
            done += got
            if got % PAGE:  # the file's end
                break
        return zlib.crc32(view[:done])
    finally:
        view.release()


@contextlib.contextmanager
def _opened(path: bytes, way: int) -> Iterator[int]:
    file = os.open(path, os.O_RDONLY | (os.O_DIRECT if way == DIRECT else 0))
    try:
        yield file
    finally:
        os.close(file)


read.add_variant("awaits", read_awaiting)
