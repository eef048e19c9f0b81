"""Servers that begin as root and give up root's rights: before a pool is opened, while it is open, in forks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from patience import PATIENCE

from compute.backends import host_program

ROOT = Path(__file__).parent.parent.parent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="/proc/PID/fd is Linux's"),
    pytest.mark.skipif(hasattr(os, "getuid") and os.getuid() != 0, reason="only root can give up root's rights"),
]

DROPS = """
import os, sys
import numpy as np

def drop():
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)

backend, when = sys.argv[1:]
if when == "first of all":
    drop()
from compute import *
from example_kernels import squares, doubled
from fault_kernels import risky, answer
from kernels import Plan, kernel
from watched import await_children, in_child, serve

@kernel(plan=lambda n: Plan(n, grain=1), compiled=False)
def users(lo, hi, out):
    out[lo] = os.geteuid()

before = shared.array(np.arange(3000.0))
if when == "between pools":
    with eval(backend).open() as pool:
        serve(pool, squares, 3, 0)
if when in ("before", "between pools"):
    drop()

def work():
    pool = eval(backend).open()
    serve(pool, squares, 3, 1)
    kept = pool.run(squares, before).value
    if when == "while it is open":
        drop()
    serve(pool, squares, 5, 2)
    assert pool.run(users, 4).value.tolist() == [65534] * 4
    held = [pool.run(squares, before + k).value for k in range(20)]
    result = pool.run(risky, 12, {2: ("mid-write", "SIGKILL", 1)})
    assert result.value.tobytes() == answer(12).tobytes()
    out = shared.empty(3000)
    assert pool.run(doubled, before, out=out).value is out
    serve(pool, squares, 3, 3)
    assert (kept == before * before).all()
    assert all((one == (before + k) ** 2).all() for k, one in enumerate(held))
    pool.close()

if when == "in forks":
    await_children(*[in_child(lambda: (drop(), work()), "sys.exit") for _ in range(2)])
else:
    work()
print("done")
"""


def reachable(folder):
    """Shell that lets every user reach the interpreter, in a private view of the file system; "" where all can."""
    python = Path(sys.base_prefix)
    closed = next((parent for parent in reversed(python.parents) if not parent.stat().st_mode & 0o001), None)
    if closed is None:
        return ""
    aside = Path(folder) / "aside"
    aside.mkdir()
    return (
        f"mount --bind {python} {aside} && mount -t tmpfs -o mode=755 tmpfs {closed} && mkdir -p {python}"
        f" && mount --bind {aside} {python} && umount {aside} && rmdir {aside} &&"
    )


@pytest.mark.parametrize("when", ["first of all", "before", "between pools", "while it is open", "in forks"])
@pytest.mark.parametrize("backend", ["Processes(2)", "Joblib(2)", "Processes(1, start='spawn')"])
def test_pools_of_a_server_that_drops_its_privileges(no_leaks, backend, when):
    with tempfile.TemporaryDirectory(prefix="n") as folder:
        os.chmod(folder, 0o777)
        path = Path(folder) / "program.py"
        path.write_text(DROPS)
        command = [sys.executable, str(path), backend, when]
        if shell := reachable(folder):
            command = ["unshare", "-m", "sh", "-c", f'{shell} exec "$@"', "sh", *command]
        paths = f"{ROOT}{os.pathsep}{ROOT / 'tests'}"
        settings = {"PYTHONPATH": paths, "TMPDIR": folder, "NFOLD_CACHE_DIR": f"{folder}/cache"}
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE, cwd=folder, env=os.environ | settings
        )
        assert done.stdout == "done\n", done.stderr
        if "Joblib" in backend and when == "while it is open":
            # loky's semaphores are root's, and it says that it cannot remove them; root's next program does.
            said = set(re.findall(r"^\w*Error.*", done.stderr, re.MULTILINE))
            assert said <= {"PermissionError: [Errno 13] Permission denied"}
            host_program.sweep()
        else:
            assert done.stderr == ""
        left = {name.partition("-")[0] for name in os.listdir(folder)}
        assert left <= {"program.py", "cache", "pymp"}  # the last is root's, which the program is no more
