"""What dispatching costs, beside other dispatchers, in one interleaved run: `make bench-dispatch`.

Five tables: a chunk of a kernel that does nothing; the fork-join of an empty region on warm workers; how much work two
workers need to beat one; opening two processes against `import numba`; and how long lanes idle at the end of uneven
work. Prints them and keeps them in bench/results/, with machine and date. All with two workers.
"""

from __future__ import annotations

import multiprocessing
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack

import joblib
import numba
import numpy as np
from kept import keep

from compute import Joblib, Prange, Processes, Serial, Threads, dispatch, machine
from compute.lanes.control import ControlArray
from kernels import Plan, kernel, mandelbrot

ROUNDS = 15
WORKERS = 2
MANY = 2_000_000  # chunks for lanes, at about 20 ns each
FEW = 2_000  # tasks for who sends a message a task, at up to 500 us each
REPEATS = 20  # fork-joins of one contender before the next one's turn: a loop calls its pool again and again


def one_slot(n: int, work: int = 0) -> Plan:
    return Plan(n, (work,), shape=(max(1, n),), grain=1)


@kernel(plan=one_slot)
def nothing(lo, hi, out, work):
    pass


@kernel(plan=one_slot)
def some(lo, hi, out, work):
    total = 0.0
    for k in range(work):
        total += (k & 7) * 0.5
    out[lo] = total


def task(_):
    pass


@numba.njit(parallel=True, nogil=True)
def empty_region(states):
    for k in numba.prange(len(states)):
        states[k] = k


def batched(pool, count):
    return lambda: list(pool.map(task, range(count), chunksize=100))


