"""make chaos: hundreds of runs with accidents at random moments, and every fault on all kinds of workers but fork.

`python tests/chaos.py [--runs RUNS] [--seed SEED]`: two thousand runs where left out. In half of them a worker or two
are killed; in the others the program forks, a child changes its user, another thread closes the pool, the fork server
is killed, or a signal's handler raises (accidents.py). A quarter of them are of compiled bodies, and half of functions
over items, that compute or wait. It stops at the first wrong
value, with the seed that shows it; at a run that hangs, with every thread's traceback; and at a process, a descriptor
or a shared-memory name that is left. Keeps its table in bench/results/ where all 2,000 were asked for.
"""

from __future__ import annotations

import argparse
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
import warnings
from collections.abc import Callable, Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE.parent), str(HERE)])

from accidents import ACCIDENTS, CHUNKS, LONG  # noqa: E402
from fault_kernels import POINTS, WAYS, answer, awaited, begun, busy, map_items, measured, risky  # noqa: E402
from private_mounts import in_private, reachable_by_all, refused  # noqa: E402

from compute import Coroutines, Joblib, Processes, Serial, Threads, machine  # noqa: E402

RUNS = 2000
HANGS = 600  # s after which a run is hung: it takes one, or ten on a machine that has other things to do
SIDE_BY_SIDE = 2  # programs: they wait for workers to start more than they work
SAID = 5000  # characters of what a program that failed said last
PART = 50  # runs to a program: the last one is not left alone for long
SHARES: dict[tuple[str, Any], float] = {
    ("kills", Processes(2)): 0.4,
    ("kills", Processes(3, start="spawn")): 0.075,
    ("kills", Joblib(2)): 0.025,
    ("forks", Processes(2)): 0.09,
    ("forks", Threads(2)): 0.05,
    ("forks", Joblib(2)): 0.01,
    ("setuid", Processes(2)): 0.04,
    ("setuid", Threads(2)): 0.01,
    ("closes", Processes(2)): 0.07,
    ("closes", Threads(2)): 0.05,
    ("closes", Joblib(2)): 0.01,
    ("servers", Processes(2)): 0.05,
    ("handlers", Processes(2)): 0.05,
    ("handlers", Threads(2)): 0.04,
    ("handlers", Joblib(2)): 0.01,
    ("handlers", Coroutines(2)): 0.01,
    ("handlers", Serial()): 0.01,
}
SAYS = {
    "faults": "each way to die at each point of the lane loop",
    "kills": "one or two kills of workers",
    "forks": "the program forks",
    "setuid": "it forks, and the child becomes another user",
    "closes": "another thread closes the pool",
    "servers": "the fork server is killed",
    "handlers": "a signal's handler raises",
}
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
    work = ("python", "nogil", measured, awaited)[seed % 4]
    if not isinstance(work, str):
        return kill_at_random(spared, lambda: map_items(pool, work, 2 * CHUNKS), seed, kills)
    result = kill_at_random(spared, lambda: pool.run(busy, CHUNKS, LONG, variant=work), seed, kills)
    assert result.value.tolist() == list(range(CHUNKS)), f"seed {seed}: {result.timeline.events}"
    return result


def one_fault(pool: Any, way: str, point: str) -> Any:
    """One run in which a worker dies at a point of the lane loop: its value must be right; the Result."""
    result = pool.run(risky, 12, {2: (point, way, 1)})
    assert result.value.tobytes() == answer(12).tobytes(), f"{way} {point}: {result.timeline.events}"
    return result


