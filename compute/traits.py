"""Traits: properties that a backend declares. Verdicts, advice and reports test these instead of a backend's name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

SERIAL = "serial"  # the backend that all others are compared with


@dataclass(frozen=True)
class Traits:
    """What is true of the lanes of a backend.

    shares_memory:  they see the caller's arrays as they are; else arrays are copied or lie in shared memory.
    shares_gil:     those that run Python take turns at one GIL, where the interpreter has one.
    shares_thread:  all of them take turns on one thread.
    overlaps_waits: while one waits for a server or a disk, the others go on.
    exceeds_cpus:   more of them than CPUs are of use, where they wait.
    loads_itself:   it compiles or loads code for itself, and other backends of this process cannot use that code.
    remote:         they may be on other machines: neither the caller's memory nor its sockets reach them.
    whole_program:  they are a program's own workers; only the whole program is visible, from outside.
    """

    shares_memory: bool = True
    shares_gil: bool = True
    shares_thread: bool = False
    overlaps_waits: bool = True
    exceeds_cpus: bool = True
    loads_itself: bool = False
    remote: bool = False
    whole_program: bool = False

    def names(self) -> tuple[str, ...]:
        """The names of the traits that are true, as results files keep them."""
        return tuple(field.name for field in fields(self) if getattr(self, field.name))


def traits_from(names: Iterable[str]) -> Traits:
    """The Traits in which these are true, and no others. Names that this version does not know are ignored."""
    names = set(names)
    return Traits(**{field.name: field.name in names for field in fields(Traits)})


PROGRAM = Traits(shares_memory=False, shares_gil=False, whole_program=True)
PROCESSES = Traits(shares_memory=False, shares_gil=False, loads_itself=True)
# For points of older files, which do not contain traits. Any other backend is taken for threads.
_TRAITS_OF_OLDER_FILES = {
    "prange": Traits(loads_itself=True),
    "processes": PROCESSES,
    "joblib": PROCESSES,
    "dask": PROCESSES,
    "coroutines": Traits(shares_thread=True),
    "interpreters": Traits(shares_gil=False),
}


def former_traits(backend: str) -> Traits:
    """The traits of a backend, by its name, where a results file does not contain them."""
    return _TRAITS_OF_OLDER_FILES.get(backend, Traits())
