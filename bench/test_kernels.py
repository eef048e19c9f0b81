"""Every kernel × variant × backend × worker count, on pools that were opened outside the timing."""

from __future__ import annotations

import pytest
from configurations import PARALLEL, label, size_of

import kernels
from compute import Coroutines, Prange, Serial
from compute.cli.words import operands

CASES = [
    pytest.param(name, variant, backend, id=f"{name}-{variant}-{label(backend)}")
    for name, kernel in kernels.REGISTRY.items()
    for variant in kernel.variants
    for backend in [Serial(), *PARALLEL]
    # The GIL shows on threads against processes; prange has nothing to run but compiled code.
    if kernel.bound != "wait" and not (variant == "python" and isinstance(backend, Prange))
] + [
    # One loop, cooperative chunks: a kernel that computes stays at one core, which is what there is to see.
    pytest.param("mandelbrot", "nogil", Coroutines(2), id="mandelbrot-nogil-Coroutines(2)")
]


@pytest.mark.benchmark(max_time=0.2, min_rounds=6, warmup=False)
@pytest.mark.parametrize(("name", "variant", "backend"), CASES)
def test_kernel(scaling, name, variant, backend):
    kernel = kernels.REGISTRY[name]
    size = size_of(name, variant)
    scaling(kernel, *operands(kernel, size), on=backend, variant=variant, size=size)
