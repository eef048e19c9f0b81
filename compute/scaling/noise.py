"""What disturbed a round from outside: stolen CPU time, other processes, a quota that stopped it, load.

Take a `sample` before and after a round, and `compare_readings` says what went on. A disturbed round is marked, not
dropped: a median bears some of them, and a reader should know. What cannot be read is None (no /proc on macOS, no CPU
times under gVisor, no control groups), and so is what a round is too short for. Nothing is guessed.

Sources: proc_stat(5), proc_pid_stat(5) and the kernel's cgroup-v2 page; Hoefler & Belli for saying what a machine did.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compute import machine

OTHERS = 0.05  # of the CPUs, used by others: an idle system takes less
BUSY = 0.25  # of the CPUs, wanted by others for a minute: with more, workers wait noticeably
STEAL = 0.02  # of the CPU time: a quiet virtual machine loses under 0.5 %, and intervals resolve 1 or 2 %
THROTTLED = 0.01  # of the round, stopped by the quota: one period of 100 ms in 10 s explains no lost speedup
SHORTEST = 0.5  # seconds: CPU times come in ticks of 10 ms, and one tick of a CPU is then 2 %
TICK = 1 / os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 0.01  # seconds


@dataclass(frozen=True)
class Reading:
    """Counters at one moment; what could not be read is None.

    at:        seconds on time.perf_counter's clock.
    cpus:      the CPUs that this process may use: what the next three are summed over.
    total, idle, steal: seconds of their time; steal is what the hypervisor gave to other machines.
    own:       CPU seconds by process: "self" with the children that it has waited for, and each worker.
    throttled: seconds for which a quota had stopped the tasks of each control group above this process.
    load:      the load average of a minute.
    running:   tasks that ran or wanted to, in the whole system, this one included.
    """

    at: float
    cpus: tuple[int, ...]
    total: float | None
    idle: float | None
    steal: float | None
    own: dict[str, float | None]
    throttled: dict[str, float] | None
    load: float | None
    running: int | None


@dataclass(frozen=True)
class Conditions:
    """What a round met; plain values for JSON, None for what is not known.

    seconds:   from the one reading to the other.
    steal:     the share of the CPUs' time that the hypervisor gave to other machines.
    others:    how many CPUs other processes and interrupts used, on average.
    throttled: seconds for which a quota stopped the tasks of a control group above this process; the largest of them.
    load:      the load average of the last minute. running: how many others wanted a CPU at the end.
    marked:    why the round counts as disturbed, in words; None where nothing says so.
    """

    seconds: float
    steal: float | None
    others: float | None
    throttled: float | None
    load: float | None
    running: int | None
    marked: str | None

    def as_dict(self) -> dict[str, Any]:
        """Itself for a dataset's `conditions`."""
        return asdict(self)


def sample(root: Path = machine.ROOT, *, workers: Iterable[int] = ()) -> Reading:
    """The counters now, in under a quarter of a millisecond. workers: processes that work for this one."""
    cpus = tuple(machine.allowed_cpus())
    total, idle, steal = _cpu_times(root, cpus)
    load, running = _load(root)
    own = {who: _used(root, who) for who in ("self", *(str(pid) for pid in workers if pid != os.getpid()))}
    return Reading(time.perf_counter(), cpus, total, idle, steal, own, _throttled(root), load, running)


def compare_readings(before: Reading, after: Reading, uncharged: float = 0.0) -> Conditions:
    """What went on from one reading to a later one of the same workers. A pure function.

    uncharged: CPU seconds of this measurement that are in nobody's account, and were not others'.
    """
    seconds = after.at - before.at
    steal = others = throttled = None
    total = _grown(before.total, after.total)
    # Times that stand still are not counted at all (gVisor). Readings of other CPUs or workers cannot be compared.
    if total and seconds >= SHORTEST and before.cpus == after.cpus:
        stolen, idle = _grown(before.steal, after.steal), _grown(before.idle, after.idle)
        grown = [_grown(before.own.get(who), after.own.get(who)) for who in before.own | after.own]
        own = None if None in grown else sum(used for used in grown if used is not None)
        if stolen is not None:
            steal = max(0.0, stolen / total)
        if own is not None and stolen is not None and idle is not None:
            others = max(0.0, (total - idle - stolen - own - uncharged) / seconds)
    if before.throttled is not None and after.throttled is not None:
        both = before.throttled.keys() & after.throttled.keys()
        throttled = max((after.throttled[group] - before.throttled[group] for group in both), default=0.0)
    running = None if after.running is None else max(0, after.running - 1)
    marked = _reasons(seconds, steal, others, throttled, len(after.cpus))
    return Conditions(seconds, steal, others, throttled, after.load, running, marked)


