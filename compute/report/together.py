"""Several files of results as one Scaling. Kernels that several of them hold say which file they come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from pathlib import Path

from compute.scaling.results import Scaling
from compute.scaling.tables.table import heading


def together(results: Mapping[Path, Scaling]) -> Scaling:
    """All that the files hold. Two files with the same content count as one.

    A kernel that several files hold is shown once for each file, as "matmul (b.json)", because a speedup compares runs
    of one measurement. Its points, laws and conditions then name their file, and keep the kernel's own name. Where the
    files come from several machines, this is done for every kernel, and each machine is named. A file's warnings begin
    with its name.
    """
    files: dict[Path, Scaling] = {}
    for path, scaling in results.items():
        if scaling not in files.values():
            files[path] = scaling
    if len(files) == 1:
        return next(iter(files.values()))
    names = _names(list(files))
    machines = {path: _machine(scaling) for path, scaling in files.items()}
    elsewhere = len(set(machines.values())) > 1
    holders = Counter(kernel for scaling in files.values() for kernel in {p.kernel for p in scaling.points})
    parts = []
    for path, scaling in files.items():
        warnings = (f"measured on {machines[path]}",) * elsewhere + scaling.warnings
        part = replace(scaling, warnings=tuple(f"{names[path]}: {warning}" for warning in warnings))
        parts.append(part.of_file(names[path], {k for k, n in holders.items() if n > 1 or elsewhere}))
    whole = reduce(Scaling.__add__, parts)
    kernels = [p.kernel for scaling in files.values() for p in scaling.points]
    beside = sorted(
        range(len(kernels)), key=lambda k: kernels.index(kernels[k])
    )  # the tables of one kernel stand together
    return replace(whole, points=tuple(whole.points[k] for k in beside))


def _names(paths: list[Path]) -> dict[Path, str]:
    """The files' own names; with their folders where two are called the same."""
    often = Counter(path.name for path in paths)
    return {path: path.name if often[path.name] == 1 else str(path) for path in paths}


def _machine(scaling: Scaling) -> str:
    platform = scaling.machine.get("platform")
    return heading(scaling) + (f", {platform}" if platform else "")
