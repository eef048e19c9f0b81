"""What scale does and in which order, on pools that only say how long they took; and once on real ones."""

import contextlib
import gc
import itertools
import math
import os
from collections import Counter
from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from compiler import needs_compiler

from compute import Coroutines, Processes, Serial, Threads, machine
from compute.backends.backend import Backend
from compute.backends.pool import Pool
from compute.dispatch import Result
from compute.memory.arena import Arena
from compute.scaling import calibration, ceiling, collecting, harness, measure, rounds, workload
from compute.scaling.results import Scaling
from compute.scaling.rounds import Work, scale, scale_all
from compute.scaling.verify import WrongAnswer
from compute.timeline import SPAN, LaneTotals, Timeline
from kernels import Plan, count_primes, kernel, mandelbrot


def in_full(value, n):
    assert len(value) == n, "not in full"


@kernel(check=in_full, unit="numbers")
def squares(lo, hi, out, n):
    for i in range(lo, hi):
        out[i] = i * i


class Clock:
    now = 0.0

    def perf_counter(self):
        return self.now


CLOCK, LOG = Clock(), []


@dataclass(frozen=True)
class Pretended(Backend):
    """A backend whose runs take each / workers seconds on the tests' clock."""

    name: ClassVar[str] = "pretended"
    each: float = 1.0
    wrong: bool = False
    refused: str = ""

    def open(self):
        return PretendedPool(self)

    def refuses(self, kernel):
        return f"pretended will not run {kernel.variant}" if kernel.variant == self.refused else None


class PretendedPool(Pool):
    def __init__(self, backend):
        self.backend, self.startup, self.arena = backend, 0.5, Arena("heap")
        CLOCK.now += self.startup
        LOG.append(("open", backend.name, backend.workers))

    def lanes(self, job):
        raise NotImplementedError

    def close(self):
        LOG.append(("close", self.backend.name, self.workers))

    def warm(self, kernel, *args, **kw):
        CLOCK.now += 0.25
        LOG.append(("warm", self.backend.name, self.workers))
        return 0.25

    def begin_anew(self):
        """It has no workers."""

    def run(self, kernel, *args, **kw):
        seconds = getattr(self.backend, "each", 1.0) / self.workers * (10 if kernel.variant == "python" else 1)
        CLOCK.now += seconds
        LOG.append((kernel.variant, self.backend.name, self.workers))
        value = kernel.held_to("python")(*args, **kw) + getattr(self.backend, "wrong", False)
        lanes = tuple(LaneTotals(k, 1, k, 1, 0.0, seconds, seconds * 0.9) for k in range(self.workers))
        timeline = Timeline(np.empty(0, SPAN), lanes, {"plan": 0.125}, ("a worker died",))
        return Result(value, seconds, lambda: timeline)


@pytest.fixture(autouse=True)
def pretend(request, monkeypatch):
    """Time as the pretended pools say, Serial pretended too, 8 CPUs; not for a test that is marked real."""
    LOG.clear()
    if "real" in request.node.name:
        return
    monkeypatch.setattr(measure, "time", CLOCK)
    monkeypatch.setattr(workload, "time", CLOCK)
    monkeypatch.setattr(ceiling, "gauges", lambda *_, **__: contextlib.nullcontext([]))
    monkeypatch.setattr(harness, "overhead", lambda pool: 1e-6)
    monkeypatch.setattr(collecting, "ticket_seconds", lambda compiled: 1e-8)
    monkeypatch.setattr(measure, "SUSPICIOUS", 2)  # no run with a probe
    monkeypatch.setattr(Serial, "open", lambda self: PretendedPool(self))
    monkeypatch.setattr(machine, "usable_cpus", lambda *_: 8)


def runs():
    return [entry for entry in LOG if entry[0] in squares.variants]


ONE, TWO = Pretended(1), Pretended(2)


