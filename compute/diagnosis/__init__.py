"""`doctor`: what on this machine keeps N workers from N-fold, found without measuring.

Nothing is guessed. What a system does not tell (macOS, gVisor, a container without /proc) is "unknown".

processors.py   checks of the CPUs: how many, quota, SMT, sockets, clock, caches
surroundings.py checks of memory, limits, load, virtualisation, containers
interpreter.py  checks of Python and its GIL, BLAS, numba, and how worker processes start
finding.py      Finding: the result of one check
text.py         findings as text and as JSON
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from compute.diagnosis import interpreter, processors, surroundings
from compute.diagnosis.finding import Finding, unknown
from compute.machine import ROOT

TOPICS: dict[str, Callable[[Path], Finding]] = {
    "CPUs": processors.cpus,
    "CPU quota": processors.quota,
    "SMT": processors.smt,
    "sockets": processors.sockets,
    "governor": processors.governor,
    "turbo": processors.turbo,
    "caches": processors.caches,
    "memory": surroundings.memory,
    "/dev/shm": surroundings.shared_memory,
    "open files": surroundings.descriptors,
    "GIL": interpreter.gil,
    "subinterpreters": interpreter.subinterpreters,
    "switch interval": interpreter.switch_interval,
    "BLAS": interpreter.blas,
    "numba": interpreter.numba,
    "threading layers": interpreter.layers,
    "start method": interpreter.start_method,
    "load": surroundings.load,
    "virtual machine": surroundings.virtual,
    "steal": surroundings.steal,
    "container": surroundings.container,
}


def doctor(root: Path = ROOT) -> tuple[Finding, ...]:
    """Check everything on this machine that decides how far work scales: a Finding for each of TOPICS.

    root: where /proc, /sys and /dev are read. It never raises: a check that fails is "unknown". It imports numba, which
    takes about half a second the first time.
    """
    return tuple(_checked(topic, look, root) for topic, look in TOPICS.items())


def _checked(topic: str, look: Callable[[Path], Finding], root: Path) -> Finding:
    try:
        return look(root)
    except Exception as error:  # one check that fails must not hide the others
        return unknown(topic, f"looking at it failed: {type(error).__name__}: {error}")


__all__ = ["Finding", "doctor"]
