"""What a Dask cluster costs beside worker processes of this machine: `make bench-cluster`.

What a call costs that computes next to nothing; how much the scheduler does for a thousand and for a million chunks;
what large inputs and outputs cost over the network and in shared memory; and how much of the speed of `Processes` is
left for a kernel of one second a worker. In interleaved rounds, on this machine's loopback: a real network adds its
own time to each message and each megabyte. Prints the table and keeps it in bench/results/.
"""

from __future__ import annotations

import statistics
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from kept import keep
from peer_table import about

from compute import Dask, Processes, machine
from kernels import Plan, count_primes, kernel

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "cluster"))
from dask_processes import RealCluster

ROUNDS = 9
WORKERS = 2
SECOND = 4_000_000_000  # count_primes of it takes about a second on each of two workers
LARGE = 64 * 2**20  # bytes


@kernel(plan=lambda n: Plan(n, (), grain=1))
def nothing(lo, hi, out):
    out[lo] = lo


@kernel(plan=lambda x: Plan(len(x), (x,), shape=x.shape, grain=2**14))
def copied(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = x[i]


def medians(pools: dict[str, Any], work: Any, *args: Any, rounds: int = ROUNDS) -> dict[str, float]:
    """The median seconds of a run on each pool, over interleaved rounds; every pool is warm."""
    seconds: dict[str, list[float]] = {name: [] for name in pools}
    for number in range(rounds + 1):
        for name, pool in pools.items():
            result = pool.run(work, *args)
            if number:
                seconds[name].append(result.seconds)
    return {name: statistics.median(values) for name, values in seconds.items()}


def transitions(pool: Any) -> int:
    """How many changes of a task's state the scheduler has seen: a few for each message."""
    count: int = pool._cluster.client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.transition_counter)
    return count


def main() -> None:
    x = np.random.default_rng(0).random(LARGE // 8)
    with ExitStack() as stack:
        there = stack.enter_context(RealCluster(WORKERS, elsewhere=True))
        here = stack.enter_context(RealCluster(WORKERS))
        pools = {
            "processes": stack.enter_context(Processes(WORKERS).open()),
            "dask, shared memory": stack.enter_context(Dask(here.address).open()),
            "dask, network": stack.enter_context(Dask(there.address).open()),
        }
        lines = ["A call of two chunks"]
        lines += [f"{name:24} {1e3 * value:9.2f} ms" for name, value in medians(pools, nothing, 2).items()]
        lines += ["", "Scheduler's transitions of a call, by its chunks"]
        remote = pools["dask, network"]
        for chunks in (10**3, 10**6):
            before = transitions(remote)
            remote.run(nothing, chunks)
            lines.append(f"{chunks:24,} {transitions(remote) - before:9,}")
        lines += ["", f"{LARGE >> 20} MiB of input and as much of output"]
        lines += [f"{name:24} {1e3 * value:9.1f} ms" for name, value in medians(pools, copied, x, rounds=5).items()]
        lines += ["", "count_primes of 4e9"]
        seconds = medians(pools, count_primes, SECOND, rounds=3)
        for name, value in seconds.items():
            lines.append(f"{name:24} {value:9.2f} s   {seconds['processes'] / value:5.2f} of the speed of processes")
    print(*lines, sep="\n")
    told = machine.describe()
    keep("cluster", [about(told), "", "```", *lines, "```"], told)


if __name__ == "__main__":
    main()
