"""What a Dask cluster costs beside worker processes of this machine, and how far it would reach: `make bench-cluster`.

What a call costs that computes next to nothing; how much the scheduler does for a thousand and for a million chunks;
what large inputs and outputs cost over the network and in shared memory; and how much of the speed of `Processes` is
left for kernels of one second a worker. In interleaved rounds, on this machine's loopback: a real network adds its own
time to each message and each megabyte. With what was measured, the simulation (compute.scaling.beyond) says up to how
many workers of a cluster each kernel pays. Two minutes. Prints the tables and keeps them in bench/results/.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from cluster_kernels import TASKS, iterated, nothing, read, seconds_of_a_task, work_of
from kept import keep
from peer_table import about

from compute import Dask, Processes, machine
from compute.scaling import beyond
from compute.scaling.formatting import amount, seconds, three_digits
from compute.scaling.statistics import median_interval, paired_ratio
from kernels import Kernel, Plan, count_primes, kernel, mandelbrot, matmul, triad

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS / "cluster"), str(TESTS)]
from dask_processes import RealCluster  # noqa: E402

ROUNDS = 7  # 6 carry an interval
WORKERS = 2
STEPS = 500_000_000  # of `turned`: about a second on each of two workers
LARGE = 64 * 2**20  # bytes
LONGER = {"a minute": 60, "an hour": 3600}  # of one core, of a kernel with as many more chunks
OVERHEAD, SHARE = 0.05, 0.9  # goals: seconds of a call, and of the speed of processes
NETWORKS = {  # bits a second and seconds of a round trip
    "this machine's loopback": (0.0, 0.0),
    "10 Gbit/s, 0.1 ms": (1e10, 1e-4),
    "1 Gbit/s, 1 ms": (1e9, 1e-3),
    "100 Mbit/s, 10 ms": (1e8, 1e-2),
}
PROCESSES, MAPPED, NETWORK = "processes", "dask, shared memory", "dask, network"


@kernel(plan=lambda n: Plan(n, (), grain=2**14))
def written(lo, hi, out):
    for i in range(lo, hi):
        out[i] = i + 1.0


@kernel(plan=lambda chunks, steps: Plan(chunks, (steps,), grain=1, dtype=np.int64), reduce=np.sum)
def turned(lo, hi, out, steps):
    """Turn a number over and over: the same work in few chunks or in many."""
    x = lo
    for _ in range(steps):
        x = (x * 69069 + 1) % 2**31
    out[0] = x


class Case(NamedTuple):
    """A kernel that takes about a second on each of two workers (AMD Zen 5), and its arguments."""

    name: str
    kernel: Kernel
    args: tuple[Any, ...]


def cases() -> list[Case]:
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 4200, 4200))
    return [
        Case("count_primes of 3e10", count_primes, (30_000_000_000,)),
        Case("a kernel of one's own, 1 MB in and out", iterated, (rng.random(2**17), 10_000)),
        Case("matmul 4200 × 4200, 423 MB in and out", matmul, (a, b)),
    ]


def rounds(pools: Mapping[str, Any], work: Any, *args: Any, count: int = ROUNDS) -> dict[str, list[float]]:
    """Seconds of runs on each pool, in interleaved rounds after one that is not counted; every value is the same."""
    taken: dict[str, list[float]] = {name: [] for name in pools}
    first: Any = None
    for number in range(count + 1):
        for name, pool in pools.items():
            result = pool.run(work, *args)
            if first is None:
                first = np.asarray(result.value).copy()
            assert np.asarray(result.value).tobytes() == first.tobytes(), (name, work)
            if number:
                taken[name].append(result.seconds)
            del result
    return taken


def transitions(pool: Any) -> int:
    """How many changes of a task's state the scheduler has seen: a few for each message."""
    count: int = pool._cluster.client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.transition_counter)
    return count


def small_calls(pools: Mapping[str, Any]) -> Iterator[str]:
    for name, taken in rounds(pools, nothing, 2, count=5 * ROUNDS).items():
        low, high = median_interval(taken) or (0.0, 0.0)
        goal = "" if name == PROCESSES else f"   goal: under {seconds(OVERHEAD)}, {_met(high < OVERHEAD)}"
        yield f"{name:24} {seconds(statistics.median(taken)):>9} [{seconds(low)}, {seconds(high)}]{goal}"


