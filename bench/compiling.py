"""Compile time of each kernel, from cold and from the cache: at most 5 s and 0.3 s; a user's own: 20 times less.

    make bench-peers
    .venv/bin/python bench/compiling.py

Each figure is the first call of the nogil variant in a new process that has imported numba: CPU seconds of the process,
which other programs make longer less than wall seconds, and those beside them. Cold is with an empty cache folder.
Prints a table and keeps it, with the machine and the date, in bench/results/.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
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


USERS = """
import json, time
import numba
import numpy as np
from compute import Serial, dispatch
from compute.lanes.loop import FOREVER
from kernels import kernel

@kernel
def mine(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = np.sin(x[i]) * 2

@kernel
def other(lo, hi, out, x):  # what is first in a process is paid for here
    for i in range(lo, hi):
        out[i] = x[i]

with Serial().open() as pool:
    for made in (other, mine):
        job = dispatch.place(pool, made.nogil, made.nogil.plan(np.ones(100)))
        types = tuple(map(job.lane.typeof_pyval, (job.control, 0, job.out, job.inputs, FOREVER)))
        began = time.process_time()
        job.lane.compile(types)
        took = time.process_time() - began
print(json.dumps(took))
"""


def of_a_user() -> str:
    """How many times faster the lane of a user's two-line kernel comes from the cache than from the compiler."""
    ratios = []
    for _ in range(5):
        with tempfile.TemporaryDirectory() as folder:
            cold, kept = (float(_said(USERS, folder)) for _ in range(2))
            ratios.append(cold / kept)
    ratio = sorted(ratios)[2]
    told = "yes" if ratio >= 20 else "no"
    return f"A user's kernel of two lines: {ratio:.0f} times faster from the cache than compiled (goal 20: {told})."


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
    lines += ["", of_a_user()]
    print(lines[-1])
    keep("compiling", ["# Compile time of each kernel", "", *lines, ""], told)


if __name__ == "__main__":
    main()
