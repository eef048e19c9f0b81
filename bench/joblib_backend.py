"""joblib's backend `nfold` beside loky: warm calls of joblib.Parallel, interleaved, each answer checked.

python bench/joblib_backend.py
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable

import joblib
import numpy as np
from joblib import Parallel, delayed
from overhead import WORKERS, clocked, interleaved

import compute.adapters.joblib

ROUNDS = 7
BACKENDS = ("loky", "nfold")
LARGE = np.random.default_rng(0).random(10**7)  # 80 MB


def loop(steps: int) -> int:
    total = 0
    for k in range(steps):
        total += k * k
    return total


def steps_of(seconds: float) -> int:
    return int(10**5 * seconds / min(clocked(lambda: loop(10**5)) for _ in range(9)))


def calls(steps: int) -> dict[str, tuple[Callable[[], object], object]]:
    """What is timed, and what it gives."""
    one = loop(steps)
    found: dict[str, tuple[Callable[[], object], object]] = {
        "10^4 tasks of 100 us": (lambda: Parallel()(delayed(loop)(steps) for _ in range(10**4)), [one] * 10**4),
        "10^3 tasks of 100 us, each sent alone": (
            lambda: Parallel(batch_size=1)(delayed(loop)(steps) for _ in range(10**3)),
            [one] * 10**3,
        ),
        "100 tasks that share an array of 80 MB": (
            lambda: Parallel(batch_size=1)(delayed(part)(LARGE, k) for k in range(100)),
            [float(LARGE[k]) for k in range(100)],
        ),
        "20 results of 8 MB": (
            lambda: [one.nbytes for one in Parallel()(delayed(np.ones)(10**6) for _ in range(20))],
            [8 * 10**6] * 20,
        ),
    }
    try:
        from sklearn.datasets import make_classification
        from sklearn.ensemble import RandomForestClassifier
        from sklearn.model_selection import GridSearchCV, cross_val_score
        from sklearn.svm import SVC
    except ImportError:
        print("scikit-learn is not installed (pip install scikit-learn): left out")
        return found
    X, y = make_classification(2000, 30, random_state=0)
    fits: dict[str, Callable[[], object]] = {
        "scikit-learn: a forest of 60": lambda: (
            RandomForestClassifier(60, random_state=0).fit(X, y).predict_proba(X[:5]).tolist()
        ),
        "scikit-learn: GridSearchCV": lambda: (
            GridSearchCV(SVC(), {"C": [0.1, 1, 10]}, cv=3).fit(X, y).cv_results_["mean_test_score"].tolist()
        ),
        "scikit-learn: cross_val_score": lambda: cross_val_score(
            RandomForestClassifier(20, random_state=1), X, y, cv=6
        ).tolist(),
    }
    return found | {name: (fit, fit()) for name, fit in fits.items()}


def part(array: np.ndarray, k: int) -> float:
    return float(array[k])


def timed(backend: str, call: Callable[[], object], answer: object) -> float:
    with joblib.parallel_config(backend=backend, n_jobs=WORKERS):
        given: list[object] = []
        seconds = clocked(lambda: given.append(call()))
    if given[0] != answer:
        sys.exit(f"{backend} gives another answer")
    return seconds


def main() -> None:
    print("| | loky, s | nfold, s | nfold / loky, median of rounds |\n|---|---|---|---|")
    for name, (call, answer) in calls(steps_of(1e-4)).items():
        contenders = {b: (lambda b=b, call=call, answer=answer: timed(b, call, answer)) for b in BACKENDS}
        seconds = interleaved(contenders, ROUNDS)
        loky, nfold = (seconds[b] for b in BACKENDS)
        ratio = statistics.median(a / b for a, b in zip(nfold, loky, strict=True))
        print(f"| {name} | {statistics.median(loky):.3g} | {statistics.median(nfold):.3g} | {ratio:.2f} |", flush=True)
    compute.adapters.joblib.close_idle_workers()


if __name__ == "__main__":
    main()
