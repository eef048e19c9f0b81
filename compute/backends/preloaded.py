"""What every worker needs, imported by the fork server alone, before it forks the first of them.

The collector would take a twentieth of that time and find nothing. What is here is for all of a worker's life: frozen,
it is not looked through again, and stays one memory for all workers. OpenBLAS starts a thread for each CPU as numpy is
imported, and ends them at each fork; workers have one (blas.py), so it is told so beforehand.

Machine code that is sent to workers needs no numba, which would take most of the time of opening a pool, and most of
each worker's memory.
"""

import gc
import os

THREADS = "OPENBLAS_NUM_THREADS"

gc.disable()
_given = os.environ.get(THREADS)
os.environ[THREADS] = "1"

import compute.backends.carrier  # noqa: E402
import compute.backends.worker  # noqa: E402, F401

if _given is None:
    del os.environ[THREADS]
else:
    os.environ[THREADS] = _given
gc.freeze()
gc.enable()
