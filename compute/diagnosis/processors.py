"""Checks of the CPUs: how many, how they share cores and caches, how fast they run. Read from files under a root."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from compute import machine
from compute.diagnosis.finding import Finding, count, in_bytes, unknown
from kernels.vectors.caches import first_cpus_caches

CPU = "sys/devices/system/cpu"
# With these drivers "powersave" follows the load. With all others it is the lowest clock speed.
DYNAMIC_POWERSAVE = ("intel_pstate", "amd-pstate-epp", "amd_pstate_epp")


def cpus(root: Path) -> Finding:
    """How many CPUs are present, allowed by the affinity mask, and usable at once."""
    present = len(numbers(machine.text(root / CPU / "online"))) or os.cpu_count()
    allowed, usable = len(machine.allowed_cpus()), machine.usable_cpus(root)
    value = f"{present or 'unknown'} present, {allowed} allowed, {usable} usable"
    asked = sys._xoptions.get("cpu_count") or os.environ.get("PYTHON_CPU_COUNT", "")
    if usable == 1:
        remedy = "give it more CPUs (affinity, quota), or read every speedup here as overhead"
        return Finding("CPUs", value, "one worker at a time computes: nothing is faster than serial", remedy, "warn")
    meaning = f"up to {usable} workers compute at once; more take turns"
    if present is not None and allowed < present:
        remedy = f"to use all: taskset --cpu-list 0-{present - 1} …, or ask the scheduler for more"
        return Finding("CPUs", value, f"{meaning}; the affinity mask leaves {present - allowed} out", remedy, "note")
    if asked.isdecimal() and usable == int(asked) < allowed:
        return Finding("CPUs", value, f"{meaning}; PYTHON_CPU_COUNT={asked} says so", "unset it to use all", "note")
    return Finding("CPUs", value, meaning)


def quota(root: Path) -> Finding:
    """The smallest CPU quota of this process's control groups, and the folder of that group."""
    if not any(folder.is_dir() for _, folder in machine.groups(root, "cpu")):
        meaning = "whether a control group stops workers for a part of each period cannot be told here"
        return unknown("CPU quota", meaning, "look at what the container was started with (docker run --cpus)")
    quotas = [(quota, folder) for folder, quota in machine.quotas_by_folder(root)]
    if not quotas:
        return Finding("CPU quota", "none", "no control group stops workers")
    least, folder = min(quotas)
    value = f"{least:.4g} CPUs (/{folder.relative_to(root)})"
    if least >= len(machine.allowed_cpus()):
        return Finding("CPU quota", value, "no less than the allowed CPUs: it stops no one")
    meaning = f"stops all workers for a part of each period, once it is used up: at most {least:.4g} times serial"
    remedy = f"for steady times {count(max(1, int(least)), 'worker')}; for more, docker run --cpus or limits.cpu"
    return Finding("CPU quota", value, meaning, remedy, "warn")


def smt(root: Path) -> Finding:
    """How many hardware threads each physical core has, of the allowed ones."""
    siblings = {cpu: _siblings(root, cpu) for cpu in machine.allowed_cpus()}
    if not all(siblings.values()):
        meaning = "two workers may share one core's units and be far from twice as fast"
        return unknown("SMT", meaning, "count cores in the machine's data sheet, and measure with that many workers")
    cores, threads = len(set(map(tuple, siblings.values()))), max(map(len, siblings.values()))
    per_core = "1 thread a core" if threads == 1 else f"{threads} threads a core"
    value = f"{per_core}: {count(len(siblings), 'CPU')} on {count(cores, 'core')}"
    if cores < len(siblings):
        meaning = f"workers beyond {cores} share cores: they add a fraction of a core each, or nothing"
        remedy = f"expect N-fold up to {count(cores, 'worker')}; the rest is a bonus"
        return Finding("SMT", value, meaning, remedy, "note")
    if threads > 1:
        meaning = "each allowed CPU has a core whose other thread is not ours: what runs there slows us down"
        return Finding("SMT", value, meaning, "keep the siblings idle while measuring", "note")
    return Finding("SMT", value, "each worker has a core of its own")


def _siblings(root: Path, cpu: int) -> list[int]:
    topology = root / CPU / f"cpu{cpu}/topology"
    return numbers(machine.text(topology / "core_cpus_list") or machine.text(topology / "thread_siblings_list"))


