"""Whether the system lets this user start what a pool of workers needs: processes, threads, address space.

A worker that cannot start its threads dies with pages of text, and libraries in it print more (OpenBLAS even sends
itself a Ctrl-C). So the pools whose workers are processes, or numba's threads, look before they start any.
"""

from __future__ import annotations

import _thread
import errno
import os

from compute.lanes import interrupts
from compute.memory import address_space
from compute.memory.address_space import IS_FREE_THREADED
from compute.memory.descriptors import LimitReached
from kernels.definition import numba_is_here
from kernels.vectors.memory import in_bytes

MOST_TRIED = 256  # threads that are started to see whether they can be: 10 ms
A_WORKER = 3  # tasks: the process, the thread that watches its parent, and one of its body's own
SPACE = 400_000_000  # bytes of address space for numba, with what it compiles; 340 MB were measured for numba alone
SPACE_OF_PYTHON = 400_000_000  # for a free-threaded Python with numpy: threads' heaps are most of it


def blas_threads() -> int:
    """How many threads numpy's BLAS starts in each process that imports it, beside the process's own."""
    asked = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS") or ""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return (min(int(asked), cpus) if asked.isdecimal() and int(asked) else cpus) - 1


def check_tasks(count: int, remedy: str) -> None:
    """LimitReached where the system does not let this user start so many more processes and threads at once.

    Both count against the same limit. So threads are started to see whether they can be, and end again.
    """
    if os.name != "posix":
        return
    all_started, ends = _thread.allocate_lock(), list[_thread.LockType]()
    with interrupts.put_off():
        try:
            with all_started:
                for _ in range(min(count, MOST_TRIED, _most_that_fit())):
                    # Thread.start would wait until the thread has a CPU, for milliseconds where others are at work.
                    end = _thread.allocate_lock()
                    end.acquire()
                    _thread.start_new_thread(_try, (all_started, end))
                    ends.append(end)
        except RuntimeError:
            raise LimitReached(
                errno.EAGAIN,
                f"{count} more processes and threads are needed, and the system lets this user start {len(ends)};"
                f" {address_space.limits_of_threads()}, or {remedy}",
            ) from None
        finally:
            for end in ends:
                end.acquire()


def _try(all_started: _thread.LockType, end: _thread.LockType) -> None:
    with all_started:
        end.release()


def _most_that_fit() -> int:
    """How many threads `check_tasks` may start: they leave half of the address space to what is started afterwards."""
    room = address_space.room_for_threads()
    return MOST_TRIED if room is None else room // 2


def check_address_space(remedy: str) -> None:
    """LimitReached where `ulimit -v` leaves a worker process too little for numba, and for threads' heaps."""
    needs = {"numba": SPACE * numba_is_here(), "a free-threaded Python": SPACE_OF_PYTHON * IS_FREE_THREADED}
    if os.name != "posix" or not any(needs.values()):
        return
    import resource

    soft, needed = resource.getrlimit(resource.RLIMIT_AS)[0], sum(needs.values())
    if soft != resource.RLIM_INFINITY and soft < needed:
        raise LimitReached(
            errno.ENOMEM,
            f"a worker process needs {in_bytes(needed)} of address space for"
            f" {' and '.join(name for name, size in needs.items() if size)}, and `ulimit -v` allows {in_bytes(soft)};"
            f" raise it, or {remedy}",
        )
