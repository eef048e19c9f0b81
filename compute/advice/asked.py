"""The arguments of `advise`: `contenders`, the backends to compare; `size_alike`, the size that they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from compute import machine
from compute.backends.backend import Backend
from compute.backends.serial import Serial
from compute.scaling.workload import Work
from kernels.definition import Kernel


def contenders(on: Sequence[Backend | str]) -> list[Backend]:
    """The backends to compare with serial, the ones with most workers first.

    The first pool that opens does work that later ones find done, so the largest comes first. A name stands for several
    numbers of workers, from 2 to the usable CPUs. On one CPU a name stands for none.
    """
    from compute import backends

    usable = machine.usable_cpus()
    counts = sorted({n for n in (usable, usable // 2, usable // 4, 2) if 2 <= n <= usable}, reverse=True)
    chosen: dict[tuple[str, int], Backend] = {}
    for asked in on:
        many = [backends.named(asked)] if isinstance(asked, str) else [asked]
        if isinstance(asked, str) and not isinstance(many[0], Serial):
            many = [many[0].with_workers(n) for n in counts]
        for backend in many:
            if not isinstance(backend, Backend):
                raise ValueError(f"on= takes backends such as Threads(2), or their names, not {backend!r}")
            key = backend.name, backend.workers
            if chosen.setdefault(key, backend) != backend:
                raise ValueError(f"on= holds {chosen[key]!r} and {backend!r}; ask about one of them at a time")
    return [backend for backend in chosen.values() if not isinstance(backend, Serial)]


def size_alike(kernel: Kernel, args: tuple[Any, ...], kw: dict[str, Any]) -> int | None:
    """The size whose example these arguments are like (same shapes and dtypes, same numbers), or None."""
    if kw or not args:
        return None
    size = Work(kernel, args).size_of(0)
    try:
        example = kernel.example(size)
    except Exception:  # a kernel's own: it has no example of that size
        return None
    alike = size > 0 and len(example) == len(args) and all(map(_alike, example, args))
    return size if alike else None


def _alike(mine: Any, theirs: Any) -> bool:
    if isinstance(mine, np.ndarray) or isinstance(theirs, np.ndarray):
        return (np.shape(mine), getattr(mine, "dtype", None)) == (np.shape(theirs), getattr(theirs, "dtype", None))
    return bool(mine == theirs)
