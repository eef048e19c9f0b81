"""The sentence of each cause: what it did, with its figures, and what to do about it. Functions are called as causes
are."""

from __future__ import annotations

import math
from collections.abc import Callable

from compute.scaling.formatting import listed, percent, ratio, seconds
from compute.scaling.verdict.evidence import NEAR, TAKEN, TICKETS, Evidence

LEAST_FIGURE = 0.01  # of the core-seconds: a smaller figure is left out
WORTH_A_WORD = 1.1  # times faster: two measurements differ by less than this anyway
MIXED = 0.1  # of the serial time: work that computes for less than this is called I/O-bound
NAMES = {  # of entries, in a sentence
    "runqueue": "queued for a CPU",
    "inflation": "CPU inflation",
    "startup": "start-up",
    "serial": "serial section",
}

Phrase = Callable[[Evidence], str]


def always(text: str) -> Phrase:
    """The same words, whatever the evidence."""
    return lambda e: text


def lost(entry: str, why: str = "") -> Phrase:
    """`idle 40 % of core-seconds`, and why: an entry of the ledger that is a cause by itself."""
    return lambda e: f"{NAMES.get(entry, entry)} {percent(e.share(entry))} of core-seconds{why}"


QUIET = always("measure again on a quiet machine")
UNSHARE = always("give each lane its own copy, in locals, of what all use (constants are immortal), or use processes")
FRESH = always("fill an array that was filled before (out=)")
LESS_MEMORY = always("compute more with each byte (blocks that fit the caches, smaller types)")


def one_thread(e: Evidence) -> str:
    shared = f"{every(e.workers, 'lane')} share one thread"
    if not e.waits:
        return f"{shared}, which helps only work that waits"
    if e.computes < LEAST_FIGURE or (e.overlap_limit or 0.0) >= NEAR * e.workers:
        return f"I/O-bound, but {shared}, and waiting holds it"
    return f"{mixed(e)}: {shared}, {_turns(e)}"


def unblock(e: Evidence) -> str:
    """What to do about lanes on one thread."""
    if e.waits and (e.overlap_limit or 0.0) >= NEAR * e.workers:
        return "await in an async function, or use threads"
    return "use processes" if e.waits else "use threads or processes"


def mixed(e: Evidence) -> str:
    """`mixed: 30 % computes`"""
    return f"mixed: {percent(e.computes)} computes"


def _turns(e: Evidence) -> str:
    return f"which holds {e.workers} to {ratio(e.overlap_limit or 0.0)}-fold"


def overlapping(e: Evidence) -> str:
    """`I/O-bound: the waits overlap 97-fold of 100`"""
    kind = "I/O-bound" if e.computes < MIXED else mixed(e)
    return f"{kind}: the waits overlap {ratio(e.speedup or 0.0)}-fold of {e.workers}"


def cpus_allow(e: Evidence) -> str:
    return f"{mixed(e)}, and {counted(e.cpus_for_lanes or 1, 'CPU')} allow {allowed(e)}"


def stopped(e: Evidence) -> str:
    return f"{_quota(e)} stopped the lanes for {percent(e.stopped)} of core-seconds"


def quota_allows(e: Evidence) -> str:
    return f"but {_quota(e)} allows {allowed(e)}"


def _quota(e: Evidence) -> str:
    return "the CPU quota" if e.quota is None else f"a quota of {counted(e.quota, 'CPU')}"


def more_quota(e: Evidence) -> str:
    """`raise it, or use 1 worker`"""
    enough = e.quota is None or e.quota >= e.workers
    return "raise it" + ("" if enough else f", or use {counted(max(1, math.floor(e.quota or 0)), 'worker')}")


def nested(e: Evidence) -> str:
    used = f"threads inside the lanes used {seconds(e.nested or 0.0)} of CPU beside the lanes' {seconds(e.lanes_cpu)}"
    return used + figures(e, "runqueue", "inflation", "blocked")


def crowded(e: Evidence) -> str:
    return f"{_crowd(e)}{figures(e, 'runqueue', *e.hides_queues)}"


def crowd_allows(e: Evidence) -> str:
    return f"but {_crowd(e)}, good for {allowed(e)}"


def _crowd(e: Evidence) -> str:
    return f"{e.workers} workers share {counted(e.cpus_for_lanes or 1, 'CPU')}"


def uncrowd(e: Evidence) -> str:
    widen = " or allow it more CPUs (affinity mask)" if (e.cpus_shared or 0) < (e.cpus or 0) else ""
    return f"use {counted(e.cpus_for_lanes or 1, 'worker')}{widen}"


