"""What imports cost beside `import numpy`: in new processes, interleaved."""

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


STATEMENTS = {
    "numpy": "import numpy",
    "nfold": "from compute import Processes, run; from kernels import kernel",  # names are loaded when asked for
    "joblib": "import joblib",
    "numba": "import numba",
    "matplotlib": "import matplotlib.figure, matplotlib.backends.backend_agg",  # what a picture needs
}


def main() -> None:
    rounds = [{name: seconds(statement) for name, statement in STATEMENTS.items()} for _ in range(ROUNDS + 1)]
    rounds = rounds[1:]  # the first reads the files from disk
    print(f"{'import':12} {'time':>9} {'× numpy':>9}   (medians)")
    for name in STATEMENTS:
        milliseconds = statistics.median(r[name] for r in rounds) * 1e3
        print(f"{name:12} {milliseconds:6.1f} ms {statistics.median(r[name] / r['numpy'] for r in rounds):9.2f}")


if __name__ == "__main__":
    main()
