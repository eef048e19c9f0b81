"""Is code from the cache ever stale? Thousands of small edits to programs, and what the cache makes of each.

    make proof
    .venv/bin/python bench/edits.py [SECONDS]

Two checks, on chains of edits to programs of three files (tests/edits.py). Every program that computes something else
must have another key: 10,000 edits. And for the rest of the time, what comes out of the cache, compiled or read from
disk, must compute what Python computes. Prints a table and keeps it, with machine and date, in bench/results/.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
EDITS = 10_000
CHAIN = 250  # edits to a program before the next one is drawn
SECONDS = 600.0


def keys(seed: int) -> tuple[int, int]:
    """Edits looked at in one chain, and how many of them computed something else under a known key."""
    from edits import chain, truth

    from kernels.compilation.reach import reach_of

    values: dict[str, tuple[float, ...]] = {}
    stale = 0
    for program in chain(seed, CHAIN):
        reach = reach_of(program.load(), compiled=True)
        stale += bool(reach.unkeyed) or values.setdefault(reach.key, truth(program)) != truth(program)
    return CHAIN, stale


def answers(seed: int, until: float) -> tuple[int, int, int]:
    """Edits that were compiled or read from disk, how many were read, and how many computed something else."""
    from edits import INPUTS, chain, truth

    from kernels.compilation import compiler

    done = hits = stale = 0
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NFOLD_CACHE_DIR"] = folder
        for program in chain(seed, CHAIN):
            if time.time() > until:
                break
            compiler.forget()  # as in another process
            function = compiler.compiled(program.load())
            found = [function(x) for x in INPUTS]
            right = truth(program)
            stale += any(
                abs(one - other) > 1e-9 * max(1.0, abs(other)) for one, other in zip(found, right, strict=True)
            )
            hits += sum(function.stats.cache_hits.values()) > 0
            done += 1
    return done, hits, stale


def main() -> None:
    from kept import keep
    from peer_table import about

    from compute import machine

    until = time.time() + float(sys.argv[1] if len(sys.argv) > 1 else SECONDS)
    told = machine.describe()
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        keyed = list(pool.map(keys, range(EDITS // CHAIN)))
        rounds = []
        seed = EDITS
        while time.time() < until:
            rounds += pool.map(answers, (seed, seed + 1), (until, until))
            seed += 2
    lines = [
        "# Edits and the compile cache",
        "",
        about(told),
        "",
        "| check | edits | read from the cache | stale |",
        "|---|---:|---:|---:|",
        f"| keys | {sum(one for one, _ in keyed)} |  | {sum(stale for _, stale in keyed)} |",
        f"| answers | {sum(r[0] for r in rounds)} | {sum(r[1] for r in rounds)} | {sum(r[2] for r in rounds)} |",
        "",
    ]
    print("\n".join(lines))
    keep("edits", lines, told)


if __name__ == "__main__":
    main()
