"""Causes of whole programs, which are watched from outside: whether the evidence shows them, and their sentences."""

from __future__ import annotations

from compute.scaling.formatting import percent, ratio, seconds
from compute.scaling.verdict.evidence import Evidence
from compute.scaling.verdict.phrases import counted, figures, memory

MORE = 1.25  # CPUs wanted for each worker: a program's own housekeeping takes less than a quarter of one
ALIKE = (
    0.1  # of a speedup or of the CPUs used: if two worker counts differ by less, the program does the same with both
)
TURNS = 0.8  # of the time with one thread at work: in a program that scales at all it is less
# CPUs wanted: a program that wants less mostly waits, and its CPU time does not show whether it heeds the workers.
AT_WORK = 0.5
FEWEST = 3  # rounds that nobody disturbed: of two, a single bad one is half of the median
SAME_WIDTH = 0.3  # of a speedup: an interval as wide as from 0.85 to 1.15; if it is wider, times may differ


def seen(e: Evidence, name: str) -> float | None:
    """A figure of what was seen of a program; None where it was not seen, and of what is no whole program."""
    return e.details.get(name) if e.has.whole_program else None


def is_program(e: Evidence) -> bool:
    return e.has.whole_program


def undisturbed(e: Evidence) -> int | None:
    """How many rounds nobody disturbed; None where nobody counted them."""
    return None if e.rounds is None else max(0, e.rounds - (e.contaminated or 0))


def knows_too_few(e: Evidence) -> bool:
    """Whether a program was measured in so few good rounds that these carry no cause."""
    rounds = undisturbed(e)
    return is_program(e) and rounds is not None and rounds < FEWEST


def ignores_workers(e: Evidence) -> bool:
    """Whether the program did the very same with this many workers as with one: CPU time, threads, and wall time."""
    if e.workers == 1 or e.speedup is None or "used" not in e.details or not is_program(e) or more_threads(e):
        return False
    if e.speedup_ci is None:  # too few rounds to tell that the times are the same
        return False
    low, high = e.speedup_ci
    same_time = abs(e.speedup - 1) <= ALIKE and high - low <= SAME_WIDTH
    return same_time and is_at_work(e) and abs(e.ledger.get("inflation", 0.0)) <= ALIKE * e.ledger.get("useful", 0.0)


def is_at_work(e: Evidence) -> bool:
    """Whether it computes, or queues for a CPU, for long enough to tell what its threads do."""
    wanted = seen(e, "wanted")
    return (wanted if wanted is not None else seen(e, "used") or 0.0) >= AT_WORK


def more_threads(e: Evidence) -> bool:
    """Whether clearly more threads did its work than with one worker: one more for every second worker that it got."""
    return (seen(e, "threads") or 0) - (seen(e, "threads_alone") or 0) >= (e.workers - 1) / 2


def is_busy_alone(e: Evidence) -> bool:
    """Whether the program keeps more than one CPU at work with one worker already."""
    return e.workers > 1 and (seen(e, "used_alone") or 0.0) >= MORE


def wants_more(e: Evidence) -> bool:
    """Whether more of its threads want a CPU than it has workers, where there is a CPU for each worker."""
    wanted = seen(e, "wanted")
    return (
        wanted is not None
        and "runqueue" not in e.unknown
        and not e.has_more_lanes_than_cpus
        and wanted >= MORE * e.workers
    )


def takes_turns(e: Evidence) -> bool:
    """Whether several of its threads work, one at a time. Time for which no thread works does not count."""
    alone, nobody = seen(e, "one"), seen(e, "nobody") or 0.0
    return e.workers > 1 and alone is not None and alone - nobody >= TURNS * e.seconds and (seen(e, "threads") or 0) > 1


def alone_share(e: Evidence) -> float:
    """The part of the core-seconds that was lost because one of its threads at most was at work, as a step of it."""
    return _lost_beside(e, max(0.0, (seen(e, "one") or 0.0) - (seen(e, "nobody") or 0.0) - (seen(e, "late") or 0.0)))


def late_share(e: Evidence) -> float:
    """The part of the core-seconds that was lost because one of its workers was at work when the others had ended."""
    return _lost_beside(e, seen(e, "late") or 0.0)


def _lost_beside(e: Evidence, alone: float) -> float:
    """What all workers but one lost, where one thread alone was at work for so many seconds."""
    if seen(e, "one") is None or e.workers == 1 or not e.budget > 0 or queues_together(e):
        return 0.0
    return alone * (e.workers - 1) / e.budget


def queues_together(e: Evidence) -> bool:
    """Whether several of its threads wanted a CPU at once, and together had hardly more than one.

    This is so where others took the CPUs. It then cannot be seen whether its threads take turns or share the work out.
    """
    alone, used = seen(e, "one"), seen(e, "used")
    if alone is None or used is None or alone >= e.seconds or (seen(e, "threads") or 0) <= 1:
        return False
    # CPU time of when it wanted more than one
    together = used * e.seconds - max(0.0, alone - (seen(e, "nobody") or 0.0))
    return together < MORE * (e.seconds - alone)


