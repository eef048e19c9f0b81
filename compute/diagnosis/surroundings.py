"""Checks of memory, limits, load, virtualisation and containers."""

from __future__ import annotations

import os
import re
from pathlib import Path

from compute import machine
from compute.backends.processes import DESCRIPTORS
from compute.diagnosis.finding import Finding, Level, count, in_bytes, unknown

SCARCE = 0.1  # of the memory: with less available, the system begins to write pages to disk
SMALL_SHM = 1 << 30  # bytes: room for a few large arrays; Docker's default is 64 MiB (ray#14616, pytorch#58386)
OTHERS = 0.25  # CPUs in use by others: an idle desktop uses fewer
STOLEN = 0.01  # of the CPU time since boot: more would show beside the intervals of a quiet machine
CONTAINERS = {
    "docker": "Docker",
    "kubepods": "Kubernetes",
    "containerd": "containerd",
    "libpod": "Podman",
    "lxc": "LXC",
}


def memory(root: Path) -> Finding:
    """How much memory there is, and how much is left under every limit."""
    total, free = machine.memory_total(), machine.memory_available(root)
    value = f"{in_bytes(total)}, {in_bytes(free)} available"
    if free < SCARCE * total:
        meaning = "pages may be written out while measuring, or a worker killed"
        return Finding("memory", value, meaning, "end other programs, raise the limit, or use smaller sizes", "warn")
    return Finding("memory", value, "arrays of that many bytes fit, over all workers together")


def shared_memory(root: Path) -> Finding:
    """The file system in which shared segments live."""
    try:
        space = os.statvfs(root / "dev/shm")
    except (OSError, AttributeError):
        return unknown("/dev/shm", "this system keeps shared segments elsewhere, and does not tell how many fit")
    if not os.access(root / "dev/shm", os.W_OK):
        meaning = "arrays of process workers live here, so there can be none: threads and prange need nothing of it"
        return Finding("/dev/shm", "not writable", meaning, "mount it writable: docker run --shm-size=2g", "warn")
    return room(space.f_blocks * space.f_frsize, space.f_bavail * space.f_frsize)


def room(size: int, free: int) -> Finding:
    """What a /dev/shm of that many bytes means."""
    value = f"{in_bytes(size)}, {in_bytes(free)} free"
    if free < SMALL_SHM:
        meaning = "arrays of process workers live here: larger ones end in an error"
        remedy = "docker run --shm-size=2g; in Kubernetes an emptyDir of medium Memory at /dev/shm"
        return Finding("/dev/shm", value, meaning, remedy, "warn")
    return Finding("/dev/shm", value, "arrays of process workers live here")


def descriptors(root: Path) -> Finding:
    """How many files this process may have open, and for how many workers that is enough."""
    try:
        import resource
    except ImportError:  # Windows
        return unknown("open files", "how many worker processes can be connected cannot be told here")
    return open_files(*resource.getrlimit(resource.RLIMIT_NOFILE), machine.usable_cpus(root), resource.RLIM_INFINITY)


def open_files(soft: int, hard: int, usable: int, infinity: int = -1) -> Finding:
    """What a RLIMIT_NOFILE means for a worker process on each usable CPU."""
    if soft == infinity:
        return Finding("open files", "unlimited", "as many worker processes as there is memory for")
    most = soft // DESCRIPTORS
    value = f"{soft} (hard limit {'unlimited' if hard == infinity else hard})"
    if most < 2 * usable:  # the rest of the program needs files, too
        meaning = f"a worker process takes up to {DESCRIPTORS}: room for {most} at the most"
        return Finding("open files", value, meaning, f"ulimit -n {max(1024, 4 * usable * DESCRIPTORS)}", "warn")
    return Finding("open files", value, f"room for about {most} worker processes")


def load(root: Path) -> Finding:
    """How many programs wanted a CPU over the last minute."""
    word = machine.text(root / "proc/loadavg").partition(" ")[0]
    if not re.fullmatch(r"\d+(\.\d+)?", word):
        meaning = "workers wait where other programs compute, and whether they do cannot be told here"
        return unknown("load", meaning, "look at top before measuring")
    busy, usable = float(word), machine.usable_cpus(root)
    value = f"{busy:.2f} over the last minute"
    if busy < OTHERS:
        return Finding("load", value, "hardly anyone else computes")
    meaning = f"others wanted {busy:.2g} of {count(usable, 'usable CPU')}: workers wait for them"
    free = max(1, int(usable - busy))
    level: Level = "warn" if busy > usable / 2 else "note"
    return Finding("load", value, meaning, f"wait until they end, or measure with {count(free, 'worker')}", level)


def virtual(root: Path) -> Finding:
    """Whether this is a virtual machine; only x86 tells."""
    flags = re.search(r"^flags\s*:(.*)$", machine.text(root / "proc/cpuinfo"), re.MULTILINE)
    remedy = "measure several times of day; trust ratios within a round more than times"
    if not flags:
        return unknown("virtual machine", "a hypervisor may give CPUs to others, and invent cores and caches", remedy)
    if "hypervisor" in flags[1].split():
        meaning = "its CPUs may be hardware threads that share cores; cores and caches above are as the host tells them"
        return Finding("virtual machine", "yes", meaning, remedy, "note")
    return Finding("virtual machine", "no", "cores and caches are as they are told")


def steal(root: Path) -> Finding:
    """The share of CPU time that the hypervisor gave to others, since boot."""
    fields = machine.text(root / "proc/stat").partition("\n")[0].split()[1:9]
    ticks = [int(field) for field in fields if field.isdecimal()]
    if len(ticks) < 8 or not sum(ticks):  # gVisor's are all 0 (gvisor#1336)
        return unknown("steal", "how often the hypervisor stops a CPU for others cannot be told here")
    share = ticks[7] / sum(ticks)
    value = f"{100 * share:.2g} % of the CPU time since boot"
    if share > STOLEN:
        meaning = "a worker is stopped while another machine computes, and all wait for it at the end"
        return Finding("steal", value, meaning, "a dedicated host, or a longer --budget and its intervals", "warn")
    return Finding("steal", value, "the hypervisor hardly stops anyone" if ticks[7] else "no one stops our CPUs")


def container(root: Path) -> Finding:
    """Whether this is a container, by marks such as /.dockerenv."""
    groups = machine.text(root / "proc/self/cgroup")
    marks = [name for word, name in CONTAINERS.items() if word in groups]
    marks += ["Docker"] if (root / ".dockerenv").exists() else []
    marks += ["Podman"] if (root / "run/.containerenv").exists() else []
    if marks:
        meaning = "its limits, not the machine's, are what counts: see CPU quota, memory and /dev/shm"
        return Finding("container", marks[0], meaning, None, "note")
    if not groups:
        return unknown("container", "its limits would count, and this system does not tell them")
    return Finding("container", "no mark of one", "the limits above are the machine's own")
