"""run(…, check=True): try a body for what it may not do, before its value is believed.

On the caller's own thread every chunk is run with bounds checked, in both orders and twice, on outputs that were filled
with two different patterns. So is the other variant, Python or compiled, and then the pool. What is found is one line
that names the chunk and the index. It takes a few serial runs, one of them in Python: use a small size.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from compute import dispatch
from compute.dispatch import Lanes, Result
from compute.lanes.interrupts import Watch
from compute.progress import Tell, as_progress
from kernels.definition import Kernel, numba_is_here, refusals
from kernels.definition.arguments import NUMBERS, guarded, name_at
from kernels.definition.containers import arrays_in
from kernels.definition.plan import Plan

Array = np.ndarray[Any, Any]
PATTERNS = 0xFF, 0xA5  # of bytes: NaN or -1, and something else; no element that was written holds both in turn
PATIENCE = 60.0  # s for a variant that nobody asked for
ROUNDING = 64  # units in the last place of the largest value that variants may be apart, for sums in another order


class CheckFailed(RuntimeError):
    """A body that breaks a rule, or variants or backends that give different values; found by check=True."""


@dataclass(frozen=True)
class _Trial:
    """What one variant gave on the caller's thread: its value, and its inputs as they were afterwards."""

    value: Any
    inputs: tuple[Any, ...]


class _TooLong(Exception):
    pass


def way_to_run(kernel: Kernel, args: tuple[Any, ...], check: bool, progress: Any) -> Callable[..., Result]:
    """dispatch.execute, or what does the same with a check or with its progress told. TypeError for bad input."""
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
    watch: Watch,
    progress: Tell | bool | None = None,
) -> Result:
    """dispatch.execute, checked. CheckFailed names what is wrong; what could not be checked is among the events."""
    notes: list[str] = []
    plan = kernel.plan(*args, **kw)
    tried = _tried(kernel, plan)
    if other := _other(kernel):
        notes += _compare_variants(kernel, tried.value, other, lambda: _tried(other, other.plan(*args, **kw), PATIENCE))
    result = dispatch.execute(pool, kernel, args, kw, watch, progress)
    where = getattr(pool, "backend", "one core")
    if told := difference(tried.value, result.value, exactly=True):
        raise CheckFailed(f"{_named(kernel)} on {where!r} does not give what it gives chunk by chunk: {told}")
    for k in kernel.inout:
        if told := difference(tried.inputs[k], plan.inputs[k], exactly=True):
            name = kernel.inputs[k]
            raise CheckFailed(f"{_named(kernel)} on {where!r} does not leave in {name} what it leaves alone: {told}")
    record = result.record
    return Result(result.value, result.seconds, lambda: replace(record(), events=(*record().events, *notes)))


def _other(kernel: Kernel) -> Kernel | None:
    """The kernel held to the variant to compare with: Python's for a compiled one, the fastest compiled for others."""
    mine = kernel.variants[kernel.variant]
    others = [name for name, v in kernel.variants.items() if v.compiled != mine.compiled]
    if mine.compiled:
        return kernel.held_to("python") if "python" in others else None
    return kernel.held_to(others[-1]) if others and numba_is_here() else None


def _compare_variants(kernel: Kernel, value: Any, other: Kernel, run: Callable[[], _Trial]) -> Iterator[str]:
    """A note where they could not be compared, or differ by rounding; CheckFailed where they differ."""
    mine, its = kernel.variant, other.variant
    try:
        its_value = run().value
    except _TooLong:
        yield f"{its} was not compared with {mine}: it takes over {PATIENCE:.0f} s; check a smaller size"
        return
    except CheckFailed as error:
        raise CheckFailed(f"{kernel.name}'s variants differ: {error}, and {mine} does not") from error
    if told := difference(value, its_value):
        raise CheckFailed(f"{kernel.name}'s variants {mine} and {its} differ: {told}")
    if told := difference(value, its_value, exactly=True):
        yield f"{mine} and {its} differ by rounding: {told}"


