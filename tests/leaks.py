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

import psutil

SHARED_MEMORY = Path("/dev/shm")
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
    """The entries of /dev/shm, but for those that say that they belong to another living process."""
    return {entry.name for entry in SHARED_MEMORY.iterdir() if not _belongs_elsewhere(entry.name)}


def _belongs_elsewhere(name: str) -> bool:
    owner = re.match(r"(?:sem\.loky-|joblib_memmapping_folder_)(\d+)", name)
    return owner is not None and int(owner[1]) != os.getpid() and psutil.pid_exists(int(owner[1]))


class Leaks:
    """What there is now, to be compared with what there is later."""

    def __init__(self) -> None:
        gc.collect()
        self.children, self.descriptors, self.names = children(), descriptors(), names()

    def found(self) -> dict[str, object]:
        """What is there in addition, once everything that is on its way out has had the time to go."""
        gc.collect()
        deadline = time.monotonic() + PATIENCE
        while True:
            now = descriptors()
            extra = {
                "processes": {pid: _command(pid) for pid in children() - self.children},
                "descriptors": {n: target for n, target in now.items() if self.descriptors.get(n) != target},
                "names in /dev/shm": names() - self.names,
            }
            extra = {what: those for what, those in extra.items() if those}
            if not extra or time.monotonic() > deadline:
                return extra
            time.sleep(0.05)


def _command(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())[:200]
    except psutil.Error:
        return "gone"
