"""Where the core-seconds of a run went: N × T, split into entries that sum to it, and the POP efficiencies.

Pure functions of a timeline. What each lane could have computed in a run of T seconds on N workers is N × T:

    useful       the CPU that the serial run of the same round needed for the same work
    inflation    CPU that the lanes needed beyond that: caches, memory bandwidth, clock speed, contention; negative
                 where they needed less
    waiting      a lane waited for what is outside, a server or a disk; for as long as the serial run waits, not longer
    blocked      a lane was in its loop, but neither on a CPU, nor waiting for one or for what is outside: GIL or lock
    runqueue     a lane was ready and waited for a CPU that somebody else had
    idle         a lane had found no chunk left while another one still computed
    startup      from the call of the lanes to each one's first chunk, and from the last chunk to the caller's noticing
    transfer     arrays copied into shared memory, messages made, sent and unpacked; lanes that waited for their next
                 group of chunks
    serialisation, network, scheduler
                 of a cluster, what start-up and transfer are elsewhere. A lane had no group of chunks, because messages
                 were packed or unpacked; because they were on the network; because of everything else between two
                 groups, which is the scheduler's work and that of dask's own loops
    serial       the caller planned or finished, and nobody else had anything to do
    unexplained  what is left

Sources: POP Centre of Excellence for the efficiencies; blocked from the run queue's own clock, see compute.lanes.usage.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from compute.timeline import LaneTotals, Timeline

ENTRIES = (
    "useful",
    "inflation",
    "waiting",
    "blocked",
    "runqueue",
    "idle",
    "startup",
    "transfer",
    "serialisation",
    "network",
    "scheduler",
    "serial",
    "unexplained",
)
DISPATCHING = ("startup", "transfer", "serialisation", "network", "scheduler")  # what a run costs that computes nothing


def entries(timeline: Timeline, seconds: float, workers: int, useful: float, waits: float = 0.0) -> dict[str, float]:
    """The ledger of a run that took `seconds` on so many workers: core-seconds by ENTRIES.

    useful: CPU seconds that its work needs serially. waits: seconds for which its work waits serially for what is
            outside.

    The entries sum to workers × seconds. Where the system does not tell what a lane waited for (see `unknown`), all its
    waiting is in blocked.
    """
    section = timeline.sections
    lanes = timeline.lanes
    began = timeline.dispatched
    over = began + section.get("dispatch", 0.0)
    last = min(max((lane.stop for lane in lanes), default=over), over)
    plain = [lane for lane in lanes if lane.packing is None]
    grouped = _between_groups([lane for lane in lanes if lane.packing is not None], began, over - last)
    pickling = min(timeline.pickling, section.get("transfer", 0.0))
    # How long each lane took to start; a lane that never started counts until all was done.
    delays = [max(0.0, lane.start - began - lane.loading) for lane in plain]
    delays += [max(0.0, last - began)] * (workers - len(lanes))
    # The caller may still be sending to one worker when another has begun: that one waited for less than all of it.
    sent = sum(min(delay, timeline.sending) for delay in delays)
    queued = sum(lane.queued or 0.0 for lane in lanes)
    cpu = timeline.cpu
    outside = sum(lane.wall for lane in lanes) - cpu
    off = waited(timeline)
    waiting = min(off, waits)
    spent = {
        "useful": useful,
        "inflation": cpu - useful,
        "waiting": waiting,
        "blocked": off - waiting,
        "runqueue": min(queued, max(0.0, outside)),
        "idle": sum(max(0.0, last - lane.stop) for lane in lanes) + grouped["idle"],
        "startup": sum(delays) - sent + (workers - len(lanes) + len(plain)) * (over - last),
        "transfer": workers * (section.get("transfer", 0.0) - pickling)
        + sent
        + sum(lane.loading + lane.away for lane in plain),
        "serialisation": workers * pickling + grouped["serialisation"],
        "network": grouped["network"],
        "scheduler": grouped["scheduler"],
        "serial": workers * (section.get("plan", 0.0) + section.get("finish", 0.0)),
    }
    return spent | {"unexplained": workers * seconds - sum(spent.values())}


def _between_groups(lanes: Sequence[LaneTotals], began: float, late: float) -> dict[str, float]:
    """The time without a chunk of lanes that a scheduler gives groups, by entry: before, between and after these.

    late: seconds from the end of the last chunk until the caller had all results.
    """
    spent = dict.fromkeys(("idle", "serialisation", "network", "scheduler"), 0.0)
    for lane in lanes:
        left = max(0.0, lane.start - began) + lane.away + late
        for entry, seconds in (("idle", lane.lull), ("serialisation", lane.packing or 0.0), ("network", lane.carrying)):
            part = min(seconds, left)
            spent[entry] += part
            left -= part
        spent["scheduler"] += left
    return spent


def waited(timeline: Timeline) -> float:
    """Seconds for which lanes were in their loop, and neither on a CPU nor waiting for one."""
    lanes = timeline.lanes
    return max(0.0, sum(lane.wall - (lane.queued or 0.0) for lane in lanes) - timeline.cpu)


def unknown(timeline: Timeline) -> tuple[str, ...]:
    """The entries that this system does not tell. Each is 0 in the ledger, and its seconds are in its neighbour."""
    return ("runqueue",) if any(lane.queued is None for lane in timeline.lanes) else ()


def details(timeline: Timeline) -> dict[str, float]:
    """Sums over the lanes of what the system counted. A figure that is missing of one lane is left out.

    nested: CPU seconds that the lanes' processes used beside their lanes.
    """
    lanes = timeline.lanes
    sums = {
        "voluntary": _sum(lane.voluntary for lane in lanes),
        "involuntary": _sum(lane.involuntary for lane in lanes),
        "faults": _sum(lane.faults for lane in lanes),
        "nested": _nested(lanes),
    }
    return {name: float(value) for name, value in sums.items() if value is not None}


def efficiencies(timeline: Timeline, seconds: float, workers: int, useful: float) -> dict[str, float]:
    """The POP tree: global = parallel × computation, parallel = load_balance × communication; 1 is perfect.

    load_balance: mean over largest CPU of a worker; communication: that largest over the wall; computation: the serial
    run's CPU over all workers'. Empty where no lane used any CPU.
    """
    used = [lane.cpu for lane in timeline.lanes]
    most, total = max(used, default=0.0), sum(used)
    if not (most > 0 and seconds > 0):
        return {}
    balance, communication, computation = total / workers / most, most / seconds, useful / total
    return {
        "global": balance * communication * computation,
        "parallel": balance * communication,
        "load_balance": balance,
        "communication": communication,
        "computation": computation,
    }


def mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each entry over some ledgers. With an even number of rounds there are two middle ones."""
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}


def _sum(values: Iterable[float | None]) -> float | None:
    """None where there are none, or one of them is unknown."""
    listed = list(values)
    known = [value for value in listed if value is not None]
    return sum(known) if known and len(known) == len(listed) else None


def _nested(lanes: Sequence[LaneTotals]) -> float | None:
    """CPU seconds of the lanes' processes that were not the lanes' own threads': each process counted once."""
    by_process: dict[int, list[LaneTotals]] = {}
    for lane in lanes:
        if lane.process_cpu is not None:
            by_process.setdefault(lane.process, []).append(lane)
    if not by_process:
        return None
    return sum(
        max(0.0, max(lane.process_cpu or 0.0 for lane in own) - sum(lane.cpu for lane in own))
        for own in by_process.values()
    )
