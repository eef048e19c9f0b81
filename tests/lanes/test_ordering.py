"""How lanes that Python runs take tickets and are seen to be done, with numba, without it, and on weaker processors."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest
from patience import PATIENCE

from compute import Threads
from compute.dispatch import place
from compute.lanes import loop, ordering
from compute.lanes.control import TICKET, ControlArray
from compute.lanes.loop import run_lane
from compute.memory.arena import Arena
from kernels import Plan, each, kernel
from kernels.definition import numba_is_here

LANES, TICKETS = 8, 4000
compiler = pytest.mark.skipif(not numba_is_here(), reason="there is no numba")


@kernel(plan=lambda n: Plan(n, (), grain=3), compiled=False, bound="compute")
def doubles(lo, hi, out):
    """Fill out[lo:hi] with twice the index."""
    for i in range(lo, hi):
        out[i] = 2.0 * i


async def waiting(item):
    return item + 1


@pytest.fixture(params=["x86", pytest.param("arm64, numba", marks=compiler), "arm64, no numba", "x86, no numba"])
def machine(monkeypatch, request):
    """A processor, and whether numba is there: the tables of lanes are made anew for it."""
    monkeypatch.setattr(ordering, "IS_STRONG", request.param.startswith("x86"))
    if "no numba" in request.param:
        for module in (ordering, loop):
            monkeypatch.setattr(module, "numba_is_here", lambda: False)
        monkeypatch.setattr("compute.lanes.spin.numba_is_here", lambda: False)
    monkeypatch.setattr(loop, "_python_lanes", type(loop._python_lanes)(8))
    return request.param


def test_every_lane_gets_tickets_of_its_own():
    control, taken = np.zeros(TICKET + 1, np.int64), [[] for _ in range(LANES)]
    together = threading.Barrier(LANES)

    def lane(mine):
        together.wait()
        mine += [int(ordering.take(control, 0)) for _ in range(TICKETS)]

    lanes = [threading.Thread(target=lane, args=(mine,)) for mine in taken]
    for one in lanes:
        one.start()
    for one in lanes:
        one.join()
    assert sorted(itertools.chain.from_iterable(taken)) == list(range(LANES * TICKETS))
    assert control[TICKET] == LANES * TICKETS


def test_lanes_on_threads_do_every_chunk_once(machine):
    with Threads(4).open() as pool:
        for n in (0, 1, 7, 500):
            result = pool.run(doubles, n)
            assert result.value.tolist() == [2.0 * i for i in range(n)]
            assert sum(lane.chunks for lane in result.timeline.lanes) == -(-n // 3)


def test_lanes_that_wait(machine):
    with Threads(3).open() as pool:
        assert pool.map(waiting, range(50)) == list(range(1, 51))


def test_a_lane_whose_chunk_is_long_keeps_no_chunks_from_the_others(machine):
    came = threading.Event()

    def item(number):
        if number == 0:
            return came.wait(PATIENCE)
        if number == 2:  # in turn, the lane of item 0 would have this one
            came.set()
        return True

    with Threads(2).open() as pool:
        assert pool.run(each(item), range(4)).value == [True] * 4


def test_a_run_is_over_when_all_is_done_and_all_have_left(machine):
    pool = type("Pool", (), {"workers": 2, "arena": Arena("heap"), "detailed": False, "pins": ()})()
    job = place(pool, doubles.python, doubles.plan(9))
    assert not ordering.is_over(job.control)
    assert run_lane(job, 0).error is None
    assert ordering.is_over(job.control)
    assert ordering.is_over(job.control, by_processes=True) is (machine != "arm64, no numba")
    ControlArray(job.control).done[2] = 0
    assert not ordering.is_over(job.control)


def test_words_are_stored_and_loaded(machine):
    load, store = ordering.loads_and_stores()
    words = np.zeros(3, np.int64)
    store(words, 1, 7)
    assert (int(load(words, 1)), words.tolist()) == (7, [0, 7, 0])


def test_without_numba_a_lost_chunk_s_own_lane_is_sent_for_it(script, tmp_path):
    """Tickets are taken in turn there, so no other lane has one for it."""
    script(
        "import os, signal, sys\n"
        "from compute import Processes\n"
        "def dies_once(path):\n"
        "    if not os.path.exists(path):\n"
        "        open(path, 'x').close()\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return 'alive'\n"
        "with Processes(3).open() as pool:\n"
        "    for k in range(3):\n"
        "        assert pool.map(dies_once, [sys.argv[1] + str(k)]) == ['alive']\n"
        "        assert pool.map(abs, [-k]) == [k]\n",
        str(tmp_path / "once"),
        NUMBA_DISABLE_JIT="1",
    )
