"""Memory that workers can map has no name, so whoever is killed leaves none."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from compute.memory.segments import NAMELESS, create_segment
from compute.memory.spool import Spool

MAKES = """
import sys
from compute.memory.segments import create_segment
kind, folder = sys.argv[1:]
print("begun", flush=True)
while True:
    create_segment(2**23, kind, folder, set())
"""

pytestmark = pytest.mark.skipif(not NAMELESS, reason="other systems open memory by its name")


@pytest.fixture
def in_memory():
    """A folder in a file system that writes zeros as memory is reserved, which takes a while."""
    folder = Path(tempfile.mkdtemp(prefix="nfold-test-", dir="/dev/shm"))
    yield folder
    shutil.rmtree(folder)


def names(folder: Path, pid: int) -> list[str]:
    return sorted(map(str, folder.iterdir())) + sorted(map(str, Path("/dev/shm").glob(f"nfold-{pid}-*")))


@pytest.mark.parametrize("kind", ["mapped", "shared"])
def test_a_maker_that_is_killed_as_it_reserves_leaves_nothing(warm_python, in_memory, kind):
    for _ in range(6):
        script = warm_python.start(MAKES, kind, str(in_memory))
        script.await_line("begun")
        met = [found for _ in range(200) if (found := names(in_memory, script.pid))]
        script.kill()
        assert met == [], "while it lives"
        assert names(in_memory, script.pid) == [], "when it was killed"


@pytest.mark.parametrize("kind", ["mapped", "shared"])
def test_what_has_no_name_is_found_by_others_all_the_same(tmp_path, kind):
    segment = create_segment(5000, kind, str(tmp_path), set())
    segment[:3] = b"abc"
    assert Path(segment.address).read_bytes()[:3] == b"abc"
    assert segment.is_nameless
    assert list(tmp_path.iterdir()) == []


def test_a_spool_has_no_name_either(tmp_path):
    spool = Spool(2, 1, "f", in_memory=False, folder=str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    spool.close()