def many_chunks(pool: Any) -> Iterator[str]:
    """The same second of computing in a thousand and in a million chunks; the most of some runs."""
    counts = []
    for chunks in (10**3, 10**6):
        pool.warm(turned, chunks, 1)
        found = []
        for _ in range(5):
            before = transitions(pool)
            pool.run(turned, chunks, STEPS // chunks)
            found.append(transitions(pool) - before)
        counts.append(max(found))
        yield f"{chunks:24,} chunks {max(found):9,}"
    yield f"goal: no more for the second, {_met(counts[1] <= counts[0])}"


def beside_processes(pools: Mapping[str, Any], case: Case) -> tuple[list[str], dict[str, list[float]]]:
    """Lines of a table, and the seconds."""
    taken = rounds(pools, case.kernel, *case.args)
    lines = []
    for name, own in taken.items():
        ratio, interval = paired_ratio(taken[PROCESSES], own)
        told = f"{name:24} {statistics.median(own):7.3f} s"
        if name != PROCESSES:
            assert interval is not None
            met = "yes" if interval[0] >= SHARE else "no" if interval[1] < SHARE else "not told by these rounds"
            told += f"   {ratio:.3f} [{interval[0]:.3f}, {interval[1]:.3f}] of the speed of processes   {met}"
        lines.append(told)
    return lines, taken


def longer(work: beyond.Work, alone: float, span: float) -> tuple[beyond.Work, float]:
    """Work with chunks like these that takes one core so many seconds, and how long this machine takes for it."""
    times = max(1, round(span / float(np.sum(work.chunks))))
    return work._replace(chunks=np.tile(work.chunks, times), results=work.results * times), alone * times


def reaches(measured: beyond.Cluster, works: Mapping[str, tuple[beyond.Work, float]]) -> Iterator[str]:
    """A line for each network and each kernel."""
    for name, (rate, round_trip) in NETWORKS.items():
        bandwidth = min(measured.bandwidth, rate / 8) if rate else measured.bandwidth
        cluster = measured._replace(bandwidth=bandwidth, round_trip=round_trip)
        yield f"{name}: {amount(bandwidth, 'B/s')}"
        for title, (work, here) in works.items():
            found = beyond.reach(work, cluster, here)
            runs = [beyond.predict(work, cluster, workers) for workers in (4, 16, 64, 256, 1024)]
            curve = ", ".join(f"{three_digits(run.speedup)}× at {run.workers}" for run in runs)
            yield f"    {title}: {beyond.tell(found)} ({curve})"


def main() -> None:
    x = np.random.default_rng(0).random(LARGE // 8)
    lines: list[str] = []

    def tell(*told: str) -> None:
        lines.extend(told)
        print(*told, sep="\n", flush=True)

    told = machine.describe()
    with ExitStack() as stack:
        there = stack.enter_context(RealCluster(WORKERS, elsewhere=True))
        here = stack.enter_context(RealCluster(WORKERS))
        pools = {
            PROCESSES: stack.enter_context(Processes(WORKERS).open()),
            MAPPED: stack.enter_context(Dask(here.address).open()),
            NETWORK: stack.enter_context(Dask(there.address).open()),
        }
        remote = pools[NETWORK]
        tell("A call of two chunks", *small_calls(pools))
        tell(
            "", "Changes of a task's state on the scheduler, of a call that computes for a second", *many_chunks(remote)
        )
        own = seconds_of_a_task(remote)
        tell("", f"A task that does nothing, of {TASKS} at once: {seconds(own)}")
        sides = {name: rounds(pools, *of) for name, of in (("input", (read, x)), ("output", (written, len(x))))}
        for name, taken in sides.items():
            tell("", f"{LARGE >> 20} MiB of {name}")
            tell(*(f"{pool:24} {seconds(statistics.median(each)):>9}" for pool, each in taken.items()))
        works = {}
        for case in cases():
            table, taken = beside_processes(pools, case)
            tell("", f"{case.name}; goal: {SHARE} of the speed of processes", *table)
            works[case.name] = work, alone = work_of(case.kernel, case.args), statistics.median(taken[PROCESSES])
            if case.kernel is count_primes:
                works |= {f"{case.kernel.name}, {name}": longer(work, alone, span) for name, span in LONGER.items()}
        others = [
            Case("mandelbrot 4000 × 4000", mandelbrot, ((4000, 4000),)),
            Case("triad of 64 MiB", triad, (x.reshape(1024, -1), x.reshape(1024, -1), 3.0)),
        ]
        for case in others:
            taken = rounds({PROCESSES: pools[PROCESSES]}, case.kernel, *case.args, count=3)
            works[case.name] = work_of(case.kernel, case.args), statistics.median(taken[PROCESSES])
        call = statistics.median(rounds({NETWORK: remote}, nothing, 2, count=5 * ROUNDS)[NETWORK])
    bytes_a_second = [_bandwidth(sides["input"], WORKERS), _bandwidth(sides["output"], 1)]
    measured = beyond.Cluster(call, own, min(bytes_a_second))
    tell(
        "",
        "Simulated: up to how many workers with one core like this one's it pays, by network",
        *reaches(measured, works),
    )
    tell("Assumed, with each network's own rate and way; figures of the loopback:")
    tell(*(f"    {sentence}" for sentence in beyond.assumptions(measured)))
    head = f"distributed {version('distributed')}; {WORKERS} workers of one thread each; medians, 95 % intervals in []."
    keep("cluster", [about(told), head, "", "```", *lines, "```", ""], told)


def _bandwidth(taken: Mapping[str, Sequence[float]], copies: int) -> float:
    """Bytes a second over loopback, from what that takes beyond shared memory."""
    beyond_memory = statistics.median(taken[NETWORK]) - statistics.median(taken[MAPPED])
    return copies * LARGE / max(beyond_memory, 1e-3)


def _met(is_so: bool) -> str:
    return "met" if is_so else "not met"


if __name__ == "__main__":
    main()
