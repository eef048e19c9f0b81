"""The fitted law of a configuration as a curve: speedup at any number of workers. Pure functions of a law's figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NAMES = {"amdahl": "Amdahl's law", "gustafson": "Gustafson's law", "usl": "USL"}


def name_of(law: Mapping[str, Any]) -> str | None:
    """The name of the law that the projections use; None where no law was identifiable, or an older file names none."""
    return NAMES.get(law.get("law") or "")


def speedups(law: Mapping[str, Any], baseline: float, counts: Sequence[float]) -> list[float]:
    """The speedup at each worker count; empty where no law was identifiable. baseline: seconds of the serial run."""
    figures = law.get(law.get("law") or "")
    if not isinstance(figures, Mapping):
        return []
    if law["law"] == "usl":
        alpha, beta, gamma = (figures[name] for name in ("alpha", "beta", "gamma"))
        return [baseline * gamma * n / (1 + alpha * (n - 1) + beta * n * (n - 1)) for n in counts]
    sigma, scale = figures["serial_fraction"], baseline / figures["seconds"]
    if law["law"] == "gustafson":
        return [scale * (n - sigma * (n - 1)) for n in counts]
    return [scale / (sigma + (1 - sigma) / n) for n in counts]