def _tried(kernel: Kernel, plan: Plan, patience: float = float("inf")) -> _Trial:
    """Run every chunk here, in both orders and on both patterns; CheckFailed where that gives two different answers."""
    plan = plan._replace(out=None)
    until = time.perf_counter() + patience
    body = _checked_body(kernel)
    shape, dtype = kernel.output_shape(plan), np.dtype(plan.dtype)
    outs, inputs = [], []
    with _kept(kernel, plan) as put_back:
        for pattern in PATTERNS:
            out = np.empty(shape, dtype)
            out.reshape(-1).view(np.uint8).fill(pattern & 1 if dtype.kind == "b" else pattern)
            chunks = range(plan.chunks) if pattern == PATTERNS[0] else reversed(range(plan.chunks))
            often = 2 if pattern == PATTERNS[1] and not kernel.inout else 1
            for chunk in chunks:
                for _ in range(often):
                    _try_chunk(kernel, body, chunk, out, plan)
                if time.perf_counter() > until:
                    raise _TooLong
            inputs.append(tuple(x.copy() if isinstance(x, np.ndarray) else x for x in plan.inputs))
            put_back()
            outs.append(out)
        if not kernel.finisher:  # one that leaves gaps may close them
            _check_written(kernel, plan, *outs)
            _check_repeatable(kernel, plan, *outs)
        values = [kernel.finish(out, plan) for out in outs]
    if told := difference(values[0], values[1], exactly=True):
        raise CheckFailed(
            f"{_named(kernel)} gives another value where out held something else before, or chunks ran in another order"
            f" or twice: {told}"
        )
    return _Trial(values[0], inputs[0])


def _checked_body(kernel: Kernel) -> Callable[..., Any]:
    variant = kernel.variants[kernel.variant]
    if not variant.compiled:
        return variant.load()
    from kernels.compilation.compiler import compiled

    made: Callable[..., Any] = compiled(variant.source(), boundscheck=True)
    return made


@contextmanager
def _kept(kernel: Kernel, plan: Plan) -> Iterator[Callable[[], None]]:
    """Give back what a body may change, between its trials and after them; CheckFailed where it changed anything else.

    Compiled code can write through what numba does not know to be read-only.
    """
    before = [(k, x, x.copy()) for k, value in enumerate(plan.inputs) for x in arrays_in(value)]

    def put_back() -> list[tuple[int, str]]:
        changed = []
        for k, x, was in before:
            if told := difference(was, x, exactly=True):
                changed.append((k, told))
                if x.flags.writeable:
                    np.copyto(x, was)
        return changed

    def put_back_and_check() -> None:
        for k, told in put_back():
            if k not in kernel.inout:
                name = name_at(kernel.inputs, k)
                remedy = f"say @kernel(inout=({name!r},))"
                if not isinstance(plan.inputs[k], np.ndarray):
                    remedy = "pass the array as an input of its own, and name it in @kernel(inout=…)"
                raise CheckFailed(f"{_named(kernel)} changes its input {name}: {told}; {remedy}")

    try:
        yield put_back_and_check
    finally:
        put_back()


def _try_chunk(kernel: Kernel, body: Callable[..., Any], chunk: int, out: Array, plan: Plan) -> None:
    try:
        kernel.run_chunk(body, chunk, out, plan._replace(inputs=guarded(plan.inputs, kernel.inout)))
    except Exception as error:
        told = refusals.explained(error, kernel)
        if type(error).__module__.startswith("numba."):
            raise told from None  # it is not compiled at all
        what = f"raises {type(error).__name__}: {error}" if told is error else str(told)
        raise CheckFailed(f"{_named(kernel)} {what}, in {_chunk(plan, chunk)}") from error


def _check_written(kernel: Kernel, plan: Plan, first: Array, second: Array) -> None:
    """CheckFailed where some element holds both patterns still."""
    left = _holds(first, PATTERNS[0]) & _holds(second, PATTERNS[1])
    if count := int(np.count_nonzero(left)):
        raise CheckFailed(
            f"{_named(kernel)} leaves {count} of {left.size} elements of out unwritten, the first"
            f" {_at(kernel, plan, left)}"
        )


def _check_repeatable(kernel: Kernel, plan: Plan, first: Array, second: Array) -> None:
    if first.dtype.names is None and (differing := _differing(first, second)).any():
        one = tuple(np.argwhere(differing)[0])
        raise CheckFailed(
            f"{_named(kernel)} gives {first[one]} and {second[one]} {_at(kernel, plan, differing)}, where out held"
            " something else before, or chunks ran in another order or twice"
        )


