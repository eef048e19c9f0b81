"""What changed between the machines and versions that two files were measured with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# What makes another machine of it. The system's version does not: an update of it may be what is to be judged.
MACHINE = ("model", "cpus", "cpus_present", "cores", "quota")
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
    # pytest-benchmark counts the CPUs that are there, nfold those that can be used.
    foreign = "source" in before or "source" in after
    return _changes([name for name in MACHINE if not (foreign and name == "cpus")], before, after)


def other_versions(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    """What else differs: interpreter, libraries, system."""
    return _changes(VERSIONS, before, after)


def is_known(*machines: Mapping[str, Any]) -> bool:
    """Whether these files all say something of their machines by which one can be told from another."""
    return any(all(machine.get(name) is not None for machine in machines) for name in ("model", "cpus", "cpus_present"))


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
