"""The rows of Prange, in a file that runs beside the other: it compiles every kernel once more, in 20 s of CPU."""

import pytest
from every_case import BACKENDS, table

from compute import Prange

pytestmark = pytest.mark.slow

TABLE = table([backend for backend in BACKENDS if isinstance(backend, Prange)])


@pytest.mark.parametrize(("backend", "case"), TABLE, ids=repr)
def test_every_kernel_on_prange(pool_of, backend, case):
    case.check(pool_of(backend))