def noise(e: Evidence) -> str:
    text = disturbers(e) or "the machine was disturbed"
    if e.never_slept and e.share("blocked") >= LEAST_FIGURE:
        text += f", off the CPU {percent(e.share('blocked'))} of core-seconds without ever having slept"
    return text + figures(e, "runqueue")


def flattered_by_noise(e: Evidence) -> str:
    """Where the serial run was kept from the CPU, and the speedup looks better than it is."""
    off = f"the serial run was off the CPU {percent(e.alone_off)} of its time, which flatters the speedup"
    return off + (f" ({disturbers(e)})" if disturbers(e) else "")


def noise_allows(e: Evidence) -> str:
    return f"but {disturbers(e)}, which left {allowed(e)}"


def disturbers(e: Evidence) -> str:
    """Who took CPUs, and in how many rounds."""
    who = [f"other processes used {ratio(e.others)} CPUs"] if e.others else []
    who += [f"the hypervisor took {percent(e.steal)} of the CPU time"] if e.steal else []
    who += [disturbed(e.contaminated, e.rounds)] if e.contaminated and e.rounds else []
    return listed(who)


def gil(e: Evidence) -> str:
    if e.overlap_limit is not None and e.computes >= MIXED:
        return f"{mixed(e)} under the GIL, {_turns(e)}; blocked {percent(e.share('blocked'))} of core-seconds"
    text = f"blocked {percent(e.share('blocked'))}"
    if not e.compiled and e.share("startup") >= LEAST_FIGURE:
        text += f" and kept from starting {percent(e.share('startup'))}"
    text += f" of core-seconds{_queues_included(e)}"
    text += f", the nogil variant {percent(e.free_blocked)}" if e.blocks_less(e.free_blocked) else ""
    text += f", the GIL taken {percent(e.gil)} of the time" if e.gil is not None else ""
    text += f", processes {percent(e.elsewhere_blocked)}" if e.blocks_less(e.elsewhere_blocked) else ""
    return f"{text}: consistent with the GIL"


def release_it(e: Evidence) -> str:
    away = e.blocks_less(e.elsewhere_blocked)
    if e.compiled:
        return "let the body release it" + (", or use processes" if away else "")
    return "use a compiled or nogil kernel" + (", or processes" if away else "")


def lock(e: Evidence) -> str:
    an_own = ", which an object may have for itself," if e.shares_objects else ""
    return f"{_blocked(e)}, {not_the_gil(e)}: consistent with a lock{an_own} or waiting for data"


def blocked(e: Evidence) -> str:
    return f"{_blocked(e)}, by the GIL, a lock or waiting for data: nothing measured tells which"


def tell_waits_apart(e: Evidence) -> str:
    """What to measure next, so that one of the reasons can be told."""
    if e.free_blocked is None and not e.compiled:
        return "measure a nogil variant beside it"
    return "measure longer runs" if e.elsewhere_blocked is not None else "measure processes beside it"


def _blocked(e: Evidence) -> str:
    return f"blocked {percent(e.share('blocked'))} of core-seconds{_queues_included(e)}"


def _queues_included(e: Evidence) -> str:
    return " (waits for a CPU included)" if "runqueue" in e.unknown else ""


def not_the_gil(e: Evidence) -> str:
    """Why a wait is not for the GIL; "" where it may be."""
    for holds, reason in (
        (e.workers == 1, "by a single lane"),
        (not e.has_gil, "without a GIL"),
        (not e.shares_gil, "by lanes that share no GIL"),
        (e.gil is not None and e.gil < TAKEN, f"the GIL taken only {percent(e.gil)} of the time"),
        (e.blocks_alike(e.elsewhere_blocked), f"processes {percent(e.elsewhere_blocked)} as well"),
        (e.blocks_alike(e.free_blocked) and not e.compiled, f"the nogil variant {percent(e.free_blocked)} as well"),
        (e.compiled, "by a variant that releases the GIL"),
    ):
        if holds:
            return reason
    return ""


def first_touch(e: Evidence) -> str:
    faults = (
        f"{e.faults or 0:.0f} page faults took {seconds(e.faulting)} more of the system's CPU than the serial run's"
    )
    return f"{faults}{figures(e, 'inflation')}: the first touch of fresh memory"


def flattered(e: Evidence) -> str:
    """Where the serial run paid for the pages, and the speedup looks better than it is."""
    faults = f"page faults took {seconds(-e.faulting)} more of the system's CPU in the serial run"
    return f"{faults}: the first touch of fresh memory"


