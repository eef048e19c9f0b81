"""Plan: what one call of a kernel will do: inputs, output, number of indices, grain.

Every planner returns one, and `dispatch` runs it. All errors in the arguments are raised while it is made.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import numpy as np

# Chunks of a run, where nothing speaks for more or fewer: 4 for each of 64 lanes, so that they end together.
CHUNKS = 256
# Where work could be cut finer. A timeline keeps a span for each. The last lane to end is late by one chunk, which is
# 1/4096 of the work, however long an index takes; 10^6 items of 1 us cost 4096 tickets, under 1 % of their time.
MOST_CHUNKS = 4096


class Plan(NamedTuple):  # a frozen dataclass would take six times as long to make
    """What one call will do: how many indices, in chunks of what grain, from which inputs into what output.

    indices: how many indices there are; chunk c holds c*grain .. min((c+1)*grain, indices).
    inputs:  what the body takes after (lo, hi, out): arrays, and scalars that pickle small.
    shape, dtype: the output's. Where the kernel reduces: of one chunk's partial result, so that with shape=(k,) its
             body sees an out of shape (1, k), writes out[0, j], and `reduce` is given an array of shape (chunks, k).
    value_shape: the result's, where the bodies see the same elements in another shape.
    grain:   indices to a chunk. It never depends on the number of workers, so neither does the result.
    out:     the caller's own array for the result, or None.
    elementwise: index i of the output depends on index i of the inputs alone, so `out` may be one of them.
    work:    how much there is to do, in the kernel's unit; the indices where left out; a kernel made with `work=`
             counts it in the result instead.
    around:  a context for the run, such as a server that its bodies ask: entered before the lanes begin, left when they
             have ended, even by an error. The values that it yields are appended to the inputs. Entering and leaving
             are not part of the run's seconds.
    order:   the chunks in the order in which lanes take them (largest first evens out the tail), or None.
    """

    indices: int
    inputs: tuple[Any, ...] = ()
    shape: tuple[int, ...] | None = None
    dtype: Any = np.float64
    value_shape: tuple[int, ...] | None = None
    grain: int | None = None
    out: np.ndarray[Any, Any] | None = None
    elementwise: bool = False
    work: float | None = None
    order: np.ndarray[Any, Any] | None = None
    around: Callable[[], AbstractContextManager[tuple[Any, ...]]] | None = None

    @property
    def step(self) -> int:
        """The grain, or the default of 1/256 of the indices."""
        return max(1, -(-self.indices // CHUNKS)) if self.grain is None else self.grain

    @property
    def chunks(self) -> int:
        return -(-self.indices // self.step)

    def bounds(self, chunk: int) -> tuple[int, int]:
        """The first index of a chunk, and the one behind its last."""
        return chunk * self.step, min((chunk + 1) * self.step, self.indices)

    @property
    def target(self) -> np.ndarray[Any, Any] | None:
        """`out` as numpy's own array, however its own class is indexed and written to."""
        if self.out is None or type(self.out) is np.ndarray:
            return self.out
        return np.ndarray.view(self.out, np.ndarray)

    @property
    def writes_into_out(self) -> bool:
        """Whether the body may fill the caller's `out` itself: right dtype, aligned, and not one of its own inputs."""
        target = self.target
        if target is None or target.dtype != np.dtype(self.dtype) or not target.flags.aligned:
            return False
        seen = target if self.value_shape is None else target.reshape(self.shape or -1)
        if seen.ndim == 1 and target.ndim > 1 and not seen.flags.c_contiguous:
            return False  # bodies that see rows as one row store whole vectors
        if not np.may_share_memory(seen, target) and seen.size:
            return False  # in the bodies' shape it is a copy
        arrays = [x for x in self.inputs if isinstance(x, np.ndarray)]
        if self.elementwise:
            arrays = [x for x in arrays if not same_elements(x, seen)]
        return not any(np.may_share_memory(target, x) for x in arrays)

    @property
    def overwrites_an_input(self) -> bool:
        """Whether the caller's `out` shares memory with an input."""
        if self.out is None:
            return False
        return any(np.may_share_memory(self.out, x) for x in self.inputs if isinstance(x, np.ndarray))


@contextmanager
def surrounded(plan: Plan) -> Iterator[Plan]:
    """Enter the plan's context, and yield the plan with the inputs that the context gives."""
    if plan.around is None:
        yield plan
    else:
        with plan.around() as inputs:
            yield plan._replace(inputs=(*plan.inputs, *inputs))


def fault_of(plan: Any) -> str:
    """What is wrong with what a planner returned, and the remedy; "" where it is a plan that can be run."""
    if not isinstance(plan, Plan):
        return f"returns {plan!r}, and must return a Plan: Plan(indices, (inputs, …))"
    try:
        as_index(plan.indices, "indices")
        if plan.grain is not None:
            as_index(plan.grain, "grain", least=1)
        for extent in plan.shape or ():
            as_index(extent, "each extent of its shape")
    except (TypeError, ValueError) as error:
        fault = str(error) if isinstance(error, ValueError) else f"shape must be a tuple, not {plan.shape!r}"
        return f"cannot be run: {fault}"
    inputs: Any = plan.inputs
    if not isinstance(inputs, tuple):
        return f"gives a {type(inputs).__name__} as its inputs; write a tuple, Plan(indices, (A,))"
    return ""


def same_elements(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    """Whether two arrays are views of the same elements in the same places."""
    return a.__array_interface__["data"][0] == b.__array_interface__["data"][0] and (a.shape, a.strides) == (
        b.shape,
        b.strides,
    )


def refine_grain(planner: Callable[..., Plan]) -> Callable[..., Plan]:
    """The same plans, in chunks of 1/256 or less: for Python bodies, which need far more time per index."""

    def plan(*args: Any, **kw: Any) -> Plan:
        coarse = planner(*args, **kw)
        return coarse._replace(grain=min(coarse.step, coarse._replace(grain=None).step))

    return plan


def as_index(value: Any, name: str, least: int = 0) -> int:
    """The value as an int; a ValueError that names it where it is not a whole number >= least."""
    try:
        index = operator.index(value)
    except TypeError:
        raise ValueError(f"{name} must be a whole number, not {value!r}") from None
    if isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be a whole number, not {value!r}")
    if index < least:
        raise ValueError(f"{name} must be at least {least}, not {index}")
    return index
