"""One table: every kernel, variant and backend; equal to one core to the bit, and to an answer from elsewhere."""

from pathlib import Path

import every_case
import pytest
from every_case import BACKENDS, FORK, cases, table
from test_table_prange import TABLE as PRANGE_TABLE

import compute
from compute import Coroutines, Joblib, Prange, Processes, Serial, Threads

TABLE = table([backend for backend in BACKENDS if not isinstance(backend, Prange)])


@pytest.mark.parametrize(("backend", "case"), TABLE, ids=repr)
def test_every_kernel_on_every_backend(pool_of, backend, case):
    case.check(pool_of(backend))


def test_every_kernel_on_forked_workers(script):
    done = script(Path(every_case.__file__).read_text())
    assert done.stdout.splitlines()[-1] == f"ran {len(cases())} failed 0", done.stdout


def test_the_table_has_every_backend_and_every_public_kernel():
    compiled = {case.kernel.name for case in cases() if case.kernel.variants[case.kernel.variant].compiled}
    for backend in BACKENDS:
        assert compiled <= {case.kernel.name for one, case in [*TABLE, *PRANGE_TABLE] if one == backend}
    assert {type(b) for b in [*BACKENDS, FORK]} >= {Serial, Threads, Prange, Processes, Joblib, Coroutines}
    public = {"count_primes", "primes", "mandelbrot", "matmul", "matvec", "transpose", "triad"}
    assert public <= {case.kernel.name for case in cases()}


@pytest.mark.parametrize("backend", [*BACKENDS, FORK, Processes(2, timeout=1.5)], ids=repr)
def test_a_backend_is_the_value_that_its_repr_says(backend):
    assert eval(repr(backend), vars(compute)) == backend
    assert hash(eval(repr(backend), vars(compute))) == hash(backend)
    assert backend.with_workers(backend.workers) == backend
