"""Point and Dataset: what was measured, as plain data. compute.scaling.results shows, writes and reads it."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from compute.traits import SERIAL, Traits, former_traits, traits_from

SEVERAL = "these points come from several machines; the first one's name stands above them"

D = TypeVar("D", bound="Dataset")


REFUTED = 1.1  # of the ceiling: a kernel that is faster than this was not limited by it


def is_refuted(ceiling: float | None, speedup: float | None) -> bool:
    """Whether a speedup shows that its ceiling was measured while the machine allowed less than during the runs."""
    if not ceiling or speedup is None:
        return False
    return speedup > REFUTED * ceiling


@dataclass(frozen=True)
class Point:
    """One configuration (kernel, size, variant, backend, workers) and what it reached. Seconds are wall seconds.

    What was not measured is None.

    seconds:      the median of samples.
    samples:      one a round.
    speedup:      the median of the rounds' own ratios baseline / sample. Where rounds do not pair, as in imported
                  files, the ratio of the medians.
    speedup_ci:   its 95 % interval; None with too few rounds.
    efficiency:   speedup / workers.
    ceiling:      the speedup that the machine allowed a perfect kernel of this kind at these workers, in the same
                  rounds.
    attainable:   speedup / ceiling.
    ledger:       core-seconds of the median round by where they went (compute.scaling.ledger). They sum to
                  workers × seconds of that round.
    verdict:      what took most of the gap, in a sentence. It follows from the evidence. A file keeps it for its
                  readers, and whoever reads the evidence makes it again.
    seconds_ci:   the 95 % interval of seconds; None with too few rounds.
    baseline:     what speedup compares with: "serial" (the variant on Serial), "one worker" (of the same backend), or
                  None.
    rounds:       how many there were.
    unit:         the kernel's unit of work.
    work:         how much a run computes, in that unit.
    rate:         how much of it a second.
    cpu_per_wall: a lane's CPU seconds per wall second, mean over lanes, median over rounds. It is near 1 where lanes
                  compute all the time, and near 1/N where N lanes take turns at the GIL.
    sections:     median seconds of the caller: plan, transfer, dispatch, finish.
    startup:      seconds that opening the pool took; not in `seconds`.
    compile:      seconds that compiling or loading the kernel in the pool took; not in `seconds`.
    processes:    how many the lanes ran in.
    arguments:    those of the kernel in words, or the line of a program.
    notes:        what happened to this configuration, in words.
    memory_share: the kind of work, from 0 (computes) to 1 (streams memory).
    unknown:      the entries of the ledger that this system does not tell. Each is within its neighbour.
    efficiencies: the POP tree: global, parallel, load_balance, communication, computation.
    details:      what else was counted. Of a kernel: voluntary and involuntary switches and minor faults, summed over
                  the lanes, in the median round; nested, CPU seconds of threads that are no lanes, as many as most
                  rounds had; system, CPU seconds in the system beyond the serial run's, mean over all rounds; gil, the
                  share of the time in which it was taken. Of a program: see compute.scaling.program_points.
    chunks:       how many a run has.
    chunk_seconds: CPU seconds of the average chunk.
    pinned:       the CPU of each lane; None where lanes were not pinned.
    cause:        what took most of the gap, as a code of compute.scaling.verdict.causes. See verdict.
    contaminated: how many of the rounds were disturbed from outside.
    mode:         "strong" (the same work for every worker count) or "weak" (work grows with the workers; speedup is
                  then workers × baseline / seconds).
    file:         the results file that it is from, where several that hold this kernel are shown together.
    traits:       what is true of the backend's lanes (compute.traits); None in files of before they were kept.
    evidence:     what a verdict rests on beside the point's own figures (compute.scaling.verdict.evidence); None in
                  files of before it was kept.
    timeline:     who ran which chunk when in a median round (compute.scaling.kept_timeline). Only the point with the
                  most workers of each backend and variant has one.
    controls:     seconds that the gauges took on as many lanes, in the same rounds: compute for 1e9 steps, memory for
                  1e9 bytes, with the ends of their 95 % intervals in compute_low, compute_high …. They say how fast the
                  machine was, so that files of two machines, or of two days, can be compared.
    """

    kernel: str
    size: int | None
    variant: str
    backend: str
    workers: int
    seconds: float
    samples: tuple[float, ...]
    speedup: float | None = None
    speedup_ci: tuple[float, float] | None = None
    efficiency: float | None = None
    ceiling: float | None = None
    attainable: float | None = None
    ledger: Mapping[str, float] | None = None
    verdict: str | None = None
    seconds_ci: tuple[float, float] | None = None
    baseline: str | None = None
    rounds: int | None = None
    unit: str | None = None
    work: float | None = None
    rate: float | None = None
    cpu_per_wall: float | None = None
    sections: Mapping[str, float] | None = None
    startup: float | None = None
    compile: float | None = None
    processes: int | None = None
    arguments: str | None = None
    notes: tuple[str, ...] = ()
    memory_share: float | None = None
    unknown: tuple[str, ...] = ()
    efficiencies: Mapping[str, float] | None = None
    details: Mapping[str, float] | None = None
    chunks: int | None = None
    chunk_seconds: float | None = None
    pinned: tuple[int, ...] | None = None
    cause: str | None = None
    contaminated: int | None = None
    mode: str | None = None
    file: str | None = None
    traits: tuple[str, ...] | None = None
    evidence: Mapping[str, Any] | None = None
    timeline: Mapping[str, Any] | None = None
    controls: Mapping[str, float] | None = None

    @property
    def has(self) -> Traits:
        """The traits of its backend."""
        return former_traits(self.backend) if self.traits is None else traits_from(self.traits)

    @property
    def is_serial(self) -> bool:
        """Whether it is of the backend that the others are compared with."""
        return self.backend == SERIAL

    @property
    def share_of_ceiling(self) -> float | None:
        """`attainable` where it tells something: None where the ceiling is of a worse moment, or was not measured."""
        return None if self.outran_ceiling else self.attainable

    @property
    def outran_ceiling(self) -> bool:
        """Whether it was clearly faster than the machine allowed: that was measured at a worse moment, then."""
        return is_refuted(self.ceiling, self.speedup)

    @property
    def title(self) -> str:
        """What its table is of: the kernel, `triad`, or one file's kernel, `triad (b.json)`."""
        return f"{self.kernel} ({self.file})" if self.file else self.kernel

    @property
    def group(self) -> tuple[str, int | None]:
        """What it is compared within: the kernel and the size."""
        return self.kernel, self.size

    @property
    def configuration(self) -> tuple[object, ...]:
        """What it is of, in full: a dataset has one point of it. Files of before weak scaling do not name the mode."""
        mode = self.mode or "strong"
        return self.title, self.size, self.variant, self.backend, self.workers, mode, self.arguments

    def is_of(self, about: Mapping[str, Any]) -> bool:
        """Whether one of the dataset's laws or conditions is about this point, as far as that says what it is about."""
        return (
            about.get("kernel", self.kernel) == self.kernel
            and about.get("size", self.size) == self.size
            and about.get("backend", self.backend) == self.backend
            and about.get("arguments", self.arguments) == self.arguments
            and about.get("mode", self.mode or "strong") == (self.mode or "strong")
            and about.get("file") == self.file
            and self.variant in (about.get("variants") or [about.get("variant") or self.variant])
        )

    @property
    def name(self) -> str:
        """`triad 1,000 · nogil · threads 2`"""
        size = "" if self.size is None else f" {self.size:,}"
        return f"{self.title}{size} · {self.variant} · {self.backend} {self.workers}"


