"""Run any kernel on any backend, and measure how close N workers get to N times faster."""

from compute.arena import shared
from compute.backends import BACKENDS, Backend, Coroutines, Joblib, Pool, Prange, Processes, Serial, Threads, named
from compute.dispatch import Result, WorkerDied, run

__all__ = [
    "BACKENDS",
    "Backend",
    "Coroutines",
    "Joblib",
    "Pool",
    "Prange",
    "Processes",
    "Result",
    "Serial",
    "Threads",
    "WorkerDied",
    "named",
    "run",
    "shared",
]
