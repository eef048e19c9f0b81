"""The same deaths among workers that take half a second each to replace: those of spawn; loky's, which die together."""

from __future__ import annotations

import itertools
import os

import pytest
from example_kernels import nothing
from fault_kernels import POINTS, WAYS, begun, risky
from outcomes import CHUNKS, HANGS, SAID, check, check_idle_deaths, check_poison

from compute import Joblib, Processes

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")]

FIVE = [point for point in POINTS if point not in ("before the body", "done, not yet left")]  # test_deaths.py has all
FAULTS = list(itertools.product(WAYS, FIVE))


@pytest.fixture(autouse=True)
def forget():
    yield
    begun.clear()


@pytest.fixture(scope="module")
def spawned():
    with Processes(2, start="spawn", timeout=HANGS).open() as pool:
        yield pool


@pytest.fixture(scope="module")
def loky():
    with Joblib(2, timeout=HANGS).open() as pool:
        yield pool


# Two in a run, so that the two workers that take their places start side by side.
@pytest.mark.parametrize("pair", list(zip(FAULTS[::2], FAULTS[1::2], strict=True)), ids=str)
def test_two_deaths_in_one_run_of_spawned_workers(spawned, pair):
    faults = {chunk: (point, way, 1) for chunk, (way, point) in enumerate(pair)}
    check(spawned.run(risky, CHUNKS, faults, 2), deaths=2, names=[SAID[way] for way, _ in pair])


# All of them under loky are chaos.py's: every death replaces every worker there.
@pytest.mark.parametrize(("way", "point"), list(zip(itertools.cycle(WAYS), FIVE, strict=False)))
def test_a_death_of_a_loky_worker(loky, way, point):
    check(loky.run(risky, CHUNKS, {2: (point, way, 1)}))


def test_all_workers_of_loky_killed_at_once(loky):
    check(loky.run(risky, CHUNKS, dict.fromkeys(range(2), ("mid-write", "SIGKILL", 1)), 2))


def test_a_chunk_that_always_kills_lokys_workers_is_named(loky):
    check_poison(loky, poison=1, together=2)


@pytest.mark.parametrize("pool", ["spawned", "loky"])
def test_workers_killed_while_they_have_nothing_to_do(request, pool):
    check_idle_deaths(request.getfixturevalue(pool))


def test_loading_a_kernel_may_take_longer_than_a_chunk(tmp_path, monkeypatch):
    monkeypatch.setenv("NFOLD_CACHE_DIR", str(tmp_path))  # nothing compiled there
    with Processes(1, start="spawn", timeout=0.05).open() as pool:
        result = pool.run(nothing, 3)
    assert result.timeline.events == ()
    assert result.value.tolist() == [0, 1, 2]
