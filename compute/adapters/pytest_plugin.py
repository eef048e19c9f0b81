"""Scaling runs inside pytest, on pytest-benchmark or without it.

    @pytest.mark.scaling(workers=[1, 2], on=["threads", "processes"], min_attainable=0.8)
    def test_simulate_scales(scaling):
        scaling(simulate, range(1000))

measures in interleaved rounds, as `nfold scale` does, and fails where less than 80 % of what the machine allowed is
reached (compute.adapters.scaling_marker). Without the marker the fixture times one configuration with pytest-benchmark:

    @pytest.mark.parametrize("workers", [1, 2])
    def test_primes(scaling, workers):
        scaling(count_primes, 10**7, on=Threads(workers), variant="nogil")

Pools are opened once a session, outside the timing, and the answer is checked before anything is timed. The fields that
`nfold report` reads go into extra_info: kernel, size, variant, backend, workers. Where pytest-benchmark is disabled, or
not loaded, the kernel runs and is checked once.

pytest loads this module in every session of the environment: it imports nothing until a fixture is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from compute.backends.backend import Backend
    from compute.backends.pool import Pool
    from kernels import Kernel

Scale = Callable[..., Any]

MARKER = "scaling"
# user_properties of this name are lines of the terminal's summary. They also come back from xdist's workers.
LINES = "scaling"
ASKED: pytest.StashKey[Any] = pytest.StashKey()  # the marker's arguments
MEASURED: pytest.StashKey[list[Any]] = pytest.StashKey()  # the works that a marked test has measured so far
TWICE = (
    "this test calls scaling() for the second time, and pytest-benchmark keeps one timing a test: parametrize the test,"
    " or mark it with @pytest.mark.scaling(on=..., workers=...), which measures at every call"
)
NOT_CALLED = (
    "the test is marked with @pytest.mark.scaling (itself, or its class or module) and has measured nothing; call"
    " scaling(kernel, ...) in it, with `scaling` among its arguments, or take the mark away from it"
)


def pytest_configure(config: pytest.Config) -> None:
    """Build `scaling` on the benchmark fixture where there is one: only then do --benchmark-only and -skip see it."""
    config.addinivalue_line(
        "markers",
        "scaling(on, workers, min_attainable, budget): scaling(kernel, ...) measures the kernel on these backends with"
        " these worker counts, and fails where less than min_attainable of what the machine allowed is reached.",
    )
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
    def scaling(self, request: Any, benchmark: Any, nfold_pools: Callable[[Backend], Pool]) -> Scale:
        """scaling(kernel, *args, on=backend, variant=None, size=None, **kw) -> value: run it, check it, time it.

        In a test with the marker: scaling(kernel, *args, variant=None, size=None, **kw) -> Scaling.
        """
        return _marked(request, benchmark) or _scale(benchmark, nfold_pools, _parallel(request.config))


class _Alone:
    @pytest.fixture
    def scaling(self, request: Any, nfold_pools: Callable[[Backend], Pool]) -> Scale:
        """scaling(kernel, *args, on=backend, variant=None, size=None, **kw) -> value: run it and check it.

        In a test with the marker: scaling(kernel, *args, variant=None, size=None, **kw) -> Scaling.
        """
        return _marked(request, None) or _scale(None, nfold_pools)


def _marked(request: Any, benchmark: Any) -> Scale | None:
    """The fixture of a test that has the marker; None for another one."""
    if (asked := request.node.stash.get(ASKED, None)) is None:
        return None
    from compute.adapters import scaling_marker

    request.node.stash[MEASURED] = []
    return scaling_marker.fixture(asked, request.node, benchmark, _untimed(request.config))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Check what a marker asks for before any fixture is made. Without the fixture, nothing could be measured.

    A bare mark without the fixture may be a project's own label: it asks for nothing, and is left alone.
    """
    marker = item.get_closest_marker(MARKER)
    if marker is None:
        return
    if "scaling" in getattr(item, "fixturenames", ()):
        from compute.adapters import scaling_marker

        try:
            item.stash[ASKED] = scaling_marker.asked_of(marker.args, marker.kwargs)
        except (TypeError, ValueError) as error:
            pytest.fail(str(error), pytrace=False)
    elif isinstance(item, pytest.Function) and (marker.args or marker.kwargs):
        pytest.fail(NOT_CALLED, pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """A marked test that measures nothing must not pass."""
    result = yield
    if pyfuncitem.stash.get(MEASURED, None) == []:
        pytest.fail(NOT_CALLED, pytrace=False)
    return result


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """A line for each configuration that marked tests measured, and for each that they would not time."""
    lines = [
        f"{report.nodeid}: {text}"
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, text in report.user_properties
        if name == LINES
    ]
    if lines:
        from compute.texts import cut, visible

        terminalreporter.section("scaling")
        for line in dict.fromkeys(lines):
            terminalreporter.write_line(visible(cut(line)))


def _parallel(config: pytest.Config) -> str | None:
    """Why nothing can be timed here: pytest-xdist runs other tests at the same time; None where it does not."""
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    if workers < 2:
        return None
    return (
        f"not timed: pytest-xdist runs tests on {workers} workers at once, and they would disturb each other's times;"
        " run the tests that measure by themselves, with -n 0"
    )


def _untimed(config: pytest.Config) -> str | None:
    """Why a marked test is not to be timed; None where it is."""
    if reason := _parallel(config):
        return reason
    off = config.getoption("benchmark_disable", False) and not config.getoption("benchmark_enable", False)
    return "not timed: --benchmark-disable switches measuring off" if off else None


def _scale(benchmark: Any, pools: Callable[[Backend], Pool], parallel: str | None = None) -> Scale:
    called = False

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

        nonlocal called
        kernel, backend = as_kernel(kernel).held_to(variant), as_backend(on)
        if called and benchmark is not None:
            raise RuntimeError(TWICE)
        if reason := backend.refuses(kernel):
            pytest.skip(reason)
        if parallel and benchmark is not None and not benchmark.disabled:
            pytest.skip(parallel)
        args, kw = kernel.settled(args, kw)
        kernel.plan(*args, **kw)
        called = True
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
