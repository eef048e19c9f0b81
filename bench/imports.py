"""`import compute, kernels` against `import numpy`: in new processes, interleaved. Target: a ratio under 1.3."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

ROUNDS = 15
# Both as they are installed: where bytecode may not be kept, an editable install would compile its sources each time.
KEPT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
CLOCK = "import time; began = time.perf_counter(); {}; print(time.perf_counter() - began)"


def seconds(statement: str) -> float:
    """What a statement takes in a process of its own, without the interpreter's own start."""
    done = subprocess.run(
        [sys.executable, "-c", CLOCK.format(statement)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env=KEPT,
    )
    return float(done.stdout)


def main() -> None:
    statements = {"numpy": "import numpy", "nfold": "import compute, kernels"}
    rounds = [{name: seconds(statement) for name, statement in statements.items()} for _ in range(ROUNDS + 1)]
    rounds = rounds[1:]  # the first reads the files from disk
    for name, statement in statements.items():
        print(f"{statement:24} {statistics.median(r[name] for r in rounds) * 1e3:7.1f} ms")
    print(f"{'ratio (median)':24} {statistics.median(r['nfold'] / r['numpy'] for r in rounds):7.2f}")


if __name__ == "__main__":
    main()
