"""Compile time of each kernel, from cold and from the cache: at most 5 s and 0.3 s.

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
    done = subprocess.run(
        [sys.executable, "-c", FIRST_CALL, name],
        env={**os.environ, "NFOLD_CACHE_DIR": folder},
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    cpu, wall = json.loads(done.stdout)
    return cpu, wall


def row(name: str) -> str:
    """One kernel's line of the table."""
    cells = [name]
    with tempfile.TemporaryDirectory() as folder:
        for goal in GOALS:  # the first process fills the cache for the second
            cpu, wall = first_call(name, folder)
            cells += [f"{cpu:.2f} s", f"{wall:.2f} s", "yes" if cpu <= goal else "no"]
    return "| " + " | ".join(cells) + " |"


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
    for name in REGISTRY:
        lines.append(row(name))
        print(lines[-1], flush=True)
    keep("compiling", ["# Compile time of each kernel", "", *lines, ""], told)


if __name__ == "__main__":
    main()