def test_pools_open_once_warm_check_then_every_configuration_once_a_round_and_close():
    scale(squares.nogil, 10, on=[ONE, TWO], rounds=7)
    pools = [("serial", 1), ("pretended", 1), ("pretended", 2)]
    assert LOG[:6] == [("open", *pool) for pool in pools] + [("warm", *pool) for pool in pools]
    assert LOG[-3:] == [("close", *pool) for pool in reversed(pools)]
    entries = runs()
    assert len(entries) == 3 * 8
    orders = [tuple(entries[k : k + 3]) for k in range(0, 24, 3)]
    assert orders[0] == tuple(("nogil", *pool) for pool in pools)  # the checking: Serial gives the reference
    assert all(sorted(order) == sorted(orders[0]) for order in orders)
    assert len(set(orders[1:])) > 1  # shuffled


def test_a_point_holds_what_the_rounds_gave():
    scaling = scale(squares.nogil, 10, on=[TWO], rounds=7)
    serial, two = scaling.points
    assert (serial.backend, serial.workers, serial.samples) == ("serial", 1, (1.0,) * 7)
    assert (two.kernel, two.size, two.variant, two.backend, two.workers) == ("squares", 10, "nogil", "pretended", 2)
    assert (two.seconds, two.samples, two.rounds, two.speedup, two.speedup_ci) == (0.5, (0.5,) * 7, 7, 2.0, (2.0, 2.0))
    assert (two.efficiency, two.startup, two.compile, two.sections) == (1.0, 0.5, 0.25, {"plan": 0.125})
    assert two.cpu_per_wall == pytest.approx(0.9)
    assert (two.work, two.unit, two.rate, two.arguments) == (10.0, "numbers", 20.0, "10")
    assert (two.processes, two.notes) == (1, ("a worker died",))
    assert scaling.machine["cpus"] == 8
    assert scaling.warnings == ()


@pytest.mark.parametrize(
    ("budget", "rounds_run", "warned"),
    [
        (
            0.001,
            1,
            "stopped at the budget of 0.001 s after 1 round of squares · nogil; an interval needs 6, in about 12 s",
        ),
        (8.0, 4, "stopped at the budget of 8 s after 4 rounds of squares · nogil; an interval needs 6, in about 12 s"),
        (11.0, 6, None),  # 0.5 s of warming, 1.5 s of checking, 1.5 s a round
        (1000.0, 100, None),
    ],
)
def test_the_budget_ends_the_rounds_and_says_so(budget, rounds_run, warned):
    scaling = scale(squares.nogil, 10, on=[TWO], budget=budget)
    assert [p.rounds for p in scaling.points] == [rounds_run] * 2
    assert scaling.warnings == (() if warned is None else (warned,))


@pytest.mark.parametrize(("usable", "present", "warned"), [(1, 4, True), (1, 1, False), (2, 4, False)])
def test_one_usable_cpu_of_several_is_told(monkeypatch, usable, present, warned):
    monkeypatch.setattr(machine, "usable_cpus", lambda *_: usable)
    monkeypatch.setattr("os.cpu_count", lambda: present)
    told = scale(squares.nogil, 10, on=[TWO], rounds=7).warnings
    assert any(text.startswith("only one of 4 CPUs is usable") for text in told) == warned


def test_rounds_asked_for_and_not_reached_are_told():
    scaling = scale(squares.nogil, 10, on=[TWO], rounds=50, budget=20.0)
    assert scaling.points[0].rounds == 12
    assert scaling.warnings == ("stopped at the budget of 20 s after 12 rounds of squares · nogil",)


def test_a_round_that_the_budget_ends_halfway_is_not_counted(monkeypatch):
    run = PretendedPool.run

    def held_up(self, *args, **kw):
        CLOCK.now += 30.0 * (len(runs()) == 4)  # the first run of the second round
        return run(self, *args, **kw)

    monkeypatch.setattr(PretendedPool, "run", held_up)
    scaling = scale(squares.nogil, 10, on=[TWO], budget=20.0)
    assert [len(p.samples) for p in scaling.points] == [1, 1]
    assert len(runs()) == 5


