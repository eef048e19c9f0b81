"""What limits a machine, in words: said alike of a loss and of a ceiling that is far under N-fold."""

from __future__ import annotations

import math

from compute.scaling.verdict.evidence import Evidence
from compute.scaling.words import listed, percent, ratio

FRESH = "the first touch of fresh memory; fill an array that was filled before (out=)"
LESS_MEMORY = "compute more with each byte (blocks that fit the caches, smaller types)"


def one_thread(e: Evidence) -> str:
    return f"{every(e.workers, 'lane')} share one thread, which helps only work that waits; use threads or processes"


def quota(e: Evidence) -> str:
    return "the CPU quota" if e.quota is None else f"a quota of {counted(e.quota, 'CPU')}"


def more_quota(e: Evidence) -> str:
    """`raise it, or use 1 worker`"""
    enough = e.quota is None or e.quota >= e.workers
    return "raise it" + ("" if enough else f", or use {counted(max(1, math.floor(e.quota or 0)), 'worker')}")


def crowd(e: Evidence) -> str:
    return f"{e.workers} workers share {counted(e.places or 1, 'CPU')}"


def uncrowd(e: Evidence) -> str:
    widen = " or allow it more CPUs (affinity mask)" if (e.cpus_shared or 0) < (e.cpus or 0) else ""
    return f"use {counted(e.places or 1, 'worker')}{widen}"


def bandwidth(e: Evidence) -> str:
    return (
        f"memory bandwidth: this machine gives {counted(e.workers, 'lane')} {ratio(e.ceiling_memory or 0.0)}× of one's"
    )


def disturbers(e: Evidence) -> str:
    """Who took CPUs, and in how many rounds."""
    told = [f"other processes used {ratio(e.others)} CPUs"] if e.others else []
    told += [f"the hypervisor took {percent(e.steal)} of the CPU time"] if e.steal else []
    told += [disturbed(e.contaminated, e.rounds)] if e.contaminated and e.rounds else []
    return listed(told)


def disturbed(some: int, rounds: int) -> str:
    """`3 of 12 rounds were disturbed`, `all 12 rounds were disturbed`"""
    if some >= rounds:
        return f"{every(rounds, 'round')} {'was' if rounds == 1 else 'were'} disturbed"
    return f"{some} of {rounds} rounds {'was' if some == 1 else 'were'} disturbed"


def every(count: int, noun: str) -> str:
    """`the only round`, `both lanes`, `all 3 lanes`"""
    return f"the only {noun}" if count == 1 else f"both {noun}s" if count == 2 else f"all {count} {noun}s"


def counted(count: float, noun: str) -> str:
    """`1 CPU`, `1.5 CPUs`"""
    return f"{count:g} {noun}{'s' * (count != 1)}"
