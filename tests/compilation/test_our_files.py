"""Machine code is kept under a hash of this library's files only while these are the files that were imported."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

WAYS = {
    "written, with an older time": "file.write_text(file.read_text() + '# edited')\nos.utime(file, (1e9, 1e9))",
    "replaced by an older file": "os.replace(older, file)",
    "its folder replaced": "os.rename(folder, str(folder) + '.former')\nos.rename(newer, folder)",
    "a file more": "(folder / 'more.py').write_text('')",
    "a file less": "file.unlink()",
}
PROGRAM = """
import os, shutil
from pathlib import Path
import kernels
folder = Path(kernels.__file__).parent / "matrix"
file = folder / "micro_kernel.py"
newer, older = folder.parent.parent / "newer", folder.parent.parent / "older.py"
from kernels.compilation import our_files
before = our_files.digest()
{way}
print(len(before), repr(our_files.digest()))
"""


@pytest.mark.parametrize("way", [*WAYS, "nothing"])
def test_a_file_that_was_replaced_after_the_import(tmp_path, way):
    for package in ("kernels", "compute"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(tmp_path / "kernels" / "matrix", tmp_path / "newer")
    (tmp_path / "older.py").write_text("# older\n")
    os.utime(tmp_path / "older.py", (1e9, 1e9))
    program = PROGRAM.format(way=WAYS.get(way, ""))
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    length, after = done.stdout.split()
    assert length == "64"
    assert (after == "''") is (way != "nothing")
