"""A trial: every chunk of a body run on the caller's thread, on outputs that show what it leaves unwritten."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from compute.differences import difference, differing
from kernels.compilation import importing
from kernels.definition import Kernel, refusals
from kernels.definition.arguments import guarded, name_at
from kernels.definition.containers import arrays_in
from kernels.definition.plan import Plan

Array = np.ndarray[Any, Any]
# Bytes: NaN, -1 or True, and something else of any dtype. An element that keeps both patterns was not written.
PATTERNS = 0xFF, 0xA4


class CheckFailed(RuntimeError):
    """A body that breaks a rule, or variants or backends that give different values; found by check=True."""


@dataclass(frozen=True)
class Trial:
    """One variant's run on the caller's thread: its value, and its inputs as they were afterwards."""

    value: Any
    inputs: tuple[Any, ...]


class TooLong(Exception):
    """A trial took longer than it may."""


def try_chunks(kernel: Kernel, plan: Plan, patience: float = float("inf")) -> Trial:
    """Run every chunk on this thread, in both orders and on both patterns; CheckFailed where the answers differ.

    patience: seconds that it may take; TooLong after them.
    """
    plan = plan._replace(out=None)
    until = time.perf_counter() + patience
    body = checked_body(kernel)
    shape, dtype = kernel.output_shape(plan), np.dtype(plan.dtype)
    outs, inputs = [], []
    with restored_inputs(kernel, plan) as put_back:
        for pattern in PATTERNS:
            out = np.empty(shape, dtype)
            fill(out, pattern)
            chunks = range(plan.chunks) if pattern == PATTERNS[0] else reversed(range(plan.chunks))
            times = 2 if pattern == PATTERNS[1] and not kernel.inout else 1
            for chunk in chunks:
                for _ in range(times):
                    try_chunk(kernel, body, chunk, out, plan)
                if time.perf_counter() > until:
                    raise TooLong
            inputs.append(tuple(x.copy() if isinstance(x, np.ndarray) else x for x in plan.inputs))
            put_back()
            outs.append(out)
        if not kernel.finisher:  # a finisher may fill elements that bodies leave unwritten
            _check_written(kernel, plan, *outs)
            _check_repeatable(kernel, plan, *outs)
        values = [kernel.finish(out, plan) for out in outs]
    if differs := difference(values[0], values[1], exactly=True):
        raise CheckFailed(
            f"{name_of(kernel)} gives another value where out held something else before, or chunks ran in another"
            f" order or twice: {differs}"
        )
    _check_wide_enough(kernel, plan, outs[0], values[0])
    return Trial(values[0], inputs[0])


def checked_body(kernel: Kernel) -> Callable[..., Any]:
    """The body of the variant that the kernel is held to; a compiled one checks bounds."""
    variant = kernel.variants[kernel.variant]
    if not variant.compiled:
        return kernel.body()
    body: Callable[..., Any] = importing.compiler().compiled(variant.source(), boundscheck=True)
    return body


@contextmanager
def restored_inputs(kernel: Kernel, plan: Plan) -> Iterator[Callable[[], None]]:
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
                raise CheckFailed(f"{name_of(kernel)} changes its input {name}: {differs}; {remedy}")

    try:
        yield put_back_and_check
    finally:
        put_back()


def try_chunk(kernel: Kernel, body: Callable[..., Any], chunk: int, out: Array, plan: Plan) -> None:
    """Run one chunk on this thread; CheckFailed where its body raises, numba's reason where it cannot compile it."""
    try:
        kernel.run_chunk(body, chunk, out, plan._replace(inputs=guarded(plan.inputs, kernel.inout)))
    except Exception as error:
        explained = refusals.explained(error, kernel)
        if type(error).__module__.startswith("numba."):
            raise explained from None  # it cannot be compiled at all
        what = f"raises {type(error).__name__}: {error}" if explained is error else str(explained)
        raise CheckFailed(f"{name_of(kernel)} {what}, in {in_words(plan, chunk)}") from error


def _check_written(kernel: Kernel, plan: Plan, first: Array, second: Array) -> None:
    """CheckFailed where some element still has the pattern after both trials."""
    left = holds(first, PATTERNS[0]) & holds(second, PATTERNS[1])
    if count := int(np.count_nonzero(left)):
        raise CheckFailed(
            f"{name_of(kernel)} leaves {count} of {left.size} elements of out unwritten, the first"
            f" {_at(kernel, plan, left)}"
        )


def _check_repeatable(kernel: Kernel, plan: Plan, first: Array, second: Array) -> None:
    if first.dtype.names is None and (where := differing(first, second)).any():
        index = tuple(np.argwhere(where)[0])
        raise CheckFailed(
            f"{name_of(kernel)} gives {first[index]} and {second[index]} {_at(kernel, plan, where)}, where out held"
            " something else before, or chunks ran in another order or twice"
        )


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
            f"{name_of(kernel)}'s reduce overflows {out.dtype}: it gives {value}, and Python's whole numbers, which"
            f" cannot overflow, {shortened(str(exact))}; use reduce=sum or np.sum, or a wider dtype="
        )


def fill(out: Array, pattern: int) -> None:
    """Set every byte to this one; truth values to its lowest bit."""
    out.reshape(-1).view(np.uint8).fill(pattern & 1 if out.dtype.kind == "b" else pattern)


def holds(out: Array, pattern: int) -> Array:
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
        return f"at {list(first)} of {in_words(plan, first[0])}"
    if plan.shape is None or plan.shape[:1] == (plan.indices,):
        return f"at {list(first)} in {in_words(plan, first[0] // plan.step)}"
    return f"at {list(first)}"


def in_words(plan: Plan, chunk: int) -> str:
    """A chunk, with its indices."""
    lo, hi = plan.bounds(chunk)
    return f"chunk {chunk} (indices {lo}..{hi})"


def name_of(kernel: Kernel) -> str:
    """The kernel and the variant that it is held to."""
    return f"{kernel.name} ({kernel.variant})"


def shortened(text: str) -> str:
    """Its first hundred characters."""
    return text if len(text) <= 100 else f"{text[:100]}…"
