"""Machines that are small: a /dev/shm of one megabyte, a full disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from patience import PATIENCE

ROOT = Path(__file__).parent.parent.parent


def without_privileges() -> str | None:
    """Why no private /dev/shm can be mounted here, or None."""
    if not shutil.which("unshare"):
        return "there is no unshare(1)"
    tried = subprocess.run(
        ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/dev/shm"], capture_output=True, text=True
    )
    return f"the kernel forbids it: {tried.stderr.strip()}" if tried.returncode else None


pytestmark = pytest.mark.skipif(bool(without_privileges()), reason=str(without_privileges()))

SMALL = """
import gc, os, time, warnings
import numpy as np
from compute import Joblib, Processes, run, shared
from example_kernels import squares
from patience import PATIENCE

x = np.arange(300_000.0)  # 2.4 MB
for on in (Processes(2), Joblib(1)):
    with on.open() as pool:
        assert pool.run(squares, x[:1000]).value[31] == 961  # so much has room
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            value = pool.run(squares, x).value
        assert (value == x * x).all(), on
        told = [w for w in said if issubclass(w.category, RuntimeWarning)]
        assert told and all("--shm-size" in str(w.message) and "needed" in str(w.message) for w in told), (on, told)
        # the line that asked for it, not one of the library
        assert all(w.filename == __file__ for w in told), (on, told)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    kept = shared.array(x)
kept[:] = 1
assert kept.sum() == len(x)
deadline = time.monotonic() + PATIENCE
while os.listdir("/dev/shm") and time.monotonic() < deadline:
    gc.collect()  # loky's semaphores have been seen to outlive its pool by a moment
    time.sleep(0.01)
print(os.listdir("/dev/shm"), [name for name in os.listdir(os.environ["TMPDIR"]) if not name.startswith("pymp-")])
"""

NO_ROOM_AT_ALL = """
import sys
import warnings
import numpy as np
from compute import Processes
from example_kernels import squares

warnings.simplefilter("ignore", RuntimeWarning)
with Processes(2).open() as pool:
    try:
        pool.run(squares, np.arange(1_000_000.0))
    except MemoryError as error:
        print(error)
    print(pool.run(squares, np.arange(100.0)).value[9])
"""


def with_small_folders(tmp_path, text, disk="50m"):
    """Run a script where /dev/shm has 1 MiB, and TMPDIR is a file system of its own."""
    path = tmp_path / "script.py"
    path.write_text(text)
    with tempfile.TemporaryDirectory(prefix="n") as folder:  # short, because the paths of sockets end at 107 characters
        mounts = f"mount -t tmpfs -o size=1m tmpfs /dev/shm && mount -t tmpfs -o size={disk} tmpfs {folder}"
        return subprocess.run(
            ["unshare", "-rm", "sh", "-c", f'{mounts} && exec "$@"', "sh", sys.executable, str(path)],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "TMPDIR": folder},
        )


def test_a_small_shared_memory_is_replaced_by_a_file_with_a_warning(tmp_path, no_leaks):
    done = with_small_folders(tmp_path, SMALL)
    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout == "[] []\n"


def test_no_room_anywhere_is_an_error_with_the_figure_and_the_remedy(tmp_path, no_leaks):
    done = with_small_folders(tmp_path, NO_ROOM_AT_ALL, disk="2m")
    assert (done.stderr, done.returncode) == ("", 0)
    error, value = done.stdout.splitlines()
    assert "8 MB are needed" in error
    assert "TMPDIR" in error
    assert value == "81.0"


READ_ONLY = """
import os, sys, warnings
import numpy as np
from compute import Processes, shared
from example_kernels import squares

x = np.arange(300_000.0)
with warnings.catch_warnings(record=True) as said:
    with Processes(2).open() as pool:
        for _ in range(3):
            assert (pool.run(squares, x).value == x * x).all()
    kept = shared.array(x)
print(*(w.message for w in said if w.category is RuntimeWarning))
assert [w.filename for w in said] == [__file__]
from compute import Joblib
try:
    Joblib(2).open()
except OSError as error:
    print(error)
with Processes(1).open() as pool:
    print(pool.run(squares, x[:10]).value[3])
"""


@pytest.mark.slow
def test_a_read_only_shared_memory_is_replaced_by_a_file_with_a_warning(tmp_path, no_leaks):
    path = tmp_path / "script.py"
    path.write_text(READ_ONLY)
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o ro tmpfs /dev/shm && exec "$@"', "sh", sys.executable, path],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
    )
    assert done.returncode == 0, done.stderr
    first, second, third = done.stdout.splitlines()
    assert first.startswith("shared memory cannot be used (Read-only file system)")
    assert first.count("shared memory") == 1
    assert "Processes" in second
    assert third == "9.0"
