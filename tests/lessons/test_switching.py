"""Lesson 6: its judgement on invented figures, both outcomes, and a short real run."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from short import held_on_one_cpu

from compute.lessons import footprint, switching
from compute.lessons.lesson import FAILS, HOLDS, UNTOLD, Setting
from compute.lessons.rounds import FEWEST

ONE_CPU = "threads, on one CPU"


def evidence(rounds: int = FEWEST, **told: Any) -> dict[str, Any]:
    """What was measured where coroutines switch in 1 µs, threads in 8 or 5, processes in 12."""
    costs = {"coroutines": 1e-6, "threads": 8e-6, ONE_CPU: 5e-6, "processes": 12e-6} | told.pop("costs", {})
    return {
        "samples": {name: [cost * (1 + k / 1000) for k in range(rounds)] for name, cost in costs.items()},
        "system": {name: 0.001 if name == "coroutines" else 1.0 for name in costs},
        "bytes": {"coroutine": 2000.0, "thread": 50_000.0, "process": 7e6},
        "missing": {},
        "gil": True,
        "crowded": 0.0,
    } | told


def test_cheaper_coroutines_hold_the_statement() -> None:
    judgement = switching.judge(evidence())
    assert judgement.word == HOLDS
    assert judgement.found == f"a switch takes two coroutines 1.00 µs, two {ONE_CPU} 5.01 µs and two processes 12.0 µs"
    assert judgement.why == (
        "coroutines need no other thread to wake: they hand over within one, with 0.00 switches by the system for each"
        " handover, where theirs take 1.00"
    )
    named = {figure.name: figure for figure in judgement.figures}
    assert named[f"{ONE_CPU}: over coroutines"].value == pytest.approx(5.0)
    assert named["threads: a switch"].value == pytest.approx(8e-6, rel=0.01)
    many = judgement.pictures[1]
    assert many.x == ("10,000 coroutines", "1,000 threads", "100 processes")
    assert many.series[0].values == (20e6, 50e6, 700e6)


def test_the_cheapest_threads_decide() -> None:
    judgement = switching.judge(evidence(costs={"threads": 0.5e-6}))
    assert judgement.word == FAILS
    assert switching.judge(evidence(costs={"threads": 0.5e-6}, crowded=0.8)).word == UNTOLD
    assert switching.judge(evidence(crowded=0.8)).word == HOLDS
    assert judgement.why.startswith("threads are as cheap here as coroutines, which hand over within one thread, with")


@pytest.mark.parametrize("gil", [True, False])
def test_threads_that_wake_for_a_gil_that_is_taken_are_explained(gil: bool) -> None:
    system = {"coroutines": 0.0, "threads": 2.8, ONE_CPU: 2.8, "processes": 1.0}
    assert ("may find the GIL taken" in switching.judge(evidence(system=system, gil=gil)).why) == gil


def test_coroutines_that_the_system_switches_do_not_hold_it() -> None:
    judgement = switching.judge(evidence(system={"coroutines": 0.8, "threads": 1.0, ONE_CPU: 1.0, "processes": 1.0}))
    assert judgement.word == FAILS
    assert "the system switched 0.80 times for each handover between coroutines" in judgement.why


def test_a_system_that_does_not_tell_is_not_quoted() -> None:
    judgement = switching.judge(evidence(system=dict.fromkeys(["coroutines", "threads", ONE_CPU, "processes"])))
    assert judgement.word == HOLDS
    assert judgement.why == "coroutines need no other thread to wake: they hand over within one"


def test_what_cannot_be_told_is_not_told() -> None:
    judgement = switching.judge(evidence(rounds=FEWEST - 1))
    assert judgement.word == UNTOLD
    assert "measure for longer" in judgement.why


def test_what_is_missing_is_said() -> None:
    told = evidence(missing={"processes": "Resource temporarily unavailable"}, bytes={})
    del told["samples"]["processes"], told["system"]["processes"]
    judgement = switching.judge(told)
    assert judgement.word == HOLDS
    assert judgement.why.endswith("; no processes: Resource temporarily unavailable")
    assert len(judgement.pictures) == 1
    told = evidence(missing={"threads": "can't start new thread"}, costs={}, system={"coroutines": 0.0})
    told["samples"] = {"coroutines": told["samples"]["coroutines"]}
    assert switching.judge(told).word == UNTOLD


def test_two_coroutines_hand_over_to_each_other_every_time() -> None:
    order: list[int] = []

    async def noting(me: int) -> None:
        for _ in range(5):
            order.append(me)
            await switching.hand_over_by_await(1)

    async def both() -> None:
        await asyncio.gather(noting(0), noting(1))

    asyncio.run(both())
    assert order == [0, 1] * 5


@pytest.mark.parametrize("partners", [switching.a_thread, switching.a_process])
def test_a_partner_answers_and_leaves_also_in_the_middle_of_a_turn(partners: Any, no_leaks: None) -> None:
    with partners() as partner:
        assert switching.hand_over(partner.get, partner.put, 10) == switching.TOKEN
    with pytest.raises(KeyboardInterrupt):
        _cut_off(partners)


def _cut_off(partners: Any) -> None:
    with partners() as partner:
        partner.put(switching.TOKEN)
        raise KeyboardInterrupt


@pytest.mark.slow
def test_a_short_real_run(no_leaks: None) -> None:
    told = switching.measure(Setting(0.3))
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told["missing"] == {}
    assert {"coroutines", "threads", "processes"} <= set(told["samples"])
    assert all(len(taken) >= FEWEST for taken in told["samples"].values())
    if told["system"]["coroutines"] is not None:
        least = min(made for name, made in told["system"].items() if "one CPU" in name or name == "coroutines")
        assert least == told["system"]["coroutines"] < switching.OF_THE_SYSTEM
    size = told["bytes"]
    assert size["coroutine"] * 3 < size["thread"]
    assert size["thread"] * 3 < size["process"]


def test_limits_leave_room_for_other_programs(tmp_path: Any) -> None:
    group = tmp_path / "sys/fs/cgroup/box"
    group.mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/box\n")
    (group / "pids.max").write_text("100\n")
    (group / "pids.current").write_text("60\n")
    assert 40 in list(footprint._threads_left(tmp_path))


@pytest.mark.slow
def test_on_one_cpu_it_is_held_as_well() -> None:
    judgement = held_on_one_cpu(switching.LESSON)
    assert judgement.word in (HOLDS, UNTOLD)
    assert "two processes" in judgement.found
