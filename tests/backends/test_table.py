"""One table: every kernel, variant and backend; equal to one core to the bit, and to an answer from elsewhere."""

from pathlib import Path

import every_case
import pytest
from every_case import BACKENDS, FORK, INTERPRETERS, cases, quick, table
from sampling import sampled
from test_table_prange import TABLE as PRANGE_TABLE

import compute
from compute import Coroutines, Interpreters, Joblib, Prange, Processes, Serial, Threads

TABLE = table([backend for backend in BACKENDS if not isinstance(backend, Prange)])

QUICK = {case.number for case in quick(cases())}
ROWS = sampled([row for row in TABLE if row[1].number in QUICK], lambda case: case.kernel.chosen)
ROWS += [pytest.param(*row, marks=pytest.mark.slow) for row in TABLE if row[1].number not in QUICK]


@pytest.mark.parametrize(("backend", "case"), ROWS, ids=repr)
def test_every_kernel_on_every_backend(pool_of, backend, case):
    case.check(pool_of(backend))


@pytest.mark.slow
@pytest.mark.parametrize("which", ["quick", "all"])
def test_every_kernel_on_forked_workers(script, which):
    done = script(Path(every_case.__file__).read_text(), which)
    ran = cases() if which == "all" else quick(cases())
    assert done.stdout.splitlines()[-1] == f"ran {len(ran)} failed 0", done.stdout


def test_the_table_has_every_backend_and_every_public_kernel():
    compiled = {case.kernel.name for case in cases() if case.kernel.variants[case.kernel.variant].compiled}
    for backend in BACKENDS:
        assert compiled <= {case.kernel.name for one, case in [*TABLE, *PRANGE_TABLE] if one == backend}
    assert {type(b) for b in [*BACKENDS, FORK]} >= {Serial, Threads, Prange, Processes, Joblib, Coroutines}
    assert not INTERPRETERS or INTERPRETERS[0] in BACKENDS
    public = {"count_primes", "primes", "mandelbrot", "matmul", "matvec", "transpose", "triad"}
    assert public <= {case.kernel.name for case in cases()}


@pytest.mark.skipif(not INTERPRETERS, reason="this Python has no subinterpreters")
def test_what_runs_in_subinterpreters_and_what_does_not(pool_of):
    """All that is compiled, and all of Python's that needs no numpy."""
    pool = pool_of(Interpreters(2))
    refused = {(case.kernel.name, case.kernel.chosen) for case in cases() if case.refusal(pool)}
    assert {name for name, variant in refused if variant == "awaits"} == {"fetch", "read"}
    assert {one for one in refused if one[1] != "awaits"} == {
        ("primes", "python"),
        ("matmul", "blas"),
        ("matvec", "blas"),
    }


@pytest.mark.parametrize("backend", [*BACKENDS, FORK, Interpreters(3), Processes(2, timeout=1.5)], ids=repr)
def test_a_backend_is_the_value_that_its_repr_says(backend):
    assert eval(repr(backend), vars(compute)) == backend
    assert hash(eval(repr(backend), vars(compute))) == hash(backend)
    assert backend.with_workers(backend.workers) == backend