def small_chunks(e: Evidence) -> str:
    chunk, ticket = seconds(e.chunk_seconds or 0.0), seconds(e.ticket_seconds or 0.0)
    text = f"too little work for each chunk: {chunk}, and taking one costs {ticket}"
    return text + figures(e, "inflation", "unexplained")


def larger_grain(e: Evidence) -> str:
    times = TICKETS * (e.ticket_seconds or 0.0) / (e.chunk_seconds or math.inf)
    return f"make the grain {math.ceil(times)} times larger"


def contention(e: Evidence) -> str:
    elsewhere = percent(e.elsewhere_inflation or 0.0)
    inflated = f"CPU inflation {percent(e.share('inflation'))} of core-seconds"
    return f"contention inside the interpreter: {inflated} where the same body on processes has {elsewhere}"


def suspects(e: Evidence) -> str:
    """Why lanes may have needed more CPU, where nothing that was measured tells."""
    if e.shares_objects and e.elsewhere_inflation is None:
        return "without a GIL, objects that all lanes use may be why; measure processes beside it, which share none"
    return "caches, cores that share hardware or the clock may be why, and nothing measured tells which"


def memory(e: Evidence) -> str:
    return f"{_bandwidth(e)}{figures(e, 'inflation')}"


def memory_allows(e: Evidence) -> str:
    return f"limited by {_bandwidth(e)}, good for {allowed(e)}"


def _bandwidth(e: Evidence) -> str:
    return (
        f"memory bandwidth: this machine gives {counted(e.workers, 'lane')} {ratio(e.ceiling_memory or 0.0)}× of one's"
    )


def imbalance(e: Evidence) -> str:
    chunks = "" if e.chunks is None else f" ({counted(e.chunks, 'chunk')} on {e.workers} lanes)"
    return lost("idle", f", waiting for the last chunks{chunks}: imbalance")(e)


def startup(e: Evidence) -> str:
    return lost("startup", f", in a run of {seconds(e.seconds)}: too little work")(e)


def transfer(e: Evidence) -> str:
    why = "messages are sent and arrays copied" if e.sends else "arrays are made ready"
    return lost("transfer", f", in a run of {seconds(e.seconds)}: {why}")(e)


def serialisation(e: Evidence) -> str:
    return lost("serialisation", f", in a run of {seconds(e.seconds)}: messages are packed and unpacked")(e)


def network(e: Evidence) -> str:
    return lost("network", f", in a run of {seconds(e.seconds)}: workers wait for data, or the caller for results")(e)


def scheduler(e: Evidence) -> str:
    return lost("scheduler", f", in a run of {seconds(e.seconds)}: chunks are on their way through it")(e)


def pass_less(e: Evidence) -> str:
    if e.copied and e.sends and (e.without_copies is None or e.without_copies >= WORTH_A_WORD):
        gain = "" if e.without_copies is None else f", measured here {ratio(e.without_copies)}× faster"
        return f"allocate {e.copied} with shared.empty{gain}"
    return "pass less, give each run more, or use threads" if e.sends else "give each run more"


def serial_section(e: Evidence) -> str:
    return lost("serial", f", {e.workers - 1} of {e.workers} workers wait while the caller plans or finishes")(e)


def allowed(e: Evidence) -> str:
    """`1.40× of 2`: what the machine allowed a perfect kernel."""
    return f"{ratio(e.roof or 0.0)}× of {e.workers}"


def figures(e: Evidence, *entries: str) -> str:
    """`, queued for a CPU 40 % of core-seconds`: those of the entries with a share of LEAST_FIGURE or more."""
    shares = [
        f"{NAMES.get(entry, entry)} {percent(e.share(entry))}" for entry in entries if e.share(entry) >= LEAST_FIGURE
    ]
    return f", {listed(shares)} of core-seconds" if shares else ""


def disturbed(some: int, rounds: int) -> str:
    """`3 of 12 rounds were disturbed`, `all 12 rounds were disturbed`"""
    if some >= rounds:
        return f"{every(rounds, 'round')} {'was' if rounds == 1 else 'were'} disturbed"
    return f"{some} of {rounds} rounds {'was' if some == 1 else 'were'} disturbed"


def every(count: int, noun: str) -> str:
    """`the only round`, `both lanes`, `all 3 lanes`"""
    return f"the only {noun}" if count == 1 else f"both {noun}s" if count == 2 else f"all {count} {noun}s"


def counted(count: float, noun: str) -> str:
    """`1 CPU`, `1.5 CPUs`"""
    return f"{count:g} {noun}{'s' * (count != 1)}"
