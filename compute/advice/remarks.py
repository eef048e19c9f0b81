"""The sentences beside a choice: about the machine, the budget, and what was left out. Most are pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from compute import machine
from compute.advice.decision import Candidate
from compute.scaling import noise, statistics
from compute.scaling.collecting import about_interpreter
from compute.scaling.formatting import seconds

LONG = 0.25  # of the budget: what takes longer is mentioned


def about_the_machine() -> Iterator[str]:
    """Sentences where there is only one CPU, or where other programs use the CPUs."""
    yield from about_interpreter()
    usable = machine.usable_cpus()
    if usable == 1:
        yield "there is one usable CPU: workers would take turns, so nothing can beat serial"
    if busy := noise.about_load():
        yield f"{busy}: workers waited for them, so ask again when it is quiet"


def caution(candidates: Sequence[Candidate], use: Candidate, cut: bool, budget: float, enough: int) -> str:
    """Why too little was measured to choose by, and the budget that would be enough; "" where it was enough.

    candidates: what was measured. cut: whether something was left out for want of time.
    """
    if cut and all(c.is_serial for c in candidates):
        what = "one core alone was measured"
    elif use.runs == 1:
        what = "one round fitted"
    else:
        return ""
    return f"too little to choose by: {what} in the budget of {budget:.3g} s; give it about {enough:,} s"


def about_the_budget(runs: int, ready: float, over: float, budget: float) -> Iterator[str]:
    """Sentences where rounds were few, where getting ready took much of the budget, or where it was exceeded."""
    if 1 < runs < statistics.FEWEST_ROUNDS:
        yield (
            f"{runs} rounds fitted into the budget of {budget:.3g} s: intervals are wide guesses; give it more for"
            " real ones"
        )
    if ready > LONG * budget:
        yield (
            f"importing, compiling, estimating and opening pools took {seconds(ready)} of the budget of {budget:.3g} s"
        )
    if over > LONG * budget:
        yield f"the budget was exceeded by {seconds(over)}: what began last took longer than that"


def too_long(name: str, size: int | None, about: float, left: float, budget: float) -> str:
    """A sentence about one way that was left out: its run is too long, or getting ready took too long."""
    where = "" if size is None else f" at size {size:,}"
    if about > LONG * budget:
        return f"{name} is left out{where}: a run of about {seconds(about)} does not fit into the budget"
    return f"{name} is left out{where}: {no_time(left, budget)}"


def no_time(left: float, budget: float) -> str:
    """`importing, compiling and opening pools left 0 s of the budget of 5 s`"""
    return f"importing, compiling and opening pools left {max(left, 0.0):.2g} s of the budget of {budget:.3g} s"
