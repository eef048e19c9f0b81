"""Real programs, each in a folder of its own: nothing of them is left, neither a process nor a file."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from loopback import Program, left_by

from kernels.compilation.kept_code import cache_folder


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.timeout(1200))
            item.add_marker(pytest.mark.skipif(sys.platform != "linux", reason="these programs are Linux's"))


@pytest.fixture
def folder():
    """A folder with a short name, which every user may enter; its `tmp` is the programs' TMPDIR, and empty again."""
    path = Path(tempfile.mkdtemp(prefix="nfp-"))
    path.chmod(0o755)
    (path / "tmp").mkdir()
    (path / "tmp").chmod(0o1777)
    yield path
    left = sorted((path / "tmp").rglob("*"))
    shutil.rmtree(path)
    assert left == []


@pytest.fixture
def start(folder, no_leaks):
    """start(*command, **env) -> a Program; what is left of it at the test's end is killed."""
    programs = []

    def begin(*command, **env):
        env = {"TMPDIR": str(folder / "tmp"), "HOME": str(folder), "NFOLD_CACHE_DIR": str(cache_folder())} | env
        programs.append(Program(folder, *map(str, command), **env))
        return programs[-1]

    yield begin
    for program in programs:
        program.kill()


@pytest.fixture
def sweep(start, folder):
    """The next start of nfold sweeps what is left of a program that was ended: nothing is left of both."""

    def check():
        program = start(sys.executable, "-c", "from compute import *\nwith Processes(1).open(): pass")
        assert program.ended() == 0, program.said
        assert left_by(folder) == []

    return check
