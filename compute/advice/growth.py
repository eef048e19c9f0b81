"""How time grows with the size, fitted to times at several sizes; and which size to time next. Pure functions.

A kernel's own cost model may be wrong, or be the default, which says that an n² kernel is linear. So time is taken to
grow with some power of that cost, and the power is fitted to what was measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

TELLING = 1e-3  # seconds: twenty times what dispatching a run costs; shorter times say little about the work
LATEST = 4  # of the sizes, the largest, are fitted: at smaller ones caches and fixed costs bend the curve
APART = 1.5  # in cost, from the smallest to the largest of these: if they are closer, noise tilts the line
LEAST, STEEPEST = 0.1, 12.0  # the powers that are believed
BENT = 0.8  # a smaller power means that fixed costs are still a good part of the times
FAR = 16.0  # in cost, at most, from one size to the next: in a larger gap times may begin to grow
FIRST = 16  # about the smallest size to time: most kernels accept it
BELOW = 64  # times the first size is at most the asked one
STEEP = 3.0  # with a higher power, doubling the size is too large a step
STEP = 8.0  # in predicted time: the next size where doubling is too large a step
SLACK = 1.5  # times: how far a forecast may be off
DRIFT = 0.1  # how far a fitted power may be off: ten times further, a forecast is off by up to 1.26 times

Times = Mapping[float, float]  # seconds by cost


def power(times: Times) -> float | None:
    """p of seconds = a · cost ** p, by least squares; None where fewer than two sizes take long enough to tell."""
    telling = sorted((cost, t) for cost, t in times.items() if t >= TELLING and cost > 0)[-LATEST:]
    if len(telling) < 2 or telling[-1][0] < APART * telling[0][0]:
        return None
    xs, ys = [math.log(cost) for cost, _ in telling], [math.log(t) for _, t in telling]
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    slope = sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / sum((a - x) ** 2 for a in xs)
    if slope < BENT and telling[-1][0] >= APART * telling[-2][0]:  # a fixed cost hides the growth until late
        slope = max(slope, (ys[-1] - ys[-2]) / (xs[-1] - xs[-2]))
    return min(max(slope, 0.0), STEEPEST)


def stepping_stones(sizes: Sequence[int], cost: Callable[[int], float], size_of: Callable[[float], int]) -> list[int]:
    """The rising sizes, with more of them between two that are over FAR apart."""
    stones: list[int] = []
    for size in sizes:
        while (
            stones and cost(size) > FAR * cost(stones[-1]) and stones[-1] < (nearer := size_of(FAR * cost(stones[-1])))
        ):
            stones.append(nearer)
        if not stones or size > stones[-1]:
            stones.append(size)
    return stones


def predict(times: Times, cost: float, shape: Times | None = None, otherwise: float = 1.0) -> float:
    """Seconds at a cost, from the largest measured one that is not above it (else from the smallest).

    Where the times do not tell how they grow, they are taken to grow as `shape` does, another variant's times, and
    where there is none with the power `otherwise`.
    """
    below = max((c for c in times if c <= cost), default=None)
    base = min(times) if below is None else below
    exponent = power(times)
    if exponent is None and shape:
        return times[base] * predict(shape, cost) / predict(shape, base)
    return float(times[base] * (cost / base) ** (otherwise if exponent is None else exponent))


def reachable(times: Times, seconds: float) -> float:
    """The cost at which a run would take that many seconds; the largest measured one where it takes them already."""
    largest = max(times)
    exponent = power(times)
    return float(
        largest * max(seconds / times[largest], 1.0) ** (1 / max(1.0 if exponent is None else exponent, LEAST))
    )


def next_look(seconds: Mapping[int, float], asked: int, enough: float) -> int | None:
    """The next size to time, to find out how time grows; None where the asked size was timed, or enough is known.

    seconds: by size, so far. Sizes double, from a small one up, until one takes `enough` seconds. If the first one
             already
    does, smaller ones follow. All sizes are asked >> k, so that a kernel of powers of two accepts them.
    """
    if not seconds:
        return asked >> (asked // min(FIRST, max(asked // BELOW, 1))).bit_length() - 1
    if asked in seconds:
        return None
    last = max(seconds)
    if seconds[last] >= enough:
        if sum(t >= TELLING for t in seconds.values()) >= 2:
            return None
        if (smaller := min(seconds) // 2) >= 1:
            return smaller
    doubled = next(size for k in range(asked.bit_length(), -1, -1) if (size := asked >> k) > last)
    steep = power({float(size): t for size, t in seconds.items()})
    if steep is None or steep <= STEEP:
        return doubled
    return min(doubled, max(last + 1, int(last * STEP ** (1 / steep))))


def variants_to_drop(
    forecasts: Mapping[str, float], reach: Mapping[str, float], workers: int, compiled: Callable[[str], bool]
) -> dict[str, float]:
    """The variants that cannot become the fastest with any number of workers, and how many times slower they are.

    forecasts: seconds on one core, by variant.
    reach:     how many times longer the forecast is than the longest run that it was predicted from; 1 where the work
               itself was timed, infinite where nothing says how times grow. A compiled variant with an infinite reach
               is never dropped.
    """
    certain = [name for name in forecasts if math.isfinite(reach[name])]
    best = min(certain or forecasts, key=lambda name: forecasts[name])
    slower = {}
    for name, seconds in forecasts.items():
        far = reach[name] * reach[best]
        if not math.isfinite(far):
            if compiled(name):
                continue
            far = 1.0
        if seconds > SLACK * workers * forecasts[best] * max(far, 1.0) ** DRIFT:
            slower[name] = seconds / forecasts[best]
    return slower
