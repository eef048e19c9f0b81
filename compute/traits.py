"""What a backend is, as it says itself. Whoever judges its runs asks this, and never for its name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

SERIAL = "serial"  # the backend that all others are compared with


@dataclass(frozen=True)
class Traits:
    """What holds for the lanes of a backend.

    shares_memory:  they see the caller's arrays as they are; else arrays are copied or lie in shared memory.
    shares_gil:     those that run Python take turns at one GIL, where the interpreter has one.
    shares_thread:  all of them take turns on one thread.
    overlaps_waits: while one waits for what is outside, the others go on.
    exceeds_cpus:   more of them than CPUs are of use, where they wait.
    loads_itself:   it compiles or loads code for itself, which serves no other backend of this process.
    whole_program:  they are a program's own, of which only the whole is seen, from outside.
    """

    shares_memory: bool = True
    shares_gil: bool = True
    shares_thread: bool = False
    overlaps_waits: bool = True
    exceeds_cpus: bool = True
    loads_itself: bool = False
    whole_program: bool = False

    def names(self) -> tuple[str, ...]:
        """The names of those that hold, as results files keep them."""
        return tuple(field.name for field in fields(self) if getattr(self, field.name))


def traits_from(names: Iterable[str]) -> Traits:
    """The traits of which these hold, and no other; names that this version does not know are left out."""
    names = set(names)
    return Traits(**{field.name: field.name in names for field in fields(Traits)})


PROGRAM = Traits(shares_memory=False, shares_gil=False, whole_program=True)
PROCESSES = Traits(shares_memory=False, shares_gil=False, loads_itself=True)
# Of the backends whose points older files hold without their traits; any other is taken for threads.
_FORMERLY = {
    "prange": Traits(loads_itself=True),
    "processes": PROCESSES,
    "joblib": PROCESSES,
    "dask": PROCESSES,
    "coroutines": Traits(shares_thread=True),
    "interpreters": Traits(shares_gil=False),
}


def former_traits(backend: str) -> Traits:
    """The traits of a backend, by its name, where a results file does not tell them."""
    return _FORMERLY.get(backend, Traits())
