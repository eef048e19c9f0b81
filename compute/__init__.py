"""Run any kernel on any backend, and measure how close N workers get to N times faster.

- `run` runs a kernel once: a `Result`. Its errors are `WorkerDied` and `CheckFailed`. `shared` makes shared arrays.
- `Serial`, `Threads`, `Prange`, `Processes`, `Joblib`, `Coroutines` … are backends; `open()` makes a live pool of one.
  `Backend` and `Pool` are what a backend of one's own is made of. `BACKENDS` has all by name, and `named` looks one up.
- `scale` measures a kernel, `scale_command` a program: a `Scaling`, or `CutShort` after a Ctrl-C.
- `advise` finds the fastest way to do a work: an `Advice`. `doctor` examines the machine: `Finding`s.
- `lesson` teaches by experiment.

A name's module is imported when the name is first used (as scientific-python's SPEC 1 does it): a script that runs one
kernel on threads does not pay for processes, joblib and statistics. README.md beside this file has a line a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernels.on_demand import getter

if TYPE_CHECKING:
    from compute.advice import Advice as Advice
    from compute.advice import advise as advise
    from compute.backends import BACKENDS as BACKENDS
    from compute.backends import named as named
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
    from compute.checking import CheckFailed as CheckFailed
    from compute.diagnosis import Finding as Finding
    from compute.diagnosis import doctor as doctor
    from compute.dispatch import Result as Result
    from compute.dispatch import WorkerDied as WorkerDied
    from compute.lessons.conduct import lesson as lesson
    from compute.memory.arena import shared as shared
    from compute.running import run as run
    from compute.scaling.programs import scale_command as scale_command
    from compute.scaling.results import CutShort as CutShort
    from compute.scaling.results import Scaling as Scaling
    from compute.scaling.rounds import scale as scale

_HOMES = {
    "advice": ["Advice", "advise"],
    "lessons.conduct": ["lesson"],
    "memory.arena": ["shared"],
    "backends": ["BACKENDS", "named", "Backend", "Pool"],
    "backends.serial": ["Serial"],
    "backends.threads": ["Threads"],
    "backends.prange": ["Prange"],
    "backends.processes": ["Processes"],
    "backends.joblib": ["Joblib"],
    "backends.coroutines": ["Coroutines"],
    "backends.dask": ["Dask"],
    "backends.interpreters": ["Interpreters"],
    "diagnosis": ["Finding", "doctor"],
    "dispatch": ["Result", "WorkerDied"],
    "checking": ["CheckFailed"],
    "running": ["run"],
    "scaling.programs": ["scale_command"],
    "scaling.results": ["CutShort", "Scaling"],
    "scaling.rounds": ["scale"],
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME)

__getattr__ = getter(__name__, _HOME)


def __dir__() -> list[str]:
    return __all__
