"""What a test may leave behind: nothing among the processes, the descriptors, the entries of /dev/shm."""

from __future__ import annotations

import gc
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import psutil

SHARED_MEMORY = Path("/dev/shm")
OWNER = re.compile(r"(?:sem\.loky-|joblib_memmapping_folder_)(\d+)")
PATIENCE = 5.0  # s for processes that were told to go, and for other programs' short-lived names


def _helpers() -> list:
    """The servers that multiprocessing and loky start once and keep as long as this process lives."""
    found = [multiprocessing.resource_tracker._resource_tracker]
    if loky := sys.modules.get("joblib.externals.loky.backend.resource_tracker"):
        found.append(loky._resource_tracker)
    return found


def children() -> set[int]:
    """The processes below this one that work for it, the helpers aside."""
    helpers = {helper._pid for helper in _helpers()} | {multiprocessing.forkserver._forkserver._forkserver_pid}
    return {process.pid for process in psutil.Process().children(recursive=True)} - helpers


def descriptors() -> dict[int, str]:
    """Number -> what it points at, of this process's open descriptors, the helpers' aside."""
    helpers = {helper._fd for helper in _helpers()} | {multiprocessing.forkserver._forkserver._forkserver_alive_fd}
    found = {}
    for entry in os.listdir("/proc/self/fd"):
        try:
            found[int(entry)] = os.readlink(f"/proc/self/fd/{entry}")
        except OSError:  # the one that lists them
            continue
    return {number: target for number, target in found.items() if number not in helpers}


def names() -> set[str]:
    """The entries of /dev/shm."""
    return {entry.name for entry in SHARED_MEMORY.iterdir()}


def in_use_elsewhere(found: set[str]) -> set[str]:
    """Those of the names that a living process holds which is not of this family: another session of tests, above all.

    It says so in its name, or the process has it mapped.
    """
    family = {os.getpid(), *(process.pid for process in psutil.Process().children(recursive=True))}
    others = {p.pid for p in psutil.process_iter(["ppid"]) if p.pid not in family and p.info["ppid"] != 1}  # no orphans
    said = {name for name in found if (owner := OWNER.match(name)) and int(owner[1]) in others}
    mapped = set().union(*(_mapped(pid) for pid in others)) if found - said else set()
    return said | (found & mapped)


def _mapped(pid: int) -> set[str]:
    """The names in /dev/shm that a process has mapped."""
    try:
        return set(re.findall(r" /dev/shm/(\S+)$", Path(f"/proc/{pid}/maps").read_text(), re.MULTILINE))
    except OSError:  # it has gone, or is not ours to look into
        return set()


class Leaks:
    """What there is now, to be compared with what there is later."""

    def __init__(self) -> None:
        gc.collect()
        self.children, self.descriptors, self.names = children(), descriptors(), names()

    def found(self) -> dict[str, Any]:
        """What is there in addition, once everything that is on its way out has had the time to go."""
        gc.collect()
        deadline = time.monotonic() + PATIENCE
        while True:
            now = descriptors()
            extra: dict[str, Any] = {
                "processes": {pid: _command(pid) for pid in children() - self.children},
                "descriptors": {n: target for n, target in now.items() if self.descriptors.get(n) != target},
                "names in /dev/shm": names() - self.names,
            }
            extra["names in /dev/shm"] -= in_use_elsewhere(extra["names in /dev/shm"])
            extra = {what: those for what, those in extra.items() if those}
            if not extra or time.monotonic() > deadline:
                return extra
            time.sleep(0.05)


def _command(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())[:200]
    except psutil.Error:
        return "gone"
