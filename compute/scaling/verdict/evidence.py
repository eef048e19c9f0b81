"""What is known of one configuration, for a verdict: plain values, and what follows from them. Pure functions.

compute.scaling.collecting finds the values while measuring. A point keeps them in its `evidence`, and so does a file,
so that a point can be judged again wherever it is read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from compute.scaling.dataset import REFUTED, Point, is_refuted
from compute.scaling.schema import EVIDENCE
from compute.traits import Traits, former_traits

STREAMS = 0.5  # of memory_share: from here on the kernel is nearer to the triad than to registers
NEAR = 0.9  # of N: the gauges of a quiet machine reach 0.95 to 0.99 of it
TAKEN = 0.5  # of the time: lanes in Python hold the GIL for over 0.9, GIL-free ones for under 0.3 on a full machine
FREE = 0.25  # of the blocked share: if lanes without a GIL block no more than this, the GIL is what blocks the others
SAME = 0.5  # of the blocked share: if lanes without a GIL block more than this, something else blocks both
APART = 0.25  # of CPU inflation on threads: if processes inflate no more than this, what threads share is the reason
EXPLAINS = 0.5  # of a wait: ticks of 10 ms tell no more exactly how many CPUs others took from the lanes
STOPPED = 0.05  # of the core-seconds: a quota that stops lanes for less than this has hit one chunk by chance
TICKETS = 20  # a chunk of this many tickets' time loses at most 5 % to them
LEAST_SYSTEM = 0.04  # seconds of one round, over √rounds of several: ten ticks of a kernel that counts at 250 Hz
COSTLIEST = 5e-3  # seconds of one page fault: 2 MiB took 0.05 ms, and 0.5 to 1.1 ms where the host had to find them


@dataclass(frozen=True)
class Evidence:
    """One configuration as it was measured. None is what nobody knows, and nothing is concluded from it.

    seconds:        median wall of a run.
    speedup, speedup_ci: against serial.
    ceiling:        the speedup that the machine allowed a kernel of this kind.
    attainable:     speedup / ceiling.
    ledger:         core-seconds by entry (compute.scaling.ledger); they sum to workers × seconds. inflation and
                    unexplained may be negative.
    unknown:        entries that could not be read; each is within its neighbour.
    compiled:       whether the variant is compiled and releases the GIL.
    has_gil:        whether this interpreter had a GIL while it ran; it had one in files that do not say.
    processes:      how many distinct ones the lanes ran in.
    chunks:         how many a run has.
    chunk_seconds:  CPU seconds of the average chunk.
    ticket_seconds: what taking one ticket costs.
    cpus:           usable CPUs.
    cpus_shared:    distinct CPUs that the lanes could run on: the size of the affinity mask.
    memory_share:   0 computes … 1 streams memory.
    waits:          share of the serial run's time for which the work waits for what is outside; None where it does not.
    ceiling_compute, ceiling_memory: the two gauges' speedups.
    nested:         CPU seconds of a run that threads of the lanes' processes used which are no lanes.
    steal:          share of the CPU time that the hypervisor gave to others.
    others:         CPUs that other processes used, on average.
    throttled:      seconds for which the quota stopped a run, summed over CPUs.
    quota:          in CPUs.
    voluntary:      how often the lanes went to sleep in a run. Lanes that never did are not blocked.
    faults:         minor page faults of the lanes.
    system:         CPU seconds of a run in the system, beyond the serial run's.
    gil:            share of the time in which a probe found the GIL taken (compute.scaling.probe).
    free_blocked:   blocked share of the GIL-free variant on the same backend and workers.
    elsewhere_blocked: blocked share of the same variant on as many processes.
    elsewhere_inflation: its CPU inflation there as a share, at least 0.
    copied:         names of the arguments that are copied for the lanes, where transfer took much.
    without_copies: how much faster the same runs were, there and then, on arrays that lanes see as they are.
    rounds:         how many were measured.
    contaminated:   how many of them were disturbed from outside.
    traits:         what the backend is; None where only its name is known.
    details:        of a program, what was seen of it from outside (compute.scaling.program_points).
    """

    kernel: str = ""
    variant: str = ""
    backend: str = "threads"
    workers: int = 2
    seconds: float = 1.0
    speedup: float | None = None
    speedup_ci: tuple[float, float] | None = None
    ceiling: float | None = None
    attainable: float | None = None
    ledger: Mapping[str, float] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    compiled: bool = False
    has_gil: bool = True
    processes: int = 1
    chunks: int | None = None
    chunk_seconds: float | None = None
    ticket_seconds: float | None = None
    cpus: int | None = None
    cpus_shared: int | None = None
    memory_share: float | None = None
    waits: float | None = None
    ceiling_compute: float | None = None
    ceiling_memory: float | None = None
    nested: float | None = None
    steal: float | None = None
    others: float | None = None
    throttled: float | None = None
    quota: float | None = None
    voluntary: float | None = None
    faults: float | None = None
    system: float | None = None
    gil: float | None = None
    free_blocked: float | None = None
    elsewhere_blocked: float | None = None
    elsewhere_inflation: float | None = None
    copied: str | None = None
    without_copies: float | None = None
    rounds: int | None = None
    contaminated: int | None = None
    traits: Traits | None = None
    details: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of_point(cls, p: Point) -> Evidence | None:
        """What the point and its `evidence` say; None where it has none, as in files of before it was kept."""
        if p.evidence is None:
            return None
        details, ledger = p.details or {}, p.ledger or {}
        kept = {name: p.evidence[name] for name in EVIDENCE if p.evidence.get(name) is not None}
        return cls(
            kernel=p.kernel,
            variant=p.variant,
            backend=p.backend,
            workers=p.workers,
            seconds=p.seconds,
            speedup=p.speedup,
            speedup_ci=p.speedup_ci,
            ceiling=p.ceiling,
            attainable=p.attainable,
            ledger=ledger,
            unknown=p.unknown,
            processes=p.processes or 1,
            chunks=p.chunks,
            # Of the serial run: lanes that fight for tickets take longer for the same chunk.
            chunk_seconds=max(0.0, ledger.get("useful", 0.0)) / p.chunks if p.chunks else None,
            memory_share=p.memory_share,
            nested=details.get("nested"),
            voluntary=details.get("voluntary"),
            faults=details.get("faults"),
            system=details.get("system"),
            gil=details.get("gil"),
            rounds=p.rounds,
            contaminated=p.contaminated,
            traits=p.has,
            details=details,
            **kept,
        )

    @property
    def has(self) -> Traits:
        """The traits of the backend."""
        return former_traits(self.backend) if self.traits is None else self.traits

    @property
    def budget(self) -> float:
        """Core-seconds of a run."""
        return self.workers * self.seconds

    def share(self, entry: str) -> float:
        """The part of the core-seconds that an entry of the ledger took; 0 where it is negative or there is none."""
        return max(0.0, self.ledger.get(entry, 0.0)) / self.budget if self.budget > 0 else 0.0

    @property
    def share_waited(self) -> float:
        """The part of the core-seconds in which lanes may have waited for the GIL: for their first chunk, too."""
        starting = 0.0 if self.compiled or not self.shares_gil else self.share("startup")
        return self.share("blocked") + starting

    @property
    def lanes_cpu(self) -> float:
        """CPU seconds of the lanes themselves."""
        return max(0.0, self.ledger.get("useful", 0.0) + self.ledger.get("inflation", 0.0))

    @property
    def stopped(self) -> float:
        """The part of the core-seconds for which a quota stopped the lanes."""
        return (self.throttled or 0.0) / self.budget if self.budget > 0 else 0.0

    @property
    def roof(self) -> float | None:
        """The ceiling, unless the kernel was faster: then it was measured at a worse moment, and says nothing."""
        return None if is_refuted(self.ceiling, self.speedup) else self.ceiling or None

    @property
    def reached(self) -> float | None:
        """The part of what was possible that was reached: of the ceiling where there is one, else of N-fold."""
        if self.speedup is None:
            return self.share("useful") if self.ledger else None
        if self.roof is None:
            return self.speedup / self.workers
        return self.speedup / self.roof if self.attainable is None else self.attainable

    @property
    def alone_off(self) -> float:
        """The part of its time for which the serial run was off the CPU; 0 where that is not known, or is its work.

        Its caller plans and finishes for as long as the caller of this run, which is no time off the CPU.
        """
        alone = (self.speedup or 0.0) * self.seconds
        if self.waits or self.has.whole_program or "useful" not in self.ledger or not alone > 0:
            return 0.0
        return max(0.0, 1 - (self.ledger["useful"] + self.ledger.get("serial", 0.0) / self.workers) / alone)

    @property
    def exceeds(self) -> bool:
        """Whether it was faster than its workers can be, or clearly faster than the machine allowed."""
        if self.speedup is None:
            return False
        most = self.workers if self.workers > 1 else REFUTED  # one worker is no slower than serial, give or take noise
        return self.speedup > most or is_refuted(self.ceiling, self.speedup)

    @property
    def never_slept(self) -> bool:
        """Whether no lane ever slept. What looks blocked was then stolen from a whole CPU, or was a wait for one."""
        if self.has.whole_program:
            return False  # a program may have started no worker, which then did not sleep either
        return (
            self.voluntary == 0 and "runqueue" not in self.unknown
        )  # a system that tells of no queues may not count sleeps

    @property
    def cpus_for_lanes(self) -> int | None:
        """How many CPUs there were for the lanes; None where nobody knows."""
        known = [count for count in (self.cpus, self.cpus_shared) if count]
        return min(known) if known else None

    @property
    def has_more_lanes_than_cpus(self) -> bool:
        """Whether there were more lanes than CPUs for them. Work that waits for what is outside may have more."""
        return self.cpus_for_lanes is not None and self.workers > self.cpus_for_lanes and not self.waits

    @property
    def computes(self) -> float:
        """The part of the serial run's time for which the work computes."""
        return 1.0 - (self.waits or 0.0)

    @property
    def overlap_limit(self) -> float | None:
        """The most speedup that work which waits may have where lanes share one core, by the GIL or on one thread.

        None where it does not wait, or where lanes share no core.
        """
        if not self.waits or not (self.on_one_thread or (self.shares_gil and not self.compiled)):
            return None
        return min(float(self.workers), 1 / self.computes) if self.computes > 0 else float(self.workers)

    @property
    def outside(self) -> float:
        """CPUs that others took from this machine: processes and the hypervisor."""
        return (self.others or 0.0) + (self.steal or 0.0) * (self.cpus or self.workers)

    @property
    def cores(self) -> int:
        """The speedup of N lanes that lose nothing: N, or the CPUs where those are fewer."""
        return min(self.workers, self.cpus_for_lanes or self.workers)

    @property
    def cores_denied(self) -> float:
        """By how many cores the ceiling is under N-fold."""
        return self.workers - self.roof if self.roof is not None else 0.0

    @property
    def saturated(self) -> bool:
        """Whether memory allows these workers clearly less than their CPUs do, and the kernel lives on memory."""
        if self.memory_share is None or self.memory_share < STREAMS or self.ceiling_memory is None:
            return False
        cores: float = self.cores
        if self.ceiling_compute is not None and self.ceiling_compute < NEAR * cores:
            cores = self.ceiling_compute  # what disturbed this gauge slowed the triad, too, and is not the memory
        return self.ceiling_memory < NEAR * cores

    @property
    def limited_by_memory(self) -> bool:
        """Whether memory keeps the ceiling under N-fold more than all that slows work in registers, too."""
        if self.saturated:
            return True
        # A measured share of memory is a lower bound, so memory may limit a kernel whose share is under STREAMS.
        if self.ceiling is None or self.ceiling_compute is None or self.ceiling_memory is None:
            return False
        memory, others = self.ceiling_compute - self.ceiling, self.cores - self.ceiling_compute
        return self.ceiling < NEAR * self.cores and memory >= others

    @property
    def on_one_thread(self) -> bool:
        """Whether all lanes are on one thread."""
        return self.has.shares_thread and self.workers > 1

    @property
    def takes_turns(self) -> bool:
        """Whether one thread is what limits the lanes. It is not where work that waits was faster than that allows."""
        return self.on_one_thread and (
            self.overlap_limit is None or (self.speedup or 0.0) <= REFUTED * self.overlap_limit
        )

    @property
    def shares_gil(self) -> bool:
        """Whether several lanes have one GIL between them."""
        return self.has_gil and self.processes < self.workers and self.has.shares_gil

    @property
    def shares_objects(self) -> bool:
        """Whether lanes run Python side by side in one interpreter, so that they use the same objects at once."""
        beside = self.processes < self.workers and not self.on_one_thread and not self.has.whole_program
        return beside and not self.has_gil and not self.compiled and self.has.shares_memory

    @property
    def contends(self) -> bool:
        """Whether lanes that share objects need more CPU than serial did, and the same body on processes does not."""
        if not self.shares_objects or self.elsewhere_inflation is None:
            return False
        return self.elsewhere_inflation <= APART * self.share("inflation")

    @property
    def sends(self) -> bool:
        """Whether lanes get their work by messages, because they see other memory than the caller."""
        return self.processes > 1 or not self.has.shares_memory

    def blocks_alike(self, without_gil: float | None) -> bool:
        """Whether lanes that have no GIL to wait for block so much that their reason is the reason here too."""
        return without_gil is not None and without_gil > SAME * self.share_waited

    def blocks_less(self, without_gil: float | None) -> bool:
        """Whether lanes that have no GIL to wait for block so little that here the GIL is the reason."""
        return without_gil is not None and without_gil <= FREE * self.share_waited

    @property
    def waits_for_gil(self) -> bool:
        """Whether blocked lanes wait for the GIL: several share one, and a probe or the other variant says so."""
        if not self.shares_gil or self.never_slept:
            return False
        if self.blocks_alike(self.elsewhere_blocked) or self.blocks_alike(self.free_blocked):
            return False
        if self.gil is not None:
            return self.gil >= TAKEN
        return not self.compiled and self.blocks_less(self.free_blocked)

    @property
    def hides_queues(self) -> tuple[str, ...]:
        """The entry that holds the waits for a CPU where they cannot be told from others."""
        hidden = self.never_slept or ("runqueue" in self.unknown and not self.waits_for_gil)
        return ("blocked",) if hidden else ()

    @property
    def faulting(self) -> float:
        """CPU seconds that page faults took beyond the serial run's; negative where serial paid more, 0 where unknown.

        It is known of compiled bodies only. They call nothing of the system, so its CPU time went into page faults.
        """
        least = LEAST_SYSTEM / math.sqrt(self.rounds or 1)
        carried = self.compiled and self.faults and self.system and least <= abs(self.system) <= COSTLIEST * self.faults
        return self.system or 0.0 if carried else 0.0
