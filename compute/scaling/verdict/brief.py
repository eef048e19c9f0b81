"""A verdict in a few words that are alike wherever the cause is: what stands in a line about several points."""

from __future__ import annotations

import re
from dataclasses import dataclass

from compute.scaling.dataset import Point
from compute.scaling.verdict import causes
from compute.scaling.verdict.evidence import NEAR, Evidence
from compute.scaling.verdict.judgement import judge

FINE = "nothing wrong"  # what a verdict ends with where there is no more to say
NAMES = {  # of causes, where their code alone would not be understood
    causes.QUOTA.code: "the CPU quota",
    causes.ONE_THREAD.code: "all lanes share one thread",
    causes.NESTED.code: "threads inside the lanes",
    causes.OVERSUBSCRIPTION.code: "more workers than CPUs",
    causes.COMPUTING.code: "computing, for which there are not as many CPUs as lanes",
    causes.NOISE.code: "disturbed from outside",
    causes.GIL.code: "the GIL",
    causes.LOCK.code: "a lock, or waiting for data",
    causes.CONTENTION.code: "contention inside the interpreter",
    causes.FIRST_TOUCH.code: "the first touch of fresh memory",
    causes.SMALL_CHUNKS.code: "too little work for each chunk",
    causes.IMBALANCE.code: "waiting for the last chunks (imbalance)",
    causes.START_UP.code: "start-up, for too little work",
    causes.TRANSFER.code: "getting data to the workers and back",
    causes.SERIAL_SECTION.code: "the caller works alone",
    causes.INCONCLUSIVE: "too uncertain to tell",
    causes.NONE: "the machine itself",
}
NO_SINGLE = "no single cause"
REACHED = re.compile(r"^[^ ]+ % of what is possible; ")  # how a verdict begins that names no cause
FIGURE = re.compile(r" ([0-9.e-]+) % of core-seconds")


@dataclass(frozen=True)
class Brief:
    """name: what keeps a point from N-fold, without figures. remedy: what to do about it, "" where nothing is known.

    share:   the part of the core-seconds that it took; None where that is not the measure, or not known.
    ceiling: the speedup to which it holds the machine itself; None where it does not.
    """

    name: str
    remedy: str
    share: float | None = None
    ceiling: float | None = None


def is_fine(p: Point) -> bool:
    """Whether a point's verdict says that nothing keeps it from what is possible, and that this is near to N-fold."""
    return p.cause == causes.NONE and (p.verdict or "").endswith(FINE)


def brief(p: Point) -> Brief | None:
    """What the point's verdict says, in brief; None where it has none, or nothing is wrong."""
    if not p.verdict or is_fine(p):
        return None
    told = REACHED.sub("", p.verdict)
    said, found, remedy = told.rpartition("; ")
    if not found:
        said, remedy = told, ""
    if p.cause in (None, causes.UNKNOWN):  # several losses have this code, and each its own words
        name = NO_SINGLE if said.startswith(NO_SINGLE) else FIGURE.sub("", said)
        share = FIGURE.search(said)
        return Brief(name, remedy, float(share[1]) / 100 if share and name != NO_SINGLE else None)
    name, evidence = NAMES.get(p.cause, p.cause), Evidence.of_point(p)
    if evidence is None:
        return Brief(name, remedy)
    low = evidence.roof is not None and evidence.roof < NEAR * p.workers
    if p.cause == causes.NONE or (low and any(c.code == p.cause and c.caps(evidence) for c in causes.CAUSES)):
        return Brief(name, remedy, ceiling=evidence.roof)
    return Brief(name, remedy, judge(evidence).losses.get(p.cause))
