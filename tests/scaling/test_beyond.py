"""Up to how many workers of a cluster it pays, on invented figures."""

from __future__ import annotations

import math

import numpy as np
import pytest

from compute.scaling.beyond import CAUSES, COUNTS, Cluster, Reach, Work, assumptions, groups, predict, reach, tell

FREE = Cluster(call=0.0, group=0.0, bandwidth=math.inf)
EVEN = Work(np.full(2**16, 1e-3))  # 66 s of computing


@pytest.mark.parametrize("chunks", [1, 7, 1000, 10**5])
@pytest.mark.parametrize("workers", [1, 3, 64])
def test_groups_are_cut_as_the_backend_cuts_them(chunks, workers):
    sizes = groups(chunks, workers)
    assert sum(sizes) == chunks
    assert all(size > 0 for size in sizes)
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) <= 4 * workers


def test_where_nothing_costs_all_workers_are_used():
    for workers in (1, 8, 64):
        assert predict(EVEN, FREE, workers).efficiency == pytest.approx(1, abs=0.1)
    assert predict(EVEN, FREE, 1).seconds == pytest.approx(65.536)
    threaded = predict(EVEN, FREE._replace(threads=8), 8)
    assert threaded.speedup == pytest.approx(64, rel=0.1)


def test_messages_are_handled_one_at_a_time():
    """With 10 ms for a group no run is shorter than its groups' messages."""
    busy = FREE._replace(group=0.01)
    for workers in (1, 64, 1024):
        run = predict(EVEN, busy, workers)
        assert run.seconds >= len(groups(2**16, workers)) * 0.01
    found = reach(EVEN, busy, here=33.0)
    assert found.limit == "messages"
    assert 1 < found.last < reach(EVEN, FREE._replace(group=0.001), here=33.0).last


def test_inputs_leave_one_link_for_each_worker():
    """A GB at 1 GB/s takes a second for each worker: of 66 s, no more than a few are left at 8."""
    sent = Work(EVEN.chunks, inputs=10**9)
    slow = FREE._replace(bandwidth=1e9)
    assert predict(sent, slow, 8).seconds - predict(EVEN, slow, 8).seconds == pytest.approx(8)
    found = reach(sent, slow, here=33.0)
    assert (found.limit, found.first, found.last) == ("inputs", 4, 8)
    assert tell(found) == "pays from 4 up to 8 workers; beyond, every worker needs its copy of the inputs"


def test_results_come_through_one_link_while_others_compute():
    back = Work(EVEN.chunks, results=10**10)
    slow = FREE._replace(bandwidth=1e9)
    assert predict(back, slow, 2).seconds == pytest.approx(predict(EVEN, slow, 2).seconds, rel=0.1)
    assert predict(back, slow, 64).seconds == pytest.approx(10, rel=0.1)
    assert reach(back, slow, here=33.0).limit == "results"


def test_few_chunks_do_not_share_out():
    few = Work(np.full(8, 1.0))
    assert predict(few, FREE, 64).seconds == pytest.approx(1)
    assert (reach(few, FREE, here=4.0).last, reach(few, FREE, here=4.0).limit) == (16, "chunks")


def test_a_short_kernel_does_not_pay():
    found = reach(Work(np.full(100, 1e-5)), FREE._replace(call=0.01), here=5e-4)
    assert found == Reach(None, None, "call")
    assert tell(found) == "does not pay: a call alone takes that long"


def test_a_packets_way_is_waited_for_where_a_group_is_shorter():
    """Groups of about a second hide 10 ms; groups of a millisecond do not."""
    far = FREE._replace(round_trip=0.01)
    assert predict(EVEN, far, 4).seconds == pytest.approx(predict(EVEN, FREE, 4).seconds, rel=0.05)
    short = Work(np.full(2**16, 1e-6))
    assert predict(short, far, 4).seconds > 4 * predict(short, FREE, 4).seconds


def test_more_of_any_cost_never_makes_a_run_shorter():
    rng = np.random.default_rng(3)
    work = Work(rng.exponential(0.01, 500), inputs=10**6, results=10**6)
    cheap = Cluster(0.005, 0.001, 1e9, 0.001)
    for workers in (1, 5, 100):
        run = predict(work, cheap, workers).seconds
        dearer = [
            cheap._replace(call=0.01),
            cheap._replace(group=0.01),
            cheap._replace(bandwidth=1e7),
            cheap._replace(round_trip=0.1),
        ]
        assert all(predict(work, cluster, workers).seconds > run for cluster in dearer)
        assert run >= work.chunks.sum() / workers
        assert sum(predict(work, cheap, workers).lost.values()) <= run


def test_every_limit_has_words_and_the_assumptions_have_their_figures():
    assert tell(Reach(1, COUNTS[-1], "chunks")) == "pays from 1 up to 4096 workers and more"
    assert tell(Reach(1, 1, "call")) == f"pays with 1 worker; beyond, {CAUSES['call']}"
    assert set(predict(EVEN, FREE, 1).lost) == set(CAUSES)
    told = " ".join(assumptions(Cluster(0.005, 0.002, 1.25e8, 0.001, threads=64)))
    for figure in ("64 threads", "5.00 ms", "2.00 ms", "125 MB/s", "1.00 ms", "50 %"):
        assert figure in told