def part(kind: str, backend: Any, first: int, last: int) -> int:
    """One program's share: accidents with the seeds first..last, or all the faults; how many accidents there were."""
    from leaks import Leaks

    runs: list[Callable[[Any], int]]
    if kind == "faults":
        runs = [lambda pool, at=at: _deaths(one_fault(pool, *at)) for at in itertools.product(WAYS, POINTS)]
    elif kind == "kills":
        runs = [
            lambda pool, seed=seed: _deaths(chaotic_run(pool, seed, kills=1 + seed // 2 % 2))
            for seed in range(first, last)
        ]
    else:
        # What CPython says of forks beside threads, and the cache of a folder that another user may not write to.
        warnings.simplefilter("ignore")
        runs = [
            lambda pool, seed=seed: ACCIDENTS[kind](backend, pool, random.Random(seed)) for seed in range(first, last)
        ]
    # What helpers stay for good is started before.
    _accidents(backend, [lambda pool: pool.run(risky, 12, {}) and 0])
    if kind in ("faults", "kills"):
        _accidents(backend, [lambda pool: _deaths(one_fault(pool, "exit", "mid-write"))])
    before = Leaks()
    accidents = _accidents(backend, runs, first)
    left = before.found()
    assert not left, f"{backend!r} left {left}"
    return accidents


def _deaths(result: Any) -> int:
    return len(result.timeline.events)


def _accidents(backend: Any, runs: list[Callable[[Any], int]], first: int = 0) -> int:
    accidents = 0
    with backend.open() as pool:
        for seed, run in enumerate(runs, first):
            faulthandler.dump_traceback_later(HANGS, exit=True)
            try:
                accidents += run(pool)
            except BaseException as error:
                error.add_note(f"seed {seed}")
                raise
        faulthandler.cancel_dump_traceback_later()
    begun.clear()
    return accidents


def in_a_program(of: tuple[str, Any, int, int]) -> tuple[int, int, float]:
    """A part in a program of its own: its runs, its accidents, its seconds."""
    kind, backend, first, last = of
    began = time.perf_counter()
    command = [sys.executable, __file__, "part", kind, repr(backend), str(first), str(last)]
    if kind == "setuid":
        command = in_private(reachable_by_all(), *command)
    done = subprocess.run(command, capture_output=True, text=True)
    noisy = done.stderr and not isinstance(backend, Joblib)  # loky's workers tell of their SIGSEGV
    if done.returncode or noisy:
        raise SystemExit(f"{kind}, {backend!r}, seeds {first}..{last}\n{done.stdout}{done.stderr[-SAID:]}")
    return last - first, json.loads(done.stdout), time.perf_counter() - began


def shares(runs: int, seed: int) -> list[tuple[str, Any, int, int]]:
    """Kind, backend and seeds of every program; those that take long come first."""
    parts: list[tuple[str, Any, int, int]] = [
        ("faults", backend, 0, len(WAYS) * len(POINTS)) for backend in MATRICES if runs == RUNS
    ]
    for (kind, backend), share in SHARES.items():
        if kind == "setuid" and (why := refused()):
            print(f"setuid: left out, {why}", flush=True)
            continue
        end = seed + max(1, round(runs * share))
        parts += [(kind, backend, first, min(first + PART, end)) for first in range(seed, end, PART)]
    return sorted(parts, key=lambda part: "Processes(2)" in repr(part[1]))


def main(runs: int, seed: int) -> None:
    began, told = time.perf_counter(), machine.describe()
    parts = shares(runs, seed)
    rows: dict[tuple[str, Any], list[tuple[int, int, float]]] = {}
    with ThreadPoolExecutor(SIDE_BY_SIDE) as programs:
        try:
            for of, found in zip(parts, programs.map(in_a_program, parts), strict=True):
                rows.setdefault(of[:2], []).append(found)
                print(*of, "->", f"{found[1]} accidents, every value right, {found[2]:.0f} s", flush=True)
        except BaseException:
            programs.shutdown(cancel_futures=True)
            raise
    lines = [
        "# Accidents at random moments",
        "",
        f"{told['model']}, {told['cpus']} usable CPUs, {told['platform']}; Python {told['python']},"
        f" numba {told['numba']}, joblib {told['joblib']}; {told['date']}; load {told['load'] and told['load'][0]}.",
        f"Seeds from {seed} on; {time.perf_counter() - began:.0f} s in all, {SIDE_BY_SIDE} programs side by side."
        " Every value was right to the bit, no run hung, and nothing was left.",
        "",
        "| | on | runs | accidents in time | seconds |",
        "|---|---|---|---|---|",
    ]
    for kind in SAYS:
        for (of, backend), found in rows.items():
            if of == kind:
                total, accidents, seconds = (sum(column) for column in zip(*found, strict=True))
                lines.append(f"| {SAYS[kind]} | {backend!r} | {total} | {accidents} | {seconds:.0f} |")
    print("\n".join(lines))
    if runs < RUNS:
        return
    sys.path.append(str(HERE.parent / "bench"))
    from kept import keep

    keep("chaos", [*lines, ""], told)


if __name__ == "__main__":
    if sys.argv[1:2] == ["part"]:
        kind, backend, first, last = sys.argv[2:]
        print(part(kind, eval(backend), int(first), int(last)))
    else:
        options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
        options.add_argument("--runs", type=int, default=RUNS)
        options.add_argument("--seed", type=int, default=0)
        main(**vars(options.parse_args()))
