"""What a signal handler has raised, and Python has lost or a body has caught: what is raised in the end."""

from __future__ import annotations

import os
import signal

import pytest

from compute import Serial, run
from compute.lanes.interrupts import InterruptWatch
from kernels import kernel

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")


@pytest.fixture
def late():
    """Have SIGALRM raise a TimeoutError with a cause."""

    def raise_late(*_):
        raise TimeoutError("late") from KeyError("limit")

    former = signal.signal(signal.SIGALRM, raise_late)
    yield
    signal.signal(signal.SIGALRM, former)


def lose(more=None):
    class Lost:
        def __del__(self):
            signal.raise_signal(signal.SIGALRM)

    Lost()
    if more is not None:
        raise more


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_was_lost_keeps_its_cause(late):
    with pytest.raises(TimeoutError, match="late") as caught, InterruptWatch():
        lose()
    assert repr(caught.value.__cause__) == "KeyError('limit')"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_a_system_error_hides_keeps_its_cause(late):
    with pytest.raises(TimeoutError, match="late") as caught, InterruptWatch():
        lose(SystemError("an exception is set"))
    assert repr(caught.value.__cause__) == "KeyError('limit')"


def reduced(parts):
    try:
        signal.raise_signal(signal.SIGALRM)
    except TimeoutError:
        error = ValueError("its own")
        raise error from error


@kernel(reduce=reduced)
def summed(lo, hi, out, n):
    out[0] = hi - lo


def test_an_error_that_is_its_own_cause_comes_through(late):
    with pytest.raises(ValueError, match="its own"):
        run(summed.python, 3, on=Serial())
