"""Mathematical functions of C: code in which LLVM has computed with them is for processes that have the very same."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from compiler import needs_compiler
from patience import PATIENCE

from kernels.compilation import mathematics

ROOT = Path(__file__).parents[2]

# Of `math.sin(0.5)` compiled code holds a number; `np.sin(x[i])` it calls.
SCRIPT = """
import math
import numba
import numpy as np
from kernels import kernel

@kernel
def body(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = np.sin(x[i]) + math.sin(0.5)

expected = np.zeros(9)
numba.njit(body.python.variants["python"].function)(0, 9, expected, np.arange(9.0))
print((body.nogil(np.arange(9.0)) == expected).all(), expected[0])
"""


@pytest.mark.slow
@needs_compiler
@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("cc"), reason="takes a library made by a C compiler")
def test_another_sin_gives_what_it_gives_numba(tmp_path):
    (tmp_path / "other.c").write_text("double sin(double x) { return 100 + x; }\n")
    other = tmp_path / "other.so"
    subprocess.run(["cc", "-fno-builtin", "-shared", "-fPIC", "-o", other, tmp_path / "other.c"], check=True)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NFOLD_CACHE_DIR": str(tmp_path / "cache")}
    printed = []
    for preloaded in ({}, {"LD_PRELOAD": str(other)}) * 2:
        command = [sys.executable, "-c", SCRIPT]
        printed.append(subprocess.check_output(command, env=environment | preloaded, text=True, timeout=PATIENCE))
    assert printed == [f"True {0.479425538604203}\n", "True 200.5\n"] * 2
    assert len(list((tmp_path / "cache").glob("body-*.nbc"))) == 2


def test_a_library_is_known_by_what_is_in_memory_and_by_its_file(tmp_path, monkeypatch):
    """One that was replaced while it runs is still the old one; one without a build's number has another file."""
    page = bytes(mathematics.PAGE)
    monkeypatch.setattr(mathematics.ctypes, "string_at", lambda begin, size: page)
    library = tmp_path / "libm.so"
    known = set()

    def is_new() -> bool:
        count = len(known)
        known.add(mathematics._about(os.fsencode(library), 0))
        return len(known) > count

    assert is_new()  # no file is there
    library.write_bytes(b"1")
    assert is_new()
    assert not is_new()
    library.write_bytes(b"22")
    assert is_new()
    os.utime(library, ns=(0, 1))
    assert is_new()
    page = b"another build"
    assert is_new()


def test_where_the_system_does_not_say_its_version_stands_for_them(monkeypatch):
    def refuses(name):
        raise TypeError("no handle of the process")

    monkeypatch.setattr(mathematics.ctypes, "CDLL", refuses)
    assert mathematics.identity.__wrapped__() == mathematics.platform.version()
