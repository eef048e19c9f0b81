"""run(…, check=True): test whether a body breaks a rule, before its value is used.

1. Every chunk is run on the caller's thread, with bounds checked: in ascending order on an output that was filled with
   one pattern, then in descending order, twice each, on an output with another pattern. (`trial.try_chunks`)
2. Chunks are run alone, to see which elements each of them writes. (`cuts.check_apart`)
3. The indices are cut into chunks of another size. (`cuts.compare_cuts`)
4. The other variant, Python or compiled, is run as in 1, and the values are compared. (`_compare_variants`)
5. The pool runs the kernel, and its value is compared.

CheckFailed names the chunk and the index in one line. This takes a few serial runs, one in Python: use a small size.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from compute import dispatch
from compute.checking.cuts import check_apart, compare_cuts
from compute.checking.trial import CheckFailed as CheckFailed
from compute.checking.trial import TooLong, Trial, name_of, try_chunks
from compute.differences import difference
from compute.dispatch import Lanes, Result
from compute.lanes.interrupts import InterruptWatch
from compute.progress import Tell, as_progress
from kernels.definition import Kernel, numba_is_here
from kernels.definition.plan import Plan, surrounded

PATIENCE = 60.0  # s that the other variant may take, which is run only for comparison


def way_to_run(kernel: Kernel, args: tuple[Any, ...], check: bool, progress: Any) -> Callable[..., Result]:
    """dispatch.execute, with check and progress if these are asked for. TypeError for bad input."""
    execute: Callable[..., Result] = dispatch.execute
    if check:
        dispatch.refuse_own_name(kernel, args, "check")
        execute = run
    if progress is not None:
        dispatch.refuse_own_name(kernel, args, "progress")
        execute = functools.partial(execute, progress=as_progress(progress))
    return execute


def run(
    pool: Lanes,
    kernel: Kernel,
    args: tuple[Any, ...],
    kw: dict[str, Any],
    watch: InterruptWatch,
    progress: Tell | bool | None = None,
) -> Result:
    """dispatch.execute with the checks: CheckFailed names a fault; what could not be checked is in the events."""
    plan = kernel.plan(*args, **kw)
    if plan.dtype is object:
        raise ValueError(f"check= tries bodies over indices, and {kernel.name} is a function over items; leave it out")
    with surrounded(plan) as whole:
        try:
            return _run_checked(pool, kernel, whole, args, kw, watch, progress)
        except CheckFailed:
            watch.raise_lost()  # a body was cut off by a signal's handler, which is no fault of it
            raise


def _run_checked(
    pool: Lanes,
    kernel: Kernel,
    plan: Plan,
    args: tuple[Any, ...],
    kw: dict[str, Any],
    watch: InterruptWatch,
    progress: Tell | bool | None,
) -> Result:
    notes: list[str] = []
    tried = try_chunks(kernel, plan)
    check_apart(kernel, plan)
    notes += compare_cuts(kernel, plan, tried.value)
    notes += _inexact(kernel, plan, tried.value)
    if other := _other(kernel):
        notes += _compare_variants(
            kernel, tried.value, other, lambda: try_chunks(other, other.plan(*args, **kw), PATIENCE)
        )
    result = dispatch.execute(pool, kernel, args, kw, watch, progress)
    where = getattr(pool, "backend", "one core")
    if differs := difference(tried.value, result.value, exactly=True):
        raise CheckFailed(f"{name_of(kernel)} on {where!r} does not give what it gives chunk by chunk: {differs}")
    for k in kernel.inout:
        if differs := difference(tried.inputs[k], plan.inputs[k], exactly=True):
            name = kernel.inputs[k]
            raise CheckFailed(
                f"{name_of(kernel)} on {where!r} does not leave in {name} what it leaves alone: {differs}"
            )
    record = result.record
    return Result(result.value, result.seconds, lambda: replace(record(), events=(*record().events, *notes)))


def _other(kernel: Kernel) -> Kernel | None:
    """The kernel held to the variant to compare with: Python's for a compiled one, the fastest compiled for others."""
    mine = kernel.variants[kernel.variant]
    others = [name for name, v in kernel.variants.items() if v.compiled != mine.compiled]
    if mine.compiled:
        return kernel.held_to("python") if "python" in others else None
    return kernel.held_to(others[-1]) if others and numba_is_here() else None


def _compare_variants(kernel: Kernel, value: Any, other: Kernel, run: Callable[[], Trial]) -> Iterator[str]:
    """A note where they could not be compared, or differ by rounding; CheckFailed where they differ."""
    mine, its = kernel.variant, other.variant
    try:
        its_value = run().value
    except TooLong:
        yield f"{its} was not compared with {mine}: it takes over {PATIENCE:.0f} s; check a smaller size"
        return
    except CheckFailed as error:
        raise CheckFailed(f"{kernel.name}'s variants differ: {error}, and {mine} does not") from error
    if differs := difference(value, its_value):
        raise CheckFailed(f"{kernel.name}'s variants {mine} and {its} differ: {differs}")
    if differs := difference(value, its_value, exactly=True):
        yield f"{mine} and {its} differ by rounding: {differs}"


def _inexact(kernel: Kernel, plan: Plan, value: Any) -> Iterator[str]:
    """A note where whole numbers may have been rounded on their way into an output of floats."""
    dtype, values = np.dtype(plan.dtype), np.asarray(value)
    whole = [x for x in plan.inputs if isinstance(x, int) or getattr(x, "dtype", np.dtype("V")).kind in "iu"]
    if dtype.kind != "f" or values.dtype.kind != "f" or not whole:
        return
    most = 2.0 ** (np.finfo(dtype).nmant + 1)
    large = np.isfinite(values) & (abs(values) >= most)
    if large.any():
        first = tuple(map(int, np.argwhere(large)[0]))
        where = f", the first at {list(first)}" if first else ""
        yield (
            f"{np.count_nonzero(large)} of {large.size} values are {most:.0f} or more{where}: {values[first]}; {dtype}"
            f" does not hold every whole number there, and {kernel.name} has inputs of whole numbers; @kernel(dtype="
            "np.int64) keeps them"
        )
