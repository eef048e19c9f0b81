"""The contract of backends: a Backend is a frozen value that says who computes; open() makes it a live Pool."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Self

from compute import machine
from compute.backends.pool import Pool
from compute.traits import Traits
from kernels.definition import Kernel, as_index
from kernels.texts import visible


class Refused(ValueError):
    """A kernel that a backend cannot run with these arguments; the text says why, and the remedy. No lane has begun."""


@dataclass(frozen=True, repr=False)
class Backend(ABC):
    """Who computes which chunk. A value: `eval(repr(backend)) == backend`.

    workers: how many; all usable CPUs where left out. A ValueError where that is not a whole number of at least 1.
    """

    workers: int = field(default_factory=machine.usable_cpus)
    name: ClassVar[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "workers", as_index(self.workers, "workers", least=-sys.maxsize))
        if self.workers < 1:
            raise ValueError(
                f"workers must be at least 1, not {self.workers}; leave it out to use all {machine.usable_cpus()} CPUs"
            )

    def __repr__(self) -> str:
        """What evaluates to this backend: its workers, and what is not as it is by default."""
        others = [field for field in fields(self) if field.name != "workers"]
        options = [
            f"{field.name}={value!r}" for field in others if (value := getattr(self, field.name)) != field.default
        ]
        return f"{type(self).__name__}({', '.join([repr(self.workers), *options])})"

    @property
    def traits(self) -> Traits:
        """Its properties, which verdicts, advice and reports test. A class sets its own: `traits = Traits(…)`."""
        return Traits()

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and hasattr(Pool, name):
            raise AttributeError(
                f"{self!r} says who computes, and its pool does it: run(kernel, …, on={self!r}), or"
                f" `with {self!r}.open() as pool: pool.{name}(…)`"
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @abstractmethod
    def open(self) -> Pool:
        """A pool with its workers started and ready to run; a context manager that stops them."""

    def with_workers(self, workers: int) -> Self:
        """The same backend with another number of workers."""
        return replace(self, workers=workers)

    def at(self, address: str) -> Backend:
        """The same backend on the cluster of this scheduler; ValueError where it has none."""
        raise ValueError(
            f"{self.name} computes on this machine and has no scheduler; leave {visible(address)} out, or choose a"
            " backend of a cluster"
        )

    def refuses(self, kernel: Kernel) -> str | None:
        """Why this backend cannot run the kernel in its chosen variant, or None."""
        if kernel.timeout is not None and self.traits.shares_memory:
            return (
                f"{kernel.name} has a timeout, and nobody can end a function on a thread; run it on Processes, or"
                " make it an async function"
            )
        return None

    def lacks(self) -> str | None:
        """Why this machine cannot give so many workers what they need, or None."""
        return None
