"""Lesson 11: its judgement on invented figures, both outcomes, and a short real run."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from short import held_on_one_cpu

from compute.lessons import pipeline
from compute.lessons.lesson import FAILS, HOLDS, UNTOLD, Setting
from compute.lessons.pipeline import COROUTINES, HEAVY, LIGHT, ONE, PROCESSES, THREADS, WAITING
from compute.lessons.rounds import FEWEST, awaited
from compute.scaling.statistics import median

COSTS = {
    (ONE, COROUTINES): 10e-6,
    (ONE, THREADS): 40e-6,
    (LIGHT, COROUTINES): 4e-6,
    (LIGHT, THREADS): 8e-6,
    (LIGHT, PROCESSES): 12e-6,
    (WAITING, COROUTINES): 5e-3,
    (WAITING, THREADS): 5e-3,
    (WAITING, PROCESSES): 5e-3,
    (HEAVY, COROUTINES): 3e-3,
    (HEAVY, THREADS): 3e-3,
    (HEAVY, PROCESSES): 1.5e-3,
}


def evidence(changed: dict[tuple[str, str], float] | None = None, rounds: int = FEWEST, **told: Any) -> dict[str, Any]:
    """What was measured where an item takes so many seconds."""
    samples: dict[str, dict[str, list[float]]] = {}
    for (kind, way), cost in (COSTS | (changed or {})).items():
        samples.setdefault(kind, {})[way] = [cost * (1 + k / 1000) for k in range(rounds)]
    return {"samples": samples, "missing": {}, "cpus": 2, "gil": True, "crowded": 0.0} | told


def test_cheaper_coroutines_hold_the_statement_and_where_they_are_not_is_said() -> None:
    judgement = pipeline.judge(evidence())
    assert judgement.word == HOLDS
    assert judgement.found == (
        "an item goes through 3 light stages in 10.0 µs as coroutines and 40.1 µs as threads, one by one, and in"
        " 4.01 µs as coroutines, 8.02 µs as threads and 12.0 µs as processes with room between them"
    )
    assert (
        "items between stages, so that they seldom switch, threads take 2.00 × as long as coroutines" in judgement.why
    )
    assert "where stages wait, threads take 1.00 × and processes take 1.00 × as long as coroutines" in judgement.why
    assert "where they compute, threads take 1.00 × and processes take 0.50 × as long as coroutines" in judgement.why
    named = {figure.name: figure.value for figure in judgement.figures}
    assert named["light, one by one stages as threads: over coroutines"] == pytest.approx(4.0)
    [picture] = judgement.pictures
    assert [series.values[0] for series in picture.series][2] is None  # processes do not go one by one


@pytest.mark.parametrize(
    ("kind", "way", "gil", "why"),
    [
        (ONE, THREADS, True, "the system switches as cheaply here"),
        (ONE, THREADS, False, "run side by side on their CPUs"),
        (LIGHT, PROCESSES, True, "run side by side on their CPUs"),
    ],
)
def test_a_cheaper_way_than_coroutines_does_not(kind: str, way: str, gil: bool, why: str) -> None:
    judgement = pipeline.judge(evidence({(kind, way): 2e-6}, gil=gil))
    assert judgement.word == FAILS
    assert pipeline.judge(evidence({(kind, way): 2e-6}, gil=gil, crowded=0.8)).word == UNTOLD
    assert f"{kind} stages cost no more as {way}" in judgement.why
    assert why in judgement.why


def test_threads_with_room_between_them_may_cost_as_little() -> None:
    judgement = pipeline.judge(evidence({(LIGHT, THREADS): 2e-6}))
    assert judgement.word == HOLDS
    assert "so that they seldom switch, threads take 0.50 ×" in judgement.why


def test_what_cannot_be_told_is_not_told() -> None:
    judgement = pipeline.judge(evidence(rounds=FEWEST - 1))
    assert judgement.word == UNTOLD
    assert "measure for longer" in judgement.why


def test_what_is_missing_is_said() -> None:
    told = evidence(missing={PROCESSES: "Resource temporarily unavailable"})
    for ways in told["samples"].values():
        ways.pop(PROCESSES, None)
    judgement = pipeline.judge(told)
    assert judgement.word == HOLDS
    assert judgement.why.endswith("; no processes: Resource temporarily unavailable")


@pytest.mark.parametrize("work", pipeline.WORKS)
@pytest.mark.parametrize("n", [0, 1, 7])
def test_every_way_gives_what_the_stages_make(work: str, n: int, no_leaks: None) -> None:
    right = sum(item + pipeline.STAGES for item in range(n))
    assert pipeline.as_threads(work, n, 1) == right
    assert pipeline.as_coroutines(work, n, 1) == right
    with pipeline.as_processes() as through:
        assert [through(work, n), through(work, n)] == [right, right]


def test_stages_work_at_the_same_time() -> None:
    """While the second stage waits with an item, the first one has begun its next."""
    begun: list[tuple[str, int]] = []

    async def all_stages() -> None:
        link: asyncio.Queue[Any] = asyncio.Queue(1)

        def noting(name: str) -> Any:
            async def work(item: int) -> int:
                begun.append((name, item))
                await asyncio.sleep(0.01)
                return item

            return work

        async def drop(item: Any) -> None: ...

        items = pipeline.awaiting(pipeline._items(4))
        await asyncio.gather(
            pipeline.awaiting_stage(noting("a"), items, link.put),
            pipeline.awaiting_stage(noting("b"), link.get, drop),
        )

    awaited(all_stages)
    assert begun.index(("a", 1)) < begun.index(("b", 1))
    assert [item for name, item in begun if name == "b"] == [0, 1, 2, 3]


@pytest.mark.slow
def test_a_short_real_run(no_leaks: None) -> None:
    told = pipeline.measure(Setting(1.0))
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told["missing"] == {}
    assert all(len(taken) >= FEWEST for ways in told["samples"].values() for taken in ways.values())
    cost = {kind: {way: median(taken) for way, taken in ways.items()} for kind, ways in told["samples"].items()}
    assert max(cost[ONE].values()) * 3 < min(cost[WAITING].values())
    assert pipeline.judge(told).found


@pytest.mark.slow
def test_on_one_cpu_it_is_held_as_well() -> None:
    assert "where they compute, threads" in held_on_one_cpu(pipeline.LESSON).why