def serial_fraction(e: Evidence) -> float | None:
    """The part of its time with one worker for which one thread at most is at work with several, as a step of it."""
    alone, whole = seen(e, "one"), seen(e, "seconds_alone")
    return min(max(0.0, alone - (seen(e, "late") or 0.0)) / whole, 1.0) if alone is not None and whole else None


def too_few(e: Evidence) -> str:
    """`why it is no faster cannot be told from 2 rounds, of which 1 was disturbed from outside`"""
    rounds = counted(e.rounds or 0, "round")
    disturbed = e.contaminated or 0
    among = f", of which {disturbed} {'was' if disturbed == 1 else 'were'} disturbed from outside" if disturbed else ""
    return f"why it is no faster cannot be told from {rounds}{among}"


def more_rounds(e: Evidence) -> str:
    quiet = ", on a quiet machine" if e.contaminated else ""
    return f"{FEWEST} that nobody disturbs can tell: give it a longer budget{quiet}"


def ignored(e: Evidence) -> str:
    used = seen(e, "used") or 0.0
    return (
        f"{counted(round(used, 2), 'CPU')} at work with 1 worker and with {e.workers}, in the same time: it does not"
        f" heed {e.variant or 'the number of workers'}, or has nothing to share out"
        f"{', or its threads take turns' if seen(e, 'threads') is None else ''}"
    )


def busy_alone(e: Evidence) -> str:
    alone, used = seen(e, "used_alone") or 0.0, seen(e, "used") or 0.0
    threads = seen(e, "threads_alone")
    on = f", on {counted(threads, 'thread')}" if threads else ""
    return (
        f"{counted(round(alone, 2), 'CPU')} at work with 1 worker already{on}, and {ratio(used)} with {e.workers}"
        f"{figures(e, 'runqueue', 'inflation')}"
    )


def crowding(e: Evidence) -> str:
    wanted = f"its threads wanted {ratio(seen(e, 'wanted') or 0.0)} CPUs with {counted(e.workers, 'worker')}"
    return wanted + figures(e, "runqueue", "inflation", "blocked")


def turns(e: Evidence) -> str:
    alone = min((seen(e, "one") or 0.0) / e.seconds, 1.0) if e.seconds else 0.0
    return (
        f"its {seen(e, 'threads') or 0:.0f} threads take turns, one at most at work {percent(alone)} of the time:"
        " consistent with a GIL or another lock"
    )


def serial(e: Evidence) -> str:
    """`one thread at most at work for 310 ms of 650 ms: a serial fraction of 30 %`"""
    late = seen(e, "late") or 0.0
    alone = max(0.0, (seen(e, "one") or 0.0) - late)
    ends = {"beginning": seen(e, "first") or 0.0, "end": max(0.0, (seen(e, "last") or 0.0) - late)}
    apart = sum(ends.values()) <= alone  # else it was so all the time
    where = [f"{seconds(part)} of it at the {end}" for end, part in ends.items() if apart and part >= alone / 5 > 0]
    at = f" ({', '.join(where)})" if where else ""
    text = f"one thread at most at work for {seconds(alone)} of {seconds(e.seconds)}{at}"
    fraction = serial_fraction(e)
    return text if fraction is None else f"{text}: a serial fraction of {percent(fraction)} of one worker's time"


def late(e: Evidence) -> str:
    """`one worker was at work for 53 ms of 572 ms after the others had ended`"""
    return (
        f"one worker was at work for {seconds(seen(e, 'late') or 0.0)} of {seconds(e.seconds)} after the others had"
        " ended: an uneven share, a slower CPU, or a last step of its own"
    )


def less_serial(e: Evidence) -> str:
    fraction = serial_fraction(e)
    most = f": as it is, no number of workers makes it more than {ratio(1 / fraction)}× as fast" if fraction else ""
    return f"share that part out, or shorten it{most}"


def blocked_or_idle(e: Evidence) -> str:
    text = f"blocked or idle {percent(e.share('blocked'))} of core-seconds"
    used, nobody = seen(e, "used"), seen(e, "nobody")
    text += f", {ratio(used)} CPUs at work on average" if used else ""
    text += f", none for {seconds(nobody)}" if nobody and nobody >= ALIKE * e.seconds else ""
    return f"{text}: a lock, a disk, a server, or workers without work, and nothing seen from outside tells which"


def inflated(e: Evidence) -> str:
    now, more = (seen(e, "user") or 0.0) + (seen(e, "in_the_system") or 0.0), seen(e, "system") or 0.0
    used = f"{seconds(now)} of CPU with {e.workers} workers, {seconds(max(0.0, e.ledger.get('useful', 0.0)))} with 1"
    part = ALIKE * max(e.ledger.get("inflation", 0.0), 0.0)
    system = f", {seconds(more)} of it more in the system" if more > part else ""
    return f"CPU inflation {percent(e.share('inflation'))} of core-seconds ({used}{system}){_beside(e)}"


def bandwidth(e: Evidence) -> str:
    return memory(e) + _beside(e)


def _beside(e: Evidence) -> str:
    ratio_beside = seen(e, "beside_memory")
    if not ratio_beside:
        return ""
    return f", with 1 worker {ratio(ratio_beside)}× as long beside memory traffic as beside other work"
