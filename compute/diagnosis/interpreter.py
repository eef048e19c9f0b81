"""Checks of the software: Python and its GIL, BLAS, numba, and how worker processes start."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import platform
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compute import machine
from compute.backends.interpreters import Interpreters
from compute.backends.processes import Processes
from compute.diagnosis.finding import Finding, count, unknown
from kernels.definition import numba_is_here, where_numba_is

SWITCH = 0.005  # seconds: CPython's default
LAYERS = {"tbb": "tbbpool", "omp": "omppool", "workqueue": "workqueue"}


def gil(root: Path) -> Finding:
    """Whether this interpreter has a GIL, so that its threads take turns."""
    name = f"{platform.python_implementation()} {platform.python_version()}"
    asks = getattr(sys, "_is_gil_enabled", None)
    if asks is None and sys.implementation.name != "cpython":
        return unknown("GIL", f"whether threads of {name} take turns cannot be told here")
    if who := machine.who_has_the_gil_on():
        meaning = f"threads take turns at Python code, which this Python could run side by side; {who} switched it on"
        return Finding("GIL", f"on ({name}, free-threaded)", meaning, "PYTHON_GIL=0 keeps it off", "warn")
    if asks is None or asks():
        meaning = "threads take turns at Python code (variant python): N of them are no faster than one"
        remedy = "variant nogil, which releases it, or processes"
        return Finding("GIL", f"on ({name})", meaning, remedy, "note")
    return Finding("GIL", f"off ({name})", "threads run Python code side by side (variant python)")


def subinterpreters(root: Path) -> Finding:
    """Whether this Python has interpreters with a GIL each, beside its main one."""
    reason = Interpreters(1).lacks()
    if reason is not None:
        meaning = "Python code runs side by side in worker processes alone"
        return Finding("subinterpreters", "none", meaning, reason, "note")
    meaning = "Interpreters(n) runs Python code that needs no numpy side by side, in this process"
    return Finding("subinterpreters", "can be made", meaning)


def switch_interval(root: Path) -> Finding:
    """How long a thread keeps the GIL while another waits for it."""
    seconds = sys.getswitchinterval()
    value = f"{1000 * seconds:.4g} ms"
    if not machine.has_gil():
        return Finding("switch interval", value, "how long a thread keeps a GIL, and there is none to wait for")
    meaning = "how long a thread keeps the GIL while another waits: the caller hears of its workers that late"
    if abs(seconds - SWITCH) <= SWITCH / 100:
        return Finding("switch interval", value, meaning)
    remedy = f"sys.setswitchinterval({SWITCH}) is Python's own; nfold's figures were made with it"
    return Finding("switch interval", value, f"{meaning}; somebody changed it", remedy, "note")


def blas(root: Path) -> Finding:
    """The BLAS of this process, and how many threads each of its calls starts."""
    import numpy  # noqa: F401  loads it
    from threadpoolctl import threadpool_info

    return blas_threads(threadpool_info(), machine.usable_cpus(root))


def blas_threads(pools: Sequence[Mapping[str, Any]], usable: int) -> Finding:
    """What these libraries, as threadpoolctl lists them, mean beside a worker on each usable CPU."""
    libraries = [pool for pool in pools if pool.get("user_api") == "blas"]
    if not libraries:
        meaning = "each worker's BLAS call may start threads of its own, and this library does not tell"
        return unknown("BLAS", meaning, "VECLIB_MAXIMUM_THREADS=1 (Accelerate) before Python starts")
    threads = max(int(pool["num_threads"]) for pool in libraries)
    names = dict.fromkeys(f"{pool['internal_api']} {pool.get('version') or ''}".strip() for pool in libraries)
    value = f"{', '.join(names)}, {count(threads, 'thread')}"
    if threads == 1:
        return Finding("BLAS", value, "a worker's BLAS call stays on its worker's CPU")
    meaning = f"{count(usable, 'worker')} with {threads} each would be {usable * threads} threads on {usable} CPUs"
    mine = "nfold holds it to 1 under its workers; elsewhere"
    remedy = f"{mine} OPENBLAS_NUM_THREADS=1, MKL_NUM_THREADS=1 or threadpoolctl"
    return Finding("BLAS", value, meaning, remedy, "warn" if threads > usable else "note")


def numba(root: Path) -> Finding:
    """numba's version and threads."""
    if not numba_is_here():
        turns = ", and threads take turns at it" if machine.has_gil() else ", on threads side by side, without ceilings"
        none = sysconfig.get_config_var("Py_GIL_DISABLED") and sys.version_info < (3, 14)
        remedy = "Python 3.14t: for a free-threaded 3.13 there is no numba" if none else "pip install numba"
        return Finding("numba", where_numba_is(), f"only variant python runs{turns}", remedy, "warn")
    import numba as library

    threads = int(library.config.NUMBA_NUM_THREADS)
    return numba_threads(library.__version__, threads, machine.usable_cpus(root))


