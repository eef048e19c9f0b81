"""joblib's workers: loky processes, or its threads. joblib starts them and gives each a task a lane."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import psutil

from compute.arena import Arena
from compute.backends import remote
from compute.backends.backend import Backend, Pool
from compute.control import Control
from compute.lanes import Job, Outcome, in_slices, run_lane
from compute.segments import Kind
from kernels.definition import nearest

WORKERS = ("loky", "threading")
ARRAYS: dict[str, Kind] = {"shared": "shared", "memmap": "mapped"}
ARRIVAL = 0.05  # s that a worker's first task lasts: long enough for every other worker to get one too


@dataclass(frozen=True)
class Joblib(Backend):
    """Lanes as joblib tasks. `Joblib(4)`, `Joblib(2, arrays="memmap")`, `Joblib(2, kind="threading")`

    kind:   "loky" (processes) or "threading".
    arrays: for loky, how it sees arrays: "shared" (multiprocessing.shared_memory) or "memmap" (a memory-mapped file, as
            joblib itself does with large arguments).
    """

    kind: Literal["loky", "threading"] = "loky"
    arrays: Literal["shared", "memmap"] = "shared"
    name = "joblib"

    def __post_init__(self) -> None:
        super().__post_init__()
        for field, value, known in (("kind", self.kind, WORKERS), ("arrays", self.arrays, tuple(ARRAYS))):
            if value not in known:
                raise ValueError(
                    f"{field} must be one of {', '.join(known)}, not {value!r}{nearest(str(value), list(known))}"
                )

    def open(self) -> Pool:
        return LokyPool(self) if self.kind == "loky" else JoblibThreadPool(self)


class LokyPool(Pool):
    backend: Joblib
    # loky keeps one executor a process, and asking for another size replaces workers: so all open pools ask for the
    # largest. joblib runs a single job in the caller, so that is two at least.
    _widths: ClassVar[list[int]] = []

    def start(self) -> None:
        self.arena = Arena(ARRAYS[self.backend.arrays])
        self._sender = remote.Sender()
        self._widths.append(self.workers)
        try:
            self._muster(self.workers, _arrive)
        except BaseException:
            self.close()
            raise

    def _muster(self, lanes: int, *task: Any) -> list[Any]:
        import joblib

        parallel = joblib.Parallel(n_jobs=max(2, *self._widths), batch_size=1, pre_dispatch="all", max_nbytes=None)
        call, *arguments = task
        return list(parallel(joblib.delayed(call)(*arguments, me, os.getpid()) for me in range(lanes)))

    def lanes(self, job: Job) -> Sequence[Outcome]:
        from joblib.externals.loky.process_executor import BrokenProcessPool

        control = Control(job.control)
        try:
            return list(map(pickle.loads, self._muster(job.lanes, _perform, self._sender.message(job))))
        except BrokenProcessPool as error:
            self.stop_lanes(job)
            death = str(error).partition("exit codes of the workers are")[2].strip(" {}.\n") or "killed"
            dead = [Outcome(lane, chunk=control.current(lane), death=death) for lane in range(job.lanes)]
            return [outcome for outcome in dead if outcome.chunk is not None] or dead[:1]

    def stop_lanes(self, job: Job) -> None:
        """loky kills every worker when one dies or the caller is interrupted: see them dead before going on."""
        for lane in range(job.lanes):
            pid = Control(job.control).process(lane)
            while pid and _is_alive(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                time.sleep(0.001)

    def close(self) -> None:
        from joblib.externals.loky import get_reusable_executor

        self._widths.remove(self.workers)
        if not self._widths:
            get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)
        super().close()


def _is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


_settled = False


def _arrive(me: int, parent: int) -> None:
    """A loky worker's first task: become one of ours, with numba loaded."""
    global _settled
    if not _settled:
        remote.settle(parent)
        _settled = True
        with contextlib.suppress(ImportError):
            import numba  # noqa: F401
    time.sleep(ARRIVAL)


def _perform(message: bytes, me: int, parent: int) -> bytes:
    if not _settled:  # a worker that replaces another
        _arrive(me, parent)
    return remote.perform(message, me)


class JoblibThreadPool(Pool):
    def lanes(self, job: Job) -> Sequence[Outcome]:
        import joblib

        parallel = joblib.Parallel(n_jobs=job.lanes, backend="threading", batch_size=1, pre_dispatch="all")
        return list(parallel(joblib.delayed(run_lane)(job, me, in_slices) for me in range(job.lanes)))

    def stop_lanes(self, job: Job) -> None:
        control = Control(job.control)
        while any(control.current(lane) is not None for lane in range(job.lanes)):
            time.sleep(0.001)
