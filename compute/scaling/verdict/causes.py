"""The causes: one record each, in the order in which they claim what was lost.

Each cause whose evidence fits claims a part of the ledger's lost core-seconds, and a later one cannot claim it again.
The most specific cause stands first. The last ones take what is left, as losses of unknown cause. So no core-second is
counted twice, and the largest loss is the one to look at.

A further cause is a record here, its phrase in phrases.py, a rule in claims.py where none of these fits, and a planted
case in bench/planted.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from compute.scaling.verdict import phrases, program_phrases
from compute.scaling.verdict.claims import (
    Claims,
    claim_first_touch,
    claim_gil,
    claim_nested,
    claim_noise,
    claim_quota,
    everything,
    has_small_chunks,
    where,
)
from compute.scaling.verdict.evidence import EXPLAINS, STOPPED, Evidence
from compute.scaling.verdict.phrases import Phrase, always, lost

UNKNOWN, NONE, INCONCLUSIVE = "unknown", "none", "inconclusive"  # codes that no cause of its own stands for
NAMES = {NONE: "the machine itself", INCONCLUSIVE: "too uncertain to tell"}  # of those that are no record


@dataclass(frozen=True)
class Cause:
    """What may keep a configuration from N-fold.

    code:    the word for it, as in the `cause` of a Point. Several records may be of one word.
    entries: of the ledger, that it may claim.
    claim:   the share of the core-seconds that it takes of them; 0 where the evidence does not carry it.
    phrase:  what it did. remedy: what to do, "" where there is nothing to do.
    name:    the cause without figures, the same for every point that it holds back; the code where that says enough.
    caps:    whether it keeps the machine's own ceiling under N-fold; then limit says so, and how far.
    settles: whether it is what keeps it from N-fold, whatever the ledger looks like.
    needs_rounds: whether a program must have been measured in several good rounds before it is named. A cause outside
             the program, and one that is not known, may be named after fewer.
    """

    code: str
    entries: tuple[str, ...]
    claim: Callable[[Evidence, Claims], float]
    phrase: Phrase
    remedy: Phrase
    name: str = ""
    caps: Callable[[Evidence], bool] = lambda e: False
    limit: Phrase = lambda e: ""
    settles: Callable[[Evidence], bool] = lambda e: False
    needs_rounds: bool = True


@dataclass(frozen=True)
class Loss:
    """A part of the core-seconds, and what took it."""

    cause: Cause
    share: float


def losses(e: Evidence) -> list[Loss]:
    """Every part of the ledger that could have been useful or awaited, by cause, the largest first."""
    unclaimed = {entry: e.share(entry) for entry in e.ledger if entry not in ("useful", "waiting")}
    # While the caller plans, one core does what it would have done in a serial run, too.
    _cut(unclaimed, "serial", unclaimed.get("serial", 0.0) / e.workers)
    # What the machine denied even a perfect kernel cannot be won back. It shows as CPU inflation.
    _cut(unclaimed, "inflation", max(0.0, 1 - e.roof / e.workers) if e.roof is not None else 0.0)
    claimed = [(cause, cause.claim(e, Claims(unclaimed, cause.entries))) for cause in CAUSES]
    shares = [Loss(cause, share) for cause, share in claimed if share > 0]
    return sorted(shares, key=lambda loss: -loss.share)


def name_of(code: str) -> str:
    """What a cause is called without figures; of UNKNOWN, which has several names, the code."""
    names = (cause.name for cause in CAUSES if cause.code == code != UNKNOWN)
    return next(filter(None, names), NAMES.get(code, code))


def _cut(unclaimed: dict[str, float], entry: str, part: float) -> None:
    if entry in unclaimed:
        unclaimed[entry] = max(0.0, unclaimed[entry] - part)


QUOTA = Cause(
    "quota",
    ("runqueue", "blocked", "unexplained", "inflation", "idle"),
    claim_quota,
    phrases.stopped,
    phrases.more_quota,
    name="the CPU quota",
    caps=lambda e: e.stopped >= STOPPED or (e.quota is not None and e.quota < e.workers),
    limit=phrases.quota_allows,
    needs_rounds=False,
)
ONE_THREAD = Cause(
    "one thread",
    ("blocked", "idle", "runqueue", "startup", "unexplained"),
    where(lambda e: e.takes_turns),
    phrases.one_thread,
    phrases.unblock,
    name="all lanes share one thread",
    settles=lambda e: e.takes_turns,
)
IGNORED = Cause(
    "workers ignored",
    ("blocked", "idle", "runqueue", "unexplained"),
    where(program_phrases.ignores_workers),
    program_phrases.ignored,
    always("look up how it is told"),
    settles=program_phrases.ignores_workers,
)
BUSY_ALONE = Cause(
    "oversubscription",
    ("runqueue", "inflation"),
    where(program_phrases.is_busy_alone),
    program_phrases.busy_alone,
    always("limit each worker to one thread (such as OMP_NUM_THREADS=1), or compare with less"),
    name="more workers than CPUs",
    settles=program_phrases.is_busy_alone,
)
WANTS_MORE = Cause(
    "oversubscription",
    ("runqueue", "inflation", "blocked", "idle"),
    where(program_phrases.wants_more),
    program_phrases.crowding,
    always("limit each worker to one thread (such as OMP_NUM_THREADS=1), or use fewer workers"),
    name="more workers than CPUs",
)
NESTED = Cause(
    "nested threads",
    ("runqueue", "inflation", "blocked"),
    claim_nested,
    phrases.nested,
    always("limit them to one a lane (threadpoolctl, or OMP_NUM_THREADS=1), or use fewer workers"),
    name="threads inside the lanes",
)
OVERSUBSCRIPTION = Cause(
    "oversubscription",
    ("runqueue", "blocked", "idle"),
    lambda e, claims: claims.take_waits(e) if e.has_more_lanes_than_cpus else 0.0,
    phrases.crowded,
    phrases.uncrowd,
    name="more workers than CPUs",
    caps=lambda e: e.has_more_lanes_than_cpus and not e.limited_by_memory,
    limit=phrases.crowd_allows,
)
NOISE = Cause(
    "noise",
    ("runqueue", "idle", "startup", "blocked", "inflation", "unexplained"),
    claim_noise,
    phrases.noise,
    phrases.QUIET,
    name="disturbed from outside",
    caps=lambda e: e.outside >= EXPLAINS * e.cores_denied and not e.limited_by_memory,
    limit=phrases.noise_allows,
    needs_rounds=False,
)
GIL = Cause("gil", ("blocked", "startup"), claim_gil, phrases.gil, phrases.release_it, name="the GIL")
TURNS = Cause(
    "lock",
    ("blocked",),
    where(program_phrases.takes_turns),
    program_phrases.turns,
    always("use processes, or hold the lock for less"),
    name="a lock, or waiting for data",
)
LATE = Cause(
    "imbalance",
    ("blocked",),
    lambda e, claims: claims.take(most=program_phrases.late_share(e)),
    program_phrases.late,
    always("share the work out in more parts, each to whoever is free"),
    name="waiting for the last worker (imbalance)",
)
SERIAL_FRACTION = Cause(
    "serial fraction",
    ("blocked",),
    lambda e, claims: claims.take(most=program_phrases.alone_share(e)),
    program_phrases.serial,
    program_phrases.less_serial,
)
BLOCKED_OR_IDLE = Cause(
    UNKNOWN,
    ("blocked",),
    where(program_phrases.is_program),
    program_phrases.blocked_or_idle,
    always("profile it from inside"),
    name="blocked or idle: a lock, a disk, a server, or workers without work",
    needs_rounds=False,
)
LOCK = Cause(
    "lock",
    ("blocked",),
    where(phrases.not_the_gil),
    phrases.lock,
    always("hold it for less, or give each lane its own"),
    name="a lock, or waiting for data",
)
BLOCKED = Cause(
    UNKNOWN,
    ("blocked",),
    everything,
    phrases.blocked,
    phrases.tell_waits_apart,
    name="blocked, by the GIL, a lock or waiting for data: nothing measured tells which",
    needs_rounds=False,
)
FIRST_TOUCH = Cause(
    "first touch",
    ("inflation",),
    claim_first_touch,
    phrases.first_touch,
    phrases.FRESH,
    name="the first touch of fresh memory",
)
SMALL_CHUNKS = Cause(
    "small chunks",
    ("inflation", "unexplained"),
    where(has_small_chunks),
    phrases.small_chunks,
    phrases.larger_grain,
    name="too little work for each chunk",
)
COMPUTING = Cause(
    "computing",
    ("runqueue", "blocked", "idle"),
    lambda e, claims: claims.take_waits(e) if e.waits else 0.0,
    phrases.cpus_allow,
    always("compute less while waiting, or use more CPUs"),
    name="computing, for which there are not as many CPUs as lanes",
    caps=lambda e: bool(e.waits) and e.computes >= phrases.LEAST_FIGURE,
    limit=phrases.cpus_allow,
)
CONTENTION = Cause(
    "contention",
    ("inflation",),
    where(lambda e: e.contends),
    phrases.contention,
    phrases.UNSHARE,
    name="contention inside the interpreter",
)
MEMORY = Cause(
    "memory bandwidth",
    ("inflation",),
    where(lambda e: e.saturated),
    program_phrases.bandwidth,
    phrases.LESS_MEMORY,
    caps=lambda e: e.limited_by_memory,
    limit=phrases.memory_allows,
)
IMBALANCE = Cause(
    "imbalance",
    ("idle",),
    everything,
    phrases.imbalance,
    always("make the grain smaller, or split the heaviest chunk"),
    name="waiting for the last chunks (imbalance)",
)
START_UP = Cause(
    "start-up",
    ("startup",),
    everything,
    phrases.startup,
    always("give each run more, or use fewer workers"),
    name="start-up, for too little work",
)
TRANSFER = Cause(
    "transfer",
    ("transfer",),
    everything,
    phrases.transfer,
    phrases.pass_less,
    name="getting data to the workers and back",
)
SERIALISATION = Cause(
    "serialisation",
    ("serialisation",),
    everything,
    phrases.serialisation,
    always("pass arrays, which are sent as they are, in place of other objects, or give each run more"),
    name="packing and unpacking messages",
)
NETWORK = Cause(
    "network",
    ("network",),
    everything,
    phrases.network,
    always("compute more with each byte, return less (reduce=), use fewer workers, or some that share this memory"),
    name="data on its way over the network",
)
SCHEDULER = Cause(
    "scheduler",
    ("scheduler",),
    everything,
    phrases.scheduler,
    always("give each run more, or use fewer workers"),
    name="waiting for the cluster's scheduler",
)
SERIAL_SECTION = Cause(
    "serial section",
    ("serial",),
    everything,
    phrases.serial_section,
    always("move that into the body"),
    name="the caller works alone",
)
PROGRAM_INFLATED = Cause(
    "cpu inflation",
    ("inflation",),
    where(program_phrases.is_program),
    program_phrases.inflated,
    always("busy waiting, work done by each worker again, caches, cores that share hardware, or the clock may be why"),
)
INFLATED = Cause(
    UNKNOWN,
    ("inflation",),
    everything,
    lost("inflation", ": lanes needed more CPU than serial did"),
    phrases.suspects,
    name="CPU inflation: lanes needed more CPU than serial did",
    needs_rounds=False,
)
QUEUED = Cause(
    UNKNOWN,
    ("runqueue",),
    everything,
    lost("runqueue", ", and nothing measured says behind whom"),
    always("see what else runs"),
    name="queued for a CPU, and nothing measured says behind whom",
    needs_rounds=False,
)
UNEXPLAINED = Cause(
    UNKNOWN,
    ("unexplained",),
    everything,
    lost("unexplained"),
    always("measure longer runs"),
    name="unexplained",
    needs_rounds=False,
)

CAUSES = (
    QUOTA,  # first: it stops whoever runs, so every other entry may be its doing
    ONE_THREAD,  # before all that lanes could do to each other: these never ran side by side
    IGNORED,  # as for one thread: a program that started no more workers
    BUSY_ALONE,  # before WANTS_MORE: its threads crowd the CPUs with one worker already
    NESTED,  # more threads than lanes: before the causes that count lanes only
    WANTS_MORE,
    OVERSUBSCRIPTION,  # before noise: too many lanes queue for CPUs on a quiet machine, too
    COMPUTING,  # the same for work that waits, whose lanes may be more than the CPUs
    NOISE,  # before what takes blocked: time that the hypervisor stole looks blocked
    GIL,  # before LOCK: it has a probe and controls of its own
    TURNS,  # of a program, which cannot be probed
    LATE,  # after TURNS: lanes that take turns have one thread at work, too
    SERIAL_FRACTION,
    BLOCKED_OR_IDLE,  # what is left of a program's blocked entry
    LOCK,  # what the GIL cannot have blocked
    BLOCKED,  # what is left of blocked
    FIRST_TOUCH,  # CPU inflation that the system counted
    SMALL_CHUNKS,  # CPU inflation that goes into tickets
    CONTENTION,  # CPU inflation that a control on processes does not have
    MEMORY,  # after the three: it takes all that is left
    IMBALANCE,  # from here on an entry of the ledger is the cause itself
    START_UP,
    TRANSFER,
    SERIALISATION,
    NETWORK,
    SCHEDULER,
    SERIAL_SECTION,
    PROGRAM_INFLATED,  # what is left of inflation
    INFLATED,
    QUEUED,  # what is left of the run queue
    UNEXPLAINED,
)
CODES = tuple(dict.fromkeys([*(cause.code for cause in CAUSES), NONE, INCONCLUSIVE]))
