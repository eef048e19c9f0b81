"""What dispatch costs: a kernel that does nothing, in one chunk a worker (a fork-join) and in a million chunks."""

from __future__ import annotations

import pytest
from configurations import ALL, label

from kernels import Plan, kernel

CHUNKS = 1_000_000  # for a backend that sends no message a chunk; the others run a thousandth of it
SHARING = {"serial", "threads", "prange", "processes", "joblib"}


def plan_nothing(chunks: int) -> Plan:
    """A chunk an index, one word of output for all of them."""
    return Plan(chunks, (), shape=(1,), grain=1)


@kernel(plan=plan_nothing)
def nothing(lo, hi, out):
    """Fill nothing."""


@pytest.mark.benchmark(group="fork-join", max_time=0.3, min_rounds=20)
@pytest.mark.parametrize("backend", ALL, ids=label)
def test_empty_region(scaling, backend):
    """Seconds of a run with one empty chunk a worker: what it costs to start and to join."""
    scaling(nothing, backend.workers, on=backend, variant="nogil")


@pytest.mark.benchmark(group="chunks", max_time=0.3, min_rounds=5)
@pytest.mark.parametrize("backend", ALL, ids=label)
def test_a_million_chunks(scaling, benchmark, backend):
    """Seconds of a run with nothing but chunks; extra_info has the nanoseconds of one."""
    chunks = CHUNKS if backend.name in SHARING else CHUNKS // 1000
    scaling(nothing, chunks, on=backend, variant="nogil")
    if benchmark.stats is not None:
        benchmark.extra_info["ns_per_chunk"] = benchmark.stats.stats.median / chunks * 1e9
