"""What a test may leave behind: nothing among the processes, the descriptors, the entries of /dev/shm.

Only what this session's own processes left counts: other programs of the machine start and end, and use /dev/shm, too.
A process is ours if it is below this one, or carries the session's mark in its environment: then even one that has lost
its parent is found. A name is ours if it says so, or if one of our processes holds it.
"""

from __future__ import annotations

import gc
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

GONE = 30.0  # s for what was told to go; what is still there was left, and a test that failed leaves things


SHARED_MEMORY = Path("/dev/shm")
MARK = "NFOLD_TESTS"
KEPT: list[subprocess.Popen[bytes]] = []  # what the session itself started, for all of its tests
OWNER = re.compile(r"(?:nfold-|sem\.loky-|joblib_memmapping_folder_)(\d+)")

os.environ[MARK] = str(os.getpid())  # always: a session may be started by another one's test


def _fork_servers() -> list[Any]:
    """multiprocessing's own, and the pools' where there is one."""
    ours = sys.modules.get("compute.backends.fork_server")
    return [multiprocessing.forkserver._forkserver, *([ours.server] if ours else [])]


def _helpers() -> list:
    """The servers that multiprocessing and loky start once and keep as long as this process lives."""
    found = [multiprocessing.resource_tracker._resource_tracker]
    if loky := sys.modules.get("joblib.externals.loky.backend.resource_tracker"):
        found.append(loky._resource_tracker)
    return found


def tree() -> set[int]:
    """The processes that this one has started, and those that they have started, whoever their parent is now."""
    mark = f"{MARK}={os.getpid()}".encode()
    marked = {int(entry) for entry in os.listdir("/proc") if entry.isdigit() and mark in _environment(entry)}
    return (marked | {process.pid for process in psutil.Process().children(recursive=True)}) - {os.getpid()}


def _other_sessions() -> bool:
    """Whether tests run in another process beside this one."""
    mine = f"{MARK}={os.getpid()}".encode()
    marks = {
        entry
        for pid in os.listdir("/proc")
        if pid.isdigit()
        for entry in _environment(pid)
        if entry.startswith(MARK.encode())
    }
    return bool(marks - {mine})


def _environment(pid: str) -> list[bytes]:
    """What a process was started with; nothing where it has gone, or is not ours to look into."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def children() -> set[int]:
    """The processes of the tree that work for this one, the helpers and what is kept aside."""
    helpers = {helper._pid for helper in _helpers()} | {server._forkserver_pid for server in _fork_servers()}
    helpers |= {server.pid for server in KEPT}
    return tree() - helpers


def descriptors() -> dict[int, str]:
    """Number -> what it points at, of this process's open descriptors; not the helpers', nor matplotlib's fonts."""
    helpers = {helper._fd for helper in _helpers()} | {server._forkserver_alive_fd for server in _fork_servers()}
    helpers |= {pipe.fileno() for server in KEPT for pipe in (server.stdin, server.stdout) if pipe}
    found = {}
    for entry in os.listdir("/proc/self/fd"):
        try:
            found[int(entry)] = os.readlink(f"/proc/self/fd/{entry}")
        except OSError:  # the one that lists them
            continue
    return {n: target for n, target in found.items() if n not in helpers and "/mpl-data/fonts/" not in target}


def names() -> set[str]:
    """The entries of /dev/shm, but for numba's one lock."""
    return {entry.name for entry in SHARED_MEMORY.iterdir()} - _numbas_lock()


def _numbas_lock() -> set[str]:
    """The lock that numba makes once for its threads: it has a name where processes do not start by fork (3.14)."""
    lock = getattr(sys.modules.get("numba.np.ufunc.parallel"), "_backend_init_process_lock", None)
    name = getattr(getattr(lock, "_semlock", None), "name", None)
    return set() if name is None else {f"sem.{name.lstrip('/')}"}


def ours(found: set[str]) -> set[str]:
    """Those of the names that this tree has made: it says so in the name, or a process of ours holds it.

    A name whose owner has died is taken for ours, too; loky's only where no other session of tests is under way, whose
    killed workers leave such names until their tracker has swept them.
    """
    if not found:
        return set()
    family = tree() | {os.getpid()}
    owners = {name: int(owner[1]) for name in found if (owner := OWNER.match(name))}
    alone = not _other_sessions()
    said = {
        name
        for name, pid in owners.items()
        if pid in family or (not psutil.pid_exists(pid) and (alone or name.startswith("nfold-")))
    }
    unsaid = found - owners.keys()
    return said | (unsaid & set().union(*map(_held, family)) if unsaid else set())


def _held(pid: int) -> set[str]:
    """The names in /dev/shm that a process has mapped or open."""
    try:
        mapped = set(re.findall(r" /dev/shm/(\S+)$", Path(f"/proc/{pid}/maps").read_text(), re.MULTILINE))
        opened = {os.path.realpath(file) for file in Path(f"/proc/{pid}/fd").iterdir()}
    except OSError:  # it has gone, or is not ours to look into
        return set()
    return mapped | {os.path.basename(path) for path in opened if path.startswith("/dev/shm/")}


class Leaks:
    """What there is now, to be compared with what there is later."""

    def __init__(self) -> None:
        gc.collect()
        self.children, self.descriptors, self.names = children(), descriptors(), names()

    def found(self) -> dict[str, Any]:
        """What is there in addition, once everything that is on its way out has had the time to go."""
        deadline = time.monotonic() + GONE
        while True:
            gc.collect()  # each time: a thread that ends late may leave a cycle
            now = descriptors()
            extra: dict[str, Any] = {
                "processes": {pid: _command(pid) for pid in children() - self.children},
                "descriptors": {n: target for n, target in now.items() if self.descriptors.get(n) != target},
                "names in /dev/shm": ours(names() - self.names),
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
