"""The backends by name; siblings do not know each other."""

from __future__ import annotations

from compute.backends.backend import Backend, Pool
from compute.backends.coroutines import Coroutines
from compute.backends.joblib import Joblib
from compute.backends.prange import Prange
from compute.backends.processes import Processes
from compute.backends.serial import Serial
from compute.backends.threads import Threads
from kernels.definition import nearest

BACKENDS: dict[str, type[Backend]] = {cls.name: cls for cls in (Serial, Threads, Prange, Processes, Joblib, Coroutines)}


def named(name: str, workers: int | None = None) -> Backend:
    """The backend of that name, with all usable CPUs where `workers` is left out; ValueError with the nearest name."""
    if name not in BACKENDS:
        raise ValueError(
            f"there is no backend {name!r}; choose from {', '.join(BACKENDS)}{nearest(name, list(BACKENDS))}"
        )
    made = BACKENDS[name]()
    return made if workers is None else made.with_workers(workers)


__all__ = ["BACKENDS", "Backend", "Coroutines", "Joblib", "Pool", "Prange", "Processes", "Serial", "Threads", "named"]
