"""What Python finds around a body without naming it is the caller's on every lane: contexts, errstate, decimal."""

from __future__ import annotations

import contextvars
import decimal
import time
from contextlib import ExitStack

import numpy as np
import pytest
from test_never_stale import module

from compute import Coroutines, Joblib, Processes, Serial, Threads
from kernels import kernel

BACKENDS = Serial(), Threads(2), Coroutines(2), Joblib(2, kind="threading"), Processes(2), Joblib(2)
x = np.ones(8)
variable = contextvars.ContextVar("variable", default=1.0)
unset: contextvars.ContextVar[float] = contextvars.ContextVar("unset")


@pytest.fixture(scope="module")
def pools():
    with ExitStack() as stack:
        yield [stack.enter_context(backend.open()) for backend in BACKENDS]


@kernel(compiled=False)
def reads_a_variable(lo, hi, out, x):
    time.sleep(0.01)
    out[lo:hi] = variable.get()


@kernel(compiled=False)
def reads_an_unset_variable(lo, hi, out, x):
    out[lo:hi] = unset.get()


@kernel(compiled=False)
def divides(lo, hi, out, x):
    time.sleep(0.01)
    third = decimal.Decimal(1) / 3
    out[lo:hi] = len(str(third))


@kernel(compiled=False)
def asks_numpy(lo, hi, out, x):
    time.sleep(0.01)
    out[lo:hi] = np.geterr()["divide"] == "raise"


def every_chunk(pools, made, right):
    """Each index is a chunk of its own, so that every lane has some."""
    one_by_one = kernel(plan=lambda x: one_each(x), compiled=False)(made.variants["python"].function)
    for pool in pools:
        np.testing.assert_array_equal(pool.run(one_by_one, x).value, np.full(8, right), repr(pool))


def one_each(x):
    from kernels import Plan

    return Plan(len(x), (x,), grain=1)


def test_a_context_variable(pools):
    for value in (1.0, 2.0, 3.0, 2.0):
        token = variable.set(value)
        every_chunk(pools, reads_a_variable, value)
        variable.reset(token)
    every_chunk(pools, reads_a_variable, 1.0)


def test_a_context_variable_that_only_another_context_has_set(pools):
    context = contextvars.copy_context()
    context.run(variable.set, 5.0)
    context.run(every_chunk, pools, reads_a_variable, 5.0)
    every_chunk(pools, reads_a_variable, 1.0)


def test_a_context_variable_without_a_value(pools):
    for pool in pools:
        with pytest.raises((LookupError, RuntimeError), match="unset"):
            pool.run(reads_an_unset_variable, x)
    token = unset.set(4.0)
    every_chunk(pools, reads_an_unset_variable, 4.0)
    unset.reset(token)
    for pool in pools:
        with pytest.raises((LookupError, RuntimeError), match="unset"):
            pool.run(reads_an_unset_variable, x)


def test_a_context_variable_of_a_module(pools):
    m = module(
        "has_a_variable",
        "import contextvars\nvariable = contextvars.ContextVar('v')\ndef get():\n    return variable.get()\n"
        "@kernel(compiled=False)\ndef body(lo, hi, out, x):\n    out[lo:hi] = get() + variable.get()\n",
    )
    for value in (2.0, 3.0, 2.0):
        m.variable.set(value)
        every_chunk(pools, m.body, 2 * value)


def test_the_precision_of_decimals(pools):
    for precision in (28, 40, 12, 28):
        with decimal.localcontext() as context:
            context.prec = precision
            every_chunk(pools, divides, precision + 2)


def test_how_numpy_treats_errors(pools):
    for how in ("warn", "raise", "ignore", "raise", "warn"):
        with np.errstate(divide=how):
            every_chunk(pools, asks_numpy, how == "raise")
