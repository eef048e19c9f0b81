"""run(kernel, …, on=backend) -> Result."""

from __future__ import annotations

from typing import Any, Protocol

from compute import checking, dispatch
from compute.backends.threads import Threads
from compute.dispatch import Result, as_kernel
from compute.lanes.interrupts import Watch
from compute.lanes.loop import inside_a_lane
from kernels.definition import Kernel


class Opens(Protocol):
    """What `run` needs of a backend."""

    def open(self) -> Any: ...


def run(
    kernel: Kernel, *args: Any, on: Opens | None = None, variant: str | None = None, check: bool = False, **kw: Any
) -> Result:
    """Run a kernel once on a backend, opened for it and closed after it.

    on:      Threads(4), Processes(2) …; all usable CPUs, on threads, where left out.
    variant: "python", "nogil" …; the fastest where left out.
    check:   first try the body for what it may not do: parts of out that it leaves unwritten, indices out of bounds,
             inputs that it changes, chunks that give another value in another order or run again, variants that differ.
             CheckFailed names the chunk and the index. It takes several serial runs, one in Python: use a small size.

    Everything else goes to the kernel. Errors in the arguments are raised before a worker starts.
    """
    kernel = as_kernel(kernel).held_to(variant)
    backend = as_backend(on)
    if inside_a_lane():
        with Watch() as watch:
            return (checking.run if check else dispatch.execute)(dispatch.Nested(), kernel, args, kw, watch)
    kernel.plan(*args, **kw)
    with backend.open() as pool:
        result: Result = pool.run(kernel, *args, **({"check": True} if check else {}), **kw)
    return result


def as_backend(on: Any) -> Any:
    """The backend itself, all usable CPUs on threads for None; a TypeError with the remedy for what is none."""
    if on is None:
        return Threads()
    if isinstance(on, type) or not hasattr(on, "open"):
        raise TypeError(f"on must be a backend such as Threads(2), not {on!r}; leave it out for threads on all CPUs")
    return on
