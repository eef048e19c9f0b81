"""run(…, check=True): test whether a body breaks a rule, before its value is used.

1. Every chunk is run on the caller's thread, with bounds checked: in ascending order on an output that was filled with
   one pattern, then in descending order, twice each, on an output with another pattern. (`_tried`)
2. Chunks are run alone, to see which elements each of them writes. (`_check_apart`)
3. The indices are cut into chunks of another size. (`_compare_cuts`)
4. The other variant, Python or compiled, is run as in 1, and the values are compared. (`_compare_variants`)
5. The pool runs the kernel, and its value is compared.

CheckFailed names the chunk and the index in one line. This takes a few serial runs, one in Python: use a small size.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FunctionType
from typing import Any

import numpy as np

from compute import dispatch
from compute.differences import difference, differing, equal_bytes
from compute.dispatch import Lanes, Result
from compute.lanes.interrupts import InterruptWatch
from compute.progress import Tell, as_progress
from kernels.compilation import importing
from kernels.compilation.reach import reach_of
from kernels.definition import Kernel, numba_is_here, refusals
from kernels.definition.arguments import guarded, name_at
from kernels.definition.containers import arrays_in
from kernels.definition.plan import Plan, surrounded

Array = np.ndarray[Any, Any]
# Bytes: NaN, -1 or True, and something else of any dtype. An element that keeps both patterns was not written.
PATTERNS = 0xFF, 0xA4
PATIENCE = 60.0  # s that the other variant may take, which is run only for comparison
MOST_LOOKED_AT = 2**28  # bytes that are searched for what chunks write, in a second; beyond it only some chunks are
RANDOM = frozenset({"random", "default_rng", "seed", "Generator", "RandomState", "Random", "SeedSequence"})


class CheckFailed(RuntimeError):
    """A body that breaks a rule, or variants or backends that give different values; found by check=True."""


@dataclass(frozen=True)
class _Trial:
    """One variant's run on the caller's thread: its value, and its inputs as they were afterwards."""

    value: Any
    inputs: tuple[Any, ...]


class _TooLong(Exception):
    pass


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
    tried = _tried(kernel, plan)
    _check_apart(kernel, plan)
    notes += _compare_cuts(kernel, plan, tried.value)
    notes += _inexact(kernel, plan, tried.value)
    if other := _other(kernel):
        notes += _compare_variants(kernel, tried.value, other, lambda: _tried(other, other.plan(*args, **kw), PATIENCE))
    result = dispatch.execute(pool, kernel, args, kw, watch, progress)
    where = getattr(pool, "backend", "one core")
    if differs := difference(tried.value, result.value, exactly=True):
        raise CheckFailed(f"{_named(kernel)} on {where!r} does not give what it gives chunk by chunk: {differs}")
    for k in kernel.inout:
        if differs := difference(tried.inputs[k], plan.inputs[k], exactly=True):
            name = kernel.inputs[k]
            raise CheckFailed(f"{_named(kernel)} on {where!r} does not leave in {name} what it leaves alone: {differs}")
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
    if differs := difference(value, its_value):
        raise CheckFailed(f"{kernel.name}'s variants {mine} and {its} differ: {differs}")
    if differs := difference(value, its_value, exactly=True):
        yield f"{mine} and {its} differ by rounding: {differs}"


def _tried(kernel: Kernel, plan: Plan, patience: float = float("inf")) -> _Trial:
    """Run every chunk on this thread, in both orders and on both patterns; CheckFailed where the answers differ."""
    plan = plan._replace(out=None)
    until = time.perf_counter() + patience
    body = _checked_body(kernel)
    shape, dtype = kernel.output_shape(plan), np.dtype(plan.dtype)
    outs, inputs = [], []
    with _restored_inputs(kernel, plan) as put_back:
        for pattern in PATTERNS:
            out = np.empty(shape, dtype)
            _fill(out, pattern)
            chunks = range(plan.chunks) if pattern == PATTERNS[0] else reversed(range(plan.chunks))
            times = 2 if pattern == PATTERNS[1] and not kernel.inout else 1
            for chunk in chunks:
                for _ in range(times):
                    _try_chunk(kernel, body, chunk, out, plan)
                if time.perf_counter() > until:
                    raise _TooLong
            inputs.append(tuple(x.copy() if isinstance(x, np.ndarray) else x for x in plan.inputs))
            put_back()
            outs.append(out)
        if not kernel.finisher:  # a finisher may fill elements that bodies leave unwritten
            _check_written(kernel, plan, *outs)
            _check_repeatable(kernel, plan, *outs)
        values = [kernel.finish(out, plan) for out in outs]
    if differs := difference(values[0], values[1], exactly=True):
        raise CheckFailed(
            f"{_named(kernel)} gives another value where out held something else before, or chunks ran in another order"
            f" or twice: {differs}"
        )
    _check_wide_enough(kernel, plan, outs[0], values[0])
    return _Trial(values[0], inputs[0])


def _checked_body(kernel: Kernel) -> Callable[..., Any]:
    variant = kernel.variants[kernel.variant]
    if not variant.compiled:
        return kernel.body()
    body: Callable[..., Any] = importing.compiler().compiled(variant.source(), boundscheck=True)
    return body


@contextmanager
def _restored_inputs(kernel: Kernel, plan: Plan) -> Iterator[Callable[[], None]]:
    """Restore the inputs that a body may change, between trials and at the end. CheckFailed where it changed another.

    Compiled code can write to arrays that numba does not know to be read-only.
    """
    before = [(k, x, x.copy()) for k, value in enumerate(plan.inputs) for x in arrays_in(value)]

    def put_back() -> list[tuple[int, str]]:
        changed = []
        for k, x, was in before:
            if differs := difference(was, x, exactly=True):
                changed.append((k, differs))
                if x.flags.writeable:
                    np.copyto(x, was)
        return changed

    def put_back_and_check() -> None:
        for k, differs in put_back():
            if k not in kernel.inout:
                name = name_at(kernel.inputs, k)
                remedy = f"say @kernel(inout=({name!r},))"
                if not isinstance(plan.inputs[k], np.ndarray):
                    remedy = "pass the array as an input of its own, and name it in @kernel(inout=…)"
                raise CheckFailed(f"{_named(kernel)} changes its input {name}: {differs}; {remedy}")

    try:
        yield put_back_and_check
    finally:
        put_back()


def _try_chunk(kernel: Kernel, body: Callable[..., Any], chunk: int, out: Array, plan: Plan) -> None:
    try:
        kernel.run_chunk(body, chunk, out, plan._replace(inputs=guarded(plan.inputs, kernel.inout)))
    except Exception as error:
        explained = refusals.explained(error, kernel)
        if type(error).__module__.startswith("numba."):
            raise explained from None  # it cannot be compiled at all
        what = f"raises {type(error).__name__}: {error}" if explained is error else str(explained)
        raise CheckFailed(f"{_named(kernel)} {what}, in {_chunk(plan, chunk)}") from error


def _check_written(kernel: Kernel, plan: Plan, first: Array, second: Array) -> None:
    """CheckFailed where some element still has the pattern after both trials."""
    left = _holds(first, PATTERNS[0]) & _holds(second, PATTERNS[1])
    if count := int(np.count_nonzero(left)):
        raise CheckFailed(
            f"{_named(kernel)} leaves {count} of {left.size} elements of out unwritten, the first"
            f" {_at(kernel, plan, left)}"
        )


def _check_repeatable(kernel: Kernel, plan: Plan, first: Array, second: Array) -> None:
    if first.dtype.names is None and (where := differing(first, second)).any():
        index = tuple(np.argwhere(where)[0])
        raise CheckFailed(
            f"{_named(kernel)} gives {first[index]} and {second[index]} {_at(kernel, plan, where)}, where out held"
            " something else before, or chunks ran in another order or twice"
        )


def _check_apart(kernel: Kernel, plan: Plan) -> None:
    """CheckFailed where a chunk writes to an element of another chunk: lanes run chunks at the same time."""
    plan = plan._replace(out=None)
    body, named = _checked_body(kernel), _named(kernel)
    out = np.empty(kernel.output_shape(plan), plan.dtype)
    owners = {k: np.full(plan.inputs[k].shape, -1) for k in kernel.inout}
    owners[-1] = np.full(out.shape, -1)
    for chunk in _some(plan, out.nbytes + sum(plan.inputs[k].nbytes for k in kernel.inout)):
        filled = np.zeros(out.shape, bool)
        for pattern in PATTERNS:  # what is written may be one of them
            _fill(out, pattern)
            inputs = tuple(x.copy() if k in kernel.inout else x for k, x in enumerate(plan.inputs))
            _try_chunk(kernel, body, chunk, out, plan._replace(inputs=inputs))
            filled |= ~_holds(out, pattern)
        written = {kernel.inputs[k]: (k, ~equal_bytes(inputs[k], plan.inputs[k])) for k in kernel.inout}
        if not kernel.reduce:
            written["out"] = -1, filled
        for name, (k, where) in written.items():
            if name == "out" and plan.shape is None:  # index i has element i
                lo, hi = plan.bounds(chunk)
                where[lo:hi] = False
                if where.any():
                    first = int(np.flatnonzero(where)[0])
                    raise CheckFailed(
                        f"{named}: {_chunk(plan, chunk)} writes out[{first}], which belongs to"
                        f" {_chunk(plan, first // plan.step)}; fill out[lo:hi] and touch nothing else"
                    )
            elif (both := where & (owners[k] >= 0)).any():
                index = tuple(map(int, np.argwhere(both)[0]))
                at = f"{name}[{', '.join(map(str, index))}]"
                raise CheckFailed(
                    f"{named} writes {at} in {_chunk(plan, owners[k][index])} and in {_chunk(plan, chunk)}, which may"
                    f" run at the same time; let each element of {name} belong to one chunk, or give each chunk a row"
                    " of its own with reduce="
                )
            owners[k][where] = chunk


def _some(plan: Plan, size: int) -> list[int]:
    """All chunks, or the first and the last ones where comparing so many bytes for each would take too long."""
    most = max(16, MOST_LOOKED_AT // max(size, 1))
    chunks = list(range(plan.chunks))
    return chunks if len(chunks) <= most else chunks[: most // 2] + chunks[-(most // 2) :]


def _compare_cuts(kernel: Kernel, plan: Plan, value: Any) -> Iterator[str]:
    """Cut the indices in another way; CheckFailed where that gives another value, a note where that may be intended.

    A plan that sets its grain is not cut differently. A body that draws random numbers may seed by chunk: a note.
    """
    grain = min(2 * plan.step + 1, plan.indices)
    if plan.grain is not None or plan.order is not None or grain <= plan.step:
        return
    cut = plan._replace(grain=grain, out=None)
    body, out = _checked_body(kernel), np.empty(kernel.output_shape(cut), cut.dtype)
    _fill(out, PATTERNS[0])
    try:
        with _restored_inputs(kernel, cut):
            for chunk in range(cut.chunks):
                _try_chunk(kernel, body, chunk, out, cut)
        its_value = kernel.finish(out, cut)
    except Exception as error:
        yield f"{_named(kernel)} cannot be cut into chunks of {grain} indices ({error})"
        return
    if not (differs := difference(value, its_value, exactly=not kernel.reduce)):
        return
    how = f"depends on how indices are cut into chunks: {plan.step} or {grain} to a chunk give {_shortened(differs)}"
    if not difference(value, its_value):
        yield f"{_named(kernel)} {how}, which rounding explains"
    elif np.shape(value) != np.shape(its_value):
        yield f"{_named(kernel)} {how}"
    elif _draws(kernel):
        yield f"{_named(kernel)} {how}; right for numbers that are drawn anew for each chunk"
    else:
        raise CheckFailed(
            f"{_named(kernel)} {how}; let each index depend on the inputs alone, or say @kernel(grain=…) where the cut"
            " is a part of what it computes"
        )


def _draws(kernel: Kernel) -> bool:
    """Whether a body, or a helper of it, uses names of random number generators."""
    body = kernel.variants[kernel.variant].source()
    return isinstance(body, FunctionType) and bool(reach_of(body, compiled=False).attributes & RANDOM)


def _shortened(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:100]}…"


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


def _fill(out: Array, pattern: int) -> None:
    out.reshape(-1).view(np.uint8).fill(pattern & 1 if out.dtype.kind == "b" else pattern)


def _check_wide_enough(kernel: Kernel, plan: Plan, out: Array, value: Any) -> None:
    """CheckFailed where a reduction of whole numbers overflows the dtype of the partial results."""
    if not kernel.reduce or out.dtype.kind not in "iu":
        return
    try:  # with Python's integers, which cannot overflow
        exact = kernel.finish(out.astype(object), plan)
    except Exception:
        return
    if isinstance(value, int) and isinstance(exact, int) and value != exact:
        raise CheckFailed(
            f"{_named(kernel)}'s reduce overflows {out.dtype}: it gives {value}, and Python's whole numbers, which"
            f" cannot overflow, {_shortened(str(exact))}; use reduce=sum or np.sum, or a wider dtype="
        )


def _holds(out: Array, pattern: int) -> Array:
    """Which elements consist of that byte alone."""
    if out.dtype.kind == "b":
        pattern &= 1
    if not out.size or not out.itemsize:
        return np.zeros(out.shape, bool)
    answer: Array = (out.reshape(-1).view(np.uint8).reshape(*out.shape, out.itemsize) == pattern).all(axis=-1)
    return answer


def _at(kernel: Kernel, plan: Plan, where: Array) -> str:
    """The first of the elements, and the chunk that it belongs to where that is known."""
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
