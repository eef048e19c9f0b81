"""Shared memory with a name: of one that could not be made nothing is left, and the resource tracker says nothing."""

from __future__ import annotations

import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits and /dev/shm as Linux has them")

FAILS = """
import errno, os, resource, sys
from multiprocessing import shared_memory
from compute.memory import segments
from compute.memory.named import named_memory

size, preparation = int(sys.argv[1]), sys.argv[2]
named = lambda: [name for name in os.listdir("/dev/shm") if name.startswith(f"nfold-{os.getpid()}-")]
segments.is_open_to_others = lambda: False  # as in a process that has changed its user
exec(preparation)
for make in (lambda: named_memory(size), lambda: segments.create_segment(size, "shared", None, set())):
    try:
        make().unlink()
    except OSError as error:
        print(errno.errorcode[error.errno], error)
assert named() == []
"""
NO_FILES = """
def refuses(*args, **kw):
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

{} = refuses
"""
CASES = {
    "a file too large": (2**24, "resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16))", "EFBIG", "`ulimit -f`"),
    "no address space": (2**47, "", "ENOMEM", "ENOMEM"),
    "no file to open": (4096, NO_FILES.format("shared_memory._posixshmem.shm_open"), "EMFILE", "raise `ulimit -n`"),
}


@pytest.mark.parametrize(("size", "preparation", "told", "told_of_segment"), CASES.values(), ids=CASES)
def test_memory_that_cannot_be_made_leaves_nothing_and_the_tracker_says_nothing(
    script, size, preparation, told, told_of_segment
):
    memory, segment = script(FAILS, str(size), preparation).stdout.splitlines()
    assert memory.startswith(told)
    assert told_of_segment in segment


def test_a_name_does_not_outlive_a_segment_whose_descriptor_cannot_be_copied(script):
    said = script(FAILS, "4096", NO_FILES.format("segments.os.dup")).stdout.splitlines()
    assert [line.partition(" ")[0] for line in said] == ["EMFILE"]  # memory needs no copy
