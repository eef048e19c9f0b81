"""Implements @pytest.mark.scaling for pytest_plugin.py: measures the test's kernel, and decides whether it passes.

It asserts a share of what the machine allowed (min_attainable of the ceiling), never a time.

1. The whole interval reaches the share: the test passes.
2. The whole interval is below it: the test fails.
3. The interval contains it: more is measured, once. If it still does, the test passes if the figure itself reaches the
   share, and fails as inconclusive if not.
4. Other programs disturbed many rounds, so that the figure may be too low or too high: the test is skipped, and says
   so, also where there are too few rounds for an interval.
5. There are too few rounds, which nobody disturbed, no ceiling, or a backend was not measured: the test fails as
   inconclusive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import FunctionType
from typing import Any, TypeVar

import pytest

from compute.adapters.pytest_plugin import LINES, MEASURED
from compute.backends.backend import Backend
from compute.backends.serial import Serial
from compute.dispatch import as_kernel
from compute.running import as_backend, run
from compute.scaling import verify
from compute.scaling.comparing import gate
from compute.scaling.configurations import Unavailable, configurations, limits
from compute.scaling.dataset import Point
from compute.scaling.derive import Baselines
from compute.scaling.formatting import percent, ratio
from compute.scaling.imported import POINTS
from compute.scaling.results import Scaling
from compute.scaling.rounds import Work, scale_all
from compute.texts import cut, visible
from kernels import each
from kernels.definition import Kernel, as_index, nearest

T = TypeVar("T")

# POP, the EU's Performance Optimisation and Productivity centre, recommends to analyse what is below 80 %.
LEAST = 0.8
BUDGET = 5.0  # seconds
AGAIN = 3  # the budget of the one repetition of an undecided measurement, in budgets
# At most: each may fail a test whose share is just what is asked for, so they share the rate of false alarms.
MEASUREMENTS = 2


@dataclass(frozen=True)
class Asked:
    """The marker's arguments.

    on, workers: as for `scale`. least: the share of the ceiling that must be reached. budget: seconds.
    """

    on: tuple[Backend | str, ...] = ("threads", "processes")
    workers: tuple[int, ...] | None = None
    least: float = LEAST
    budget: float = BUDGET


def asked_of(args: tuple[Any, ...], kw: Mapping[str, Any]) -> Asked:
    """The marker's arguments, checked. Errors as for `run` and `scale`, before anything is opened."""
    known = ("on", "workers", "min_attainable", "budget")
    if args:
        raise TypeError(f"@pytest.mark.scaling takes {', '.join(known)} by their names, not {args[0]!r}")
    for name in kw:
        if name not in known:
            raise TypeError(
                f"@pytest.mark.scaling has no {name!r}; it takes {', '.join(known)}{nearest(name, list(known))}"
            )
    on, workers = kw.get("on", Asked.on), kw.get("workers")
    on = tuple([on] if isinstance(on, str) or not isinstance(on, Sequence) else on)
    backends = [as_backend(backend) for backend in on]
    counts = None if workers is None else tuple([workers] if not isinstance(workers, Sequence) else workers)
    if counts is not None:
        for backend, count in ((backend, count) for backend in backends[:1] for count in counts):
            backend.with_workers(count)
    if all(backend.name == "serial" for backend in configurations(on, counts)):
        raise ValueError("on= names nothing but serial, which is what others are compared with; name another backend")
    least = kw.get("min_attainable", LEAST)
    if not isinstance(least, int | float) or isinstance(least, bool) or not 0 < least <= 1:
        raise ValueError(f"min_attainable must be a share above 0 and up to 1, such as 0.8, not {least!r}")
    budget, _ = limits(kw.get("budget", BUDGET), None)
    return Asked(on, counts, float(least), budget)


def fixture(asked: Asked, node: Any, benchmark: Any, untimed: str | None) -> Callable[..., Scaling]:
    """The function that a marked test calls. untimed: why nothing is to be timed; the summary shows it."""

    def scaling(kernel: Kernel, *args: Any, variant: str | None = None, size: int | None = None, **kw: Any) -> Scaling:
        __tracebackhide__ = True
        if "on" in kw or "workers" in kw:
            raise TypeError("on= and workers= are the marker's; write @pytest.mark.scaling(on=..., workers=...)")
        work = in_a_line(_work, kernel, args, kw, variant, size)
        calls = node.stash[MEASURED]
        calls.append(work)
        if untimed:
            node.user_properties.append((LINES, f"{work.kernel.name} {untimed}"))
            if "xdist" in untimed:
                pytest.skip(untimed)
        measure = _run_once if untimed else _measure
        try:
            if benchmark is not None and len(calls) == 1:
                result: Scaling = benchmark.pedantic(measure, (work, asked))
            else:
                result = measure(work, asked)
        except Unavailable as error:
            raise error.with_traceback(None) from None
        if untimed:
            return result
        name = node.nodeid if len(calls) == 1 else f"{node.nodeid} ({len(calls)})"  # others may have the same name
        _keep(result, asked, name, benchmark)
        judged = [_judge(p, result, asked) for p in result.points if not p.is_serial]
        node.user_properties.extend((LINES, point.line) for point in judged)
        bad = [point for point in judged if not point.passes]
        if bad and all(point.disturbed for point in bad) and not _missing(result, asked):
            pytest.skip(_message(work, bad, result, asked))
        if bad or not judged or _missing(result, asked):
            raise AssertionError(_message(work, bad, result, asked))
        return result

    return scaling


def in_a_line(check: Callable[..., T], *args: Any) -> T:
    """check(*args). Its errors are about what the test says: pytest shows the test's line, and a user's plan."""
    __tracebackhide__ = True
    try:
        return check(*args)
    except (TypeError, ValueError) as error:
        where = error.__traceback__
        while where and where.tb_frame.f_globals.get("__name__", "").partition(".")[0] in {"compute", "kernels"}:
            where = where.tb_next
        raise error.with_traceback(where) from None