def numba_threads(version: str, threads: int, usable: int) -> Finding:
    """What so many threads of numba mean on so many usable CPUs."""
    value, remedy = f"{version}, {count(threads, 'thread')}", f"NUMBA_NUM_THREADS={usable} before Python starts"
    if threads > usable:
        meaning = f"prange starts {threads} threads on {count(usable, 'usable CPU')} unless told otherwise"
        return Finding("numba", value, meaning, remedy, "warn")
    if threads < usable:
        meaning = f"prange has at most {threads} of {count(usable, 'usable CPU')}"
        return Finding("numba", value, meaning, remedy, "note")
    return Finding("numba", value, "compiled bodies release the GIL; prange has a thread for each usable CPU")


def layers(root: Path) -> Finding:
    """Which of numba's threading layers can be imported, and which prange uses."""
    if not numba_is_here():
        return unknown("threading layers", "they come with numba")
    from numba import config

    missing = {name: _obstacle(f"numba.np.ufunc.{module}") for name, module in LAYERS.items()}
    return threading_layers(missing, [str(name) for name in config.THREADING_LAYER_PRIORITY])


def threading_layers(missing: Mapping[str, str | None], priority: Sequence[str]) -> Finding:
    """What it means that these layers are missing for these reasons (None: importable), in this order of choice."""
    here = [name for name in priority if missing.get(name, "") is None]
    reasons = [f"{name} missing ({reason})" for name, reason in missing.items() if reason is not None]
    value = "; ".join([", ".join(here) or "none", *reasons])
    remedy = "pip install tbb, or the system's libgomp"
    if not here:
        return Finding("threading layers", value, "prange cannot start", remedy, "warn")
    if here[0] == "workqueue":
        meaning = "workqueue starts a region some 20 times more slowly than OpenMP, and aborts when two threads use it"
        return Finding("threading layers", value, meaning, remedy, "note")
    return Finding("threading layers", value, f"prange takes {here[0]}")


def _obstacle(module: str) -> str | None:
    """Why a module cannot be imported, in a few words; None where it can."""
    try:
        importlib.import_module(module)
    except ImportError as error:
        return str(error).partition(":")[0][:40] or "cannot be imported"
    return None


def start_method(root: Path) -> Finding:
    """How multiprocessing starts worker processes, and how nfold does."""
    theirs = multiprocessing.get_start_method(allow_none=True) or multiprocessing.get_all_start_methods()[0]
    with contextlib.suppress(ValueError):
        return starting(theirs, Processes(1).start)
    return unknown("start method", "whether worker processes can be started at all cannot be told here")


def starting(theirs: str, ours: str) -> Finding:
    """What multiprocessing's start method means; ours: nfold's."""
    value = f"{theirs} (multiprocessing), {ours} (nfold)"
    if theirs == "fork":
        meaning = "fork copies locks that other threads hold: children can hang, and numba's OpenMP dies in them"
        remedy = "nfold avoids it; for pools of your own multiprocessing.set_start_method('forkserver')"
        return Finding("start method", value, meaning, remedy, "note")
    if ours == "spawn":
        meaning = "each worker imports everything anew: about a second before its first chunk"
        return Finding("start method", value, meaning, "open a pool once and keep it open", "note")
    return Finding("start method", value, "workers come from a clean server that has numba loaded")
