"""Hold BLAS to one thread in this process."""

from __future__ import annotations

import functools
from contextlib import nullcontext
from typing import Any

from kernels.definition import Kernel


def one_blas_thread(kernel: Kernel) -> Any:
    """Hold BLAS to one thread while lanes run Python bodies, which may call it: lanes are what is counted.

    The limit is the process's (threadpoolctl#220); compiled bodies do not call BLAS and pay nothing.
    """
    if kernel.variants[kernel.variant].compiled:
        return nullcontext()
    return limited_blas()


def limited_blas() -> Any:
    """A context manager, to be entered at once: within the block BLAS has one thread in this process.

    It is not made by `contextmanager`, which sets `__traceback__` of an error that passes: an error whose class refuses
    attributes would become an AttributeError.
    """
    return _blas().limit(limits=1, user_api="blas")


@functools.cache
def keep_to_one_thread() -> None:
    """Give BLAS, and OpenMP, one thread in this process for good, as far as they are loaded by now.

    What has one is left alone: in a fork, OpenBLAS starts all of its threads before it takes a number.
    """
    for library in _blas().lib_controllers:
        if library.num_threads != 1:
            library.set_num_threads(1)


@functools.cache
def _blas() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
