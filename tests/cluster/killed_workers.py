"""Runs in each of which a worker of a Dask cluster is killed at a random moment: every answer must be right.

`python tests/cluster/killed_workers.py [--runs RUNS]`, or `make cluster`: twenty over the network and twenty in shared
memory where left out, on a real scheduler and three real workers. While one is killed, another one comes. It stops at
the first wrong answer, with the seed that shows it. Keeps its table in bench/results/ where all twenty were asked for.
"""

from __future__ import annotations

import argparse
import random
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent), str(TESTS.parent / "bench"), str(TESTS / "cluster")]

import numpy as np  # noqa: E402
from dask_processes import RealCluster  # noqa: E402
from fault_kernels import busy  # noqa: E402

from compute import Dask, machine  # noqa: E402
from kernels import Kernel, Plan, each, kernel  # noqa: E402

RUNS = 20
WORKERS = 3
LATEST = 0.8  # of the seconds that the run takes undisturbed: later ones often find it over


@kernel(plan=lambda a: Plan(len(a), (a,), grain=500), compiled=False)
def slow_triples(lo, hi, out, a):
    time.sleep(0.01)
    out[lo:hi] = 3 * a[lo:hi]


@kernel(plan=lambda a: Plan(len(a), (a,), grain=500), reduce=np.sum, compiled=False)
def slow_sum(lo, hi, out, a):
    time.sleep(0.01)
    out[0] = a[lo:hi].sum()


def slow_item(k):
    """A result that is larger for some items."""
    time.sleep(0.005)
    return k, bytes([k]) * (50_000 if k % 10 == 0 else 5)


A = np.random.default_rng(0).random(40_000)  # its bytes are sent apart from the messages
WORKS: dict[str, tuple[Kernel, tuple[Any, ...]]] = {
    "an array": (slow_triples, (A,)),
    "a sum of floats": (slow_sum, (A,)),
    "an array, compiled": (busy.held_to("nogil"), (150, 5_000_000)),
    "a function over items": (each(slow_item), (range(200),)),
}


class Killed(NamedTuple):
    """One run. noticed: whether the worker died while it had work; joined: whether the one that came took part."""

    work: str
    noticed: bool
    joined: bool
    seconds: float


def killed_runs(seeds: Iterable[int], *, elsewhere: bool) -> Iterator[Killed]:
    """For each seed a run of which a worker is killed at a random moment, while another one is started."""
    with RealCluster(WORKERS, elsewhere=elsewhere) as cluster, Dask(cluster.address).open() as pool:
        expected, seconds = {}, {}
        for name, (work, args) in WORKS.items():
            expected[name] = work(*args)
            pool.warm(work, *args)
            began = time.perf_counter()
            check(pool.run(work, *args).value, expected[name], name)
            seconds[name] = time.perf_counter() - began
        for seed in seeds:
            rng = random.Random(seed)
            name = list(WORKS)[seed % len(WORKS)]
            work, args = WORKS[name]
            victim = cluster.workers.pop(rng.randrange(WORKERS))
            cluster.add()
            killer = threading.Timer(rng.uniform(0, LATEST) * seconds[name], victim.kill)
            began = time.perf_counter()
            killer.start()
            result = pool.run(work, *args)
            took = time.perf_counter() - began
            killer.join()
            check(result.value, expected[name], f"{name}, seed {seed}: {result.timeline.events}")
            cluster.workers[-1].told(r"Registered to:\s+(\S+)")
            processes = {lane.process for lane in result.timeline.lanes}
            noticed = any("is gone" in event for event in result.timeline.events)
            yield Killed(name, noticed, cluster.workers[-1].process.pid in processes, took)


def check(found: Any, expected: Any, where: str) -> None:
    """AssertionError, with where it was, for a value that is not the same to the bit."""
    assert type(found) is type(expected), where
    if isinstance(expected, np.ndarray):
        assert (found.dtype, found.shape, found.tobytes()) == (expected.dtype, expected.shape, expected.tobytes()), (
            where
        )
    else:
        assert found == expected, where


def main(runs: int) -> None:
    told = machine.describe()
    lines = [
        "# Workers of a Dask cluster killed at random moments",
        "",
        f"{told['model']}, {told['cpus']} usable CPUs, {told['platform']}; Python {told['python']},"
        f" distributed {version('distributed')}; {told['date']}; load {told['load'] and told['load'][0]}.",
        f"A scheduler and {WORKERS} workers; in each run one is killed with SIGKILL, and another one comes. Every value"
        " was right to the bit.",
        "",
        "| arrays | work | runs | right | the worker had work | median seconds |",
        "|---|---|---|---|---|---|",
    ]
    for elsewhere, way in ((True, "over the network"), (False, "in shared memory")):
        found = []
        for run in killed_runs(range(runs), elsewhere=elsewhere):
            found.append(run)
            print(f"{way}, {run.work}: right; {run.noticed=}, {run.seconds:.2f} s", flush=True)
        for work in WORKS:
            own = [run for run in found if run.work == work]
            if own:
                seconds = np.median([run.seconds for run in own])
                noticed = sum(run.noticed for run in own)
                lines.append(f"| {way} | {work} | {len(own)} | {len(own)} | {noticed} | {seconds:.2f} |")
    print(*lines, sep="\n")
    if runs >= RUNS:
        from kept import keep

        keep("cluster-killed", [*lines, ""], told)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--runs", type=int, default=RUNS)
    main(**vars(options.parse_args()))