def _work(kernel: Any, args: tuple[Any, ...], kw: Mapping[str, Any], variant: str | None, size: int | None) -> Work:
    """The work, checked as `run` checks it. A plain function becomes each(f), and a number n its first n items."""
    if isinstance(kernel, FunctionType):
        kernel = each(kernel)
        if len(args) == 1 and isinstance(args[0], int) and not kw:
            args = kernel.example(as_index(args[0], "size", least=1))  # as `nfold scale module:function SIZE` does
    held = as_kernel(kernel).held_to(variant)
    held = held.held_to(held.variant)  # the fastest, as in `run`, and that one alone
    settled, named = held.settled(args, dict(kw))
    held.plan(*settled, **named)
    return Work(held, settled, named, size=size)


def _run_once(work: Work, asked: Asked) -> Scaling:
    """Run it once on every backend, and check every answer. Nothing is timed, so there are no points."""
    reference = run(work.kernel, *work.args, on=Serial(), **work.kw).value
    verify.check(work.kernel, reference, work.args, work.kw)
    for backend in configurations(asked.on, asked.workers)[1:]:
        if backend.refuses(work.kernel) is None:
            verify.compare(work.kernel, backend, run(work.kernel, *work.args, on=backend, **work.kw).value, reference)
    return Scaling(())


def _measure(work: Work, asked: Asked) -> Scaling:
    """Rounds within the budget; if these are undecided, once more within AGAIN times the budget."""
    result = scale_all([work], on=asked.on, workers=asked.workers, budget=asked.budget)
    if all(_judge(p, result, asked).decided for p in result.points if not p.is_serial):
        return result
    return scale_all([work], on=asked.on, workers=asked.workers, budget=AGAIN * asked.budget)


@dataclass(frozen=True)
class _Judged:
    """One configuration: whether its interval decides, whether the test may pass, and the line that says so."""

    decided: bool
    passes: bool
    line: str
    verdict: str
    disturbed: bool = False


def _judge(p: Point, result: Scaling, asked: Asked) -> _Judged:
    named = f"{p.kernel} {p.variant} on {p.backend}, {p.workers} worker{'s' * (p.workers > 1)}"
    verdict = p.verdict or ""
    if not p.ceiling:
        return _Judged(True, False, f"{named}: inconclusive, there is no ceiling to hold it against", verdict)
    tests = MEASUREMENTS * sum(not q.is_serial for q in result.points)
    share = gate.share_reached(p, Baselines(result.points), p.ceiling, asked.least, gate.level_of(tests))
    if share.value is None or share.interval is None:
        disturbed = share.doubt == "few" and gate.disturbance(p) > 1
        why = (
            f"others disturbed {p.contaminated} of {len(p.samples)} rounds, too few for an interval"
            if disturbed
            else f"{len(p.samples)} rounds carry no interval; give the marker a longer budget=, or use less work"
        )
        return _Judged(False, False, f"{named}: inconclusive, {why}", verdict, disturbed)
    if share.doubt == "refuted":
        line = f"{named}: inconclusive, it was faster than the {ratio(p.ceiling)}× that the machine allowed when asked"
        return _Judged(False, False, line, verdict, disturbed=True)
    low, high = share.interval
    figures = (
        f"{named}: {ratio(share.value * p.ceiling)}× of {ratio(p.ceiling)}×, {percent(share.value)} [{percent(low)},"
        f" {percent(high)}] of attainable"
    )
    least = f"{percent(asked.least)} is asked for"
    if share.outcome == "fine":
        return _Judged(True, True, figures, verdict)
    if share.outcome == "regression":
        return _Judged(True, False, f"{figures}: too low, {least}", verdict)
    if share.doubt == "disturbed":
        line = f"{figures}: inconclusive, others disturbed {p.contaminated} of {len(p.samples)} rounds"
        return _Judged(False, False, line, verdict, disturbed=True)
    if share.value >= asked.least:
        return _Judged(False, True, f"{figures}: near {percent(asked.least)}, which is asked for", verdict)
    line = f"{figures}: inconclusive, {least}; give the marker a longer budget="
    return _Judged(False, False, line, verdict)


def _missing(result: Scaling, asked: Asked) -> list[str]:
    """The configurations that were asked for and not measured."""
    measured = {(p.backend, p.workers) for p in result.points}
    return [
        repr(backend)
        for backend in configurations(asked.on, asked.workers)
        if (backend.name, backend.workers) not in measured
    ]


def _message(work: Work, bad: Sequence[_Judged], result: Scaling, asked: Asked) -> str:
    """What is too low or unknown, each with its verdict."""
    sure = any(point.decided for point in bad)
    claim = "reaches less than" if sure else "was not shown to reach"
    lines = [f"{work.kernel.name} {claim} {percent(asked.least)} of what this machine allows"]
    for point in bad:
        lines += [point.line] + [f"    {point.verdict}"] * bool(point.verdict)
    if missing := _missing(result, asked):
        lines += [f"not measured: {', '.join(missing)}", *result.warnings]
    return "\n".join(visible(cut(line)) for line in lines)


def _keep(result: Scaling, asked: Asked, name: str, benchmark: Any) -> None:
    """Keep the points in pytest-benchmark's extra_info, where compute.scaling.imported finds them."""
    if benchmark is None:
        return
    info = benchmark.extra_info
    info.setdefault("kernel", result.points[0].kernel)
    info.setdefault("size", result.points[0].size)
    info.setdefault("min_attainable", asked.least)
    info.setdefault(POINTS, []).extend(asdict(p) | {"file": name} for p in result.points)
