"""What this machine lets this process use: CPUs, memory, shared memory; and its description for reports.

`os.cpu_count` and `os.process_cpu_count` know nothing of a container's quota (cpython#149452), and most libraries read
only the root of the control groups (loky#634). Here every ancestor on the process's own path counts, in versions 1 and
2 and in both at once. Files are read under `root`, so that tests can supply a fake machine.
"""

from __future__ import annotations

import math
import os
import platform
import re
import sys
import sysconfig
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from kernels.vectors.memory import ROOT as ROOT
from kernels.vectors.memory import groups as groups
from kernels.vectors.memory import memory_available as memory_available
from kernels.vectors.memory import memory_total as memory_total
from kernels.vectors.memory import text as text


def usable_cpus(root: Path = ROOT) -> int:
    """How many workers can compute at once: affinity, every control group's quota, and PYTHON_CPU_COUNT; at least 1."""
    # A part of a CPU counts as one: with 1.5 CPUs two workers that share the chunks get 1.5 CPUs of work done in
    # a second, one worker 1.0. (Both are stopped for a part of each period: the quota is in the report.)
    counts = [len(allowed_cpus()), *(math.ceil(quota) for quota in cpu_quotas(root))]
    if asked := sys._xoptions.get("cpu_count") or os.environ.get("PYTHON_CPU_COUNT"):
        counts += [int(asked)] if str(asked).isdecimal() else []  # "default" says nothing
    return max(1, min(counts))


def allowed_cpus() -> list[int]:
    """The numbers of the CPUs that this process may run on (all of them where the system has no affinity)."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def cpu_quotas(root: Path = ROOT) -> list[float]:
    """The CPU quota, in CPUs, of each control group above this process that has one."""
    return [quota for _, quota in quotas_by_folder(root)]


def quotas_by_folder(root: Path = ROOT) -> Iterator[tuple[Path, float]]:
    """(the control group's folder, its CPU quota in CPUs), from this process's own upwards, of those that have one."""
    for version, folder in groups(root, "cpu"):
        if version == 2:
            quota, _, period = text(folder / "cpu.max").partition(" ")
        else:
            quota, period = text(folder / "cpu.cfs_quota_us"), text(folder / "cpu.cfs_period_us")
        if quota.isdecimal() and period.isdecimal() and int(period):  # neither "max" nor -1
            yield folder, int(quota) / int(period)


def cores(root: Path = ROOT) -> list[list[int]]:
    """The allowed CPUs by physical core: hardware threads of one core stand together. One a core where unknown."""
    siblings: dict[str, list[int]] = {}
    for cpu in allowed_cpus():
        topology = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        shared = text(topology / "core_cpus_list") or text(topology / "thread_siblings_list") or str(cpu)
        siblings.setdefault(shared, []).append(cpu)
    return list(siblings.values())


def shared_memory_free(folder: Path = Path("/dev/shm")) -> int | None:
    """Bytes free for shared-memory segments, or None where they do not live in a file system."""
    try:
        space = os.statvfs(folder)
    except (OSError, AttributeError):  # macOS and Windows keep them elsewhere
        return None
    return space.f_bavail * space.f_frsize


def has_gil() -> bool:
    """Whether this interpreter has a GIL, and has it on at this moment."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


def who_has_the_gil_on() -> str | None:
    """What has switched on the GIL of a Python that can do without, in words; None where none is on, or always is."""
    if not (has_gil() and sysconfig.get_config_var("Py_GIL_DISABLED")):
        return None
    if str(sys._xoptions.get("gil") or os.environ.get("PYTHON_GIL")) == "1":
        return "PYTHON_GIL=1 or -X gil=1"
    return "an import, of a module that does not say that it needs none (Python's RuntimeWarning names it)"


def describe(root: Path = ROOT) -> dict[str, Any]:
    """The machine as a report gives it: plain values for JSON, None for what this system does not tell."""
    cpuinfo = text(root / "proc/cpuinfo")
    quotas = cpu_quotas(root)
    return {
        "cpus": usable_cpus(root),
        "cpus_present": os.cpu_count(),
        "cores": len(cores(root)),
        "quota": min(quotas) if quotas else None,
        "model": _model(cpuinfo) or platform.processor() or platform.machine(),
        "virtual": bool(re.search(r"^flags\s*:.*\bhypervisor\b", cpuinfo, re.MULTILINE)) if cpuinfo else None,
        "caches": caches(root),
        "memory": memory_total(),
        "memory_available": memory_available(root),
        "shm": shared_memory_free(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "gil": has_gil(),
        **{name: version(name) for name in ("numpy", "numba", "joblib", "nfold")},
        "load": [round(x, 2) for x in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def _model(cpuinfo: str) -> str | None:
    """What /proc/cpuinfo calls the processor; on 64-bit Arm the numbers of its maker and of its kinds of cores."""
    for name in "model name", "uarch", "cpu":  # x86, RISC-V, POWER
        if named := re.search(rf"^{name}\s*:\s*(\S.*)$", cpuinfo, re.MULTILINE):
            return named[1]
    makers, parts = (
        list(dict.fromkeys(re.findall(rf"^CPU {name}\s*:\s*(\S+)$", cpuinfo, re.MULTILINE)))
        for name in ("implementer", "part")
    )
    return f"CPU implementer {', '.join(makers)}, part {', '.join(parts)}" if makers and parts else None


def caches(root: Path) -> dict[str, int] | None:
    """Bytes by cache of the first CPU, such as {"L1d": 49152, "L2": 1048576}; None where unreadable."""
    from kernels.vectors.caches import first_cpus_caches  # which imports numpy

    suffixes = {"Data": "d", "Instruction": "i"}
    sizes = {f"L{c.level}{suffixes.get(c.kind, '')}": c.bytes for c in first_cpus_caches(root) if c.bytes}
    return sizes or None


def version(distribution: str) -> str | None:
    import importlib.metadata  # a tenth of numpy's import time, for a report alone

    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