def _holds(out: Array, pattern: int) -> Array:
    """Which elements are nothing but that byte."""
    if out.dtype.kind == "b":
        pattern &= 1
    if not out.size or not out.itemsize:
        return np.zeros(out.shape, bool)
    answer: Array = (out.reshape(-1).view(np.uint8).reshape(*out.shape, out.itemsize) == pattern).all(axis=-1)
    return answer


def _at(kernel: Kernel, plan: Plan, where: Array) -> str:
    """The first of the elements, and the chunk that it belongs to where that can be told."""
    first = tuple(map(int, np.argwhere(where)[0]))
    if kernel.reduce:
        return f"at {list(first)} of {_chunk(plan, first[0])}"
    if plan.shape is None or plan.shape[:1] == (plan.indices,):
        return f"at {list(first)} in {_chunk(plan, first[0] // plan.step)}"
    return f"at {list(first)}"


def _chunk(plan: Plan, chunk: int) -> str:
    lo, hi = plan.bounds(chunk)
    return f"chunk {chunk} (indices {lo}..{hi})"


def _named(kernel: Kernel) -> str:
    return f"{kernel.name} ({kernel.variant})"


def difference(one: Any, other: Any, exactly: bool = False) -> str | None:
    """By how much two values differ, and where first, in one line; None where they do not (NaN equals NaN).

    Floats may differ by some roundings, unless they are to be equal `exactly`.
    """
    if isinstance(one, np.ndarray) != isinstance(other, np.ndarray) or not isinstance(one, NUMBERS):
        return None if type(one) is type(other) and _equal(one, other) else f"{one!r} and {other!r}"
    a, b = np.asarray(one), np.asarray(other)
    if "O" in (a.dtype.kind, b.dtype.kind):  # a whole number beyond any dtype
        return None if _equal(one, other) else f"{one!r} and {other!r}"
    if a.shape != b.shape or (exactly and a.dtype != b.dtype):
        return f"{a.dtype}{list(a.shape)} and {b.dtype}{list(b.shape)}"
    if a.dtype.names is not None or a.dtype.kind not in "biufcmM":
        return None if a.tobytes() == b.tobytes() else "their elements are not the same"
    differing = _differing(a, b)
    if not exactly and differing.any():
        differing &= ~_near(a, b)
    if not differing.any():
        return None
    first = tuple(np.argwhere(differing)[0])
    told = f"{a[first]} and {b[first]}"
    if not a.ndim:
        return told
    count, by = np.count_nonzero(differing), _by(a, b, differing)
    return f"{count} of {a.size} elements{by}, the first at {list(map(int, first))}: {told}"


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, tuple | list):
        return len(one) == len(other) and not any(
            difference(a, b, exactly=True) for a, b in zip(one, other, strict=True)
        )
    return bool(one == other or (one != one and other != other))


def _differing(a: Array, b: Array) -> Array:
    with np.errstate(all="ignore"):
        return np.asarray(~((a == b) | ((a != a) & (b != b))))


def _near(a: Array, b: Array) -> Array:
    """Which elements are apart by roundings alone: of their own, or of the largest of all."""
    if a.dtype.kind not in "fc" and b.dtype.kind not in "fc":
        return np.zeros(a.shape, bool)
    with np.errstate(all="ignore"):
        size = np.maximum(abs(a), abs(b))
        finite = size[np.isfinite(size)]
        step = np.finfo(np.result_type(a, b)).eps
        allowed = np.maximum(size * np.sqrt(step), ROUNDING * step * (finite.max() if finite.size else 0))
        return np.asarray(np.isfinite(size) & (abs(a - b) <= allowed))


def _by(a: Array, b: Array, where: Array) -> str:
    if a.dtype.kind in "bmM":
        return ""
    with np.errstate(all="ignore"):
        apart = abs(a[where].astype(complex) - b[where].astype(complex))
    finite = apart[np.isfinite(apart)]
    return f", by up to {finite.max():.3g}" if finite.size else ""
