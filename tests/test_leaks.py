"""The leak check finds what this session's processes left, and nothing of other programs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

import leaks
import pytest
from leaks import MARK, Leaks

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="processes and names are looked for in /proc and /dev/shm"
)

HOLDS = """
import mmap, os, sys, time
if os.fork():
    os._exit(0)  # nobody knows the child's parent any more
file = os.open(f"/dev/shm/{sys.argv[1]}", os.O_CREAT | os.O_RDWR)
if sys.argv[2] == "mapped":
    os.truncate(file, 4096)
    held = mmap.mmap(file, 4096)
    os.close(file)
print(os.getpid(), flush=True)
time.sleep(60)
"""


@contextlib.contextmanager
def orphan(how, ours):
    """A program without a parent that holds a name in /dev/shm: its pid, and the name."""
    name = f"other-{os.getpid()}-{how}-{ours}"
    environment = {key: value for key, value in os.environ.items() if ours or key != MARK}
    command = [sys.executable, "-c", HOLDS, name, how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as program:
        pid = int(program.stdout.readline())
        program.wait()
        try:
            yield pid, name
        finally:
            os.kill(pid, signal.SIGKILL)
            os.unlink(f"/dev/shm/{name}")
            while leaks._environment(str(pid)):
                time.sleep(0.01)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(leaks, "GONE", 0.0)


@pytest.mark.parametrize("how", ["mapped", "open"])
def test_an_orphan_of_ours_and_what_it_holds_are_found(how):
    before = Leaks()
    with orphan(how, ours=True) as (pid, name):
        found = before.found()
        assert set(found["processes"]) == {pid}
        assert found["names in /dev/shm"] == {name}


@pytest.mark.parametrize("how", ["mapped", "open"])
def test_other_programs_may_come_and_use_shared_memory(how):
    before = Leaks()
    with orphan(how, ours=False):
        assert "processes" not in before.found()
        assert "names in /dev/shm" not in before.found()


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside other tests"])
@pytest.mark.parametrize("prefix", ["nfold-", "sem.loky-"])
def test_a_name_says_whose_it_is(prefix, beside, monkeypatch):
    monkeypatch.setattr(leaks, "_other_sessions", lambda: beside)
    before = Leaks()
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    names = {pid: f"/dev/shm/{prefix}{pid}-test" for pid in (1, os.getpid(), child.pid)}
    try:
        for name in names.values():
            with open(name, "x"):
                pass
        owners = [os.getpid()] if beside and prefix == "sem.loky-" else [os.getpid(), child.pid]
        left = {os.path.basename(names[pid]) for pid in owners}
        assert before.found() == {"names in /dev/shm": left}
    finally:
        for name in names.values():
            os.unlink(name)
