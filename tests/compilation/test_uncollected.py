"""Python's garbage collector: it does nothing while something is compiled, and is as it was before and after."""

import contextlib
import gc
import os
import threading
import warnings

import numpy as np
import pytest
from compiler import needs_compiler

from compute import Serial
from kernels import kernel
from kernels.compilation import garbage


@needs_compiler
@pytest.mark.parametrize("was", [True, False], ids=["on", "off"])
@pytest.mark.parametrize("fails", [False, True])
def test_no_collection_while_a_body_is_compiled(was, fails):
    collections = []

    def note(phase, _):
        if phase == "start":
            collections.append(gc.isenabled())

    def body(lo, hi, out, x):
        for i in range(lo, hi):
            out[i] = x[i] + unknown if fails else x[i] * 3.0  # noqa: F821

    if fails:
        body.__globals__.pop("unknown", None)
    former, thresholds = gc.isenabled(), gc.get_threshold()
    with Serial().open() as pool:
        pool.run(kernel(lambda lo, hi, out, x: None).python, np.ones(3))  # what a first run imports
        (gc.enable if was else gc.disable)()
        gc.set_threshold(2000, 2, 2)
        gc.callbacks.append(note)
        try:
            if fails:
                with pytest.raises(Exception, match="unknown"):
                    pool.run(kernel(body).nogil, np.ones(3))
            else:
                assert (pool.run(kernel(body).nogil, np.ones(3)).value == 3.0).all()
            assert gc.isenabled() is was
        finally:
            gc.callbacks.remove(note)
            gc.set_threshold(*thresholds)
            (gc.enable if former else gc.disable)()
    # A compilation makes some 80,000 objects: by default, a hundred collections.
    assert len(collections) < 15


@contextlib.contextmanager
def staying():
    """Collections are on, but for a block of another thread that lasts as long as this one."""
    entered, leave = threading.Event(), threading.Event()

    def stay():
        with garbage.uncollected():
            entered.set()
            leave.wait()

    other, former = threading.Thread(target=stay), gc.isenabled()
    gc.enable()
    try:
        other.start()
        entered.wait()
        yield
    finally:
        leave.set()
        other.join()
        if not former:
            gc.disable()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize(("own", "others"), [(True, False), (False, True), (True, True)])
def test_a_fork_has_no_block_of_another_thread(own, others):
    with (
        staying() if others else contextlib.nullcontext(),
        garbage.uncollected() if own else contextlib.nullcontext(),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # of a fork beside a thread: that is what is tried
        child = os.fork()
        if child == 0:
            os._exit(gc.isenabled() is own)
        assert os.waitpid(child, 0)[1] == 0


def test_a_block_is_not_ended_by_that_of_another_thread():
    with contextlib.ExitStack() as others:
        others.enter_context(staying())
        with garbage.uncollected():
            others.close()
            assert not gc.isenabled()
        assert gc.isenabled()
