"""What every test file is held to: nothing of it is left in /dev/shm, among the processes or among the descriptors."""

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

import psutil
import pytest

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


@pytest.fixture(scope="module", autouse=True)
def leave_nothing():
    """Fail a test file that leaves a process, a descriptor or a shared-memory name behind."""
    if sys.platform != "linux":
        yield
        return
    before = Leaks()
    yield
    assert before.found() == {}


@pytest.fixture
def no_leaks():
    """The same for a single test."""
    before = Leaks()
    yield
    assert before.found() == {}


@pytest.fixture
def script(tmp_path):
    """script(text, *args, timeout=60, **env) -> the finished process of a Python script in a folder of its own.

    Anything that it writes on stderr is an error: warnings, and the resource tracker's last words.
    """
    root = Path(__file__).parent.parent

    def run_script(text: str, *args: str, timeout: float = 60, quiet: bool = True, **env: str):
        path = tmp_path / "script.py"
        path.write_text(text)
        done = subprocess.run(
            [sys.executable, "-W", "error", str(path), *args],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{root / 'tests'}"} | env,
            cwd=tmp_path,
        )
        if quiet:
            assert done.stderr == "", done.stderr
            assert done.returncode == 0, done.stdout
        return done

    return run_script