@dataclass(frozen=True)
class Dataset:
    """Points measured on one machine, in the order in which they are shown.

    machine:    what was measured on (compute.machine.describe).
    warnings:   what a reader must know.
    laws:       what the points of each configuration say about more workers (compute.scaling.laws).
    conditions: what each round of each trial (kernel, size, mode, arguments, variants) met from outside
                (compute.scaling.noise). Files of before name only the kernel, and its variant if there was one.
    harness:    what measuring itself costs, in seconds: `timer_resolution`; `overhead`, what measuring adds to a run on
                Serial, and `overhead of joblib 2` where that backend was asked; `first_touch of heap`, what the first
                touch of a megabyte takes beyond a later one. No sample holds a first touch.
    command:    what measures the same again, as a line for a shell; "" where nfold was called by a program.
    """

    points: tuple[Point, ...]
    machine: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    laws: tuple[Mapping[str, Any], ...] = ()
    conditions: tuple[Mapping[str, Any], ...] = ()
    harness: Mapping[str, float] = field(default_factory=dict)
    command: str = ""

    def of_file(self: D, name: str, kernels: Collection[str]) -> D:
        """Its points, laws and conditions with a file's name, where they are about one of these kernels."""

        def of(former: str | None) -> str:
            return f"{name}: {former}" if former else name  # of a file that holds several already

        def marked(item: Mapping[str, Any]) -> Mapping[str, Any]:
            return {**item, "file": of(item.get("file"))} if item.get("kernel") in kernels else item

        return replace(
            self,
            points=tuple(replace(p, file=of(p.file)) if p.kernel in kernels else p for p in self.points),
            laws=tuple(map(marked, self.laws)),
            conditions=tuple(map(marked, self.conditions)),
        )

    def __add__(self: D, other: Any) -> D:
        """The points of both, with this one's machine; a warning where the other's was another.

        Where both have a point of one configuration, such as a common serial run, what the other has of that kernel is
        told apart by a number in the place of a file's name: a speedup compares runs of one measurement. The very same
        point is there once, and so are its laws and conditions.
        """
        if not isinstance(other, Dataset):
            return NotImplemented
        mine, files = {p.configuration: p for p in self.points}, {p.file for p in self.points}
        other = replace(other, points=tuple(p for p in other.points if p != mine.get(p.configuration)))
        if shared := {p.kernel for p in other.points if p.configuration in mine}:
            other = other.of_file(next(str(n) for n in itertools.count(2) if str(n) not in files), shared)
        warnings = dict.fromkeys((*self.warnings, *other.warnings))
        if any(self.machine.get(key) != other.machine.get(key) for key in ("model", "cpus", "platform")):
            warnings[SEVERAL] = None
        return replace(
            self,
            points=self.points + other.points,
            warnings=tuple(warnings),
            laws=self.laws + tuple(law for law in other.laws if law not in self.laws),
            conditions=self.conditions + tuple(met for met in other.conditions if met not in self.conditions),
            harness=self.harness or other.harness,
            command=self.command if self.command == other.command else "",
        )

    def __radd__(self: D, other: Any) -> D:
        """So that sum([a, b]) adds results: it begins with 0."""
        return self if type(other) is int and other == 0 else NotImplemented
