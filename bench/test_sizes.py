"""Time against size: where two workers begin to pay."""

from __future__ import annotations

import pytest
from configurations import WORKERS, label

import kernels
from compute import Joblib, Processes, Serial, Threads
from compute.cli.words import operands

SIZES = {
    "count_primes": [10**4, 10**5, 10**6, 10**7, 10**8],
    "mandelbrot": [16, 32, 64, 128, 256],
    "matmul": [16, 64, 256, 512],
    "triad": [30, 100, 300, 1_000, 3_000],
}
BACKENDS = [Serial(), *(kind(max(WORKERS)) for kind in (Threads, Processes, Joblib))]


@pytest.mark.benchmark(max_time=0.2, min_rounds=6)
@pytest.mark.parametrize("backend", BACKENDS, ids=label)
@pytest.mark.parametrize(("name", "size"), [(name, size) for name, sizes in SIZES.items() for size in sizes])
def test_size(scaling, name, size, backend):
    kernel = kernels.REGISTRY[name]
    scaling(kernel, *operands(kernel, size), on=backend, variant="nogil", size=size)
