"""What disturbed a round, read from machines that the tests draw; and from this one, with a process that is busy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from compute import machine
from compute.scaling import noise
from compute.scaling.noise import Conditions, Reading, compare_readings, sample

QUIET = Reading(10.0, (0, 1), 200.0, 150.0, 1.0, {"self": 3.0, "7": 20.0}, {"/": 0.5}, 0.4, 2)
LATER = Reading(20.0, (0, 1), 220.0, 152.0, 1.0, {"self": 3.5, "7": 37.0}, {"/": 0.5}, 1.2, 3)


@pytest.fixture(autouse=True)
def two_cpus(monkeypatch):
    monkeypatch.setattr(machine, "allowed_cpus", lambda: [0, 1])
    monkeypatch.setattr(noise, "TICK", 0.01)


def draw(root: Path, **files: str) -> Path:
    """A machine with these files; `proc__stat` is proc/stat."""
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


STAT = """cpu  9999 0 9999 99999 99 0 0 99 0 0
cpu0 1000 10 200 5000 50 3 7 30 400 0
cpu1 2000 20 100 6000 60 4 6 10 0 0
cpu2 9000 90 900 9000 90 9 9 99 0 0
intr 1 2 3
procs_running 4
"""


def own(user: int, system: int, name: str = "python") -> str:
    return f"42 ({name}) S 1 42 42 0 -1 4194560 900 8 0 0 {user} {system} 30 2 20 0 3 0 77 1000 50 1844 1 1"


def test_a_reading_sums_the_cpus_that_this_process_may_use(tmp_path):
    root = draw(tmp_path, proc__stat=STAT, proc__self__stat=own(500, 100), proc__loadavg="0.75 0.5 0.25 3/120 999\n")
    read = sample(root)
    assert (read.cpus, read.own, read.load, read.running) == ((0, 1), {"self": pytest.approx(6.32)}, 0.75, 3)
    assert (read.total, read.idle, read.steal) == (pytest.approx(145.0), pytest.approx(111.1), pytest.approx(0.4))


def test_workers_are_this_process_s_own_and_itself_counts_once(tmp_path):
    root = draw(tmp_path, proc__self__stat=own(1, 0), proc__7__stat=own(100, 50, "odd) S (name 1"))
    read = sample(root, workers=[7, os.getpid(), 8])
    assert read.own == {"self": pytest.approx(0.33), "7": pytest.approx(1.82), "8": None}


def test_what_is_not_there_is_unknown(tmp_path):
    read = sample(tmp_path)
    unknown = Reading(read.at, (0, 1), None, None, None, {"self": None}, None, None, None)
    assert read == unknown
    assert compare_readings(unknown, replace(unknown, at=read.at + 10)) == Conditions(
        10.0, None, None, None, None, None, None
    )


@pytest.mark.parametrize(
    "stat",
    ["cpu0 1 2 3 4 5 6 7 8\n", "cpu0 1 2 3 4\ncpu1 1 2 3 4\n", "cpu 1 2 3 4 5 6 7 8\n"],
    ids=["a CPU is missing", "an old kernel", "only the sum"],
)
def test_half_a_file_of_cpu_times_is_none(tmp_path, stat):
    read = sample(draw(tmp_path, proc__stat=stat))
    assert (read.total, read.idle, read.steal) == (None, None, None)


def test_throttling_is_read_for_every_group_above_in_both_versions(tmp_path):
    root = draw(
        tmp_path,
        proc__self__cgroup="3:cpu:/job/step\n0::/job\n",
        proc__self__mountinfo="1 1 0:1 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
        "2 1 0:2 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw\n",
        sys__fs__cgroup__cpu__job__step__cpu__stat="",
    )
    cpu, unified = root / "sys/fs/cgroup/cpu", root / "sys/fs/cgroup/unified"
    draw(cpu / "job", **{"cpu.stat": "nr_periods 9\nnr_throttled 4\nthrottled_time 1500000000\n"})
    draw(cpu / "job/step", **{"cpu.stat": "nr_periods 9\nnr_throttled 0\nthrottled_time 0\n"})
    draw(unified / "job", **{"cpu.stat": "usage_usec 5\nnr_periods 9\nnr_throttled 1\nthrottled_usec 250000\n"})
    draw(unified, **{"cpu.stat": "usage_usec 5\nuser_usec 5\n"})  # the root has no quota
    assert sample(root).throttled == {str(cpu / "job"): 1.5, str(cpu / "job/step"): 0.0, str(unified / "job"): 0.25}


def test_without_a_quota_nothing_was_throttled_and_without_groups_nobody_knows(tmp_path):
    root = draw(tmp_path, proc__self__cgroup="0::/\n", proc__self__mountinfo="2 1 0:2 / /cg rw - cgroup2 cgroup2 rw\n")
    assert sample(root).throttled is None
    draw(root / "cg", **{"cpu.stat": "usage_usec 5\n"})
    assert sample(root).throttled == {}
    assert compare_readings(replace(QUIET, throttled={}), replace(LATER, throttled={})).throttled == 0.0


def test_a_quiet_round_is_not_marked():
    found = compare_readings(QUIET, LATER)
    assert found == Conditions(10.0, 0.0, pytest.approx(0.05), 0.0, 1.2, 2, None)
    assert json.loads(json.dumps(found.as_dict())) == found.as_dict()


@pytest.mark.parametrize(
    ("after", "marked"),
    [
        ({"own": {"self": 3.5, "7": 32.5}}, "other processes used 0.50 of 2 CPUs"),
        ({"steal": 1.6}, "the hypervisor took 3% of the CPU time"),
        ({"throttled": {"/": 0.7}}, "the CPU quota stopped it for 0.2 s"),
        ({"throttled": {"/": 0.75}, "steal": 3.0}, "the hypervisor took 10% of the CPU time; the CPU quota stopped it"),
        ({"throttled": {"/": 0.55}, "steal": 1.2, "own": {"self": 3.5, "7": 36.8}}, None),
    ],
    ids=["others", "steal", "quota", "two reasons", "a little of each"],
)
def test_a_disturbed_round_is_marked_with_the_reason(after, marked):
    found = compare_readings(QUIET, replace(LATER, **after)).marked
    assert found is None if marked is None else found.startswith(marked)


def test_one_cpu_is_one_cpu():
    alone = {"cpus": (0,), "own": {"self": 0.0}}
    found = compare_readings(replace(QUIET, **alone), replace(LATER, **alone | {"total": 210.0, "own": {"self": 7.0}}))
    assert found.marked == "other processes used 0.10 of 1 CPU"


def test_what_the_system_charged_nobody_for_was_not_others():
    busier = replace(LATER, own={"self": 3.5, "7": 32.5})
    assert compare_readings(QUIET, busier).marked
    found = compare_readings(QUIET, busier, uncharged=5.0)
    assert (found.others, found.marked) == (0.0, None)


def test_own_time_that_exceeds_what_was_busy_leaves_none_for_others():
    assert compare_readings(QUIET, replace(LATER, own={"self": 9.0, "7": 37.0})).others == 0.0


@pytest.mark.parametrize(
    "after",
    [
        {"at": 10.0 + noise.SHORTEST / 2},
        {"total": QUIET.total},
        {"total": None, "idle": None, "steal": None},
        {"cpus": (1, 2)},
    ],
    ids=["too short for ticks", "times that stand still", "times that cannot be read", "other CPUs"],
)
def test_without_cpu_times_nothing_is_said_of_steal_and_others(after):
    found = compare_readings(QUIET, replace(LATER, **after))
    assert (found.steal, found.others, found.marked) == (None, None, None)
    assert found.throttled == 0.0


@pytest.mark.parametrize("own", [{"self": 3.5, "7": None}, {"self": 3.5, "8": 1.0}, {"self": 3.5, "7": 37.0, "8": 1.0}])
def test_a_worker_that_came_or_went_hides_what_others_used_and_nothing_else(own):
    found = compare_readings(QUIET, replace(LATER, own=own, steal=3.0))
    assert (found.others, found.steal, found.marked) == (None, 0.1, "the hypervisor took 10% of the CPU time")


def test_a_short_round_is_marked_where_the_quota_stopped_it():
    assert (
        compare_readings(QUIET, replace(LATER, at=10.1, throttled={"/": 0.55})).marked
        == "the CPU quota stopped it for 0.05 s"
    )


def test_a_busy_process_is_another_unless_it_works_for_this_one(monkeypatch):
    monkeypatch.undo()  # this machine, as it is
    if sample().total is None:
        assert compare_readings(sample(), sample()).others is None
        return
    busy = subprocess.Popen([sys.executable, "-c", "print(flush=True)\nwhile True: pass"], stdout=subprocess.PIPE)
    try:
        busy.stdout.readline()
        workers = [[], [busy.pid]]
        before = [sample(workers=pids) for pids in workers]
        with pytest.raises(subprocess.TimeoutExpired):
            busy.wait(4 * noise.SHORTEST)
        another, ours = (
            compare_readings(*two) for two in zip(before, [sample(workers=pids) for pids in workers], strict=True)
        )
    finally:
        busy.kill()
        busy.wait()
        busy.stdout.close()
    assert another.marked.startswith("other processes used ")
    assert ours.others < another.others