def test_variants_are_measured_in_the_same_rounds_each_against_its_own_baseline():
    scaling = scale(squares, 10, on=[TWO], variants=["python", "nogil"], rounds=6)
    assert [(p.variant, p.backend, p.seconds, p.speedup) for p in scaling.points] == [
        ("python", "serial", 10.0, 1.0), ("python", "pretended", 5.0, 2.0),
        ("nogil", "serial", 1.0, 1.0), ("nogil", "pretended", 0.5, 2.0),
    ]  # fmt: skip
    assert Counter(runs()[4:]) == dict.fromkeys(runs()[:4], 6)


def test_what_a_round_met_is_of_its_variant_where_it_has_only_one():
    works = [Work(squares.held_to(variant), (10,)) for variant in ("python", "nogil")]
    apart = scale_all(works, on=[TWO], rounds=2).conditions
    assert [(c["variant"], c["round"]) for c in apart] == [("python", 1), ("python", 2), ("nogil", 1), ("nogil", 2)]
    together = scale(squares, 10, on=[TWO], variants=["python", "nogil"], rounds=2).conditions
    assert [(c.get("variant"), c["round"]) for c in together] == [(None, 1), (None, 2)]


@needs_compiler
def test_left_to_itself_it_takes_every_variant_that_the_budget_can_bear(monkeypatch):
    monkeypatch.setattr(calibration, "predict", lambda *_, **__: 10.0)
    assert {p.variant for p in scale(squares, 10, on=[TWO], budget=1000.0).points} == {"python", "nogil"}
    scaling = scale(squares, 10, on=[TWO], budget=20.0)
    assert {p.variant for p in scaling.points} == {"nogil"}
    assert "left out squares's python variant: one serial run would take about 10 s" in scaling.warnings[0]


def test_a_held_kernel_keeps_to_its_variant():
    assert {p.variant for p in scale(squares.python, 10, on=[TWO], rounds=1).points} == {"python"}


def test_a_backend_that_refuses_a_variant_is_left_out_with_its_reason():
    scaling = scale(squares, 10, on=[Pretended(2, refused="python")], variants=["python", "nogil"], rounds=6)
    assert [(p.variant, p.backend) for p in scaling.points] == [
        ("python", "serial"), ("nogil", "serial"), ("nogil", "pretended"),
    ]  # fmt: skip
    assert scaling.warnings == ("pretended will not run python",)


def test_a_wrong_answer_stops_everything_before_it_is_timed_and_closes_the_pools():
    with pytest.raises(WrongAnswer, match=r"squares .nogil. on Pretended.* 10 of 10 elements differ, the first at .0,"):
        scale(squares.nogil, 10, on=[Pretended(2, wrong=True)], rounds=6)
    assert len(runs()) == 2
    assert LOG[-2:] == [("close", "pretended", 2), ("close", "serial", 1)]


def test_the_kernels_own_check_is_asked_before_anything_is_timed(monkeypatch):
    monkeypatch.setattr(PretendedPool, "run", lambda self, *_, **__: Result(np.zeros(3), 1.0, None))
    with pytest.raises(WrongAnswer, match="fails its own check: not in full"):
        scale(squares.nogil, 10, on=[TWO], rounds=6)


def test_progress_never_goes_back_and_ends_at_the_whole():
    told = []
    works = [Work(squares.nogil, (10,)), Work(squares.python, (20,))]
    scale_all(works, on=[ONE, TWO], budget=300.0, progress=lambda *args: told.append(args))
    shares = [done / total for done, total, _ in told]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0, 1)
    labels = {label for _, _, label in told}
    assert {"opening Serial()", "squares · nogil · pretended 2", "squares · python · serial 1 · checking"} <= labels


