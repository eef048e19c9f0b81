"""A user's own kernels, from a module, a script and a closure, on every backend; orders and outputs of any kind."""

from __future__ import annotations

import numpy as np
import pytest
from every_case import BACKENDS
from example_kernels import squares
from hypothesis import given, settings
from hypothesis import strategies as st

import compute
from compute import Coroutines, Joblib, Pool, Prange, Processes, Serial, Threads, run
from compute.lanes.loop import Outcome
from kernels import Plan, kernel

SCRIPT = '''
"""A script as the README shows one: no `if __name__`, everything in it."""
import sys
import numpy as np
from compute import Coroutines, Joblib, Pool, Prange, Processes, Serial, Threads, run
from compute.lanes.loop import Outcome
from kernels import Plan, kernel

print("once")
SCALE = 2.0

def scaled(x):
    return SCALE * x

@kernel
def fill(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = scaled(x[i])

@kernel(reduce=np.sum)
def norm(lo, hi, out, x):
    s = 0.0
    for i in range(lo, hi):
        s += scaled(x[i]) ** 2
    out[0] = s

def make(offset):
    @kernel
    def shifted(lo, hi, out, x):
        for i in range(lo, hi):
            out[i] = x[i] + offset
    return shifted

slices = kernel(compiled=False, dtype=np.int64)(lambda lo, hi, out, x: out.__setitem__(slice(lo, hi), x[lo:hi] * 3))

class Settings:
    factor = 4

@kernel(compiled=False)
def object_of_mine(lo, hi, out, x):
    out[lo:hi] = x[lo:hi] * Settings.factor

planned = kernel(plan=lambda n: Plan(n, (), grain=2))(lambda lo, hi, out: None)

x = np.arange(100.0)
for on in eval(sys.argv[1]):
    with on.open() as pool:
        compiled = ["nogil"] if isinstance(on, Prange) else ["python", "nogil"]
        for variant in compiled:
            assert (pool.run(fill, x, variant=variant).value == 2 * x).all()
            assert pool.run(norm, x, variant=variant).value == (4 * x**2).sum()
            for offset in (1.0, 7.0) if not isinstance(on, Prange) else ():  # it takes seconds to compile one
                assert (pool.run(make(offset), x, variant=variant).value == x + offset).all()
        if "python" in compiled:
            assert pool.run(planned, 9, variant="python").value.shape == (9,)
            assert (pool.run(slices, x).value == 3 * x).all()
            assert (pool.run(object_of_mine, x).value == 4 * x).all()
    print(repr(on))
'''


# fork comes first: it is refused once there were threads. Every kind of arrays is in the table of backends.
EVERYWHERE = """[
    Processes(2, start="fork"), Serial(), Threads(2), Prange(2), Coroutines(2), Joblib(2, kind="threading"),
    Processes(2), Processes(2, start="spawn"), Joblib(2),
]"""


FAMILIES = '[Processes(2, start="fork"), Threads(2), Processes(2), Joblib(2)]'


@pytest.mark.slow
@pytest.mark.parametrize(
    "backends", [pytest.param(FAMILIES, id="families"), pytest.param(EVERYWHERE, id="all", marks=pytest.mark.slow)]
)
def test_a_script_s_own_kernels_run_on_every_backend(script, no_leaks, backends):
    done = script(SCRIPT, backends)
    assert done.stdout.splitlines() == ["once", *(repr(backend) for backend in eval(backends))]


def test_a_kernel_can_be_made_anew_in_every_round():
    # As in a notebook: the same name, another body. Nothing may be remembered by name, or by the id of what is gone.
    with Threads(2).open() as pool:
        for k in range(6):

            @kernel
            def again(lo, hi, out, x, k=k):
                for i in range(lo, hi):
                    out[i] = x[i] + 1

            made = kernel(eval(f"lambda lo, hi, out, x: out.__setitem__(slice(lo, hi), x[lo:hi] + {k})"))
            assert pool.run(made, np.zeros(5), variant="python").value.tolist() == [k] * 5


@pytest.fixture(scope="module")
def pools():
    opened = [backend.open() for backend in (Serial(), Threads(3), Coroutines(2), Processes(2))]
    yield opened
    for pool in opened:
        pool.close()


@settings(max_examples=25, deadline=None)
@given(data=st.data(), indices=st.integers(0, 200), grain=st.integers(1, 30))
def test_any_order_of_the_chunks_gives_the_same_value(pools, data, indices, grain):
    chunks = -(-indices // grain)
    order = np.array(data.draw(st.permutations(range(chunks))), np.int64)
    for pool in pools:
        result = pool.run(in_this_order, indices, grain, order)
        assert result.value.tolist() == list(range(indices))
        assert sum(lane.chunks for lane in result.timeline.lanes) == chunks


@kernel(plan=lambda n, grain, order: Plan(n, (), grain=grain, order=order, dtype=np.int64), compiled=False)
def in_this_order(lo, hi, out):
    for i in range(lo, hi):
        out[i] = i


@settings(max_examples=25, deadline=None)
@given(values=st.lists(st.floats(-1e6, 1e6), max_size=400), grain=st.integers(1, 50))
def test_a_sum_of_floats_is_the_same_to_the_bit_everywhere(pools, values, grain):
    x = np.array(values, float)
    found = {pool.run(summed, x, grain).value for pool in pools}
    assert len(found) == 1
    assert found.pop() == pytest.approx(sum(values), abs=1e-3)


@kernel(plan=lambda x, grain: Plan(len(x), (x,), grain=grain), reduce=np.sum, compiled=False)
def summed(lo, hi, out, x):
    out[0] = sum(x[lo:hi].tolist())


@pytest.mark.parametrize("backend", BACKENDS[:4], ids=repr)
def test_an_order_that_is_no_permutation_is_refused(backend):
    for order in ([0, 0, 1], [0, 1], [0, 1, 2, 3], [1, 2, 3], [-1, 0, 1]):
        with pytest.raises(ValueError, match="order"):
            run(in_this_order, 3, 1, np.array(order), on=backend)


def test_seconds_and_lanes_are_told_by_the_result():
    result = run(squares, np.ones(10), on=Threads(2))
    assert result.seconds > 0
    assert "timeline" not in repr(result)


@pytest.mark.parametrize("on", [Serial(), Threads(2), Prange(2), Processes(2), Joblib(1), Coroutines(2)], ids=repr)
def test_run_opens_and_closes_for_itself(on):
    np.testing.assert_array_equal(run(squares, np.arange(50.0), on=on).value, np.arange(50.0) ** 2)


def test_every_public_name_leads_somewhere():
    for name in compute.__all__:
        assert getattr(compute, name) is not None


class Idle(Threads):
    """Threads whose pool runs no lane."""

    def open(self):
        return IdlePool(self)


class IdlePool(Pool):
    def lanes(self, job):
        return [Outcome(lane) for lane in range(job.lanes)]


def test_a_pool_that_runs_no_lane_is_named():
    with pytest.raises(RuntimeError, match=r"Idle\(2\) came back 3 times with no chunk done.*must run every lane"):
        run(squares, np.arange(50.0), on=Idle(2))
