"""Which point of one file is which of another, and the ratio of their times with its interval."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from compute.scaling import statistics
from compute.scaling.comparing.controls import expected_ratio
from compute.scaling.dataset import Dataset, Point
from compute.scaling.formatting import amount, listed
from compute.scaling.statistics import FEWEST_ROUNDS, Interval

Identity = tuple[str, str, str, int, str]  # of a point in two files: title, variant, backend, workers, mode
Work = tuple[int | None, str | None]  # size and arguments
ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # of an object among the arguments: another one in every process
COUNTED = ("indices", "items")  # the units where nobody named one: what one of them costs may depend on the size


@dataclass(frozen=True)
class Pair:
    """One configuration in two files: kernel, size, variant, backend, workers. None on a side that did not measure it.

    problem:  why the two are not measurements of one thing, in words; None where they are. The gate passes none.
    ratio:    after's seconds over before's: above 1 is slower. Over all pairs of samples
              (compute.scaling.statistics.ratio_over_pairs), because the rounds of two files do not pair. interval: 95
              %, None with too few samples.
    expected: that ratio as the controls foretell it, with its interval; None where they do not.
    scaled:   the ratio over what was expected: what is left when the machines' speeds are taken out.
    apart:    the arguments, where a file has several points that differ in nothing else; else "".
    """

    before: Point | None
    after: Point | None
    problem: str | None = None
    ratio: float | None = None
    interval: Interval | None = None
    expected: tuple[float, Interval] | None = None
    scaled: tuple[float, Interval] | None = None
    apart: str = ""

    @property
    def point(self) -> Point:
        """The later one, or the only one."""
        point = self.after or self.before
        assert point is not None
        return point

    @property
    def name(self) -> str:
        """`triad 1,000,000 · threads · nogil · 2 workers`"""
        p = self.point
        size = f" {p.size:,}" if p.size is not None else ""
        size += f" ({self.apart})" * bool(self.apart)
        return f"{p.title}{size} · {p.backend} · {p.variant} · {p.workers} worker{'s' * (p.workers != 1)}"

    def at(self, level: float, by_controls: bool) -> Interval | None:
        """The interval of the ratio at another level; None where the samples are too few for it."""
        if self.problem or self.before is None or self.after is None:
            return None
        ratio, interval = statistics.ratio_over_pairs(self.after.samples, self.before.samples, level)
        if interval is None or not by_controls:
            return interval
        return statistics.divide_with_interval(ratio, interval, *self.expected)[1] if self.expected else None


def pair_up(before: Dataset, after: Dataset, kernels: Sequence[str] = ()) -> tuple[Pair, ...]:
    """Every point of both files with its counterpart, in the order of the first file; of these kernels, or of all.

    ValueError where a file holds a configuration twice: one of them would be compared and the other forgotten.
    """
    lefts, rights = _by_identity(before, "first", kernels), _by_identity(after, "second", kernels)
    pairs: list[Pair] = []
    for configuration in lefts | rights:
        left, right = lefts.get(configuration, {}), rights.get(configuration, {})
        counts = [Counter(size for size, _ in works) for works in (left, right)]
        for pair in _pairs_of(left, right):
            several = any(count[pair.point.size] > 1 for count in counts)
            pairs.append(replace(pair, apart=_arguments(pair.point) or "") if several else pair)
    return tuple(pairs)


def _pairs_of(before: Mapping[Work, Point], after: Mapping[Work, Point]) -> Iterator[Pair]:
    """The pairs of one configuration: of the same work, then of those that are alone with their size, or at all."""
    yield from (_compare(before[work], after[work]) for work in before if work in after)
    lone = [p for work, p in before.items() if work not in after]
    lone_after = [p for work, p in after.items() if work not in before]
    for size in dict.fromkeys(p.size for p in lone):
        mine, other = [p for p in lone if p.size == size], [p for p in lone_after if p.size == size]
        if len(mine) == len(other) == 1:
            yield _compare(mine[0], other[0])
            lone.remove(mine[0])
            lone_after.remove(other[0])
    if len(lone) == len(lone_after) == 1:
        yield _of_two_sizes(lone[0], lone_after[0])
        return
    yield from (Pair(p, None, "it is in the first file only") for p in lone)
    yield from (Pair(None, p, "it is in the second file only") for p in lone_after)


def same_measurement(before: Dataset, after: Dataset) -> bool:
    """Whether both hold the very same samples: one file twice, or a copy of it, whatever it says of its machine."""
    return sorted((_identity(p), p.samples) for p in before.points) == sorted(
        (_identity(p), p.samples) for p in after.points
    )


def _identity(p: Point) -> Identity:
    """What a point is of, its work aside. Files of before there was weak scaling do not name the mode."""
    return p.title, p.variant, p.backend, p.workers, p.mode or "strong"


def _arguments(p: Point) -> str | None:
    return None if p.arguments is None else ADDRESS.sub("", p.arguments)


def _by_identity(dataset: Dataset, which: str, kernels: Sequence[str]) -> dict[Identity, dict[Work, Point]]:
    points_by_work: dict[Identity, dict[Work, Point]] = {}
    for p in dataset.points:
        if kernels and p.kernel not in kernels and p.title not in kernels:
            continue
        works = points_by_work.setdefault(_identity(p), {})
        work = p.size, _arguments(p)
        if work in works:
            raise ValueError(
                f"the {which} file holds {Pair(None, p).name} twice; give a file of one measurement, written by nfold"
            )
        works[work] = p
    return points_by_work


def _compare(before: Point, after: Point) -> Pair:
    """The pair of two points of one configuration and size."""
    if problem := _other_work(before, after):
        return Pair(before, after, problem)
    ratio, interval = statistics.ratio_over_pairs(after.samples, before.samples)
    if interval is None:
        return Pair(before, after, _too_few(before, after), ratio)
    expected = expected_ratio(before, after)
    scaled = statistics.divide_with_interval(ratio, interval, *expected) if expected else None
    return Pair(before, after, None, ratio, interval, expected, scaled)


def _of_two_sizes(before: Point, after: Point) -> Pair:
    """The pair of two sizes: a problem, with the ratio of the times for a unit of work where both tell their work.

    Indices and items are no work: a row of a larger matrix takes longer.
    """
    sizes = " and ".join(f"{p.size:,}" if p.size is not None else "none" for p in (before, after))
    problem = f"the sizes differ: {sizes}"
    if not (before.unit and before.unit == after.unit and before.work and after.work):
        return Pair(before, after, problem)
    if before.unit in COUNTED:
        return Pair(before, after, problem)
    first, second = (
        [sample / work for sample in p.samples] for p, work in ((before, before.work), (after, after.work))
    )
    ratio, interval = statistics.ratio_over_pairs(second, first)
    return Pair(before, after, f"{problem}; the ratio is of the times for one of the {before.unit}", ratio, interval)


def _other_work(before: Point, after: Point) -> str | None:
    """Why the two are not two measurements of the same work."""
    arguments_of_each = [arguments for p in (before, after) if (arguments := _arguments(p)) is not None]
    if len(set(arguments_of_each)) == 2:
        return f"the arguments differ: {arguments_of_each[0]} and {arguments_of_each[1]}"
    if before.unit and after.unit and before.work and after.work:
        works = [amount(p.work or 0.0, p.unit or "") for p in (before, after)]
        if before.unit != after.unit or not math.isclose(before.work, after.work, rel_tol=1e-9):
            return f"the work differs: {works[0]} and {works[1]}"
    if before.samples == after.samples and len(before.samples) > 1:
        return "both files hold the very same samples: one of them is a copy"
    return None


def _too_few(before: Point, after: Point) -> str:
    few = [
        f"{len(p.samples)} in the {which} file"
        for p, which in ((before, "first"), (after, "second"))
        if len(p.samples) < FEWEST_ROUNDS
    ]
    return f"an interval needs {FEWEST_ROUNDS} runs, and there are {listed(few)}"
