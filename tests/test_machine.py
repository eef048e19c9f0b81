"""CPUs, memory and shared memory that this process may use: read from control groups that the tests draw."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from compute import machine

V2_MOUNT = "41 31 0:38 {seen} /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n"


@pytest.fixture(autouse=True)
def eight_cpus(monkeypatch):
    monkeypatch.delenv("PYTHON_CPU_COUNT", raising=False)
    monkeypatch.setattr(machine, "allowed_cpus", lambda: list(range(8)))


def draw(root: Path, files: dict[str, str]) -> Path:
    """A root folder with these files in it."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("quota", "cpus"),
    [("50000 100000", 1), ("100000 100000", 1), ("150000 100000", 2), ("200000 100000", 2), ("max 100000", 8)],
)
@pytest.mark.parametrize("depth", ["", "a", "a/b", "a/b/c"])
def test_a_version_2_quota_counts_wherever_on_the_path_it_stands(tmp_path, quota, cpus, depth):
    files = {"proc/self/cgroup": "0::/a/b/c\n"}
    files |= {f"sys/fs/cgroup/{folder}cpu.max": "max 100000\n" for folder in ("a/", "a/b/", "a/b/c/")}
    files[os.path.normpath(f"sys/fs/cgroup/{depth}/cpu.max")] = quota + "\n"
    assert machine.usable_cpus(draw(tmp_path, files)) == cpus


@pytest.mark.parametrize(("quota", "cpus"), [("50000", 1), ("150000", 2), ("300000", 3), ("-1", 8)])
@pytest.mark.parametrize("folder", ["", "docker/", "docker/abc/"])
def test_a_version_1_quota_counts_wherever_on_the_path_it_stands(tmp_path, quota, cpus, folder):
    files = {
        "proc/self/cgroup": "5:cpu,cpuacct:/docker/abc\n4:memory:/elsewhere\n",
        "proc/self/mountinfo": "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n",
        f"sys/fs/cgroup/cpu,cpuacct/{folder}cpu.cfs_quota_us": quota,
        f"sys/fs/cgroup/cpu,cpuacct/{folder}cpu.cfs_period_us": "100000",
        "sys/fs/cgroup/memory/elsewhere/cpu.cfs_quota_us": "1",
        "sys/fs/cgroup/memory/elsewhere/cpu.cfs_period_us": "100000",
    }
    assert machine.usable_cpus(draw(tmp_path, files)) == cpus


def test_the_least_quota_wins_where_both_versions_are_mounted(tmp_path):
    files = {
        "proc/self/cgroup": "1:cpu:/job\n0::/job\n",
        "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "400000",
        "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000",
        "sys/fs/cgroup/unified/job/cpu.max": "250000 100000",
        "proc/self/mountinfo": "1 1 0:1 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
        "2 1 0:2 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw\n",
    }
    root = draw(tmp_path, files)
    assert sorted(machine.cpu_quotas(root)) == [2.5, 4.0]
    assert machine.usable_cpus(root) == 3


@pytest.mark.parametrize(
    ("path", "seen"), [("/", "/"), ("/kube/pod/box", "/kube/pod/box"), ("/../..", "/"), ("/kube", "/kube/pod/box")]
)
def test_a_container_that_sees_its_own_part_alone_reads_the_top_of_it(tmp_path, path, seen):
    files = {
        "proc/self/cgroup": f"0::{path}\n",
        "proc/self/mountinfo": V2_MOUNT.format(seen=seen),
        "sys/fs/cgroup/cpu.max": "150000 100000",
    }
    assert machine.usable_cpus(draw(tmp_path, files)) == 2


def test_a_subgroup_inside_a_container_is_found_below_what_it_sees(tmp_path):
    files = {
        "proc/self/cgroup": "0::/kube/box/inner\n",
        "proc/self/mountinfo": V2_MOUNT.format(seen="/kube/box"),
        "sys/fs/cgroup/cpu.max": "600000 100000",
        "sys/fs/cgroup/inner/cpu.max": "400000 100000",
    }
    assert sorted(machine.cpu_quotas(draw(tmp_path, files))) == [4.0, 6.0]


