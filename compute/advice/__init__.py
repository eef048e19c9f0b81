"""`advise`: which backend, variant and number of workers is fastest for a work on this machine, by measuring.

search.py   Search: which variants, pools and sizes are measured, as far as the budget goes
bench.py    Bench: timed runs on the open pools, each predicted before it begins and its value checked
growth.py   how time grows with the size, and which size to time next
decision.py from measured times to the fastest way, and to the sizes from which on each backend wins
choice.py   Choice: the result, as plain data
asked.py    the arguments of advise: the backends to compare, and the size that the arguments belong to
waiting.py  how much of its time a work waits, and more lanes than CPUs for work that does
remarks.py  the sentences beside the result
text.py     a Choice as text
html.py     a Choice in a notebook
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from compute import drawing, machine, texts
from compute.advice import decision, waiting
from compute.advice.asked import contenders, size_alike
from compute.advice.choice import Choice
from compute.advice.decision import BreakEven, Candidate, Crossing
from compute.advice.search import Search
from compute.backends.backend import Backend
from compute.dispatch import as_kernel
from compute.drawing import Stages
from compute.scaling import files
from compute.scaling.configurations import limits
from compute.scaling.workload import check_repeatable
from kernels.definition import Kernel

ON = ("threads", "prange", "processes", "joblib")
BUDGET = 20.0  # seconds: five for compiling and opening everything, the rest for rounds at a dozen sizes


class Advice(Choice):
    """What `advise` gives: a Choice. `str(advice)` is its text, `to_json` keeps it."""

    def __str__(self) -> str:
        from compute.advice.text import render  # late: rich takes a twentieth of a second to import

        return render(self).rstrip()

    def _repr_html_(self) -> str:
        from compute.advice.html import render

        return render(self)

    def as_json(self) -> str:
        """The advice as the text of a JSON object, schema "nfold-advice/1"."""
        data = {
            "schema": "nfold-advice/1",
            "machine": dict(self.machine),
            "kernel": self.kernel,
            "size": self.size,
            "measured": self.measured,
            "kind": self.kind,
            "waits": self.waits,
            "use": _plain(self.use),
            "equals": [_plain(c) for c in self.equals],
            "speedup": self.speedup,
            "candidates": [_plain(c) for c in self.candidates],
            "break_evens": [
                {"backend": break_even.backend, "warm": vars(break_even.warm), "cold": vars(break_even.cold)}
                for break_even in self.break_evens
            ],
            "by_size": [_plain(c) for _, candidates in sorted(self.by_size.items()) for c in candidates],
            "caution": self.caution,
            "doubtful": [_plain(c) for c in self.doubtful],
            "notes": list(self.notes),
        }
        return texts.as_json(data)

    def to_json(self, path: files.StrPath) -> None:
        """Write the advice; the file is whole or it is not there."""
        files.write(path, self.as_json())


def advise(
    kernel: Kernel,
    *args: Any,
    on: Sequence[Backend | str] | Backend | str = ON,
    budget: float = BUDGET,
    progress: Stages | bool | None = None,
    **kw: Any,
) -> Advice:
    """Measure which backend, variant and number of workers is fastest for kernel(*args, **kw) on this machine.

    on:     backends, or their names (each then with 2 to all usable CPUs).
    budget: seconds, including compiling and opening pools. A run that is predicted to exceed it does not begin, and a
            smaller size is measured instead. ValueError where there is no smaller size of the arguments.
    progress: called as progress(done, total, label); True: drawn on stderr, as a bar on a terminal and a line in a
              notebook.

    Break-even sizes need smaller work of the same kind. They are given where the arguments are like the kernel's own
    example (a number, square matrices, vectors of one length). Elsewhere a note says that they are missing.
    ValueError, before a worker starts, for any argument that is wrong.
    """
    kernel = as_kernel(kernel)
    args, kw = kernel.settled(args, kw)
    kernel.plan(*args, **kw)
    return _advised(kernel, args, kw, size_alike(kernel, args, kw), on, budget, progress)


def advise_for_size(
    kernel: Kernel,
    size: int,
    *,
    args: tuple[Any, ...] | None = None,
    on: Sequence[Backend | str] | Backend | str = ON,
    budget: float = BUDGET,
    progress: Stages | bool | None = None,
) -> Advice:
    """`advise` for the kernel's own example of a size; args: that example, where it has been made already."""
    kernel = as_kernel(kernel)
    args = kernel.example(size) if args is None else args
    kernel.plan(*args)
    return _advised(kernel, args, {}, size, on, budget, progress)


def _advised(
    kernel: Kernel,
    args: tuple[Any, ...],
    kw: dict[str, Any],
    size: int | None,
    on: Sequence[Backend | str] | Backend | str,
    budget: float,
    progress: Stages | bool | None,
) -> Advice:
    stages = drawing.stages(progress)
    plan = kernel.plan(*args, **kw)
    check_repeatable(kernel, plan)
    seconds, _ = limits(budget, None)
    asked = [on] if isinstance(on, str | Backend) else on
    backends = contenders(asked)
    if waits := waiting.share(kernel, args, kw):
        backends = [*waiting.more_lanes(asked, kernel, plan.chunks), *backends]
    with stages as tell:
        search = Search(kernel, args, kw, size, backends, seconds, tell)
        search.run()
        tell(1, 1, "done")
    candidates = search.by_size[search.measured]
    use, equals = decision.choose(candidates)
    by_size = {at: ways for at, ways in search.by_size.items() if at is not None}
    return Advice(
        kernel=kernel.name,
        size=size,
        measured=search.measured,
        use=use,
        equals=tuple(equals),
        serial=decision.best_serial(candidates),
        candidates=tuple(candidates),
        break_evens=tuple(decision.break_evens(by_size, search.cost_scale)) if len(by_size) > 1 else (),
        by_size=by_size,
        notes=tuple(dict.fromkeys(search.notes)),
        machine=machine.describe(),
        caution=search.caution,
        doubtful=tuple(decision.doubtful(candidates, None if waits or search.bench.waits else machine.usable_cpus())),
        kind=waiting.sentence(waits, kernel.bound, machine.has_gil()),
        waits=waits,
    )


def _plain(c: Candidate) -> dict[str, Any]:
    return {
        "on": repr(c.on),
        "backend": c.backend,
        "workers": c.on.workers,
        "variant": c.variant,
        "size": c.size,
        "seconds": c.seconds,
        "interval": list(c.interval),
        "runs": c.runs,
        "opening": c.opening,
        "loading": c.loading,
        "cold": c.cold,
    }


__all__ = ["Advice", "BreakEven", "Candidate", "Crossing", "advise", "advise_for_size"]
