"""From the runs of a program to its points: the same Point as a kernel's, with what can be seen from outside.

CPU time, faults and switches are exact: the system counts them for each process. How long threads waited for a CPU is
sampled (compute.program.watching). The rest of workers × seconds is in `blocked`. It may be a lock, a disk, a server, a
worker without work, or a worker that the program never started: from outside these look the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from compute.program.command import Command
from compute.program.run import Finished
from compute.scaling import ledger, statistics
from compute.scaling.build_point import WAITING, middle_rounds
from compute.scaling.ceiling import Ceilings
from compute.scaling.dataset import Point
from compute.scaling.formatting import listed, percent, seconds
from compute.scaling.verdict.phrases import counted
from compute.traits import PROGRAM

BACKEND = "program"
COVERED = 0.8  # of the CPU time that was seen by looking at threads: with less, how long they waited is not known
WITHIN = ("idle", "startup", "transfer", "serial")  # entries that cannot be seen from outside: they are in blocked
LEAST_NOTED = 0.005  # of the core-seconds: less is left out


def make_point(
    command: Command, workers: int, runs: Sequence[Finished], alone: Sequence[Finished], ceilings: Ceilings,
    beside: float | None, share: float | None,
) -> Point:  # fmt: skip
    """The Point of a program on so many workers from its runs, one a round; alone: those of one worker.

    share: from 0 (computes) to 1 (streams memory). beside: how much longer it took beside neighbours that stream memory
    than beside such that compute. Both None where that was not measured; the ceiling is then that of computing.
    """
    middle = middle_rounds([run.seconds for run in runs])
    waits = _waits(alone)
    accounts = [_entries(runs[k], workers, alone[k], waits > 0) for k in middle]
    details = _details(runs, alone) | ({} if beside is None else {"beside_memory": beside})
    known = _are_known(runs)
    return Point(
        kernel=command.name,
        size=None,
        variant=command.told_by,
        backend=BACKEND,
        workers=workers,
        seconds=runs[0].seconds,
        samples=tuple(run.seconds for run in runs),
        cpu_per_wall=details["used"] / workers,
        arguments=command.line,
        notes=_notes(workers, runs, details, known),
        ceiling=ceilings.of_work(workers, share or 0.0, waits),
        memory_share=share,
        ledger=ledger.mean(accounts),
        unknown=WITHIN if known else ("runqueue", *WITHIN),
        efficiencies=ledger.mean([_efficiencies(runs[k], workers, alone[k]) for k in middle]),
        details=details,
        mode="strong",
        traits=PROGRAM.names(),
        evidence={"waits": waits} if waits else {},
    )


def inflated(workers: int, runs: Sequence[Finished], alone: Sequence[Finished]) -> float:
    """The part of the core-seconds in which the program used more CPU than with one worker; median over rounds."""
    return _median([(run.cpu - single.cpu) / (workers * run.seconds) for run, single in zip(runs, alone, strict=True)])


def _entries(run: Finished, workers: int, alone: Finished, waits: bool) -> dict[str, float]:
    """The ledger of a run, in core-seconds; alone: the run with one worker of the same round."""
    off = workers * run.seconds - run.cpu
    queued = min(_queued(run), max(0.0, off))
    waiting = min(max(0.0, off - queued), max(0.0, alone.seconds - alone.cpu - _queued(alone)) * waits)
    spent = dict.fromkeys(ledger.ENTRIES, 0.0) | {
        "useful": alone.cpu,
        "inflation": run.cpu - alone.cpu,
        "waiting": waiting,
        "blocked": max(0.0, off - queued) - waiting,
        "runqueue": queued,
    }
    return spent | {"unexplained": min(0.0, off)}  # under 0 where it used more CPUs than it was given workers


def _efficiencies(run: Finished, workers: int, alone: Finished) -> dict[str, float]:
    """Those of the POP tree that the whole program shows. Load balance cannot be seen from outside."""
    parallel, computation = run.cpu / (workers * run.seconds), alone.cpu / run.cpu if run.cpu else 1.0
    return {"global": parallel * computation, "parallel": parallel, "computation": computation}


def _waits(alone: Sequence[Finished]) -> float:
    """The part of its time for which the program with one worker waits for what is outside; 0 where that is little."""
    waits = _median([(run.seconds - run.cpu - _queued(run)) / run.seconds for run in alone])
    return min(waits, 1.0) if waits >= WAITING else 0.0


def _queued(run: Finished) -> float:
    return run.watched.queued if run.watched and _coverage(run) >= COVERED else 0.0


def _coverage(run: Finished) -> float:
    """How much of its CPU time was seen by looking at its threads."""
    if run.watched is None:
        return 0.0
    return min(1.0, run.watched.cpu / run.cpu) if run.cpu > 0 else 1.0


def _are_known(runs: Sequence[Finished]) -> bool:
    return _median([_coverage(run) for run in runs]) >= COVERED


def _details(runs: Sequence[Finished], alone: Sequence[Finished]) -> dict[str, float]:
    """What was seen, medians over rounds; seconds of a run unless another unit is named.

    user, in_the_system: CPU; system: that in the system beyond the run with one worker. faults, voluntary, involuntary.
    used, used_alone: CPUs at work on average, and with one worker. covered: share of its CPU time that looking saw.
    threads, threads_alone: how many did nine tenths of the work. wanted: threads that had a CPU or queued for one.
    one, nobody, first, last, late: how long one thread at most was at work, and as in Watched.
    seconds_alone: of one worker.
    """
    seen: dict[str, Callable[[Finished], float | None]] = {
        "user": lambda run: run.user,
        "in_the_system": lambda run: run.system,
        "faults": lambda run: run.faults,
        "voluntary": lambda run: run.voluntary,
        "involuntary": lambda run: run.involuntary,
        "used": lambda run: run.cpu / run.seconds,
        "covered": lambda run: None if run.watched is None else _coverage(run),
        "wanted": lambda run: (run.cpu + run.watched.queued) / run.seconds if run.watched else None,
        **{name: _as_watched(name) for name in ("threads", "one", "nobody", "first", "last", "late")},
    }
    details = _medians(runs, seen)
    of_one = _medians(alone, {name: seen[name] for name in ("used", "threads")} | {"seconds": lambda run: run.seconds})
    beyond = _median([run.system - single.system for run, single in zip(runs, alone, strict=True)])
    return details | {f"{name}_alone": value for name, value in of_one.items()} | {"system": beyond}


def _as_watched(name: str) -> Callable[[Finished], float | None]:
    return lambda run: getattr(run.watched, name, None)


def _medians(runs: Sequence[Finished], seen: Mapping[str, Callable[[Finished], float | None]]) -> dict[str, float]:
    """By name; a figure that is missing of one run is left out."""
    values = {name: [of(run) for run in runs] for name, of in seen.items()}
    return {name: _median([float(x) for x in of if x is not None]) for name, of in values.items() if None not in of}


def _notes(workers: int, runs: Sequence[Finished], details: Mapping[str, float], known: bool) -> tuple[str, ...]:
    """What the ledger does not show: user and system CPU, threads, switches, and processes that were left behind."""
    budget = workers * statistics.median([run.seconds for run in runs])
    parts = [
        f"{_time(details['user'])} of user and {_time(details['in_the_system'])} of system CPU",
        f"{details['used']:.2f} CPUs at work on average",
    ]
    if "threads" in details:
        parts.append(f"most of it on {counted(round(details['threads']), 'thread')}")
    parts.append(f"{details['voluntary']:.0f} voluntary and {details['involuntary']:.0f} involuntary switches")
    parts.append(counted(round(details["faults"]), "minor page fault"))
    notes = [listed(parts)]
    if not known:
        queued = _median([run.watched.queued for run in runs if run.watched]) / budget if runs[0].watched else 0.0
        covered = f"only {percent(details['covered'])} of its CPU time was seen" if "covered" in details else ""
        least = f"; at least {percent(queued)} of core-seconds were waits for a CPU" if queued >= LEAST_NOTED else ""
        if covered:
            notes.append(f"its threads end too soon to be watched: {covered}{least}")
    if lost := max(run.uncharged for run in runs):
        notes.append(
            "the system charges nobody for what its children used, as it ignores their ends (SIGCHLD): up to"
            f" {seconds(lost)} of its CPU time is what was seen of them, and may be more"
        )
    left = sorted({name for run in runs for name in run.left})
    if left:
        notes.append(f"it left processes running when it ended ({', '.join(left)}), and these were ended")
    return tuple(notes)


def _time(value: float) -> str:
    return seconds(value) if value > 0 else "none"


def _median(values: Sequence[float]) -> float:
    return statistics.median(values)