def test_works_share_pools_and_get_as_many_rounds_each():
    works = [Work(squares.nogil, (10,)), Work(squares.python, (20,), on=[], size=21)]
    scaling = scale_all(works, on=[ONE, TWO], budget=500.0)
    assert [(p.size, p.backend, p.workers) for p in scaling.points] == [
        (10, "serial", 1), (10, "pretended", 1), (10, "pretended", 2), (21, "serial", 1),
    ]  # fmt: skip
    assert sum(entry[0] == "open" for entry in LOG) == 3
    first, last = scaling.points[0], scaling.points[-1]
    assert first.rounds == pytest.approx(last.rounds, abs=1)
    turns = (500 - 1 - 12.5) / (5 * 12.5)  # of four rounds, and one in which all is made warm again
    assert first.rounds == pytest.approx(4 * turns, abs=1.5)


def test_everything_is_checked_before_anything_is_timed_and_runs_once_more_after_others_had_their_turn():
    scale_all([Work(squares.nogil, (10,)), Work(squares.python, (20,))], on=[], rounds=3)
    assert [entry[0] for entry in runs()] == ["nogil", "python"] + ["nogil"] * 4 + ["python"] * 4


def turns_of(works, **options):
    """Which work ran how often in a row, after all was checked."""
    scale_all(works, on=[], **options)
    entries = [entry[0] for entry in runs()][len(works) :]
    return [(name, len(list(same))) for name, same in itertools.groupby(entries)]


def test_works_take_turns_so_that_each_is_measured_at_several_moments():
    works = [Work(squares.nogil, (10,)), Work(squares.python, (20,))]
    assert turns_of(works, rounds=10) == [
        ("nogil", 5),
        ("python", 5),
        ("nogil", 5),
        ("python", 5),
        ("nogil", 3),
        ("python", 3),
    ]


def test_where_time_is_short_the_rounds_of_an_interval_come_at_once():
    works = [Work(squares.nogil, (10,)), Work(squares.python, (20,))]  # a round of both takes 11 s
    assert turns_of(works, budget=1 + 11 + 9.5 * 11) == [("nogil", 9), ("python", 9)]
    LOG.clear()
    short, *_ = turns_of(works, budget=1 + 11 + 13 * 11)
    assert short == ("nogil", 5)


@pytest.mark.parametrize(("computes", "woken"), [(1.0, False), (0.5, True)])
def test_a_gauge_is_awake_before_it_is_timed_where_the_run_before_it_waited(monkeypatch, computes, woken):
    asked = []
    gauge = ceiling.Gauge("compute", squares.nogil, SimpleNamespace(workers=1), (), {})
    monkeypatch.setattr(ceiling, "gauges", lambda *_, **__: contextlib.nullcontext([gauge]))
    monkeypatch.setattr(ceiling.Gauge, "run", lambda self, seconds=0.0: asked.append(seconds) or 1.0)
    run = PretendedPool.run

    def partly(self, *args, **kw):
        result = run(self, *args, **kw)
        lanes = (LaneTotals(0, 1, 0, 1, 0.0, result.seconds, computes * result.seconds),)
        return Result(result.value, result.seconds, lambda: Timeline(np.empty(0, SPAN), lanes, {}, ()))

    monkeypatch.setattr(PretendedPool, "run", partly)
    scale(squares.nogil, 10, on=[], rounds=8)
    assert len([seconds for seconds in asked if seconds != ceiling.AWAKE]) == 8
    assert (ceiling.AWAKE in asked) == woken


