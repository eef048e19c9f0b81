"""A Dask cluster of several hosts whose links are slowed: `make cluster`.

The hosts are network namespaces of this machine (network.py): the scheduler on one, a worker on each of the others, and
the caller on the machine itself. On each link every kernel's value is held to the one of one core, to the bit; and it
is measured how much of N-fold is left and where the rest went. Three minutes. Where hosts are not permitted it says so
in a line and does nothing. Keeps its table in bench/results/; removes all that it has made, after a Ctrl-C, too.
"""

from __future__ import annotations

import signal
import statistics
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent), str(TESTS.parent / "bench"), str(TESTS / "cluster")]

import numpy as np  # noqa: E402
from cluster_kernels import iterated, nothing, read, seconds_of_a_task, work_of  # noqa: E402
from dask_processes import Daemon  # noqa: E402
from every_case import cases  # noqa: E402
from kept import keep  # noqa: E402
from network import Link, Network, has_netem, refused, round_trip  # noqa: E402
from peer_table import about  # noqa: E402

from compute import Dask, machine, scale  # noqa: E402
from compute.scaling import beyond  # noqa: E402
from compute.scaling.formatting import amount, percent, seconds  # noqa: E402
from kernels import count_primes, triad  # noqa: E402

WORKERS = 2
PORT = 8786
BUDGET = 12.0  # s for a kernel on a link
LINKS = (
    Link("as fast as this machine"),
    Link("1 ms", 1e-3),
    Link("10 ms", 1e-2),
    Link("1 ms, 100 Mbit/s", 1e-3, 10**8),
)


MEASURED = {  # computing alone, computing with a megabyte in and out, and no computing to speak of
    "count_primes 3e10": (count_primes, (3 * 10**10,)),
    "1 MB in and out": (iterated, (np.random.default_rng(0).random(2**17), 10_000)),
    "triad": (triad, (*np.random.default_rng(0).random((2, 1000, 1000)), 3.0)),
}


@contextmanager
def cluster_on(network: Network) -> Iterator[str]:
    """A scheduler on the first host and a worker on each other one. Yields the scheduler's address."""
    daemons = []
    try:
        where = ["--host", network.addresses[0], "--port", str(PORT), "--no-dashboard"]
        daemons.append(Daemon("scheduler", *where, within=network.on(0)))
        address = daemons[0].told(r"Scheduler at:\s+(\S+)")
        for host in range(1, len(network.names)):
            options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "0"]
            where = ["--host", network.addresses[host], "--local-directory", "/dev/shm"]
            daemons.append(Daemon("worker", address, *options, *where, within=network.on(host)))
        for worker in daemons[1:]:
            worker.told(r"Registered to:\s+(\S+)")
        yield address
    finally:
        for daemon in daemons:
            daemon.kill()


def same_bits(pool: Any) -> dict[str, int]:
    """How many cases of each kernel have the value of one core, to the bit. AssertionError where one has not."""
    held: dict[str, int] = {}
    for case in cases():
        if case.kernel.name == "fetch":  # it asks a server of the caller's own machine, which others do not reach
            continue
        case.check(pool)
        held[case.kernel.name] = held.get(case.kernel.name, 0) + 1
    return held


def median_call(pool: Any, *work: Any) -> float:
    pool.run(*work)
    return statistics.median(pool.run(*work).seconds for _ in range(7))


def costs(pool: Any) -> tuple[float, float]:
    """Seconds of a call that computes nothing; bytes a second of inputs to all workers."""
    x = np.random.default_rng(0).random(2**20)
    call = median_call(pool, nothing, 2)
    return call, WORKERS * x.nbytes / max(1e-4, median_call(pool, read, x) - call)


def points(address: str) -> Iterator[tuple[str, Any]]:
    """What each of MEASURED has on all workers."""
    for name, (work, args) in MEASURED.items():
        found = scale(work, *args, on=[Dask(address)], workers=[1, WORKERS], variants=["nogil"], budget=BUDGET)
        yield name, next(p for p in found.points if p.backend == "dask" and p.workers == WORKERS)


def ledger_of(point: Any) -> str:
    """The entries above a hundredth, the largest first."""
    whole = point.workers * point.seconds
    shares = {name: value / whole for name, value in point.ledger.items() if value / whole >= 0.01}
    return ", ".join(f"{name} {percent(value)}" for name, value in sorted(shares.items(), key=lambda item: -item[1]))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def main() -> None:
    if reason := refused():
        print(f"make cluster: nothing was run, since there can be no hosts on this machine: {reason}")
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all is removed
    warnings.filterwarnings("ignore", ".*is a plain connection", RuntimeWarning)
    told = machine.describe()
    held, links, measured = {}, [], []
    works = {name: work_of(*of) for name, of in MEASURED.items()}
    with Network(1 + WORKERS) as network, cluster_on(network) as address, Dask(address).open() as pool:
        assert pool.arena.kind == "heap", "hosts share no memory"
        group = seconds_of_a_task(pool)
        for link in LINKS:
            network.slow(link)
            way = round_trip(network.addresses[0], PORT)
            call, rate = costs(pool)
            # The call that was measured holds the round trips, which the simulation adds.
            simulated = beyond.Cluster(max(0.0, call - beyond.ROUND_TRIPS * way), group, rate, way)
            links.append([link.name, seconds(way), seconds(call), amount(rate, "B/s")])
            print(*links[-1], sep=", ", flush=True)
            held[link.name] = same_bits(pool)
            print(f"    {sum(held[link.name].values())} cases have the bits of one core", flush=True)
            for name, point in points(address):
                efficiency = [f"{point.efficiency:.2f}", seconds(point.seconds)]
                if point.speedup_ci:
                    efficiency[0] += f" [{', '.join(f'{end / WORKERS:.2f}' for end in point.speedup_ci)}]"
                expected = f"{beyond.predict(works[name], simulated, WORKERS).efficiency:.2f}"
                measured.append([link.name, name, *efficiency, expected, ledger_of(point)])
                print("   ", *measured[-1][1:], sep=", ", flush=True)
    how = "tc netem" if has_netem() else "a relay between TAP devices and tc tbf, since this kernel has no netem"
    lines = [
        "# A Dask cluster of hosts with slowed links",
        "",
        about(told),
        "",
        f"distributed {version('distributed')}. Network namespaces on a bridge: a scheduler on one, a worker of one"
        f" thread on each of {WORKERS} others, the caller on the machine itself. Links are slowed by {how}. All share"
        f" {told['cpus']} CPUs, so that what the network needs of these is missing to the workers.",
        "",
        *table(["link", "round trip", "a call", "inputs to all workers"], links),
        "",
        "Cases whose value has the bits of one core, of all in tests/every_case.py but `fetch`, which asks a server of"
        " the caller's own machine:",
        "",
        *table(
            ["kernel", *held],
            [[name, *(f"{found[name]} of {found[name]}" for found in held.values())] for name in held[LINKS[0].name]],
        ),
        "",
        f"Efficiency on {WORKERS} workers against one core; what compute.scaling.beyond expects of it, with the figures"
        f" of the link and {seconds(group)} for a group of chunks; and the ledger of the median round:",
        "",
        *table(["link", "kernel", "efficiency", "seconds", "simulated", "ledger"], measured),
        "",
    ]
    print(*lines, sep="\n")
    keep("cluster-hosts", lines, told)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
