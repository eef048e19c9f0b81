"""make chaos: hundreds of runs with workers killed at random moments, and every fault on all kinds of workers but fork.

`python tests/chaos.py [RUNS] [SEED]`: a thousand runs where left out, each with one or two kills, half of them of
compiled bodies. Stops at the first wrong value, with the seed that shows it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE.parent), str(HERE)])

from fault_kernels import POINTS, WAYS, answer, busy, risky  # noqa: E402

from compute import Joblib, Processes  # noqa: E402

CHUNKS, LONG = 40, 400_000  # 16 ms of work for one core


def kill_at_random(pool: Any, run: Callable[[], Any], seed: int, kills: int) -> Any:
    """Run, with a thread beside it that kills some process below this one at some moments."""
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
            if workers := sorted(children()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(rng.choice(workers), rng.choice([signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM]))

    thread = threading.Thread(target=killer)
    thread.start()
    try:
        return run()
    finally:
        over.set()
        thread.join()


def chaotic_run(pool: Any, seed: int) -> Any:
    """One run with one kill, or two: its value must be right; the Result."""
    variant = ("python", "nogil")[seed % 2]
    result = kill_at_random(pool, lambda: pool.run(busy, CHUNKS, LONG, variant=variant), seed, kills=1 + seed // 2 % 2)
    assert result.value.tolist() == list(range(CHUNKS)), f"seed {seed}: {result.timeline.events}"
    return result


def main(runs: int = 1000, first: int = 0) -> None:
    for backend, share in ((Processes(2), 0.8), (Processes(3, start="spawn"), 0.15), (Joblib(2), 0.05)):
        deaths = 0
        with backend.open() as pool:
            for seed in range(first, first + int(runs * share)):
                deaths += len(chaotic_run(pool, seed).timeline.events)
        print(f"{backend!r}: {int(runs * share)} runs, {deaths} deaths, every value right", flush=True)
    for backend in (Processes(2, timeout=1), Processes(2, start="spawn", timeout=1), Joblib(2, timeout=1)):
        with backend.open() as pool:
            for way, point in itertools.product(WAYS, POINTS):
                value = pool.run(risky, 12, {2: (point, way, 1)}).value
                assert value.tobytes() == answer(12).tobytes(), f"{backend!r}, {way} {point}"
        print(f"{backend!r}: {len(WAYS) * len(POINTS)} faults in the lane loop, every value right", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
