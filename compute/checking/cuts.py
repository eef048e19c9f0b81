"""How chunks stand to each other: each writes to elements of its own, and another cut gives the same value."""

from __future__ import annotations

from collections.abc import Iterator
from types import FunctionType
from typing import Any

import numpy as np

from compute.checking.trial import (
    PATTERNS,
    CheckFailed,
    checked_body,
    fill,
    holds,
    in_words,
    name_of,
    restored_inputs,
    shortened,
    try_chunk,
)
from compute.differences import difference, equal_bytes
from kernels.compilation.reach import reach_of
from kernels.definition import Kernel
from kernels.definition.plan import Plan

MOST_LOOKED_AT = 2**28  # bytes that are searched for what chunks write, in a second; beyond it only some chunks are
RANDOM = frozenset({"random", "default_rng", "seed", "Generator", "RandomState", "Random", "SeedSequence"})


def check_apart(kernel: Kernel, plan: Plan) -> None:
    """CheckFailed where a chunk writes to an element of another chunk: lanes run chunks at the same time."""
    plan = plan._replace(out=None)
    body, named = checked_body(kernel), name_of(kernel)
    out = np.empty(kernel.output_shape(plan), plan.dtype)
    owners = {k: np.full(plan.inputs[k].shape, -1) for k in kernel.inout}
    owners[-1] = np.full(out.shape, -1)
    for chunk in _some(plan, out.nbytes + sum(plan.inputs[k].nbytes for k in kernel.inout)):
        filled = np.zeros(out.shape, bool)
        for pattern in PATTERNS:  # what is written may be one of them
            fill(out, pattern)
            inputs = tuple(x.copy() if k in kernel.inout else x for k, x in enumerate(plan.inputs))
            try_chunk(kernel, body, chunk, out, plan._replace(inputs=inputs))
            filled |= ~holds(out, pattern)
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
                        f"{named}: {in_words(plan, chunk)} writes out[{first}], which belongs to"
                        f" {in_words(plan, first // plan.step)}; fill out[lo:hi] and touch nothing else"
                    )
            elif (both := where & (owners[k] >= 0)).any():
                index = tuple(map(int, np.argwhere(both)[0]))
                at = f"{name}[{', '.join(map(str, index))}]"
                raise CheckFailed(
                    f"{named} writes {at} in {in_words(plan, owners[k][index])} and in {in_words(plan, chunk)}, which"
                    f" may run at the same time; let each element of {name} belong to one chunk, or give each chunk a"
                    " row of its own with reduce="
                )
            owners[k][where] = chunk


def _some(plan: Plan, size: int) -> list[int]:
    """All chunks, or the first and the last ones where comparing so many bytes for each would take too long."""
    most = max(16, MOST_LOOKED_AT // max(size, 1))
    chunks = list(range(plan.chunks))
    return chunks if len(chunks) <= most else chunks[: most // 2] + chunks[-(most // 2) :]


def compare_cuts(kernel: Kernel, plan: Plan, value: Any) -> Iterator[str]:
    """Cut the indices in another way; CheckFailed where that gives another value, a note where that may be intended.

    A plan that sets its grain is not cut differently. A body that draws random numbers may seed by chunk: a note.
    """
    grain = min(2 * plan.step + 1, plan.indices)
    if plan.grain is not None or plan.order is not None or grain <= plan.step:
        return
    cut = plan._replace(grain=grain, out=None)
    body, out = checked_body(kernel), np.empty(kernel.output_shape(cut), cut.dtype)
    fill(out, PATTERNS[0])
    try:
        with restored_inputs(kernel, cut):
            for chunk in range(cut.chunks):
                try_chunk(kernel, body, chunk, out, cut)
        its_value = kernel.finish(out, cut)
    except Exception as error:
        yield f"{name_of(kernel)} cannot be cut into chunks of {grain} indices ({error})"
        return
    if not (differs := difference(value, its_value, exactly=not kernel.reduce)):
        return
    how = f"depends on how indices are cut into chunks: {plan.step} or {grain} to a chunk give {shortened(differs)}"
    if not difference(value, its_value):
        yield f"{name_of(kernel)} {how}, which rounding explains"
    elif np.shape(value) != np.shape(its_value):
        yield f"{name_of(kernel)} {how}"
    elif _draws(kernel):
        yield f"{name_of(kernel)} {how}; right for numbers that are drawn anew for each chunk"
    else:
        raise CheckFailed(
            f"{name_of(kernel)} {how}; let each index depend on the inputs alone, or say @kernel(grain=…) where the cut"
            " is a part of what it computes"
        )


def _draws(kernel: Kernel) -> bool:
    """Whether a body, or a helper of it, uses names of random number generators."""
    body = kernel.variants[kernel.variant].source()
    return isinstance(body, FunctionType) and bool(reach_of(body, compiled=False).attributes & RANDOM)
