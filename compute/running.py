"""run(kernel, …, on=backend) -> Result: opens the backend, runs the kernel once, closes the backend.

Users import it as compute.run. The steps of the run itself are in dispatch.py.
"""

from __future__ import annotations

from typing import Any, Protocol

from compute import checking, dispatch
from compute.backends import named
from compute.backends.backend import Backend
from compute.backends.threads import Threads
from compute.dispatch import Result, as_kernel
from compute.lanes.interrupts import InterruptWatch
from compute.lanes.loop import inside_a_lane
from compute.memory.arena import Arena
from compute.nested import Nested
from compute.progress import Progress
from kernels.definition import Kernel


class Opens(Protocol):
    """What `run` needs of a backend."""

    def open(self) -> Any: ...


def run(
    kernel: Kernel,
    *args: Any,
    on: Opens | str | None = None,
    variant: str | None = None,
    check: bool = False,
    progress: Progress = None,
    **kw: Any,
) -> Result:
    """Run a kernel once on a backend, opened for it and closed after it.

    on:      Threads(4), Processes(2) …, or "threads", "processes" … for all usable CPUs; threads where left out.
    variant: "python", "nogil" …; the fastest where left out.
    check:   first try the body for what it may not do: parts of out that it leaves unwritten, indices out of bounds,
             inputs that it changes, chunks that write to what belongs to another, or give another value in another
             order, run again or cut in another way, variants that differ.
             CheckFailed names the chunk and the index. It takes several serial runs, one in Python: use a small size.
    progress: a function that is called as progress(done, total), in chunks, some ten times a second, and a last time as
             progress(total, total); not at all where there are no chunks. It is called on a thread of nfold's, never
             twice at once. What it raises ends the run and is raised here. Runs that it starts are serial.
             True draws a bar where stderr is a terminal, a line of text in a notebook, and nothing elsewhere.

    Everything else goes to the kernel; an input that is named like one of these is given by position. Errors in the
    arguments are raised before a worker starts.
    """
    kernel = as_kernel(kernel).held_to(variant)
    backend = as_backend(on)
    args, kw = kernel.settled(args, kw)
    execute = checking.way_to_run(kernel, args, check, progress)
    if inside_a_lane():
        with InterruptWatch() as watch:
            return execute(Nested(), kernel, args, kw, watch)
    plan = kernel.plan(*args, **kw)
    if isinstance(backend, Backend):  # before its workers start, which may take a second
        dispatch.check_room(kernel, plan, backend.workers, Arena("heap" if backend.traits.shares_memory else "shared"))
    own = {**({"check": True} if check else {}), **({} if progress is None else {"progress": progress})}
    with backend.open() as pool:
        result: Result = pool.run(kernel, *args, **own, **kw)
    return result


def as_backend(on: Any) -> Any:
    """The backend itself, or the one of that name; threads on all usable CPUs for None. Errors name the remedy."""
    if on is None:
        return Threads()
    if isinstance(on, str):
        return named(on)
    if isinstance(on, type) or not hasattr(on, "open"):
        raise TypeError(f"on must be a backend such as Threads(2), not {on!r}; {_instead(on)}")
    return on


def _instead(on: Any) -> str:
    """What to write for something that is no backend."""
    from kernels.definition import misplaced

    if misplaced.is_pool(on):
        return "write pool.run(kernel, …)"
    if misplaced.says_who(on):
        return f"write on={misplaced.in_words(on)}"
    if type(on) is int and on > 0:
        return f"write on=Threads({on})"
    return "leave it out for threads on all CPUs"
