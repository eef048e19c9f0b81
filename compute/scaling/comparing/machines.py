"""What changed between the machines and versions that two files were measured with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compute.scaling.formatting import in_bytes

# What tells two machines apart. The system's version does not: an update may be what is to be judged.
MACHINE = ("model", "cpus", "cpus_present", "cores", "quota")
ALIKE = 0.1  # of the memory and the caches: two systems keep different amounts of one machine's memory for themselves
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
    earlier, later = _amounts(before), _amounts(after)
    return [
        Change(name, in_bytes(earlier[name]), in_bytes(later[name]))
        for name in earlier
        if name in later and not math.isclose(earlier[name], later[name], rel_tol=ALIKE)
    ]


def _amounts(machine: Mapping[str, Any]) -> dict[str, float]:
    """The bytes of its memory and of each level of cache, of those that the file tells."""
    caches = machine.get("caches")
    amounts = {f"{level} cache": held for level, held in caches.items()} if isinstance(caches, Mapping) else {}
    amounts["memory"] = machine.get("memory")
    return {name: held for name, held in amounts.items() if isinstance(held, int | float)}


def _changes(names: Sequence[str], before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    """What differs and is known of both. None means that it is not known; of a quota, that there is none."""
    changes = []
    for name in names:
        earlier, later = before.get(name, ABSENT), after.get(name, ABSENT)
        if ABSENT in (earlier, later) or earlier == later or (name != "quota" and None in (earlier, later)):
            continue
        changes.append(Change(NAMES.get(name, name), earlier, later))
    return tuple(changes)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None else str(value)