@pytest.mark.parametrize(("needed", "asked"), [pytest.param(40.0, 1, marks=pytest.mark.slow), (250.0, 2), (1000.0, 2)])
def test_a_chooser_is_asked_again_where_eight_rounds_would_not_fit(monkeypatch, needed, asked):
    """A round of two works takes as long as their sizes say; with less time, smaller sizes are chosen."""
    left = []

    def run(self, kernel, n, **kw):
        CLOCK.now += n
        LOG.append((kernel.variant, n))
        lanes = (LaneTotals(0, 1, 0, 1, 0.0, n, n),)
        value = kernel.held_to("python")(n)
        return Result(value, float(n), lambda: Timeline(np.empty(0, SPAN), lanes, {}, ()))

    def choose(seconds, costs):
        left.append(seconds)
        assert costs["overhead"] == 1e-6
        assert costs["overhead of pretended 2"] == 1e-6
        size = max(1, round(seconds * needed / 400 / 16))
        return [Work(squares.nogil, (size,)), Work(squares.python, (size,))]

    monkeypatch.setattr(PretendedPool, "run", run)
    monkeypatch.setattr(rounds, "time", CLOCK)
    scaling = scale_all(choose, on=[TWO], budget=401.0)
    assert len(left) == asked
    assert left[0] == pytest.approx(400.0)  # opening took the rest
    assert min(p.rounds for p in scaling.points) >= 8


def test_a_part_of_the_budget_is_for_measuring_however_long_the_pools_took(monkeypatch):
    monkeypatch.setattr(rounds, "time", CLOCK)
    left = []

    def choose(seconds, costs):
        left.append(seconds)
        return [Work(squares.nogil, (10,))]

    scaling = scale_all(choose, on=[TWO], budget=1.1)  # of which opening takes 1 s, and a round 1.5
    assert left[0] == pytest.approx(0.33)
    assert scaling.warnings[0].startswith("stopped at the budget after 1 round of squares · nogil;")


def test_the_budget_of_several_works_is_told_once():
    works = [Work(squares.nogil, (10,)), Work(squares.python, (20,))]
    scaling = scale_all(works, on=[TWO], budget=20.0)
    assert scaling.warnings == (
        "stopped at the budget of 20 s after 1 round of squares · nogil, squares · python; an interval needs 6, in"
        " about 130 s",
    )


def test_garbage_is_not_collected_while_something_is_timed(monkeypatch):
    during = []
    run = PretendedPool.run

    def watched(self, *args, **kw):
        during.append(gc.isenabled())
        return run(self, *args, **kw)

    monkeypatch.setattr(PretendedPool, "run", watched)
    scale(squares.nogil, 10, on=[], rounds=2)
    assert during == [True, False, False]
    assert gc.isenabled()


def test_more_workers_than_cpus_is_a_warning():
    scaling = scale(squares.nogil, 10, on=[Pretended(9)], rounds=6)
    assert scaling.warnings == ("9 workers share 8 usable CPUs: their speedup cannot exceed 8",)


def test_weak_scaling_counts_the_cost_where_nothing_else_says_how_work_grows():
    square = kernel(cost=lambda size: size**2.0, example=lambda size: (size,), compiled=False)(
        lambda lo, hi, out, n: None
    )
    scaling = scale(square, 100, on=[TWO], rounds=6, mode="weak")
    assert [p.work for p in scaling.points] == [100**2, 141**2]
    assert scaling.points[1].speedup == pytest.approx(2 * 1.41**2)  # twice as fast, and with more work
    counted = scale(count_primes.nogil, 100, on=[TWO], rounds=6, mode="weak")
    assert [p.work for p in counted.points] == [99, 199]  # from 2 on, as its plan says


@pytest.mark.slow
def test_a_real_variant_that_fails_where_the_work_has_grown_takes_nothing_from_others():
    def too_large(lo, hi, out, n):
        if n > 100:
            raise MemoryError("too large")

    def zeros(lo, hi, out, n):
        out[lo:hi] = 0

    square = kernel(cost=float, example=lambda size: (size,), compiled=False)(too_large)
    square.add_variant("other", zeros)
    scaling = scale(square, 100, on=["threads"], workers=[2], rounds=1, mode="weak", variants=["python", "other"])
    assert {(p.variant, p.workers, p.work) for p in scaling.points} == {("other", 1, 100), ("other", 2, 200)}
    assert any("left out too_large's python variant" in text for text in scaling.warnings)


