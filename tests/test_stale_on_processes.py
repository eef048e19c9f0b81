"""What reaches worker processes is what the caller has at each run: objects, classes, arrays, functions."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import pytest
from test_never_stale import BODY, everywhere, module, x

from compute import Joblib, Processes, Serial, Threads
from kernels import Plan, kernel

TO_AND_FRO = 2.0, 3.0, 2.0, 4.0, 3.0  # a worker that keeps what it had for 2.0 must not have 3.0 the third time


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("importable")
        patch.syspath_prepend(folder)
        yield folder


@pytest.fixture(scope="module")
def pools(folder):
    """Pools whose workers find the folder."""
    with ExitStack() as stack:
        yield [stack.enter_context(backend.open()) for backend in (Serial(), Threads(2), Processes(2), Joblib(2))]


def read_only(how: str):
    """A large read-only array, and a function that sets all of its elements all the same."""
    array = np.full(20_000, 1.0)
    view = array[:]
    array.flags.writeable = False

    def through_a_view(value):
        view[:] = value

    def by_the_flag(value):
        array.flags.writeable = True
        array[:] = value
        array.flags.writeable = False

    return array, through_a_view if how == "an earlier view" else by_the_flag


@pytest.mark.parametrize("how", ["an earlier view", "the flag"])
def test_a_read_only_array_that_changed(pools, how):
    array, put = read_only(how)
    m = module("reads_a_read_only_array", BODY.format("x[i] * TABLE[5]"))
    m.TABLE = array
    for value in TO_AND_FRO:
        put(value)
        everywhere(pools, m.body, x * value)


@pytest.mark.parametrize("how", ["an earlier view", "the flag"])
def test_a_read_only_array_in_a_list_that_changed(pools, how):
    array, put = read_only(how)

    @kernel(plan=lambda x: Plan(len(x), (x, [array])), compiled=False)
    def body(lo, hi, out, x, arrays):
        out[lo:hi] = x[lo:hi] * arrays[0][5]

    for value in TO_AND_FRO:
        put(value)
        everywhere(pools, body, x * value, variants=("python",))
