"""Memory that workers can map has no name, so whoever is killed leaves none."""

from __future__ import annotations

import mmap
import os
import shutil
import tempfile
from contextlib import nullcontext
from pathlib import Path

import pytest

from compute.memory.descriptors import File
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


@pytest.mark.parametrize("opens", ["nothing", "a file"])
def test_a_segment_has_the_one_descriptor_of_its_mapping(tmp_path, opens):
    """Also where another thread has opened a file in between, and so has the number that was expected."""
    descriptor, path = tempfile.mkstemp(dir=tmp_path)
    os.unlink(path)
    os.truncate(descriptor, 4096)
    file = File(descriptor)
    likely = file.next_number()
    with open(os.devnull) if opens == "a file" else nullcontext():
        mapping = mmap.mmap(descriptor, 4096)
        file.leave_to_mapping(likely)
        assert file.is_mappings
        assert (file.descriptor == likely) == (opens == "nothing")
        assert file.is_open()
    mapping.close()
    assert not file.is_open()


def test_a_segment_is_made_without_a_look_at_all_open_files(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "listdir", lambda path: pytest.fail(f"{path} was listed"))
    assert create_segment(5000, "mapped", str(tmp_path), set()).is_nameless


def test_a_spool_has_no_name_either(tmp_path):
    spool = Spool(2, 1, "f", in_memory=False, folder=str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    spool.close()
