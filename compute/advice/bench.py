"""Bench: timed runs on open pools. Each is predicted before it begins, and the value of each first run is checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from compute.advice import growth
from compute.advice.decision import Configuration
from compute.backends.pool import Pool
from compute.differences import difference
from compute.scaling import verify
from compute.scaling.dataset import Point
from compute.scaling.formatting import seconds as in_words
from compute.scaling.garbage import garbage_set_aside, no_garbage_collection
from compute.traits import SERIAL
from kernels.definition import Kernel

Size = int | None


@dataclass(frozen=True)
class VariantOnPool:
    """A variant on a pool. loading: seconds that loading it there took."""

    pool: Pool
    kernel: Kernel
    loading: float

    @property
    def key(self) -> Configuration:
        return self.pool.backend.name, self.pool.workers, self.kernel.variant

    @property
    def is_serial(self) -> bool:
        return self.pool.backend.name == SERIAL


@dataclass
class Bench:
    """Runs of one kernel at several sizes.

    cost:  what a size costs, in any unit; it rises with the size.
    left:  how many seconds of the budget are left.
    tell:  called with what begins now.
    works: the arguments of each size.
    runs:  seconds by size and configuration, the checked run first.
    """

    cost: Callable[[Size], float]
    left: Callable[[], float]
    tell: Callable[[str], None]
    kw: Mapping[str, Any] = field(default_factory=dict)
    contenders: list[VariantOnPool] = field(default_factory=list)
    works: dict[Size, tuple[Any, ...]] = field(default_factory=dict)
    runs: dict[Size, dict[Configuration, list[float]]] = field(default_factory=dict)
    waits: bool = False  # whether one core was idle for most of a serial run
    alone: dict[str, dict[float, float]] = field(default_factory=dict)  # seconds on one core by variant and cost
    differing: dict[tuple[str, str], str] = field(default_factory=dict)  # by how much two variants differ, in a line
    _references: dict[tuple[Size, str], Any] = field(default_factory=dict)
    _shuffle: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def predict(self, c: VariantOnPool, size: Size) -> float:
        """Seconds of a run: from those of this configuration at smaller sizes, else from its variant's on one core."""
        cost, alone = self.cost(size), self.alone.get(c.kernel.variant, {})
        own = {self.cost(s): min(runs[c.key]) for s, runs in self.runs.items() if c.key in runs}
        if cost in own:
            return self.runs[size][c.key][-1]
        shape = next(iter(self.alone.values()), None)
        serial = growth.predict(alone, cost, shape) if alone else 0.0
        if not own:
            return serial
        power = growth.power(alone)
        ours = growth.predict(own, cost, otherwise=1.0 if power is None else power)
        # Fixed costs, such as waking a pool, do not grow with the work. So a run adds at most serial's time to them.
        return min(ours, own[max(own)] + serial)

    def check(self, c: VariantOnPool, size: Size) -> float:
        """Run once. WrongAnswer where the value is not the serial one of the same variant."""
        self._say(c, size)
        args = self.works[size]
        result = c.pool.run(c.kernel, *args, **self.kw)
        known = size, c.kernel.variant
        if known in self._references:
            verify.compare(c.kernel, c.pool.backend, result.value, self._references[known])
        else:
            verify.check(c.kernel, result.value, args, self.kw)
            self._compare_variants(c, size, result.value)
            self._references[known] = np.copy(result.value) if isinstance(result.value, np.ndarray) else result.value
        if c.is_serial:
            alone = self.alone.setdefault(c.kernel.variant, {})
            alone[self.cost(size)] = result.seconds
            lane = result.timeline.lanes[0] if result.timeline.lanes else None
            self.waits = lane is not None and lane.wall > growth.TELLING and lane.cpu < lane.wall / 2
        self._note(c, size, result.seconds)
        return result.seconds

    def _compare_variants(self, c: VariantOnPool, size: Size, value: Any) -> None:
        """Note where a variant does not give what another one gave at this size."""
        for (there, variant), reference in self._references.items():
            if there == size and (differs := difference(value, reference)):
                pair = f"{c.kernel.name}'s variants {c.kernel.variant} and {variant}"
                self.differing[c.kernel.variant, variant] = f"{pair} do not give the same: {differs}"

    def run_again(self, c: VariantOnPool, size: Size) -> float:
        """Run once more; its seconds."""
        seconds = c.pool.run(c.kernel, *self.works[size], **self.kw).seconds
        self._note(c, size, seconds)
        return seconds

    def rounds(self, size: Size, most: int, share: float) -> int:
        """Measure rounds of all that was checked at that size, in a share of the time left; how many there were."""
        until = self.left() * (1 - share)
        entrants = [c for c in self.contenders if c.key in self.runs[size]]
        done = 0
        with garbage_set_aside():
            while done < most and self.left() - sum(self.predict(c, size) for c in entrants) > until:
                with no_garbage_collection():
                    if not self._round([entrants[k] for k in self._shuffle.permutation(len(entrants))], size):
                        break
                done += 1
        return done

    def _round(self, order: Sequence[VariantOnPool], size: Size) -> bool:
        """One run of each. False, and nothing is noted, where the next run would not fit into the budget."""
        timed = []
        for c in order:
            if self.predict(c, size) > self.left():
                return False
            self._say(c, size)
            timed.append((c, c.pool.run(c.kernel, *self.works[size], **self.kw).seconds))
        for c, seconds in timed:
            self._note(c, size, seconds)
        return True

    def forget_answers(self, size: Size) -> None:
        """Drop the values of that size, which may be as large as the arguments."""
        self._references = {key: value for key, value in self._references.items() if key[0] != size}

    def _note(self, c: VariantOnPool, size: Size, seconds: float) -> None:
        self.runs.setdefault(size, {}).setdefault(c.key, []).append(max(seconds, 1e-9))  # so that ratios are finite

    def _say(self, c: VariantOnPool, size: Size) -> None:
        about = self.predict(c, size)
        at = f" · {size:,}" if size is not None else ""
        forecast = f", about {in_words(about)}" if about >= 1 else ""
        self.tell(f"{c.pool.backend!r} · {c.kernel.variant}{at}{forecast}")

    def points(self, sizes: Iterable[Size]) -> list[Point]:
        """What was measured at these sizes. The first run of each is cold, so it is left out where there are others."""
        return [
            Point(
                c.kernel.name,
                size,
                c.kernel.variant,
                c.pool.backend.name,
                c.pool.workers,
                min(samples),
                tuple(samples[1:] or samples),
                startup=c.pool.startup,
                compile=c.loading,
            )
            for size in sizes
            for c in self.contenders
            if (samples := self.runs[size].get(c.key))
        ]
