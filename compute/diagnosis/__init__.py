"""What on this machine stands between N workers and N-fold, before anything is measured: `doctor`.

Nothing is guessed: what a system does not tell (macOS, gVisor, a container without /proc) is "unknown".
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
    """Look at everything here that decides how far work scales; a Finding for each of TOPICS, none of them guessed.

    root: where /proc, /sys and /dev are read. Never raises: what cannot be looked at is "unknown". Takes as long as
    importing numba, about half a second, where that has not been done yet.
    """
    return tuple(_looked_at(topic, look, root) for topic, look in TOPICS.items())


def _looked_at(topic: str, look: Callable[[Path], Finding], root: Path) -> Finding:
    try:
        return look(root)
    except Exception as error:  # a strange system must not hide what the others say
        return unknown(topic, f"looking at it failed: {type(error).__name__}: {error}")


__all__ = ["Finding", "doctor"]
