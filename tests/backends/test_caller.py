"""A pool of processes that only starts, sends and reaps: the rest is the Caller that it composes."""

from __future__ import annotations

import multiprocessing
import os
import time
from dataclasses import dataclass

import pytest
from example_kernels import fails, nothing
from fault_kernels import answer, begun, risky
from sampling import quick_first

from compute.backends import remote
from compute.backends.backend import Backend
from compute.backends.caller import Caller, describe_exit, outcome_of
from compute.backends.pool import Pool
from compute.lanes.control import ControlArray
from compute.traits import PROCESSES

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")

CHUNKS = 12


@dataclass(frozen=True, repr=False)
class Piped(Backend):
    """Lanes in processes, each at the other end of a pipe."""

    timeout: float | None = None
    name = "piped"
    traits = PROCESSES

    def open(self):
        return PipedPool(self)


class PipedPool(Pool):
    arena_kind = "shared"

    def start(self):
        self._caller = Caller(self.backend, self.arena, self.backend.timeout)
        self._workers = {}
        self.repair()

    def repair(self):
        context = multiprocessing.get_context("spawn")
        for lane in set(range(self.workers)) - set(self._workers):
            pipe, there = context.Pipe()
            process = context.Process(target=serve, args=(there, lane, os.getpid()), daemon=True)
            process.start()
            there.close()
            self._workers[lane] = process, pipe

    def lanes(self, job):
        message = self._caller.message(job)
        for _, pipe in self._workers.values():
            pipe.send_bytes(message)
        self._caller.note_sent(job)
        return [self._outcome(job, lane) for lane in list(self._workers)]

    def _outcome(self, job, lane):
        process, pipe = self._workers[lane]
        cause = None
        try:
            while not pipe.poll(self._caller.patience):
                if self._caller.hung(job, [lane]):
                    cause = self._caller.cause_of_hung
                    process.kill()
            return outcome_of(pipe.recv_bytes(), lane)
        except (EOFError, OSError):
            process.join()
            del self._workers[lane]
            pipe.close()
            return self._caller.death(job, lane, cause or describe_exit(process.exitcode))

    def stop_lanes(self, job):
        while ControlArray(job.control).is_busy():
            time.sleep(0.001)

    def stop(self):
        self._caller.forget()
        for process, pipe in self._workers.values():
            pipe.send_bytes(b"")
            pipe.close()
            process.join()
            process.close()


def serve(pipe, lane, parent):
    remote.become_worker(parent)
    while message := pipe.recv_bytes():
        pipe.send_bytes(remote.perform(message, lane))


@pytest.fixture(scope="module")
def piped():
    with Piped(2, timeout=0.6).open() as pool:
        pool.run(nothing, 2)
        yield pool
    begun.clear()  # it holds an array of the latest run


@pytest.mark.parametrize("variant", ["python", "nogil"])
def test_it_runs_every_variant(piped, variant):
    result = piped.run(nothing, 50, variant=variant)
    assert result.value.tolist() == list(range(50))
    assert sum(lane.chunks for lane in result.timeline.lanes) == 50
    assert result.timeline.sending > 0


def test_an_error_of_a_body_is_raised(piped):
    with pytest.raises(ValueError, match="no good"):
        piped.run(fails, 20, 7)
    assert piped.run(nothing, 5).value.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("way", "cause"), quick_first(2, [("SIGKILL", "SIGKILL"), ("exit", "exit code 0"), ("SIGSTOP", "killed after")])
)
def test_a_chunk_whose_worker_died_or_hung_is_run_again(piped, way, cause):
    result = piped.run(risky, CHUNKS, {2: ("mid-write", way, 1)})
    assert result.value.tobytes() == answer(CHUNKS).tobytes()
    assert [cause in event and "in chunk 2" in event for event in result.timeline.events] == [True]
