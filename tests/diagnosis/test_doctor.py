"""doctor: what it says of machines that the tests draw, exactly; and that it says something of the real one."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pytest
from rich.console import Console

import compute
from compute import machine
from compute.cli.commands import main
from compute.diagnosis import TOPICS, Finding, doctor, interpreter, processors, surroundings, text
from kernels.definition import numba_is_here

LEVELS = {"ok", "note", "warn", "unknown"}
CPU = "sys/devices/system/cpu"

# Sixteen CPUs on eight cores on two sockets, at the lowest clock.
BARE_METAL = {
    f"{CPU}/online": "0-15\n",
    "proc/self/cgroup": "0::/user.slice\n",
    "sys/fs/cgroup/user.slice/cpu.max": "max 100000\n",
    "proc/loadavg": "0.03 0.10 0.20 1/500 1234\n",
    "proc/cpuinfo": "model name\t: Imaginary 9000\nflags\t\t: fpu avx2 ht\n",
    "proc/stat": "cpu  1000 0 500 8500 0 0 0 0 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n",
    f"{CPU}/cpufreq/boost": "1\n",
    "sys/devices/system/node/node0/cpulist": "0-3,8-11\n",
    "sys/devices/system/node/node1/cpulist": "4-7,12-15\n",
    f"{CPU}/cpu0/cache/index0/level": "1\n",
    f"{CPU}/cpu0/cache/index0/type": "Data\n",
    f"{CPU}/cpu0/cache/index0/size": "48K\n",
    f"{CPU}/cpu0/cache/index1/level": "1\n",
    f"{CPU}/cpu0/cache/index1/type": "Instruction\n",
    f"{CPU}/cpu0/cache/index1/size": "32K\n",
    f"{CPU}/cpu0/cache/index3/level": "3\n",
    f"{CPU}/cpu0/cache/index3/type": "Unified\n",
    f"{CPU}/cpu0/cache/index3/size": "32768K\n",
    f"{CPU}/cpu0/cache/index3/shared_cpu_list": "0-3,8-11\n",
}
for cpu in range(16):
    BARE_METAL |= {
        f"{CPU}/cpu{cpu}/topology/core_cpus_list": f"{cpu % 8},{cpu % 8 + 8}\n",
        f"{CPU}/cpu{cpu}/topology/physical_package_id": f"{cpu % 8 // 4}\n",
        f"{CPU}/cpu{cpu}/cpufreq/scaling_governor": "powersave\n",
        f"{CPU}/cpu{cpu}/cpufreq/scaling_driver": "acpi-cpufreq\n",
    }

# A Kubernetes box of one and a half of four CPUs, on a busy and shared host.
CONTAINER = {
    f"{CPU}/online": "0-3\n",
    "proc/self/cgroup": "0::/kubepods/pod7/box\n",
    "sys/fs/cgroup/kubepods/pod7/cpu.max": "150000 100000\n",
    "sys/fs/cgroup/kubepods/pod7/box/cpu.max": "max 100000\n",
    "proc/loadavg": "1.75 1.00 0.50 3/90 77\n",
    "proc/cpuinfo": "flags\t\t: fpu avx2 hypervisor\n",
    "proc/stat": "cpu  1000 0 500 8000 0 0 0 500 0 0\n",
    f"{CPU}/intel_pstate/no_turbo": "1\n",
}


@pytest.fixture(autouse=True)
def no_wish(monkeypatch):
    monkeypatch.delenv("PYTHON_CPU_COUNT", raising=False)


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """drawn(files, cpus) -> topic -> Finding of a machine with these files, and that many CPUs allowed."""

    def look(files: dict[str, str], cpus: int) -> dict[str, Finding]:
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(content)
        monkeypatch.setattr(machine, "allowed_cpus", lambda: list(range(cpus)))
        monkeypatch.setattr(os, "cpu_count", lambda: cpus)
        return {found.topic: found for found in doctor(tmp_path)}

    return look


def test_two_sockets_with_smt_and_the_lowest_clock(drawn):
    told = drawn(BARE_METAL, 16)
    expected = {
        "CPUs": ("ok", "16 present, 16 allowed, 16 usable"),
        "CPU quota": ("ok", "none"),
        "SMT": ("note", "2 threads a core: 16 CPUs on 8 cores"),
        "sockets": ("note", "2 sockets, 2 memory nodes"),
        "governor": ("warn", "powersave (acpi-cpufreq)"),
        "turbo": ("note", "on"),
        "caches": ("ok", "L1d 48 KiB, L3 32 MiB"),
        "load": ("ok", "0.03 over the last minute"),
        "virtual machine": ("ok", "no"),
        "steal": ("ok", "0 % of the CPU time since boot"),
        "container": ("ok", "no mark of one"),
    }
    assert {topic: (told[topic].level, told[topic].value) for topic in expected} == expected
    assert told["SMT"].remedy == "expect N-fold up to 8 workers; the rest is a bonus"
    assert told["governor"].remedy == "cpupower frequency-set -g performance (needs root)"
    assert "(L3, shared by 8 CPUs)" in told["caches"].meaning


def test_a_container_with_a_quota_on_a_busy_host(drawn):
    told = drawn(CONTAINER, 4)
    expected = {
        "CPUs": ("ok", "4 present, 4 allowed, 2 usable"),
        "CPU quota": ("warn", "1.5 CPUs (/sys/fs/cgroup/kubepods/pod7)"),
        "SMT": ("unknown", "unknown"),
        "sockets": ("unknown", "unknown"),
        "governor": ("unknown", "unknown"),
        "turbo": ("ok", "off"),
        "caches": ("unknown", "unknown"),
        "load": ("warn", "1.75 over the last minute"),
        "virtual machine": ("note", "yes"),
        "steal": ("warn", "5 % of the CPU time since boot"),
        "container": ("note", "Kubernetes"),
    }
    assert {topic: (told[topic].level, told[topic].value) for topic in expected} == expected
    assert "at most 1.5 times serial" in told["CPU quota"].meaning
    assert told["CPU quota"].remedy == "for steady times 1 worker; for more, docker run --cpus or limits.cpu"
    assert told["load"].remedy == "wait until they end, or measure with 1 worker"


def test_a_sandbox_with_an_empty_proc_is_unknown_not_guessed(drawn, monkeypatch):
    told = drawn({}, 2)
    blind = {topic for topic, found in told.items() if found.level == "unknown"}
    assert blind == {
        *("CPU quota", "SMT", "sockets", "governor", "turbo", "caches", "/dev/shm", "load"),
        *("virtual machine", "steal", "container"),
        *([] if numba_is_here() else ["threading layers"]),
    }
    assert told["CPUs"].value == "2 present, 2 allowed, 2 usable"
    assert all(found.meaning for found in told.values())


def test_a_sandbox_whose_ticks_are_all_zero_does_not_tell_its_steal(drawn):
    assert drawn({"proc/stat": "cpu  0 0 0 0 0 0 0 0 0 0\n"}, 2)["steal"].level == "unknown"


@pytest.mark.parametrize(
    ("cpus", "present", "wish", "level", "told"),
    [
        (1, "0-3", "", "warn", "nothing is faster than serial"),
        (2, "0-7", "", "note", "leaves 6 out"),
        (8, "0-7", "3", "note", "PYTHON_CPU_COUNT=3 says so"),
        (8, "0-7", "64", "ok", "up to 8 workers"),
        (8, "nonsense", "", "ok", "up to 8 workers"),
    ],
)
def test_cpus(drawn, monkeypatch, cpus, present, wish, level, told):
    monkeypatch.setenv("PYTHON_CPU_COUNT", wish)
    found = drawn({f"{CPU}/online": present}, cpus)["CPUs"]
    assert found.level == level
    assert told in found.meaning
    assert bool(found.remedy) == (level != "ok")


def test_a_quota_that_is_no_less_than_the_cpus_stops_no_one(drawn):
    found = drawn({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "400000 100000\n"}, 4)["CPU quota"]
    assert (found.level, found.value) == ("ok", "4 CPUs (/sys/fs/cgroup)")


@pytest.mark.parametrize(
    ("governor", "driver", "level"),
    [
        ("performance", "intel_pstate", "ok"),
        ("powersave", "intel_pstate", "note"),
        ("powersave", "amd-pstate-epp", "note"),
        ("powersave", "intel_cpufreq", "warn"),
        ("schedutil", "acpi-cpufreq", "note"),
        ("ondemand", "", "note"),
    ],
)
def test_powersave_is_the_lowest_clock_only_where_the_driver_is_passive(drawn, governor, driver, level):
    files = {f"{CPU}/cpu0/cpufreq/scaling_governor": governor, f"{CPU}/cpu0/cpufreq/scaling_driver": driver}
    assert drawn(files, 2)["governor"].level == level


def test_a_sibling_that_is_not_ours_is_noted(drawn):
    files = {f"{CPU}/cpu{cpu}/topology/core_cpus_list": f"{cpu},{cpu + 4}" for cpu in range(2)}
    found = drawn(files, 2)["SMT"]
    assert (found.level, found.value) == ("note", "2 threads a core: 2 CPUs on 2 cores")
    assert "not ours" in found.meaning


@pytest.mark.parametrize(
    ("text", "listed"),
    [("0-3,8", [0, 1, 2, 3, 8]), ("5", [5]), ("", []), ("0-", [0]), ("a-b", []), ("0-3,x", []), (" 1, 2 ", [1, 2])],
)
def test_lists_of_cpus(text, listed):
    assert processors.numbers(text) == listed


def test_shared_memory_that_cannot_be_written_is_warned_of(monkeypatch, tmp_path):
    (tmp_path / "dev/shm").mkdir(parents=True)
    assert surroundings.shared_memory(tmp_path).value != "not writable"
    monkeypatch.setattr(os, "access", lambda *_: False)
    found = surroundings.shared_memory(tmp_path)
    assert (found.value, found.level) == ("not writable", "warn")


def test_docker_s_64_mebibytes_of_shared_memory_are_warned_of():
    found = surroundings.room(64 << 20, 60 << 20)
    assert (found.level, found.value) == ("warn", "64 MiB, 60 MiB free")
    assert "--shm-size" in found.remedy
    assert surroundings.room(8 << 30, 7 << 30).level == "ok"
    assert surroundings.room(8 << 30, 1 << 20).level == "warn"


@pytest.mark.parametrize(
    ("soft", "usable", "level", "value"),
    [
        (1024, 8, "ok", "1024 (hard limit 4096)"),
        (64, 8, "warn", "64 (hard limit 4096)"),
        (1024, 128, "warn", "1024 (hard limit 4096)"),
        (-1, 128, "ok", "unlimited"),
    ],
)
def test_open_files(soft, usable, level, value):
    found = surroundings.open_files(soft, 4096, usable)
    assert (found.level, found.value) == (level, value)


def test_memory_that_is_nearly_gone_is_warned_of(monkeypatch):
    import psutil

    monkeypatch.setattr(machine, "memory_available", lambda root: psutil.virtual_memory().total // 20)
    assert surroundings.memory(Path("/")).level == "warn"
    monkeypatch.setattr(machine, "memory_available", lambda root: psutil.virtual_memory().total // 2)
    assert surroundings.memory(Path("/")).level == "ok"


@pytest.mark.parametrize(
    ("told", "level", "value"),
    [
        ([("openblas", "0.3.31", 8)], "warn", "openblas 0.3.31, 8 threads"),
        ([("openblas", "0.3.31", 2)], "note", "openblas 0.3.31, 2 threads"),
        ([("mkl", None, 1)], "ok", "mkl, 1 thread"),
        ([], "unknown", "unknown"),
    ],
)
def test_blas_threads_under_each_of_two_workers(told, level, value):
    pools = [{"user_api": "blas", "internal_api": n, "version": v, "num_threads": t} for n, v, t in told]
    found = interpreter.blas_threads([{"user_api": "openmp", "num_threads": 64}, *pools], usable=2)
    assert (found.level, found.value) == (level, value)


@pytest.mark.parametrize(("threads", "level"), [(8, "warn"), (2, "ok"), (1, "note")])
def test_numba_s_threads_beside_the_usable_cpus(threads, level):
    found = interpreter.numba_threads("0.68.1", threads, usable=2)
    assert found.level == level
    assert (found.remedy == "NUMBA_NUM_THREADS=2 before Python starts") == (level != "ok")


@pytest.mark.parametrize(
    ("missing", "level", "value"),
    [
        ({"tbb": None, "omp": None, "workqueue": None}, "ok", "tbb, omp, workqueue"),
        ({"tbb": "libtbb.so.12", "omp": None, "workqueue": None}, "ok", "omp, workqueue; tbb missing (libtbb.so.12)"),
        ({"tbb": "a", "omp": "b", "workqueue": None}, "note", "workqueue; tbb missing (a); omp missing (b)"),
        (
            {"tbb": "a", "omp": "b", "workqueue": "c"},
            "warn",
            "none; " + "; ".join(["tbb missing (a)", "omp missing (b)", "workqueue missing (c)"]),
        ),
    ],
)
def test_threading_layers(missing, level, value):
    found = interpreter.threading_layers(missing, ["tbb", "omp", "workqueue"])
    assert (found.level, found.value) == (level, value)


@pytest.mark.parametrize(
    ("theirs", "ours", "level"),
    [("fork", "forkserver", "note"), ("forkserver", "forkserver", "ok"), ("spawn", "spawn", "note")],
)
def test_start_methods(theirs, ours, level):
    found = interpreter.starting(theirs, ours)
    assert (found.level, found.value) == (level, f"{theirs} (multiprocessing), {ours} (nfold)")


def test_another_interpreter_that_does_not_tell_its_gil_is_unknown(monkeypatch):
    monkeypatch.delattr(sys, "_is_gil_enabled", raising=False)
    monkeypatch.setattr(interpreter.sys.implementation, "name", "imaginary")
    assert interpreter.gil(Path("/")).level == "unknown"


@pytest.mark.parametrize(("gil", "level"), [(True, "note"), (False, "ok")])
def test_a_changed_switch_interval_is_noted_where_there_is_a_gil(gil, level, monkeypatch):
    monkeypatch.setattr(sys, "getswitchinterval", lambda: 0.1)
    monkeypatch.setattr(machine, "has_gil", lambda: gil)
    found = interpreter.switch_interval(Path("/"))
    assert (found.level, found.value) == (level, "100 ms")
    assert ("none to wait for" in found.meaning) != gil


def test_what_cannot_be_looked_at_is_unknown_and_hides_nothing_else(monkeypatch):
    def broken(root):
        raise RuntimeError("no such thing")

    monkeypatch.setitem(TOPICS, "caches", broken)
    found = doctor()
    assert len(found) == len(TOPICS)
    caches = next(one for one in found if one.topic == "caches")
    assert (caches.level, caches.value) == ("unknown", "unknown")
    assert "RuntimeError: no such thing" in caches.meaning


def test_every_topic_of_the_real_machine_is_looked_at():
    found = compute.doctor()
    assert [one.topic for one in found] == list(TOPICS)
    assert {one.level for one in found} <= LEVELS
    assert not [one for one in found if "failed" in one.meaning]
    assert all(one.remedy for one in found if one.level == "warn")


FINDINGS = (
    Finding("CPUs", "2 present", "up to 2 workers compute at once", None, "ok"),
    Finding("load", "3.2", "others wanted " + "more and more " * 8, "wait until " + "all of them " * 6 + "end", "warn"),
)


def test_the_text_is_folded_at_the_width_and_counts_the_levels():
    lines = text.render(FINDINGS, 80).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[:2] == ["ok       CPUs  2 present", "               up to 2 workers compute at once"]
    assert lines[2].startswith("warn     load  3.2")
    assert any(line.startswith("               → wait until") for line in lines)
    assert lines[-2:] == ["", "1 ok, 1 warn"]
    assert text.render((), 80).strip() == ""


def test_colours_are_for_terminals_alone():
    out = io.StringIO()
    text.show(FINDINGS, Console(file=out, width=80, force_terminal=True, color_system="standard"))
    assert "\x1b[" in out.getvalue()
    assert "\x1b[" not in text.render(FINDINGS)


def test_the_command_prints_and_keeps_what_it_found(capsys, tmp_path):
    assert main(["doctor", "--json", str(tmp_path / "d.json")]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "start method" in out
    kept = json.loads((tmp_path / "d.json").read_text())
    assert kept["schema"] == "nfold-doctor/1"
    assert [one["topic"] for one in kept["findings"]] == list(TOPICS)
    assert set(kept["findings"][0]) == {"topic", "value", "meaning", "remedy", "level"}


def test_a_path_that_cannot_be_written_is_refused(capsys):
    assert main(["doctor", "--json", "no/such/folder.json"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "no/such" in err