def test_one_cpu_is_one_cpu(monkeypatch):
    monkeypatch.setattr(machine, "usable_cpus", lambda *_: 1)
    scaling = scale(squares.nogil, 10, on=[TWO], rounds=6)
    assert "2 workers share 1 usable CPU: their speedup cannot exceed 1" in scaling.warnings


@dataclass(frozen=True, repr=False)
class Missing(Backend):
    name: ClassVar[str] = "missing"

    def open(self):
        raise ValueError("numba has 1 thread here")


def test_a_backend_that_cannot_be_opened_here_is_left_out_with_a_warning():
    scaling = scale(squares.nogil, 10, on=[Missing(9), TWO], rounds=6)
    assert [p.backend for p in scaling.points] == ["serial", "pretended"]
    assert scaling.warnings == ("left out Missing(9): numba has 1 thread here",)


def test_where_none_can_be_opened_that_is_the_error():
    with pytest.raises(ValueError, match=r"^Missing\(2\): numba has 1 thread here$"):
        scale(squares.nogil, 10, on=[Missing(2)], rounds=6)
    assert LOG == [("open", "serial", 1), ("close", "serial", 1)]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"on": ["thread"]}, "no backend 'thread'.*did you mean 'threads'"),
        ({"on": [3]}, r"on= takes backends such as Threads\(2\), or their names, not 3"),
        ({"workers": [0]}, "workers must be at least 1, not 0"),
        ({"workers": [1.5]}, "workers must be a whole number, not 1.5"),
        ({"workers": [True]}, "workers must be a whole number, not True"),
        ({"workers": []}, "workers is empty; give counts"),
        ({"budget": 0}, "budget must be a number of seconds above 0, not 0"),
        ({"budget": -1.0}, "budget must be .* not -1.0"),
        ({"budget": math.nan}, "budget must be .* not nan"),
        ({"budget": math.inf}, "budget must be .* not inf"),
        ({"budget": "3"}, "budget must be .* not '3'"),
        ({"rounds": 0}, "rounds must be a whole number from 1 on, not 0"),
        ({"rounds": 1.5}, "rounds must be .* not 1.5"),
        ({"variants": ["pyhton"]}, "no variant 'pyhton'.*did you mean 'python'"),
    ],
)
def test_bad_input_is_told_before_a_worker_starts(options, told):
    with pytest.raises(ValueError, match=told):
        scale(squares, 10, **{"on": ["threads"], **options})
    assert LOG == []


def test_bad_arguments_of_the_kernel_are_told_before_a_worker_starts():
    with pytest.raises(ValueError, match="n must be an array or a number, not str"):
        scale(squares, "ten", on=[TWO])
    with pytest.raises(TypeError, match="is not a kernel"):
        scale(len, 10, on=[TWO])
    with pytest.raises(ValueError, match="no backend 'thread'"):
        scale_all([Work(squares, (10,), on=["thread"])], on=[TWO])
    assert LOG == []


def test_an_output_that_is_an_input_is_told():
    @kernel(compiled=False, plan=lambda a, out=None: Plan(len(a), (a,), out=out, elementwise=True))
    def doubled(lo, hi, out, a):
        out[lo:hi] = 2 * a[lo:hi]

    a = np.ones(10)
    with pytest.raises(ValueError, match="out= is one of the inputs, so that each run would change the next"):
        scale(doubled, a, out=a, on=[TWO])
    assert LOG == []


def test_real_pools_give_a_dataset_that_survives_its_json(tmp_path):
    asked = [Threads(2), Coroutines(2), Processes(2)]
    scaling = scale(squares, 3000, on=asked, variants=["python", "nogil"], rounds=6)
    assert [(p.variant, p.backend, p.workers) for p in scaling.points] == [
        (variant, backend, workers)
        for variant in ("python", "nogil")
        for backend, workers in (("serial", 1), ("threads", 2), ("coroutines", 2), ("processes", 2))
    ]
    for p in scaling.points:
        assert len(p.samples) == 6
        assert p.speedup > 0
        assert p.speedup_ci[0] <= p.speedup_ci[1]
        assert p.processes == (2 if p.backend == "processes" else 1) or p.backend == "processes"
    scaling.to_json(tmp_path / "a.json")
    assert Scaling.from_json(tmp_path / "a.json") == scaling


