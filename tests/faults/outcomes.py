"""What is true of every run in which workers died, whatever they died of and whoever they were."""

from __future__ import annotations

import contextlib
import os
import signal

import pytest
from fault_kernels import answer, begun, risky

from compute import WorkerDied

CHUNKS = 12
HANGS = 0.6  # s that a chunk of a millisecond may take
SAID = {"SIGKILL": "SIGKILL", "SIGSEGV": "SIGSEGV", "exit": "exit code 0", "SIGSTOP": "killed after"}


def check(result, chunks=CHUNKS, deaths=1, names=()):
    """The value is right to the bit, and the timeline tells of so many deaths at least, with these words."""
    events = result.timeline.events
    assert result.value.tobytes() == answer(chunks).tobytes(), f"{result.value} after {events}"
    assert len(events) >= deaths, f"{deaths} workers died, not {events}"
    for name in names:
        assert any(name in event for event in events), f"nothing of {name} in {events}"
    assert all("lane" in event for event in events), events


def check_poison(pool, poison, together):
    """A chunk that always kills is named after three attempts, and the pool is as good as new."""
    with pytest.raises(WorkerDied, match=rf"chunk {poison} \(indices {8 * poison}\.\..*tried 3 times") as caught:
        pool.run(risky, CHUNKS, {poison: ("mid-write", "SIGKILL", 99)}, together)
    assert "SIGKILL" in str(caught.value)
    attempts = begun.pop()[poison]
    assert attempts == 3, f"{attempts} attempts"
    check(pool.run(risky, CHUNKS, {}), deaths=0)


def check_idle_deaths(pool):
    """Workers killed between two runs are replaced, and nothing is told of it but by their absence."""
    found = pool.run(risky, CHUNKS, {})
    for lane in found.timeline.lanes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(lane.process, signal.SIGKILL)
    check(pool.run(risky, CHUNKS, {}), deaths=0)
    again = {lane.process for lane in pool.run(risky, CHUNKS, {}).timeline.lanes}
    assert again.isdisjoint(lane.process for lane in found.timeline.lanes), f"{again} were killed"
