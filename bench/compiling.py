"""Compile time of each kernel, from cold and from the cache: at most 5 s and 0.3 s; a user's own beside numba's njit.

    make bench-peers
    .venv/bin/python bench/compiling.py

Each figure of the first table is the first call of the nogil variant in a new process that has imported numba: CPU
seconds of the process, which other programs make longer less than wall seconds, and those beside them. Cold is with an
empty cache folder. The second table is of a body of two lines, and the last line of the whole registry.
Prints the tables and keeps them, with the machine and the date, in bench/results/.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kernels import REGISTRY

GOALS = 5.0, 0.3  # s: from cold, and from the cache
FIRST_CALL = """
import json, sys, time
import numba
from kernels import REGISTRY
kernel = REGISTRY[sys.argv[1]].nogil
args = kernel.example(4)
cpu, wall = time.process_time(), time.perf_counter()
kernel(*args)
print(json.dumps((time.process_time() - cpu, time.perf_counter() - wall)))
"""


def first_call(name: str, folder: str) -> tuple[float, float]:
    """CPU and wall seconds of a kernel's first call in a new process, its cache in that folder."""
    cpu, wall = json.loads(_said(FIRST_CALL, folder, name))
    return cpu, wall


def row(name: str) -> str:
    """One kernel's line of the table."""
    cells = [name]
    with tempfile.TemporaryDirectory() as folder:
        for goal in GOALS:  # the first process fills the cache for the second
            cpu, wall = first_call(name, folder)
            cells += [f"{cpu:.2f} s", f"{wall:.2f} s", "yes" if cpu <= goal else "no"]
    return "| " + " | ".join(cells) + " |"


# In a new process with an empty cache: the first call of a body of one's own, and of another one.
OWN = """
import json, sys, time
import numba
import numpy as np
from compute import Joblib, Prange, Processes, Serial, Threads
from kernels import kernel

def one(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = np.sin(x[i]) * 2

def other(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = np.sin(x[i]) * 3

x, took = np.ones(1000), []
backends = Serial(), Threads(2), Processes(2), Joblib(2), Prange(2)
pool = next((backend.open() for backend in backends if backend.name == sys.argv[1]), None)
for body in (one, other):
    began = time.perf_counter()
    if pool is None:
        numba.njit(nogil=True)(body)(0, 1000, np.empty(1000), x)
    else:
        pool.run(kernel(body).nogil, x)
    took.append(time.perf_counter() - began)
if pool is not None:
    pool.close()
print(json.dumps(took))
"""
ROUNDS = 7
MOST, BESIDE = 1.5, 0.3  # of njit's time on one core; seconds more on the other backends
BACKENDS = "serial", "threads", "processes", "joblib", "prange"


def of_a_user() -> Iterator[str]:
    """A body of two lines, compiled on each backend, beside numba's njit of it: medians of rounds in turn."""
    seconds: dict[str, list[list[float]]] = {name: [] for name in ("njit", "serial, kept", *BACKENDS)}
    for _ in range(ROUNDS):
        for name in ("njit", *BACKENDS):
            with tempfile.TemporaryDirectory() as folder:
                seconds[name].append(json.loads(_said(OWN, folder, name)))
                if name == "serial":
                    seconds["serial, kept"].append(json.loads(_said(OWN, folder, name)))
    first, further = ({name: statistics.median(took[k] for took in of) for name, of in seconds.items()} for k in (0, 1))
    yield "| a body of two lines | first in a process, wall | × njit | a further one | × njit | at most |"
    yield "|---|---:|---:|---:|---:|---|"
    for name in seconds:
        limit = MOST * first["njit"] + BESIDE * (name != "serial")
        told = (
            ""
            if name in ("njit", "serial, kept")
            else f"{1000 * limit:.0f} ms: {'yes' if first[name] <= limit else 'no'}"
        )
        cells = [f"{1000 * of[name]:.0f} ms | {of[name] / of['njit']:.2f}" for of in (first, further)]
        yield f"| {name} | {' | '.join(cells)} | {told} |"


def of_the_registry() -> str:
    """Wall seconds of two processes that compile every body and every lane, of each kernel, from nothing."""
    names = [name for name, made in REGISTRY.items() if "nogil" in made.variants]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as two:
        began = time.perf_counter()
        # Every second one first: neighbours have code in common, which the later one finds.
        list(two.map(lambda name: _said(WHOLE, folder, name), names[::2] + names[1::2]))
        took = time.perf_counter() - began
    return f"All kernels, bodies and lanes, on two CPUs: {took:.1f} s (at most 15: {'yes' if took <= 15 else 'no'})."


WHOLE = """
import sys
from compute import Serial, run
from kernels import REGISTRY
made = REGISTRY[sys.argv[1]]
for name, variant in made.variants.items():
    if variant.compiled:
        args = made.example(4)
        made.held_to(name)(*args)
        run(made.held_to(name), *args, on=Serial())
"""


def _said(code: str, folder: str, *args: str) -> str:
    """What a new process says that runs the code with its cache in that folder."""
    return subprocess.run(
        [sys.executable, "-c", code, *args],
        env={**os.environ, "NFOLD_CACHE_DIR": folder},
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    ).stdout


def main() -> None:
    from kept import keep
    from peer_table import about

    from compute import machine

    told = machine.describe()
    lines = [
        about(told),
        "",
        "| kernel | cold, CPU | wall | ≤ 5 s | from the cache, CPU | wall | ≤ 0.3 s |",
        "|---|---:|---:|---|---:|---:|---|",
    ]
    print("\n".join(lines), flush=True)
    for name in [name for name, made in REGISTRY.items() if "nogil" in made.variants]:
        lines.append(row(name))
        print(lines[-1], flush=True)
    for told_of in (of_a_user(), iter([of_the_registry()])):
        lines.append("")
        for line in told_of:
            lines.append(line)
            print(line, flush=True)
    keep("compiling", ["# Compile time of each kernel", "", *lines, ""], told)


if __name__ == "__main__":
    main()
