"""What killed programs left is removed, and nothing that a process uses, of whichever container it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import private_mounts
import pytest
from patience import PATIENCE

ROOT = Path(__file__).parent.parent.parent

pytestmark = pytest.mark.skipif(bool(private_mounts.refused()), reason=str(private_mounts.refused()))

HOLDS = """
import mmap, os, subprocess, sys
from compute.memory.named import named_memory

memory = named_memory(4096)  # open and mapped here
held = {memory.name}
for name in (f"sem.loky-{os.getpid()}-a", f"nfold-{os.getpid()}-mapped"):  # mapped, and open nowhere
    with open(f"/dev/shm/{name}", "w+b") as file:
        file.truncate(4096)
        held.add((name, mmap.mmap(file.fileno(), 4096)))
with open(f"/dev/shm/nfold-{os.getpid()}-left", "wb"):
    pass
print(*subprocess.run(sys.argv[1:], capture_output=True, text=True, check=True).stdout.split())
print(len(os.listdir("/dev/shm")), len(held))
memory.close()
memory.unlink()
"""
SWEEPS = """
from compute.backends import host_program

host_program.ROOTS = ()  # what others have in /tmp is not to be swept from here
print(*(path.rpartition("-")[2] for path in host_program.sweep()))
"""


def test_what_another_container_uses_of_a_shared_folder_is_left():
    """Processes there have numbers of their own, and no process here sees theirs."""
    own = ["mount -t tmpfs tmpfs /dev/shm"]
    container = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", SWEEPS]
    done = subprocess.run(
        private_mounts.in_private(own, sys.executable, "-c", HOLDS, *container), cwd=ROOT, timeout=PATIENCE,
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": "/dev/shm"},
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("left\n3 3\n", "")