def sockets(root: Path) -> Finding:
    """Packages and memory nodes that the allowed CPUs lie on."""
    allowed = machine.allowed_cpus()
    packages = {machine.text(root / CPU / f"cpu{cpu}/topology/physical_package_id") for cpu in allowed}
    nodes = [
        folder.name
        for folder in sorted((root / "sys/devices/system/node").glob("node[0-9]*"))
        if set(numbers(machine.text(folder / "cpulist"))) & set(allowed)
    ]
    if not allowed or "" in packages:
        return unknown("sockets", "memory of another socket or node is slower; where it lies cannot be told here")
    value = count(len(packages), "socket") + (f", {count(len(nodes), 'memory node')}" if nodes else "")
    if max(len(packages), len(nodes)) > 1:
        meaning = "memory lies with the node that first touched it: workers of another node read it more slowly"
        remedy = "for memory-bound kernels, numactl --interleave=all, or one node: numactl -N 0 -m 0 nfold …"
        return Finding("sockets", value, meaning, remedy, "note")
    return Finding("sockets", value, "all memory is equally near to every worker")


def governor(root: Path) -> Finding:
    """How the clock speed is chosen."""
    folders = [root / CPU / f"cpu{cpu}/cpufreq" for cpu in machine.allowed_cpus()]
    governors = sorted({word for folder in folders if (word := machine.text(folder / "scaling_governor"))})
    if not governors:
        meaning = "the clock may rise and fall while measuring; nfold's shuffled rounds even that out"
        return unknown("governor", meaning, "on the host: cpupower frequency-info")
    driver = machine.text(folders[0] / "scaling_driver")
    value = " and ".join(governors) + (f" ({driver})" if driver else "")
    remedy = "cpupower frequency-set -g performance (needs root)"
    if governors == ["performance"]:
        return Finding("governor", value, "the clock stays as high as heat and power allow")
    if "powersave" in governors and driver not in DYNAMIC_POWERSAVE:
        return Finding(
            "governor", value, "the lowest clock there is: every time is longer than need be", remedy, "warn"
        )
    meaning = "the clock follows the load: the first milliseconds of a run are slow, short runs most"
    return Finding("governor", value, meaning, remedy, "note")


def turbo(root: Path) -> Finding:
    """Whether one busy core clocks higher than all of them together."""
    off, boost = machine.text(root / CPU / "intel_pstate/no_turbo"), machine.text(root / CPU / "cpufreq/boost")
    is_on = {"0": True, "1": False}.get(off) if off else {"1": True, "0": False}.get(boost)
    meaning = "one busy core clocks higher than all of them together: perfect work falls short of N-fold too"
    remedy = "read speedup beside the ceiling, which was measured at the same clock"
    if is_on is None:
        return unknown("turbo", f"where it is on, {meaning}", remedy)
    if is_on:
        return Finding("turbo", "on", meaning, f"{remedy}; or switch it off to compare", "note")
    return Finding("turbo", "off", "one core clocks no higher than all of them together")


def caches(root: Path) -> Finding:
    """The caches of the first CPU, and how many CPUs share the last one."""
    sizes = machine.caches(root)
    if not sizes:
        return unknown("caches", "from which size on workers share the memory's bandwidth cannot be told here")
    data = {name: size for name, size in sizes.items() if not name.endswith("i")}
    value = ", ".join(f"{name} {in_bytes(size)}" for name, size in data.items())
    last = list(data)[-1]
    shared = {f"L{c.level}": c.cpus for c in first_cpus_caches(root) if c.kind != "Instruction"}[last.rstrip("d")]
    sharers = f", shared by {count(len(numbers(shared)), 'CPU')}" if shared else ""
    meaning = f"arrays beyond {in_bytes(data[last])} ({last}{sharers}) come from memory, whose bandwidth all share"
    return Finding("caches", value, meaning)


def numbers(text: str) -> list[int]:
    """The CPUs of a kernel's list such as `0-3,8`; empty where the text is no such list."""
    cpus: list[int] = []
    for part in text.split(","):
        low, _, high = part.strip().partition("-")
        if not low.isdecimal() or (high and not high.isdecimal()):
            return []
        cpus += range(int(low), int(high or low) + 1)
    return cpus
