"""make chaos: hundreds of runs with workers killed at random moments, and every fault on all kinds of workers but fork.

`python tests/chaos.py [RUNS] [SEED]`: a thousand runs where left out, each with one or two kills, half of them of
compiled bodies. It stops at the first wrong value, with the seed that shows it; at a run that hangs, with every
thread's traceback; and at a process, a descriptor or a shared-memory name that is left. Keeps its table in
bench/results/.
"""

from __future__ import annotations

import contextlib
import faulthandler
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE.parent), str(HERE)])

from fault_kernels import POINTS, WAYS, answer, begun, busy, risky  # noqa: E402

from compute import Joblib, Processes, machine  # noqa: E402

CHUNKS, LONG = 40, 400_000  # 16 ms of work for one core
HANGS = 120  # s after which a run is hung: it takes one, or ten on a machine that has other things to do
SIDE_BY_SIDE = 2  # programs: they wait for workers to start more than they work
SAID = 5000  # characters of what a program that failed said last
PART = 50  # runs to a program: the last one is not left alone for long
SHARES = {Processes(2): 0.8, Processes(3, start="spawn"): 0.15, Joblib(2): 0.05}
MATRICES = Processes(2, timeout=1), Processes(2, start="spawn", timeout=1), Joblib(2, timeout=1)


def kill_at_random(spared: Set[int], run: Callable[[], Any], seed: int, kills: int) -> Any:
    """Run, with a thread beside it that kills some process below this one, but those spared, at some moments."""
    from leaks import children

    rng = random.Random(seed)
    moments = sorted(rng.uniform(0, 0.02) for _ in range(kills))
    over = threading.Event()

    def killer() -> None:
        began = time.monotonic()
        for moment in moments:
            over.wait(max(0.0, began + moment - time.monotonic()))
            if over.is_set():
                return
            if workers := sorted(children() - spared):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(rng.choice(workers), rng.choice([signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM]))

    thread = threading.Thread(target=killer)
    thread.start()
    try:
        return run()
    finally:
        over.set()
        thread.join()


def chaotic_run(pool: Any, seed: int, kills: int, spared: Set[int] = frozenset()) -> Any:
    """One run with so many kills: its value must be right; the Result."""
    variant = ("python", "nogil")[seed % 2]
    result = kill_at_random(spared, lambda: pool.run(busy, CHUNKS, LONG, variant=variant), seed, kills)
    assert result.value.tolist() == list(range(CHUNKS)), f"seed {seed}: {result.timeline.events}"
    return result


def one_fault(pool: Any, way: str, point: str) -> Any:
    """One run in which a worker dies at a point of the lane loop: its value must be right; the Result."""
    result = pool.run(risky, 12, {2: (point, way, 1)})
    assert result.value.tobytes() == answer(12).tobytes(), f"{way} {point}: {result.timeline.events}"
    return result


def part(kind: str, backend: Any, first: int, last: int) -> int:
    """One program's share: kills at random with the seeds first..last, or all the faults; how many workers died."""
    from leaks import Leaks

    runs: list[Callable[[Any], Any]] = [
        lambda pool, seed=seed: chaotic_run(pool, seed, kills=1 + seed // 2 % 2) for seed in range(first, last)
    ]
    if kind == "faults":
        runs = [lambda pool, fault=fault: one_fault(pool, *fault) for fault in itertools.product(WAYS, POINTS)]
    _deaths(backend, [lambda pool: one_fault(pool, "exit", "mid-write")])  # starts what helpers stay for good
    before = Leaks()
    deaths = _deaths(backend, runs)
    left = before.found()
    assert not left, f"{backend!r} left {left}"
    return deaths


def _deaths(backend: Any, runs: list[Callable[[Any], Any]]) -> int:
    deaths = 0
    with backend.open() as pool:
        for run in runs:
            faulthandler.dump_traceback_later(HANGS, exit=True)
            deaths += len(run(pool).timeline.events)
        faulthandler.cancel_dump_traceback_later()
    begun.clear()
    return deaths


def in_a_program(of: tuple[str, Any, int, int]) -> tuple[int, int, float]:
    """A part in a program of its own: its runs, its deaths, its seconds."""
    kind, backend, first, last = of
    began = time.perf_counter()
    command = [sys.executable, __file__, "part", kind, repr(backend), str(first), str(last)]
    done = subprocess.run(command, capture_output=True, text=True)
    noisy = done.stderr and not isinstance(backend, Joblib)  # loky's workers tell of their SIGSEGV
    if done.returncode or noisy:
        raise SystemExit(f"{kind}, {backend!r}, seeds {first}..{last}\n{done.stdout}{done.stderr[-SAID:]}")
    return last - first, json.loads(done.stdout), time.perf_counter() - began


def main(runs: int = 1000, seed: int = 0) -> None:
    began, told, faults = time.perf_counter(), machine.describe(), len(WAYS) * len(POINTS)
    parts: list[tuple[str, Any, int, int]] = [("faults", backend, 0, faults) for backend in MATRICES]
    for backend, share in SHARES.items():
        end = seed + int(runs * share)
        parts += [("kills", backend, first, min(first + PART, end)) for first in range(seed, end, PART)]
    parts.sort(key=lambda part: "Processes(2)" in repr(part[1]))  # those that take long come first
    rows: dict[tuple[str, Any], list[tuple[int, int, float]]] = {}
    with ThreadPoolExecutor(SIDE_BY_SIDE) as programs:
        try:
            for of, found in zip(parts, programs.map(in_a_program, parts), strict=True):
                rows.setdefault(of[:2], []).append(found)
                print(*of, "->", f"{found[1]} deaths, every value right, {found[2]:.0f} s", flush=True)
        except BaseException:
            programs.shutdown(cancel_futures=True)
            raise
    lines = [
        "# Workers that die",
        "",
        f"{told['model']}, {told['cpus']} usable CPUs, {told['platform']}; Python {told['python']},"
        f" numba {told['numba']}, joblib {told['joblib']}; {told['date']}; load {told['load'] and told['load'][0]}.",
        f"Seeds from {seed} on; {time.perf_counter() - began:.0f} s in all, {SIDE_BY_SIDE} programs side by side."
        " Every value was right to the bit, no run hung, and nothing was left.",
        "",
        "| | workers | runs | deaths | seconds |",
        "|---|---|---|---|---|",
    ]
    says = {"kills": "one or two kills at random moments", "faults": "each way to die at each point of the lane loop"}
    for (kind, backend), found in rows.items():
        total, deaths, seconds = (sum(column) for column in zip(*found, strict=True))
        lines.append(f"| {says[kind]} | {backend!r} | {total} | {deaths} | {seconds:.0f} |")
    print("\n".join(lines))
    sys.path.append(str(HERE.parent / "bench"))
    from kept import keep

    keep("chaos", [*lines, ""], told)


if __name__ == "__main__":
    if sys.argv[1:2] == ["part"]:
        kind, backend, first, last = sys.argv[2:]
        print(part(kind, eval(backend), int(first), int(last)))
    else:
        main(*map(int, sys.argv[1:]))
