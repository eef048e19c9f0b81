"""Errors behind which a limit of the system is, told in a line: also where the system does not say which one it was."""

from __future__ import annotations

import pytest

from compute.backends import tasks
from compute.cli import limits
from compute.memory import address_space
from compute.memory.descriptors import LimitReached

LEFT = {"`ulimit -v`": 10**6, "none": None}


@pytest.fixture(params=LEFT)
def told(request, monkeypatch):
    """Whether there is a limit of address space."""
    for module in (limits, address_space):
        monkeypatch.setattr(module, "address_space_left", lambda: LEFT[request.param])
    return LEFT[request.param] is not None


def test_where_threads_cannot_be_started_each_limit_is_named_that_may_be_why(told):
    line = limits.reached(RuntimeError("can't start new thread"))
    assert line.startswith("no more threads can be started; raise `ulimit -u`")
    assert ("`ulimit -v`" in line) == told


def test_so_it_is_where_they_are_tried_for_workers(told, monkeypatch):
    def start(function, arguments):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("_thread.start_new_thread", start)
    monkeypatch.setattr(address_space, "room_for_threads", lambda: 100)
    with pytest.raises(
        LimitReached, match=r"4 more processes .* start 0; raise `ulimit -u`.* or run on Serial"
    ) as error:
        tasks.check_tasks(4, "run on Serial()")
    assert ("`ulimit -v`" in str(error.value)) == told


def test_an_error_that_python_had_no_memory_for_is_of_the_limit_s_making(told):
    lost = SystemError("error return without exception set")
    assert bool(limits.reached(lost)) == told
    assert limits.reached(SystemError("bad argument to internal function")) is None
