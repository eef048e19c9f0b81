"""Invented results with known truth, for tests of everything that is a function of results."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compute.scaling.dataset import Point, Scaling
from compute.scaling.points import compared

MACHINE = {"cpus": 2, "model": "Invented 9000", "python": "3.14.0", "numpy": "2.4.0", "numba": "0.68.0"}
EFFICIENT = {"threads": 0.98, "prange": 0.97, "processes": 0.95, "joblib": 0.93, "coroutines": None}


def a_point(backend: str = "serial", workers: int = 1, samples: Sequence[float] = (1.0,) * 6, **other: object) -> Point:
    """A Point of samples only, as `scale` hands it to `compared`."""
    about: dict[str, object] = {"kernel": "mandelbrot", "size": 512, "variant": "nogil", "unit": "iterations"}
    return Point(backend=backend, workers=workers, samples=tuple(samples), seconds=samples[0], **{**about, **other})  # type: ignore[arg-type]


def a_scaling(
    counts: Sequence[int] = (1, 2), kernels: Sequence[str] = ("count_primes", "mandelbrot"), rounds: int = 12
) -> Scaling:
    """Every backend, both variants: nogil scales by EFFICIENT, python by turns on threads and coroutines."""
    rng = np.random.default_rng(7)
    points = []
    for number, kernel in enumerate(kernels):
        for variant, serial in ("nogil", 0.05 * (number + 1)), ("python", 4.0):
            about = {"kernel": kernel, "variant": variant, "size": 10**6, "work": 1e7, "unit": "numbers"}
            points.append(a_point("serial", 1, _around(rng, serial, rounds), cpu_per_wall=0.99, **about))
            for backend, efficiency in EFFICIENT.items():
                if (backend, variant) == ("prange", "python"):
                    continue
                turns = efficiency is None or (backend, variant) == ("threads", "python")
                for n in counts:
                    speed = 0.98 if turns else n * (efficiency or 1) ** (n - 1) ** 0.5
                    cpu = 1 / n if turns else 0.985
                    points.append(
                        a_point(
                            backend,
                            n,
                            _around(rng, serial / speed, rounds),
                            cpu_per_wall=cpu,
                            processes=1 if backend != "processes" else n,
                            **about,
                        )
                    )
    return Scaling(
        compared(points),
        MACHINE,
        ("one thing that a reader must know, told at such a length that it has to be folded",),
    )


def _around(rng: np.random.Generator, seconds: float, rounds: int) -> list[float]:
    return list(seconds * np.exp(0.01 * rng.standard_normal(rounds)))
