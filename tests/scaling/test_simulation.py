"""Replays of chunks through the lane scheduler, held to cases worked out by hand and to bounds."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute.scaling.laws import simulation
from compute.scaling.laws.simulation import replay

FREE = {"ticket": 0.0, "contended": 0.0}
CHUNKS = st.lists(st.floats(0, 10), min_size=1, max_size=40).filter(lambda chunks: sum(chunks) > 1e-3)


@pytest.mark.parametrize(
    ("chunks", "workers", "seconds", "idle"),
    [
        ([1, 1, 1, 1], 1, 4, 0),
        ([1, 1, 1, 1], 2, 2, 0),
        ([1, 1, 1], 2, 2, 1),
        ([1, 1, 1, 1], 8, 1, 4),
        ([4, 1, 1, 1, 1], 2, 4, 0),  # the long one first: the other lane does all the short ones meanwhile
        ([1, 1, 1, 1, 4], 2, 6, 4),  # and last: nobody is left to share it with
        ([3, 2, 2, 1], 2, 4, 0),  # lane 0: 3, 1; lane 1: 2, 2
        ([0, 0, 2], 2, 2, 2),
    ],
)
def test_free_tickets_by_hand(chunks, workers, seconds, idle):
    run = replay(chunks, workers, **FREE)
    assert (run.seconds, run.idle, run.tickets, run.busy) == (seconds, idle, 0, sum(chunks))
    assert (run.workers, run.chunks) == (workers, len(chunks))
    assert run.speedup == sum(chunks) / seconds
    assert run.efficiency == sum(chunks) / seconds / workers


def test_one_lane_pays_a_ticket_a_chunk_and_one_that_is_none():
    run = replay([1.0, 2.0], 1, ticket=0.25, contended=8.0)
    assert (run.seconds, run.tickets, run.idle) == (3.75, 0.75, 0)
    assert run.speedup == 3 / 3.75


def test_the_counter_serves_one_lane_at_a_time():
    # Served: lane 0 at 0.5, lane 1 at 1.5; done: lane 0 at 4.5, lane 1 at 5.5. Their last tickets: 5.5 and 6.5.
    run = replay([4.0, 4.0], 2, ticket=0.5, contended=1.0)
    assert (run.seconds, run.tickets, run.idle, run.busy) == (6.5, 0.5 + 1.5 + 1.0 + 1.0, 1.0, 8.0)


def test_a_lane_that_took_the_last_ticket_has_the_counter_in_its_cache():
    # Lane 0: 0.5 → 8.5 (1 s contended) → leaves 9.5. Lane 1: 1.5 → 2.5, then alone 0.5: 3.0 → 4.0, leaves 4.5.
    run = replay([8.0, 1.0, 1.0], 2, ticket=0.5, contended=1.0)
    assert (run.seconds, run.idle) == (9.5, 5.0)


def test_many_lanes_with_tiny_chunks_are_held_by_the_counter():
    run = replay([1.0] * 1000, 64, ticket=12.0, contended=25.0)
    assert run.seconds == pytest.approx(25 * (1000 + 64 - 1) + 12)
    assert run.speedup < simulation.bounds([1.0] * 1000, 64, contended=25.0)["counter"] == 1000 / (25 * 999)


def test_streaming_lanes_share_the_roof():
    assert replay([1.0] * 4, 4, memory_share=1.0, roof=2.0, **FREE).seconds == 2.0
    assert replay([1.0] * 4, 2, memory_share=1.0, roof=2.0, **FREE).seconds == 2.0
    assert replay([1.0] * 4, 4, memory_share=0.5, roof=2.0, **FREE).seconds == 1.0
    assert replay([1.0] * 8, 8, memory_share=0.5, roof=2.0, **FREE).seconds == 2.0
    assert replay([1.0] * 8, 8, roof=1.0, **FREE).seconds == 1.0


def test_the_roof_lifts_as_lanes_leave():
    # Two lanes stream at half speed until the short one is done, at 2; then the other has the memory to itself.
    run = replay([1.0, 3.0], 2, memory_share=1.0, roof=1.0, **FREE)
    assert (run.seconds, run.idle, run.busy) == (4.0, 2.0, 6.0)


def test_startup_and_the_serial_section_come_on_top():
    run = replay([1.0] * 8, 4, startup=0.5, serial=1.5, **FREE)
    assert (run.seconds, run.speedup, run.idle) == (4.0, 9.5 / 4.0, 0)


def test_amdahl_is_a_replay_of_many_even_chunks_behind_a_serial_section():
    sigma, workers = 0.1, [4, 64, 1024]
    even = [(1 - sigma) / 4096] * 4096
    measured = [replay(even, n, serial=sigma, **FREE).speedup for n in workers]
    assert measured == pytest.approx([1 / (sigma + (1 - sigma) / n) for n in workers])


def test_thousands_of_lanes():
    seconds = np.random.default_rng(1).lognormal(0, 1, 4096)
    runs = [replay(seconds, n) for n in (4, 64, 1024, 4096)]
    assert [run.seconds for run in runs] == sorted((run.seconds for run in runs), reverse=True)
    assert runs[-1].seconds == pytest.approx(seconds.max(), rel=1e-4)
    assert runs[0].speedup == pytest.approx(4, rel=0.01)


@given(CHUNKS, st.integers(1, 50), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0.5, 8))
def test_never_below_its_bounds_and_never_lazy(chunks, workers, ticket, contended, share, roof):
    run = replay(chunks, workers, ticket=ticket, contended=contended, memory_share=share, roof=roof)
    near = 1 - 1e-9
    assert run.seconds >= near * max(sum(chunks) / workers, max(chunks), share * sum(chunks) / roof)
    assert workers * run.seconds == pytest.approx(run.busy + run.idle + run.tickets)
    assert run.busy >= near * sum(chunks)
    way = {"contended": min(ticket, contended), "memory_share": share, "roof": roof}
    assert run.speedup <= min(simulation.bounds(chunks, workers, **way).values()) / near


@given(CHUNKS, st.integers(1, 50))
def test_with_free_tickets_it_is_graham_s_list_schedule(chunks, workers):
    free_at = [0.0] * workers
    for seconds in chunks:
        lane = free_at.index(min(free_at))
        free_at[lane] += seconds
    run = replay(chunks, workers, **FREE)
    assert run.seconds == pytest.approx(max(free_at))
    assert run.seconds <= sum(chunks) / workers + (1 - 1 / workers) * max(chunks) + 1e-9  # Graham 1966
    assert run.idle == pytest.approx(workers * max(free_at) - sum(free_at), abs=1e-9)


def test_bounds_by_hand():
    way = {"contended": 2.5, "memory_share": 0.5, "roof": 1.0, "startup": 1.0, "serial": 2.0}
    assert simulation.bounds([1.0, 3.0], 4, **way) == {
        "chunk": 6 / 3,
        "counter": 6 / 2.5,
        "memory": 6 / 2,
        "serial": 6 / 4,
    }
    assert set(simulation.bounds([1.0, 1.0], 2, contended=0.0).values()) == {2.0}
    assert set(simulation.bounds([1.0, 1.0], 1, contended=9.0).values()) == {1.0}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"workers": 0}, "workers must be a whole number from 1 on, not 0"),
        ({"workers": 1.5}, "workers must be a whole number from 1 on, not 1.5"),
        ({"chunk_seconds": []}, "some above 0"),
        ({"chunk_seconds": [0.0]}, "some above 0"),
        ({"chunk_seconds": [1.0, -1.0]}, "from 0 on"),
        ({"chunk_seconds": [math.nan]}, "from 0 on"),
        ({"memory_share": 1.5}, "memory_share must be from 0 to 1, not 1.5"),
        ({"roof": 0.0}, "roof must be above 0"),
        ({"ticket": -1.0}, "ticket must be seconds from 0 on, not -1.0"),
        ({"serial": math.inf}, "serial must be seconds from 0 on, not inf"),
    ],
)
def test_what_cannot_be_is_named(given, told):
    with pytest.raises(ValueError, match=told):
        replay(**{"chunk_seconds": [1.0], "workers": 1, **given})
