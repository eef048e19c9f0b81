"""Threads under `ulimit -v`: refused in a line where they do not fit; a free-threaded Python would hang."""

from __future__ import annotations

import _thread
import sys

import pytest

from compute.backends import tasks
from compute.memory import address_space
from compute.memory.descriptors import LimitReached

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how much of a limit is used")

FULL = """
import resource
from compute import Threads, run
from example_kernels import squares

run(squares, [1.0, 2.0], on=Threads(2), variant="python")
with open("/proc/self/statm") as pages:
    mapped = int(pages.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (mapped + 50_000_000, resource.getrlimit(resource.RLIMIT_AS)[1]))
try:
    Threads(64).open()
except OSError as error:
    print(error)
"""


@linux
def test_a_pool_whose_threads_do_not_fit_is_refused(script):
    said = script(FULL).stdout
    assert said.startswith("1 more thread would need ")
    assert "and `ulimit -v` leaves " in said
    assert said.endswith(" MB; raise `ulimit -v`, or use fewer workers\n")


@linux
def test_large_stacks_are_named_where_they_are_what_does_not_fit(script):
    stacks = "import resource\nhard = resource.getrlimit(resource.RLIMIT_STACK)[1]"
    stacks += "\nresource.setrlimit(resource.RLIMIT_STACK, (2**29, hard))"
    said = script(FULL.replace("import resource", stacks, 1).replace("+ 50_000_000", "+ 2**29 - 2**20")).stdout
    need = 638 if address_space.IS_FREE_THREADED else 537  # MB, with a heap of its own
    assert said.startswith(f"1 more thread would need {need} MB of address space, and `ulimit -v` leaves 5")
    assert said.endswith(" MB; raise `ulimit -v`, lower `ulimit -s` (537 MB for each), or use fewer workers\n")


@pytest.mark.parametrize(("left", "room"), [(None, None), (0, 0), (10**9, 119), (10**6, 0)])
def test_room_is_counted_in_stacks(left, room, monkeypatch):
    monkeypatch.setattr(address_space, "address_space_left", lambda: left)
    monkeypatch.setattr(address_space, "IS_FREE_THREADED", False)
    monkeypatch.setattr(address_space, "_stack", lambda: address_space.STACK)
    assert address_space.room_for_threads() == room


def test_a_heap_of_its_own_needs_more_than_a_stack(monkeypatch):
    monkeypatch.setattr(address_space, "address_space_left", lambda: 300_000_000)
    monkeypatch.setattr(address_space, "_stack", lambda: address_space.STACK)
    monkeypatch.setattr(address_space, "IS_FREE_THREADED", False)
    address_space.check_room(3)
    monkeypatch.setattr(address_space, "IS_FREE_THREADED", True)
    address_space.check_room(2)
    with pytest.raises(LimitReached, match=r"3 more threads would need 327 MB of .* leaves 300 MB; raise `ulimit -v`"):
        address_space.check_room(3)


def test_trial_threads_leave_room_for_what_is_started_then(monkeypatch):
    """Threads that are tried only tell of a user's limit; those that find no address space would tell a wrong one."""
    started = []
    monkeypatch.setattr(address_space, "room_for_threads", lambda: 5)
    start = _thread.start_new_thread
    monkeypatch.setattr("_thread.start_new_thread", lambda *what: started.append(start(*what)))
    tasks.check_tasks(20, "use fewer workers")
    assert len(started) == 2
