"""Scaling runs inside pytest, on pytest-benchmark.

    @pytest.mark.parametrize("workers", [1, 2])
    def test_primes(scaling, workers):
        scaling(count_primes, 10**7, on=Threads(workers), variant="nogil")

Pools are opened once a session, outside the timing, and the answer is checked before anything is timed. The fields that
`nfold report` reads go into extra_info: kernel, size, variant, backend, workers. Where pytest-benchmark is disabled, or
not loaded, the kernel runs and is checked once.

pytest loads this module in every session of the environment: it imports nothing until a fixture is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from compute.backends.backend import Backend, Pool
    from kernels import Kernel

Scale = Callable[..., Any]


def pytest_configure(config: pytest.Config) -> None:
    """Build `scaling` on the benchmark fixture where there is one: only then do --benchmark-only and -skip see it."""
    benchmarks = hasattr(config.option, "benchmark_only")
    config.pluginmanager.register(_OnBenchmark() if benchmarks else _Alone(), "nfold-scaling")


@pytest.fixture(scope="session")
def nfold_pools() -> Iterator[Callable[[Backend], Pool]]:
    """nfold_pools(backend) -> its open pool: opened when first asked for, closed when the session ends."""
    with ExitStack() as stack:
        opened: dict[Backend, Pool] = {}

        def pool(backend: Backend) -> Pool:
            if backend not in opened:
                opened[backend] = stack.enter_context(backend.open())
            return opened[backend]

        yield pool


class _OnBenchmark:
    @pytest.fixture
    def scaling(self, benchmark: Any, nfold_pools: Callable[[Backend], Pool]) -> Scale:
        """scaling(kernel, *args, on=backend, variant=None, size=None, **kw) -> value: run it, check it, time it."""
        return _scale(benchmark, nfold_pools)


class _Alone:
    @pytest.fixture
    def scaling(self, nfold_pools: Callable[[Backend], Pool]) -> Scale:
        """scaling(kernel, *args, on=backend, variant=None, size=None, **kw) -> value: run it and check it."""
        return _scale(None, nfold_pools)


def _scale(benchmark: Any, pools: Callable[[Backend], Pool]) -> Scale:
    def scale(
        kernel: Kernel,
        *args: Any,
        on: Backend | None = None,
        variant: str | None = None,
        size: int | None = None,
        **kw: Any,
    ) -> Any:
        from compute.dispatch import as_kernel
        from compute.running import as_backend

        kernel, backend = as_kernel(kernel).held_to(variant), as_backend(on)
        if reason := backend.refuses(kernel):
            pytest.skip(reason)
        args, kw = kernel.settled(args, kw)
        kernel.plan(*args, **kw)
        pool = pools(backend)
        pool.warm(kernel, *args, **kw)
        value = pool.run(kernel, *args, **kw).value
        if kernel.check:
            kernel.check(value, *args, **kw)
        if benchmark is not None:
            benchmark.extra_info.update(
                kernel=kernel.name,
                size=_size(args) if size is None else size,
                variant=kernel.variant,
                backend=backend.name,
                workers=backend.workers,
            )
            benchmark(pool.run, kernel, *args, **kw)
        return value

    return scale


def _size(args: tuple[Any, ...]) -> int | None:
    """What the command line would call this size: the number, a shape's first side, or the first array's length."""
    first: Any = args[0] if args else None
    if isinstance(first, tuple) and first:
        first = first[0]
    return first if isinstance(first, int) else len(first) if hasattr(first, "__len__") else None