@pytest.mark.parametrize("text", ["", "max", "nonsense", "100000 0", "100000", "-5 100000"])
def test_a_quota_that_cannot_be_read_is_none(tmp_path, text):
    root = draw(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": text})
    assert machine.cpu_quotas(root) == []


def test_python_cpu_count_lowers_but_never_raises(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHON_CPU_COUNT", "3")
    assert machine.usable_cpus(tmp_path) == 3
    monkeypatch.setenv("PYTHON_CPU_COUNT", "64")
    assert machine.usable_cpus(tmp_path) == 8
    monkeypatch.setenv("PYTHON_CPU_COUNT", "default")
    assert machine.usable_cpus(tmp_path) == 8


def test_affinity_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "allowed_cpus", lambda: [5])
    assert machine.usable_cpus(tmp_path) == 1


def test_allowed_cpus_are_those_of_the_affinity_mask(monkeypatch):
    monkeypatch.undo()
    assert len(machine.allowed_cpus()) >= 1
    if sys.platform == "linux":
        assert set(machine.allowed_cpus()) == os.sched_getaffinity(0)


def test_hardware_threads_of_one_core_stand_together(tmp_path, monkeypatch):
    topology = "sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    root = draw(tmp_path, {topology.format(cpu): f"{cpu % 4},{cpu % 4 + 4}\n" for cpu in range(8)})
    assert machine.cores(root) == [[0, 4], [1, 5], [2, 6], [3, 7]]
    monkeypatch.setattr(machine, "allowed_cpus", lambda: [0, 3, 7])
    assert machine.cores(root) == [[0], [3, 7]]


def test_a_core_a_cpu_where_the_topology_is_not_told(tmp_path):
    assert machine.cores(tmp_path) == [[cpu] for cpu in range(8)]


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({"memory.max": "1000000", "memory.current": "400000"}, 600000),
        (
            {"memory.max": "1000000", "memory.current": "400000", "memory.stat": "file 9\ninactive_file 250000"},
            850000,
        ),
        ({"memory.max": "1000000", "memory.current": "1000001"}, 0),
    ],
)
@pytest.mark.parametrize("level", ["", "a/", "a/b/"])
def test_memory_left_under_a_version_2_limit(tmp_path, files, left, level):
    drawn = {f"sys/fs/cgroup/{level}{name}": text for name, text in files.items()}
    root = draw(tmp_path, drawn | {"proc/self/cgroup": "0::/a/b\n"})
    assert machine.memory_available(root) == left


def test_memory_left_under_a_version_1_limit(tmp_path):
    files = {
        "proc/self/cgroup": "4:memory:/job\n1:cpu:/\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": "123456",
        "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "700000",
        "sys/fs/cgroup/memory/job/memory.usage_in_bytes": "500000",
        "sys/fs/cgroup/memory/job/memory.stat": "inactive_file 7\ntotal_inactive_file 100000\n",
    }
    assert machine.memory_available(draw(tmp_path, files)) == 700000 - 500000 + 100000


def test_memory_without_a_limit_is_the_system_s(tmp_path):
    root = draw(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max"})
    assert machine.memory_available(root) > 1 << 20


def test_shared_memory_is_counted_where_there_is_a_file_system(tmp_path):
    assert machine.shared_memory_free(tmp_path) > 0
    assert machine.shared_memory_free(tmp_path / "nowhere") is None


def test_a_description_goes_through_json_and_names_what_matters(tmp_path):
    files = {
        "proc/cpuinfo": "model name\t: Imaginary 9000\nflags\t\t: fpu avx2 hypervisor\n",
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/cpu.max": "150000 100000",
        "sys/devices/system/cpu/cpu0/cache/index0/size": "48K",
        "sys/devices/system/cpu/cpu0/cache/index0/level": "1",
        "sys/devices/system/cpu/cpu0/cache/index0/type": "Data",
        "sys/devices/system/cpu/cpu0/cache/index2/size": "2M",
        "sys/devices/system/cpu/cpu0/cache/index2/level": "2",
        "sys/devices/system/cpu/cpu0/cache/index2/type": "Unified",
    }
    told = json.loads(json.dumps(machine.describe(draw(tmp_path, files))))
    assert told["model"] == "Imaginary 9000"
    assert told["virtual"] is True
    assert (told["cpus"], told["quota"], told["cores"]) == (2, 1.5, 8)
    assert told["caches"] == {"L1d": 48 << 10, "L2": 2 << 20}
    assert told["python"] == ".".join(map(str, sys.version_info[:3]))
    assert told["memory"] >= told["memory_available"] > 0


@pytest.mark.parametrize(
    ("cpuinfo", "model"),
    [
        ("processor\t: 0\nmodel name\t: Imaginary 9000\n", "Imaginary 9000"),
        (
            "CPU implementer\t: 0x41\nCPU part\t: 0xd0c\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n",
            "CPU implementer 0x41, part 0xd0c",
        ),
        (
            "CPU implementer\t: 0x41\nCPU part\t: 0xd05\nCPU implementer\t: 0x41\nCPU part\t: 0xd0a\n",
            "CPU implementer 0x41, part 0xd05, 0xd0a",
        ),
        ("uarch\t\t: sifive,u74-mc\n", "sifive,u74-mc"),
        ("cpu\t\t: POWER9, altivec supported\n", "POWER9, altivec supported"),
    ],
)
def test_two_models_of_processor_are_told_apart_on_other_architectures_too(tmp_path, cpuinfo, model):
    assert machine.describe(draw(tmp_path, {"proc/cpuinfo": cpuinfo}))["model"] == model


def test_a_bare_system_is_described_too(tmp_path):
    told = machine.describe(tmp_path)
    assert told["caches"] is None
    assert told["virtual"] is None
    assert told["quota"] is None
    assert told["model"]