def peers(stack: ExitStack) -> dict[str, Callable[[int], None]]:
    """Other dispatchers, each as a function that runs so many empty tasks on its warm workers."""
    threads = stack.enter_context(ThreadPoolExecutor(WORKERS))
    processes = stack.enter_context(ProcessPoolExecutor(WORKERS))
    pool = stack.enter_context(multiprocessing.get_context("forkserver").Pool(WORKERS))
    loky = stack.enter_context(joblib.Parallel(n_jobs=WORKERS))
    found = {
        "concurrent.futures threads": lambda n: list(threads.map(task, range(n))),
        "concurrent.futures processes": lambda n: list(processes.map(task, range(n), chunksize=max(1, n // 20))),
        "multiprocessing.Pool": lambda n: pool.map(task, range(n), chunksize=max(1, n // 20)),
        "joblib (loky, its own batches)": lambda n: loky(joblib.delayed(task)(k) for k in range(n)),
        "numba prange": lambda n: empty_region(np.empty(n)),
    }
    try:
        import mpire
    except ImportError:
        print("mpire is not installed (pip install mpire): left out")
    else:
        workers = stack.enter_context(mpire.WorkerPool(WORKERS, keep_alive=True))
        found["mpire"] = lambda n: workers.map(task, range(n), chunk_size=max(1, n // 20))
    return found


def clocked(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def interleaved(contenders: dict[str, Callable[[], float]], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Each contender's seconds, one a round, in shuffled order; the first round warms and is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name in random.sample(list(contenders), len(contenders)):
            spent = contenders[name]()
            if number:
                seconds[name].append(spent)
    return seconds


def row(name: str, samples: list[float], against: list[float] | None, unit: float) -> str:
    low, middle, high = (np.quantile(samples, q) / unit for q in (0.25, 0.5, 0.75))
    ratio = "" if against is None else f"{statistics.median(a / b for a, b in zip(samples, against, strict=True)):.3g}"
    return f"| {name} | {middle:.4g} | {low:.4g} – {high:.4g} | {ratio} |"


def table(title: str, unit: str, ratio: str, rows: list[str]) -> list[str]:
    return [f"## {title}", "", f"| | {unit}, median | quartiles | {ratio} |", "|---|---|---|---|", *rows, ""]


def chunk_cost(pools, others) -> list[str]:
    contenders = {
        repr(b): (lambda p=p: p.run(nothing, MANY).timeline.sections["dispatch"] / MANY) for b, p in pools.items()
    }
    contenders |= {name: (lambda run=run: clocked(lambda: run(FEW)) / FEW) for name, run in others.items()}
    seconds = interleaved(contenders)
    best = [min(each) for each in zip(*(seconds[name] for name in others if name != "numba prange"), strict=True)]
    rows = [row(name, samples, best, 1e-9) for name, samples in seconds.items()]
    return table("A chunk that does nothing", "ns a chunk", "of the best peer's", rows)


def fork_join(pools, others) -> list[str]:
    """A region: wake the workers, let each find nothing to do, know that they did. A run: that and all around it."""

    def repeated(call: Callable[[], object]) -> Callable[[], float]:
        return lambda: statistics.median(clocked(call) for _ in range(REPEATS))

    def region(pool) -> Callable[[], object]:
        plan = nothing.plan(WORKERS)
        job = dispatch.place(pool, nothing.held_to(nothing.variant), plan)
        control = ControlArray(job.control)

        def call() -> None:
            control.lay_out(plan, WORKERS)
            pool.make_ready(job)
            pool.lanes(job)

        return call

    contenders = {f"{b!r}, region": repeated(region(p)) for b, p in pools.items() if b in (Threads(2), Processes(2))}
    contenders |= {f"{b!r}, run": repeated(lambda p=p: p.run(nothing, WORKERS)) for b, p in pools.items()}
    contenders |= {name: repeated(lambda run=run: run(WORKERS)) for name, run in others.items()}
    seconds = interleaved(contenders)
    heap = ("threads", "Threads", "prange", "Prange", "Serial")
    kind = {name: "threads" if any(word in name for word in heap) else "processes" for name in seconds}
    rows = [row(name, each, seconds[f"concurrent.futures {kind[name]}"], 1e-6) for name, each in seconds.items()]
    return table("Fork and join of an empty region", "µs", "of concurrent.futures' threads or processes", rows)


def break_even(pools) -> list[str]:
    """The least serial work, on a grid of factors of 1.3, from which two workers win in the median of the rounds."""

    def repeated(pool, work: int) -> Callable[[], float]:
        return lambda: statistics.median(clocked(lambda: pool.run(some, 8, work)) for _ in range(5))

    rows = []
    for backend, pool in pools.items():
        for work in (int(3000 * 1.3**step) for step in range(40) if not isinstance(backend, Serial)):
            seconds = interleaved({"serial": repeated(pools[Serial()], work), "two": repeated(pool, work)})
            ratios = [two / one for one, two in zip(seconds["serial"], seconds["two"], strict=True)]
            if statistics.median(ratios) < 1:
                rows.append(row(repr(backend), seconds["serial"], None, 1e-6))
                break
    return table("Work from which two workers beat serial", "µs of serial time", "", rows)


NUMBA = "python -c 'import numba'"


def opening() -> list[str]:
    def program(code: str) -> Callable[[], float]:
        return lambda: clocked(lambda: subprocess.run([sys.executable, "-c", code], check=True))

    def opened(before: str, timed: str) -> Callable[[], float]:
        code = f"import time; {before}began = time.perf_counter(); {timed}pool = Processes(2).open();"
        code += "print(time.perf_counter() - began); pool.close()"
        words = [sys.executable, "-c", code]
        return lambda: float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)

    imports = "from compute import Processes; "
    contenders = {
        NUMBA: program("import numba"),
        "Processes(2), until ready": opened(imports, ""),
        "import compute, and Processes(2) until ready": opened("", imports),
    }
    seconds = interleaved(contenders, 9)
    rows = [row(name, samples, seconds[NUMBA], 1e-3) for name, samples in seconds.items()]
    return table("Opening two warm processes", "ms", "of import numba", rows)


def tail(pools) -> list[str]:
    """Core-seconds that lanes had nothing left to do, as a share of workers x seconds; Mandelbrot's rows are uneven."""
    view = {"center": -0.7436 + 0.1318j, "width": 0.02, "max_iter": 2000}  # spirals
    trial = 2000
    second = min(pools[Serial()].run(mandelbrot, (trial, trial), **view).seconds for _ in range(3))
    side = int(trial / second**0.5)  # a picture that one core draws in a second
    contenders = {backend: [] for backend in pools}
    for _ in range(7):
        for backend in random.sample(list(pools), len(pools)):
            contenders[backend].append(pools[backend].run(mandelbrot, (side, side), **view))
    rows = []
    for backend, results in contenders.items():
        shares = [idle_share(result) for result in results]
        seconds = statistics.median(result.seconds for result in results)
        rows.append(row(f"{backend!r}, {seconds:.2f} s", shares, None, 0.01))
    return table(f"Tail idle, mandelbrot {side} x {side}", "% of core-seconds", "", rows)


def idle_share(result) -> float:
    lanes = result.timeline.lanes
    last = max(lane.stop for lane in lanes)
    return sum(last - lane.stop for lane in lanes) / (len(lanes) * result.seconds)


def main() -> None:
    told = machine.describe()
    lines = [
        "# What dispatching costs",
        "",
        f"{told['model']}, {told['cpus']} usable CPUs, {told['platform']}; Python {told['python']},"
        f" numba {told['numba']}, joblib {told['joblib']}; {told['date']}; load {told['load'] and told['load'][0]}.",
        f"{WORKERS} workers; medians of {ROUNDS} interleaved rounds, ratios taken round by round.",
        "",
    ]
    with ExitStack() as stack:
        backends = (Processes(WORKERS), Serial(), Threads(WORKERS), Prange(WORKERS), Joblib(WORKERS))
        pools = {backend: stack.enter_context(backend.open()) for backend in backends}
        for pool in pools.values():
            pool.warm(nothing, 2)
            pool.warm(some, 8, 10)
            pool.warm(mandelbrot, (100, 100))
        others = peers(stack)
        for part in (chunk_cost(pools, others), fork_join(pools, others), break_even(pools), opening(), tail(pools)):
            print("\n".join(part), flush=True)
            lines += part
    keep("dispatch", lines, told)


if __name__ == "__main__":  # spawned workers import this file
    main()
