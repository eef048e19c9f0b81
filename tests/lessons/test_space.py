"""Lesson 8: its judgement on invented times, all outcomes; short real runs, whole, cut off, and on small machines."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import pytest
from private_mounts import in_private, refused
from short import evidence_of, held_on_one_cpu

from compute import machine
from compute.lessons import conduct, handing, space, text
from compute.lessons.experiment import Course, Experiment, source
from compute.lessons.handing import ARENA, COPIED, COROUTINE, PIPE, QUEUE, THREAD, WAYS
from compute.lessons.lesson import FAILS, HOLDS, UNTOLD, Setting
from compute.scaling.verify import WrongAnswer

PYTHON = {"python": "3.13.0", "implementation": "CPython", "gil": True, "path": "/usr/bin/python3"}


def evidence(
    thread: tuple[float, ...],
    pipe: tuple[float, ...],
    left: Any = (),
    rounds: int = 6,
    crowded: float = 0.0,
    **others: Any,
) -> Any:
    """Microseconds of a hand-over at 1 kB, at 1 MB and at 256 MB, as far as they go."""
    sizes = 1_000, 1_000_000, 256_000_000
    ways = {THREAD: thread, PIPE: pipe, **others}
    return {
        "cpus": 2,
        "seconds": {
            way: {
                str(size): [each * 1e-6 + 1e-9 * k for k in range(rounds)]
                for size, each in zip(sizes, all_, strict=False)
            }
            for way, all_ in ways.items()
        },
        "left": [{"way": way, "size": size, "why": why} for way, size, why in left],
        "crowded": crowded,
    }


def test_a_reference_has_one_price_and_a_copy_has_many() -> None:
    told = evidence((20, 20, 21), (50, 500, 300_000), **{ARENA: (100, 100, 110), COPIED: (110, 300, 80_000)})
    judgement = space.judge(told)
    assert judgement.word == HOLDS
    assert judgement.found == (
        "256 MB take 21.0 µs to reach a thread, 300 ms to reach a process through a pipe and 110 µs where they lie in"
        " nfold's shared memory"
    )
    assert "is pickled, copied into the system and out of it" in judgement.why
    figures = {figure.name: figure for figure in judgement.figures}
    assert figures["pipe: rate at 256 MB"].value == pytest.approx(256e6 / 0.3, rel=1e-3)
    low, high = figures["pipe: rate at 256 MB"].interval or (0, 0)
    assert low < figures["pipe: rate at 256 MB"].value < high
    assert f"{THREAD}: rate at 256 MB" not in figures
    (picture,) = judgement.pictures
    assert picture.x == (1e3, 1e6, 256e6)
    assert "256 MB  thread" in text.render(Course((Experiment(space.LESSON, told, PYTHON),)))


def test_a_thread_that_waits_for_data_contradicts_the_statement() -> None:
    judgement = space.judge(evidence((20, 200, 2000), (50, 500, 300_000)))
    assert judgement.word == FAILS
    assert "what grew for threads is something else" in judgement.why


def test_a_machine_that_others_crowd_refutes_nothing() -> None:
    judgement = space.judge(evidence((20, 200, 2000), (50, 500, 300_000), crowded=0.7))
    assert judgement.word == UNTOLD
    assert "others have the CPUs" in judgement.why
    assert space.judge(evidence((20, 20, 21), (50, 500, 300_000), crowded=0.7)).word == HOLDS


def test_a_pipe_that_carries_more_in_the_same_time_contradicts_it() -> None:
    judgement = space.judge(evidence((20, 20), (50, 60)))
    assert judgement.word == FAILS
    assert "a pipe copies what it carries" in judgement.why


@pytest.mark.parametrize(
    "told",
    [
        evidence((20, 20), (50, 500), rounds=5),  # no intervals
        evidence((20,), (50,)),  # one size has no growth
        evidence((), ()),
    ],
)
def test_what_cannot_be_told_is_not_told(told: Any) -> None:
    judgement = space.judge(told)
    assert judgement.word == UNTOLD
    assert "measure for longer" in judgement.why


def test_what_was_left_out_is_told_with_its_reason() -> None:
    reason = "/dev/shm has 64 MB free and 768 MB are needed"
    left = [
        (COPIED, 256_000_000, reason),
        (ARENA, 256_000_000, reason),
        (PIPE, 256_000_000, "the lesson has no time for it"),
    ]
    judgement = space.judge(evidence((20, 20, 20), (50, 500), left))
    assert judgement.found.startswith("1 MB take 20.0 µs to reach a thread")
    assert f"Left out from 256 MB on: {COPIED} and {ARENA} ({reason})" in judgement.why
    assert "Left out from 256 MB on: pipe (the lesson has no time for it)" in judgement.why
    everything = space.judge(evidence((20, 20), (50, 500), [(way, 256_000_000, "no time") for way in WAYS]))
    assert everything.why.endswith("Left out from 256 MB on: all (no time)")


def test_real_hand_overs_in_their_order() -> None:
    held = conduct.run_lesson(space.LESSON, Setting(2.0))
    # The shortest of each: what else the machine does only adds to them, and to a small hand-over's most.
    took = {way: {size: min(each) for size, each in by.items()} for way, by in held.evidence["seconds"].items()}
    assert set(took) == set(WAYS)
    assert took[PIPE]["1000000"] > 3 * took[COROUTINE]["1000000"]
    assert took[QUEUE]["1000000"] > 3 * took[COROUTINE]["1000000"]
    largest = max(map(int, took[PIPE]))
    assert took[PIPE][str(largest)] > 3 * took[PIPE]["1000"]
    assert all(gone["size"] > 1_000_000 for gone in held.evidence["left"])
    assert held.judgement.word != FAILS


@pytest.mark.slow
def test_one_cpu_is_enough_for_a_judgement() -> None:
    assert held_on_one_cpu(space.LESSON).word != FAILS


@pytest.mark.skipif(refused() is not None, reason=str(refused()))
def test_a_small_shared_memory_has_fewer_sizes() -> None:
    small = in_private(["mount -t tmpfs -o size=2m tmpfs /dev/shm"])
    left = evidence_of(space.LESSON, 2.0, within=small)["left"]
    reasons = {gone["way"]: (gone["size"], gone["why"]) for gone in left if "/dev/shm" in gone["why"]}
    assert set(reasons) == set(handing.IN_SHM)
    assert {size for size, _ in reasons.values()} == {1_000_000}
    assert all("free and 3 MB are needed" in why for _, why in reasons.values())


def test_little_memory_has_fewer_sizes(monkeypatch) -> None:
    monkeypatch.setattr(machine, "memory_available", lambda: 100_000)
    why = handing.obstacle(THREAD, 32_000)
    assert why == "memory has 100 kB free and 256 kB are needed"
    assert handing.obstacle(THREAD, 1_000) is None


@pytest.mark.slow  # at moments that are the machine's; test_lessons_cut_short.py has chosen ones
@pytest.mark.parametrize("after", [0.3, 0.8, 1.3, 2.1])
def test_a_ctrl_c_leaves_nothing(no_leaks, after: float) -> None:
    timer = threading.Timer(after, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            conduct.run_lesson(space.LESSON, Setting(30.0))
    finally:
        timer.join()


def test_what_arrives_wrong_is_an_error(no_leaks, monkeypatch) -> None:
    monkeypatch.setattr(handing, "_mark", lambda array: (-1, -2, -3))
    with pytest.raises(WrongAnswer, match=r"arrived where \(-1, -2, -3\) was handed over"):
        conduct.run_lesson(space.LESSON, Setting(1.0))


@pytest.mark.parametrize(
    "start", [*(pytest.param(how, marks=pytest.mark.slow) for how in ("fork", "forkserver")), "spawn"]
)
def test_a_script_needs_no_main_whatever_processes_it_starts_by_itself(script, start: str) -> None:
    lines = "import multiprocessing", f"multiprocessing.set_start_method({start!r})", "from compute import lesson"
    done = script("\n".join([*lines, "print(lesson(8, seconds=1.0).judgement.word)"]))
    assert done.stdout.strip() in (HOLDS, UNTOLD)


def test_the_code_is_short() -> None:
    assert len([line for line in source(space.LESSON).splitlines() if line]) < 15
