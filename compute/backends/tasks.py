"""Whether the system lets this user start what a pool of workers needs: processes, threads, address space.

A worker that cannot start its threads dies with pages of text, and libraries in it print more (OpenBLAS even sends
itself a Ctrl-C). So the pools whose workers are processes, or numba's threads, look before they start any.
"""

from __future__ import annotations

import errno
import os
import threading

from compute.lanes import interrupts
from compute.memory.descriptors import LimitReached
from kernels.definition import numba_is_here
from kernels.vectors.memory import in_bytes

MOST_TRIED = 256  # threads that are started to see whether they can be: 10 ms
A_WORKER = 3  # tasks: the process, the thread that watches its parent, and one of its body's own
SPACE = 400_000_000  # bytes of address space for numba, with what it compiles; 340 MB were measured for numba alone


def blas_threads() -> int:
    """How many threads numpy's BLAS starts in each process that imports it, beside the process's own."""
    asked = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS") or ""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return (min(int(asked), cpus) if asked.isdecimal() and int(asked) else cpus) - 1


def check_tasks(count: int, remedy: str) -> None:
    """LimitReached where so many more processes and threads, which count alike, cannot be beside each other."""
    if os.name != "posix":
        return
    ended, started = threading.Event(), list[threading.Thread]()
    with interrupts.put_off():
        try:
            for _ in range(min(count, MOST_TRIED)):
                thread = threading.Thread(target=ended.wait, name="nfold-trial")
                thread.start()
                started.append(thread)
        except RuntimeError:
            raise LimitReached(
                errno.EAGAIN,
                f"{count} more processes and threads are needed, and the system lets this user start {len(started)};"
                f" raise `ulimit -u` or the container's limit of processes, or {remedy}",
            ) from None
        finally:
            ended.set()
            for thread in started:
                thread.join()


def check_address_space(remedy: str) -> None:
    """LimitReached where `ulimit -v` leaves a worker process too little to load numba."""
    if os.name != "posix" or not numba_is_here():
        return
    import resource

    soft = resource.getrlimit(resource.RLIMIT_AS)[0]
    if soft != resource.RLIM_INFINITY and soft < SPACE:
        raise LimitReached(
            errno.ENOMEM,
            f"a worker process needs {in_bytes(SPACE)} of address space for numba, and `ulimit -v` allows"
            f" {in_bytes(soft)}; raise it, or {remedy}",
        )