@pytest.mark.slow
def test_real_runs_find_the_pages_of_the_run_before_though_other_works_and_pools_had_their_turn():
    """Else a run is measured with its page faults, which on a virtual machine can take longer than the kernel."""
    sizes = [(2500, 1000), (2600, 1000)]  # 25 and 27 MB, and at once computed
    works = [Work(mandelbrot.nogil, (size, 4.0 + 0j, 0.1, 1), size=size[0]) for size in sizes]
    scaling = scale_all(works, on=[Threads(1), Threads(2), Processes(1), Processes(2)], rounds=6)
    faults = {(p.size, p.backend, p.workers): (p.details or {}).get("faults") for p in scaling.points}
    assert len(faults) == 10
    if None not in faults.values():  # the system tells
        assert max(faults.values()) < 100  # of more than 2,400 pages; without, hundreds: some of them are huge


@kernel(plan=lambda n, out=None: Plan(n, (), out=out, grain=10))
def halves(lo, hi, out):
    """Fill every other element, as a kernel may that leaves the rest as it was."""
    for i in range(lo, hi):
        if i % 2 == 0:
            out[i] = i


def test_real_python_bodies_meet_other_workers_in_each_turn_and_these_are_the_ones_that_are_watched(monkeypatch):
    watched = []

    class Log(measure.noise.RoundLog):
        def __init__(self, workers=()):
            watched.append(set(workers) - {os.getpid()})
            super().__init__(watched[-1])

    monkeypatch.setattr(measure.noise, "RoundLog", Log)
    works = [Work(squares.python, (300,)), Work(squares.python, (400,))]
    found = scale_all(works, on=["processes"], workers=[1], rounds=2 * rounds.TURN)
    assert {p.rounds for p in found.points} == {2 * rounds.TURN}
    assert all(len(processes) == 1 for processes in watched)
    assert watched[0] == watched[1]  # the first turn of each
    assert len(set.union(*watched)) == 3


def test_real_results_of_a_user_are_left_as_they_are_where_no_run_writes():
    out = np.full(1000, 7.0)
    scale(halves, 1000, out=out, on=[Threads(2)], variants=["python"], rounds=1)
    assert out[1::2].tolist() == [7.0] * 500


class Lazy(PretendedPool):
    """Says that it has run, and leaves what it was given as it finds it."""

    def run(self, kernel, n, out):
        result = super().run(kernel, n)
        out[:] = result.value if self.backend.name == "serial" else out
        return Result(out, result.seconds, result.record)


def test_an_answer_that_stands_there_from_the_run_before_is_none(monkeypatch):
    monkeypatch.setattr(Serial, "open", lambda self: Lazy(self))
    monkeypatch.setattr(Pretended, "open", lambda self: Lazy(self))

    @kernel(plan=lambda n, out=None: Plan(n, (n,), out=out), compiled=False)
    def takes_out(lo, hi, out, n):
        for i in range(lo, hi):
            out[i] = i * i

    out = np.empty(10)
    work = Work(takes_out, (10,), {"out": out}, scratch=out)
    with pytest.raises(WrongAnswer, match="does not give what Serial"):
        scale_all([work], on=[TWO], rounds=1)


@dataclass(frozen=True, repr=False)
class Absent(Backend):
    name = "absent"

    def open(self):
        raise ValueError("needs what is not here")


def test_backends_that_lack_the_same_are_left_out_in_one_warning():
    with contextlib.ExitStack() as stack:
        chosen = [Serial(), Threads(1), Absent(2), Absent(4)]
        pools, warnings = rounds._opened(chosen, stack, lambda *_: None)
    assert len(pools) == 2
    assert warnings == ["left out Absent(2) and Absent(4): needs what is not here"]
