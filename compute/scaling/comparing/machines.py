"""What changed between the machines and versions that two files were measured with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compute.scaling.words import in_bytes

# What makes another machine of it. The system's version does not: an update of it may be what is to be judged.
MACHINE = ("model", "cpus", "cpus_present", "cores", "quota")
ALIKE = 0.1  # of the memory and the caches: systems keep different parts of one machine's memory for themselves
VERSIONS = ("implementation", "python", "gil", "numpy", "numba", "joblib", "nfold", "platform", "source")
NAMES = {
    "model": "CPU",
    "cpus": "usable CPUs",
    "cpus_present": "CPUs",
    "quota": "CPU quota",
    "gil": "GIL",
    "source": "measured by",
}
ABSENT = object()


@dataclass(frozen=True)
class Change:
    """One thing that differs: its name in words, and its value before and after."""

    name: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.name} {_shown(self.before)} → {_shown(self.after)}"


def other_machine(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    """What shows that the two are different machines; empty where nothing does."""
    counts = _counts(before, after)
    names = [name for name in MACHINE if name in counts or name not in ("cpus", "cpus_present")]
    return (*_changes(names, before, after), *_other_amounts(before, after))


def _counts(*machines: Mapping[str, Any]) -> tuple[str, ...]:
    """The numbers of CPUs that can be compared: pytest-benchmark counts what is there, nfold what can be used, too."""
    foreign = any("source" in machine for machine in machines)
    return ("cpus_present",) if foreign else ("cpus", "cpus_present")


def other_versions(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    """What else differs: interpreter, libraries, system."""
    return _changes(VERSIONS, before, after)


def unknown(machine: Mapping[str, Any], beside: Mapping[str, Any]) -> tuple[str, ...]:
    """What a file lacks, in words, to be told from the machine of another: its CPU, or its number of them.

    Two machines that are both of two CPUs, or both of one model, may still be different ones.
    """
    needed = ("model", _counts(machine, beside)[0])
    return tuple(NAMES.get(name, name) for name in needed if machine.get(name) is None)


def is_known(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether both files say which CPU it was, and how many there were."""
    return not unknown(before, after) and not unknown(after, before)


def _other_amounts(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    one, other = _amounts(before), _amounts(after)
    return [
        Change(name, in_bytes(one[name]), in_bytes(other[name]))
        for name in one
        if name in other and not math.isclose(one[name], other[name], rel_tol=ALIKE)
    ]


def _amounts(machine: Mapping[str, Any]) -> dict[str, float]:
    """The bytes of its memory and of each level of cache, of those that the file tells."""
    caches = machine.get("caches")
    told = {f"{level} cache": held for level, held in caches.items()} if isinstance(caches, Mapping) else {}
    told["memory"] = machine.get("memory")
    return {name: held for name, held in told.items() if isinstance(held, int | float)}


def _changes(names: Sequence[str], before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    """What both files tell, and tell differently. No quota is a value; of the others none is what nobody knows."""
    found = []
    for name in names:
        one, other = before.get(name, ABSENT), after.get(name, ABSENT)
        if ABSENT in (one, other) or one == other or (name != "quota" and None in (one, other)):
            continue
        found.append(Change(NAMES.get(name, name), one, other))
    return tuple(found)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None else str(value)
