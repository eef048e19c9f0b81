"""The arguments of scale(), checked: which backends, how many workers, how long; and warnings about the workers."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

from compute import backends, machine
from compute.backends.backend import Backend
from compute.backends.serial import Serial
from compute.scaling.dataset import Point
from compute.scaling.statistics import MOST_ROUNDS

BUDGET = 10.0  # seconds


class Unavailable(ValueError):
    """None of the backends that were asked for can be opened on this system."""


def configurations(on: Sequence[Backend | str] | Backend | str, workers: Sequence[int] | None = None) -> list[Backend]:
    """The backends to open, each once: Serial first, then every one of `on` with every number of workers.

    ValueError, with the remedy, for a name that is none, a count under 1, and an empty list.
    """
    on = [on] if isinstance(on, str | Backend) else on
    if workers is not None and not len(workers):
        raise ValueError("workers is empty; give counts such as [1, 2], or leave it out")
    chosen: dict[Backend, None] = {Serial(): None}
    for asked in on:
        backend = backends.named(asked) if isinstance(asked, str) else asked
        if not isinstance(backend, Backend):
            raise ValueError(f"on= takes backends such as Threads(2), or their names, not {backend!r}")
        counts = workers if workers is not None else worker_counts() if isinstance(asked, str) else [backend.workers]
        # Serial has one worker whatever is asked of the others, and is there already.
        chosen |= dict.fromkeys(backend.with_workers(count) for count in counts if not isinstance(backend, Serial))
    return list(chosen)


def worker_counts() -> list[int]:
    """1, 2, 4 … and the usable CPUs."""
    usable = machine.usable_cpus()
    return sorted({*(2**k for k in range(usable.bit_length())), usable} - {2 ** usable.bit_length()})


def limits(budget: float | None, rounds: int | None) -> tuple[float, int]:
    """The budget in seconds (infinite where only rounds are given) and the most rounds; ValueError for other values."""
    if budget is None:
        budget = BUDGET if rounds is None else math.inf
    elif not isinstance(budget, int | float) or isinstance(budget, bool) or not (math.isfinite(budget) and budget > 0):
        raise ValueError(f"budget must be a number of seconds above 0, not {budget!r}; leave it out for {BUDGET:g} s")
    if rounds is None:
        return float(budget), MOST_ROUNDS
    if not isinstance(rounds, int) or isinstance(rounds, bool) or rounds < 1:
        raise ValueError(f"rounds must be a whole number from 1 on, not {rounds!r}; leave it out to use the budget")
    return float(budget), rounds


def about_one_cpu(points: Sequence[Point]) -> list[str]:
    """A warning where only one CPU of several is usable, and something computes: no figure then tells of scaling."""
    present = os.cpu_count() or 1
    if machine.usable_cpus() > 1 or present < 2 or all((p.evidence or {}).get("waits") for p in points):
        return []
    return [f"only one of {present} CPUs is usable, so this tells nothing of scaling; nfold doctor says what limits it"]


def about_workers(points: Sequence[Point]) -> list[str]:
    """A warning where there are more workers than CPUs, and they compute."""
    most = max((p.workers for p in points if not (p.evidence or {}).get("waits")), default=0)
    usable = machine.usable_cpus()
    if most <= usable:
        return []
    return [f"{most} workers share {usable} usable CPU{'s' * (usable > 1)}: their speedup cannot exceed {usable}"]