class RoundLog:
    """Conditions by round. Rounds too short to be judged alone are judged together, SHORTEST seconds of them at a
    time."""

    def __init__(self, workers: Iterable[int] = ()) -> None:
        self._workers = tuple(workers)
        self._before = sample(workers=self._workers)
        self._pending = 0
        self._uncharged = 0.0
        self._found: list[Conditions] = []

    def round_over(self, uncharged: float = 0.0) -> None:
        """A round has ended. uncharged: as for compare_readings."""
        self._pending += 1
        self._uncharged += uncharged
        if time.perf_counter() - self._before.at >= SHORTEST:
            self._judge_pending()

    def conditions(self) -> list[Conditions]:
        """What each round met that is over."""
        if self._pending:
            self._judge_pending()
        return self._found

    def _judge_pending(self) -> None:
        after = sample(workers=self._workers)
        self._found += [compare_readings(self._before, after, self._uncharged)] * self._pending
        self._before, self._pending, self._uncharged = after, 0, 0.0


def about_load() -> str | None:
    """`others wanted 3 CPUs of 2 when this began`, where they did, for the minute before a measurement begins."""
    usable = machine.usable_cpus()
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return f"others wanted {busy:.2g} CPUs of {usable} when this began" if busy > BUSY * usable else None


def _reasons(
    seconds: float, steal: float | None, others: float | None, throttled: float | None, cpus: int
) -> str | None:
    """Why a round with these conditions is marked."""
    reasons = []
    if others is not None and others > OTHERS * cpus:
        reasons.append(f"other processes used {others:.2f} of {cpus} CPU{'s' * (cpus > 1)}")
    if steal is not None and steal > STEAL:
        reasons.append(f"the hypervisor took {steal:.0%} of the CPU time")
    if throttled is not None and throttled > THROTTLED * seconds:
        reasons.append(f"the CPU quota stopped it for {throttled:.2g} s")
    return "; ".join(reasons) or None


def _grown(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before


def _cpu_times(root: Path, cpus: tuple[int, ...]) -> tuple[float, float, float] | tuple[None, None, None]:
    """Seconds in total, idle and stolen of these CPUs; None where /proc/stat does not tell of each."""
    wanted = {f"cpu{cpu}" for cpu in cpus}
    lines = [line.split() for line in machine.text(root / "proc/stat").splitlines() if line.startswith("cpu")]
    times = [[int(field) for field in fields[1:9]] for fields in lines if fields[0] in wanted]
    if len(times) < len(wanted) or any(len(fields) < 8 for fields in times):
        return None, None, None
    # user, nice, system, idle, waiting for a disk (idle too), two of interrupts, stolen; what guests use is in user.
    sums = [TICK * sum(column) for column in zip(*times, strict=True)]
    return sum(sums), sums[3] + sums[4], sums[7]


def _used(root: Path, process: str) -> float | None:
    """CPU seconds of a process with all its threads and the children that it has waited for; None where it is gone."""
    # The name stands in brackets and may hold anything, so count from behind it.
    _, named, fields = machine.text(root / "proc" / process / "stat").rpartition(")")
    return TICK * sum(map(int, fields.split()[11:15])) if named else None


def _throttled(root: Path) -> dict[str, float] | None:
    """Seconds by control group that has a quota, or had one; None where no control group can be read."""
    seconds: dict[str, float] = {}
    readable = False
    for folder in _groups(root, machine.text(root / "proc/self/cgroup")):
        words = machine.text(folder / "cpu.stat").split()
        counters = dict(zip(words[::2], words[1::2], strict=False))
        readable |= bool(counters)
        if "throttled_usec" in counters:
            seconds[str(folder)] = int(counters["throttled_usec"]) / 1e6
        elif "throttled_time" in counters:  # version 1
            seconds[str(folder)] = int(counters["throttled_time"]) / 1e9
    return seconds if readable else None


@functools.lru_cache(maxsize=8)  # finding the folders takes longer than reading them
def _groups(root: Path, membership: str) -> tuple[Path, ...]:
    """The folders of this process's control groups; membership: /proc/self/cgroup's text, so that a change is seen."""
    return tuple(folder for _, folder in machine.groups(root, "cpu"))


def _load(root: Path) -> tuple[float, int] | tuple[None, None]:
    """The load average of a minute, and how many tasks run or want to."""
    fields = machine.text(root / "proc/loadavg").split()
    if len(fields) < 4 or "/" not in fields[3]:
        return None, None
    return float(fields[0]), int(fields[3].partition("/")[0])
