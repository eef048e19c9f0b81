"""Functions over items and work that waits, beside what people use for them: `make bench-items`.

What an item costs that does nothing; what one of 10 ms costs beyond its own time; what a result of 100 MB takes beside
one memcpy, and the memory that it takes; how many waits overlap. All in interleaved rounds, as ratios or as times of
the same run. Prints the table and keeps it in bench/results/, with machine and date.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from typing import Any

import joblib
import numpy as np
import psutil
from kept import keep
from peer_table import about

from compute import Coroutines, Processes, Serial, Threads, machine
from kernels import each, fetch

ROUNDS = 9
WORKERS = 2
MANY = 1_000_000
FEW = 20_000  # for who sends a message an item
LONG = 0.01  # s
LARGE = 100 * 2**20  # bytes


def nothing(x: int) -> int:
    return x


def spins(seconds: float) -> float:
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass
    return seconds


def filled(size: int) -> Any:
    return np.full(size // 8, 1.0)


async def waits(seconds: float) -> None:
    await asyncio.sleep(seconds)


def timed(do: Callable[[], Any]) -> float:
    began = time.perf_counter()
    do()
    return time.perf_counter() - began


def rounds(contenders: dict[str, Callable[[], float]], count: int = ROUNDS) -> dict[str, float]:
    """The median of each over interleaved rounds, the first of which nobody counts."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(count + 1):
        for name, measure in contenders.items():
            value = measure()
            if number:
                seconds[name].append(value)
    return {name: statistics.median(values) for name, values in seconds.items()}


def small_items(pool: Any, others: dict[str, Any]) -> list[str]:
    few, many = list(range(FEW)), list(range(MANY))
    costs = rounds(
        {
            "a for loop": lambda: timed(lambda: [nothing(x) for x in many]) / MANY,
            "nfold, Processes(2)": lambda: timed(lambda: pool.map(nothing, many)) / MANY,
            "multiprocessing.Pool.map": lambda: timed(lambda: others["pool"].map(nothing, many)) / MANY,
            "concurrent.futures, chunks of 244": lambda: (
                timed(lambda: list(others["executor"].map(nothing, many, chunksize=244))) / MANY
            ),
            "joblib (loky)": lambda: timed(lambda: others["joblib"](joblib.delayed(nothing)(x) for x in few)) / FEW,
        },
        5,
    )
    return [f"{name:36} {1e6 * cost:8.3f} us an item" for name, cost in costs.items()]


def long_items(pool: Any, others: dict[str, Any]) -> list[str]:
    one = [LONG]
    costs = rounds(
        {
            "the function itself": lambda: timed(lambda: spins(LONG)),
            "nfold, Processes(2)": lambda: timed(lambda: pool.map(spins, one)),
            "multiprocessing.Pool.map": lambda: timed(lambda: others["pool"].map(spins, one)),
            "joblib (loky)": lambda: timed(lambda: others["joblib"](joblib.delayed(spins)(x) for x in one)),
        },
        31,
    )
    own = costs["the function itself"]
    return [f"{name:36} {1e6 * (cost - own):8.0f} us over the item's own" for name, cost in costs.items()]


def large_results(pool: Any, others: dict[str, Any]) -> list[str]:
    source = np.full(LARGE // 8, 1.0)
    target = source.copy()
    makes = [LARGE]
    costs = rounds(
        {
            "one memcpy, warm": lambda: timed(lambda: np.copyto(target, source)),
            "making it, in this process": lambda: timed(lambda: filled(LARGE)),
            "nfold, Processes(2)": lambda: timed(lambda: pool.map(filled, makes)),
            "concurrent.futures": lambda: timed(lambda: others["executor"].submit(filled, LARGE).result()),
            "joblib (loky)": lambda: timed(lambda: others["joblib"](joblib.delayed(filled)(x) for x in makes)),
        }
    )
    copy, made = costs["one memcpy, warm"], costs["making it, in this process"]
    lines = [f"{name:36} {(cost - made) / copy:8.2f} x one memcpy, making aside" for name, cost in costs.items()]
    with Processes(WORKERS).open() as fresh:  # one that keeps no pages for its next run
        fresh.map(nothing, makes)
        before = _memory()
        (kept,) = fresh.map(filled, makes)
        assert kept.sum() == LARGE / 8
        grown = _memory() - before
    return [*lines[2:], f"{'memory for a result that is held':36} {grown / LARGE:8.2f} x its size"]


def _memory() -> int:
    """Bytes of shared memory that the whole machine holds, and of the heaps of this process and its workers."""
    with open("/proc/meminfo") as file:
        shared = next(int(line.split()[1]) * 1024 for line in file if line.startswith("Shmem:"))
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    infos = [process.memory_info() for process in processes]
    return int(shared + sum(info.rss - info.shared for info in infos))


def waiting() -> list[str]:
    lines = []
    with ExitStack() as stack:
        pools = {
            "each(async), Coroutines(100)": (Coroutines(100), lambda pool: pool.run(each(waits), [0.1] * 100)),
            "each(time.sleep), Threads(100)": (Threads(100), lambda pool: pool.run(each(time.sleep), [0.1] * 100)),
            "fetch awaiting, Coroutines(100)": (Coroutines(100), lambda pool: pool.run(fetch, 100, 0.1)),
            "fetch blocking, Threads(100)": (Threads(100), lambda pool: pool.run(fetch, 100, 0.1, variant="python")),
        }
        opened = {name: (stack.enter_context(backend.open()), do) for name, (backend, do) in pools.items()}
        serial = stack.enter_context(Serial().open())
        alone = {
            "each(async), Coroutines(100)": serial.run(each(waits), [0.1] * 100).seconds,
            "each(time.sleep), Threads(100)": serial.run(each(time.sleep), [0.1] * 100).seconds,
            "fetch awaiting, Coroutines(100)": serial.run(fetch, 100, 0.1).seconds,
            "fetch blocking, Threads(100)": serial.run(fetch, 100, 0.1, variant="python").seconds,
        }
        seconds = rounds({name: lambda do=do, pool=pool: do(pool).seconds for name, (pool, do) in opened.items()})
        lines += [f"{name:36} {alone[name] / seconds[name]:8.1f} x serial, of 100" for name in pools]
        many = stack.enter_context(Coroutines(1000).open())
        thousand = rounds(
            {
                "1,000 waits of 1 s, Coroutines(1000)": lambda: many.run(each(waits), [1.0] * 1000).seconds,
                "1,000 requests of 1 s, the same": lambda: many.run(fetch, 1000, 1.0).seconds,
            },
            3,
        )
    return lines + [f"{name:36} {value:8.3f} s" for name, value in thousand.items()]


def main() -> None:
    with ExitStack() as stack:
        pool = stack.enter_context(Processes(WORKERS).open())
        others = {
            "pool": stack.enter_context(multiprocessing.get_context("forkserver").Pool(WORKERS)),
            "executor": stack.enter_context(
                ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("forkserver"))
            ),
            "joblib": stack.enter_context(joblib.Parallel(n_jobs=WORKERS)),
        }
        lines = [
            f"Items that do nothing: {MANY:,} of them ({FEW:,} for joblib)",
            *small_items(pool, others),
            "",
            f"One item of {1e3 * LONG:.0f} ms",
            *long_items(pool, others),
            "",
            f"A result of {LARGE / 2**20:.0f} MiB",
            *large_results(pool, others),
        ]
    lines += ["", "Waits of 0.1 s, 100 of them", *waiting()]
    print(*lines, sep="\n")
    told = machine.describe()
    keep("items", [about(told), "", "```", *lines, "```"], told)


if __name__ == "__main__":
    main()
