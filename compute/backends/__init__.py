"""The backends by name: those here, and those that other distributions offer as entry points `nfold.backends`.

No backend imports another one. README.md beside this file has a paragraph a file.

backend.py        the contract of backends: Backend, a frozen value
pool.py           the contract of pools: Pool, its live workers
blas.py           holds BLAS to one thread, while lanes are what is counted
serial.py         one lane on the caller's thread
threads.py        lanes on threads
lane_thread.py    the threads of a pool, a lane of each job each: they spin between jobs, then sleep
coroutines.py     lanes on one asyncio loop
interpreters/     lanes in subinterpreters of this process
prange.py         lanes on numba's threads
native_region.py  its parallel region, in machine code for all bodies
processes.py      lanes in worker processes
joblib.py         lanes on joblib's workers: its threads, or the processes of its executor
loky.py           the pool of those processes
dask/             lanes on the workers of a Dask cluster
caller.py         what every pool of worker processes needs on the caller's side
sender.py         builds the message for a job, and keeps code and arrays in the arena
remote.py         what every worker process runs: become_worker once, then perform for each message
worker.py         one process of a Processes pool: the pool's handle, and the process's main loop
carrier.py        pickles the user's functions, classes and modules by value
reducers.py       reducers for objects that do not pickle, or would carry stale state
ambient.py        carries the caller's errstate and decimal context to workers
items.py          sends the items of each(f) to workers, and brings the results back
children.py       child processes: how they are started, whether they are alive, forks
fork_server.py    the fork server from which workers are started
preloaded.py      what that has imported
host_program.py   makes the current program able to start workers
tasks.py          whether the system lets this user start the processes and threads that a pool needs
output.py         flushes what workers print

A backend's module is imported when it is first asked for: a worker process needs none of them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from kernels.on_demand import getter

if TYPE_CHECKING:
    from importlib import metadata

    from compute.backends.backend import Backend as Backend
    from compute.backends.coroutines import Coroutines as Coroutines
    from compute.backends.dask import Dask as Dask
    from compute.backends.interpreters import Interpreters as Interpreters
    from compute.backends.joblib import Joblib as Joblib
    from compute.backends.pool import Pool as Pool
    from compute.backends.prange import Prange as Prange
    from compute.backends.processes import Processes as Processes
    from compute.backends.serial import Serial as Serial
    from compute.backends.threads import Threads as Threads

GROUP = "nfold.backends"
_OWN = ("serial", "threads", "prange", "processes", "joblib", "coroutines", "interpreters", "dask")
# The module of each name that is imported from here.
_HOME = {name.capitalize(): name for name in _OWN} | {"Backend": "backend", "Pool": "pool"}

__getattr__ = getter(__name__, _HOME)


def __dir__() -> list[str]:
    return [*__all__]


class _Registry(Mapping[str, "type[Backend]"]):
    """Backend classes by name. One of another distribution is imported when it is first asked for by its name."""

    def __getitem__(self, name: str) -> type[Backend]:
        if name in _OWN:
            own: type[Backend] = __getattr__(name.capitalize())
            return own
        from compute.backends.backend import Backend

        entry = _offered()[name]
        try:
            offered = entry.load()
        except Exception as error:
            raise ValueError(f"{_offerer(entry)} cannot be loaded ({type(error).__name__}: {error})") from error
        if not (isinstance(offered, type) and issubclass(offered, Backend) and getattr(offered, "name", None) == name):
            raise ValueError(
                f"{_offerer(entry)} is {offered!r}; it must be a class of compute.Backend whose `name` is {name!r}"
            )
        return offered

    def __iter__(self) -> Iterator[str]:
        return iter([*_OWN, *_offered()])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        return name in _OWN or name in _offered()


@functools.cache
def _offered() -> dict[str, metadata.EntryPoint]:
    """The entry points of other distributions, without those under a name of ours."""
    from importlib import metadata  # which would be a tenth of what a worker imports

    return {entry.name: entry for entry in metadata.entry_points(group=GROUP) if entry.name not in _OWN}


def _offerer(entry: metadata.EntryPoint) -> str:
    return f"backend {entry.name!r} ({entry.value}, of {entry.dist.name if entry.dist else 'no distribution'})"


BACKENDS: Mapping[str, type[Backend]] = _Registry()


def named(name: str, workers: int | None = None) -> Backend:
    """The backend of that name, with all usable CPUs where `workers` is left out; ValueError with the nearest name."""
    if name not in BACKENDS:
        from kernels.definition import nearest

        raise ValueError(
            f"there is no backend {name!r}; choose from {', '.join(BACKENDS)}{nearest(name, list(BACKENDS))}"
        )
    backend = BACKENDS[name]()
    return backend if workers is None else backend.with_workers(workers)


__all__ = [
    "BACKENDS",
    "Backend",
    "Coroutines",
    "Dask",
    "Interpreters",
    "Joblib",
    "Pool",
    "Prange",
    "Processes",
    "Serial",
    "Threads",
    "named",
]
