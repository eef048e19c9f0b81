"""Finding: the result of one check, as plain data in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "warn", "unknown"]


@dataclass(frozen=True)
class Finding:
    """One topic of this machine, and what it means for scaling.

    topic:   its name, such as "CPUs".
    value:   what was found, such as "2 present, 2 allowed, 2 usable".
    meaning: what that does to N workers.
    remedy:  what to do about it; None where nothing is to be done.
    level:   "ok", "note" (good to know), "warn" (it costs speedup now), "unknown" (this system does not tell).
    """

    topic: str
    value: str
    meaning: str
    remedy: str | None = None
    level: Level = "ok"


def unknown(topic: str, meaning: str, remedy: str | None = None) -> Finding:
    """A Finding of what this system does not tell."""
    return Finding(topic, "unknown", meaning, remedy, "unknown")


def count(number: int, thing: str) -> str:
    """`1 core`, `2 cores`"""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def in_bytes(amount: float) -> str:
    """Memory in powers of 1024, as caches and limits are given: `48 KiB`, `1.5 GiB`."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.3g} {unit}"
        amount /= 1024
    return f"{amount:.3g} TiB"
