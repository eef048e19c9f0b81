"""From invented runs of a program to its points and verdicts: each known behaviour is named, and no other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from compute.program.command import command
from compute.program.run import Finished
from compute.program.watching import Watched
from compute.scaling import ledger, program_points
from compute.scaling.ceiling import Ceilings
from compute.scaling.collecting import collect_evidence
from compute.scaling.derive import compare_points
from compute.scaling.noise import Conditions
from compute.scaling.results import Scaling, from_data
from compute.scaling.verdict.judgement import judge_points
from compute.traits import PROGRAM

QUIET = Conditions(2.0, steal=0.0, others=0.0, throttled=0.0, load=0.1, running=0, marked=None)
ROUNDS = 6
OF = command(["solve", "{workers}"])


@pytest.fixture(autouse=True)
def eight_cpus(monkeypatch):
    monkeypatch.setattr("compute.machine.usable_cpus", lambda *_: 8)
    monkeypatch.setattr("compute.machine.allowed_cpus", lambda *_: list(range(8)))
    monkeypatch.setattr("compute.machine.cpu_quotas", lambda *_: [])


def a_run(seconds, cpu, *, queued=0.0, threads=1, one=None, seen=1.0, system=0.0, left=(), **alone):
    alone = {"nobody": 0.0, "first": 0.0, "last": 0.0, "late": 0.0} | alone
    watched = Watched(cpu * seen, queued, threads, one, **alone, cost=0.001 * seconds)
    return Finished(seconds, cpu - system, system, faults=100, voluntary=5, involuntary=50, watched=watched, left=left)


def points(alone, many, workers=2, *, conditions=QUIET, rates=None, share=0.0, beside=None):
    rates = rates or {("compute", 1): [1.0] * ROUNDS, ("compute", workers): [0.98 * workers] * ROUNDS}
    ceilings = Ceilings(rates, 8)
    made = [
        program_points.make_point(OF, n, [of] * ROUNDS, [alone] * ROUNDS, ceilings, beside, share)
        for n, of in ((1, alone), (workers, many))
    ]
    return judge_points(collect_evidence(compare_points(made), None, ceilings, [conditions] * ROUNDS))


def judged(*runs, **known):
    p = points(*runs, **known)[-1]
    assert sum(p.ledger.values()) == pytest.approx(p.workers * p.seconds)
    assert set(p.ledger) == set(ledger.ENTRIES)
    return p


ALONE = a_run(1.0, 1.0, one=1.0)


def test_work_that_is_shared_out_is_nothing_wrong():
    one, two = points(ALONE, a_run(0.52, 1.0, threads=2, one=0.02))
    assert (one.cause, two.cause) == ("none", "none")
    assert one.verdict == "one worker, which the others are compared with: nothing wrong"
    assert (one.speedup, one.baseline, two.backend, two.variant) == (1.0, "one worker", "program", "{workers}")
    assert two.attainable == pytest.approx(two.speedup / 1.96)
    assert two.has == PROGRAM


def test_a_serial_fraction_is_named_with_its_size_and_place():
    p = judged(ALONE, a_run(0.65, 1.0, threads=3, one=0.30, first=0.29))
    assert p.cause == "serial fraction"
    assert p.verdict.startswith(
        "one thread at most at work for 300 ms of 650 ms (290 ms of it at the beginning): a serial fraction of 30 % of"
        " one worker's time"
    )
    assert "no number of workers makes it more than 3.33× as fast" in p.verdict


def test_a_worker_that_ends_after_the_others_is_imbalance_and_no_serial_fraction():
    p = judged(ALONE, a_run(0.65, 1.0, threads=2, one=0.30, last=0.28, late=0.28))
    assert p.cause == "imbalance"
    assert p.verdict.startswith("one worker was at work for 280 ms of 650 ms after the others had ended")
    assert p.verdict.endswith("share the work out in more parts, each to whoever is free")
    assert "serial fraction" not in p.verdict


def test_of_time_alone_only_what_no_late_worker_took_is_a_serial_fraction():
    p = judged(ALONE, a_run(0.70, 1.0, threads=2, one=0.40, first=0.29, last=0.10, late=0.10))
    assert p.cause == "serial fraction"
    assert p.verdict.startswith(
        "one thread at most at work for 300 ms of 700 ms (290 ms of it at the beginning): a serial fraction of 30 % of"
    )


@pytest.mark.parametrize("used", [1.0, 2.0])
def test_a_program_that_ignores_the_number_is_named_however_many_cpus_it_uses(used):
    run = a_run(1.0, used, threads=int(used), one=1.0 if used == 1 else 0.0)
    p = judged(run, run, workers=4)
    assert p.cause == "workers ignored"
    assert p.verdict.startswith(f"{used:g} CPU{'s' * (used > 1)} at work with 1 worker and with 4, in the same time")
    assert "does not heed {workers}" in p.verdict


def test_threads_that_take_turns_are_no_program_that_ignores_the_number():
    p = judged(ALONE, a_run(1.02, 1.0, threads=4, one=1.0), workers=4)
    assert p.cause == "lock"
    assert "its 4 threads take turns, one at most at work 98 % of the time: consistent with a GIL" in p.verdict


@pytest.mark.parametrize(("alone", "many"), [(0.11, 0.12), (0.01, 0.01), (0.1, 0.2), (0.102, 0.1)])
def test_a_program_that_only_sleeps_neither_takes_turns_nor_ignores_its_workers(alone, many):
    """As `sh -c 'sleep 0.1$NAME'`: a shell and its child, 2 ms of CPU, and nobody at work for the rest."""

    def sleeping(seconds):
        return a_run(seconds, 0.002, threads=2, one=seconds, nobody=seconds - 0.002)

    p = judged(sleeping(alone), sleeping(many))
    assert p.cause == "unknown", p.verdict
    assert p.verdict.startswith("blocked or idle")


def test_times_of_which_little_is_known_are_not_called_the_same():
    p = replace(judged(ALONE, ALONE), speedup=0.77, speedup_ci=(0.57, 1.10))
    assert judge_points([p])[0].cause != "workers ignored"
    assert judge_points([replace(p, speedup=0.98, speedup_ci=None, rounds=4)])[0].cause != "workers ignored"
    assert judge_points([replace(p, speedup=0.98, speedup_ci=(0.95, 1.02))])[0].cause == "workers ignored"


@pytest.mark.parametrize(
    "runs",
    [
        (ALONE, ALONE),
        (ALONE, a_run(0.65, 1.0, threads=3, one=0.30)),
        (ALONE, a_run(1.02, 1.0, threads=2, one=1.0)),
        (ALONE, a_run(0.75, 1.5, threads=2, one=0.0)),
        (a_run(0.5, 2.0, threads=4), a_run(0.4, 2.0, threads=8)),
    ],
)
def test_few_rounds_or_disturbed_ones_carry_no_cause(runs):
    p = judged(*runs)
    assert p.cause not in ("inconclusive", "unknown", "none")
    for rounds, disturbed, told in [
        (1, 0, "from 1 round;"),
        (2, 0, "from 2 rounds;"),
        (1, 1, "from 1 round, of which 1 was disturbed from outside;"),
        (6, 5, "from 6 rounds, of which 5 were disturbed from outside;"),
    ]:
        few = judge_points([replace(p, rounds=rounds, contaminated=disturbed)])[0]
        assert few.cause == "inconclusive", few.verdict
        assert f"cannot be told {told}" in few.verdict
        assert ("on a quiet machine" in few.verdict) == (disturbed > 0)
    assert judge_points([replace(p, rounds=4, contaminated=1)])[0].cause == p.cause


def test_threads_that_queue_together_on_a_busy_machine_are_no_serial_fraction():
    """As threads under one GIL looked beside others' work: both wanted a CPU for a third of the time, one had it."""
    taken = Conditions(2.0, steal=0.0, others=1.0, throttled=0.0, load=3.0, running=3, marked="other processes")
    for conditions in (QUIET, taken):
        p = judged(a_run(0.373, 0.35, one=0.37), a_run(0.373, 0.35, threads=2, one=0.249), conditions=conditions)
        assert p.cause not in ("serial fraction", "lock"), p.verdict
        assert "serial fraction" not in p.verdict
    assert judged(ALONE, a_run(0.65, 1.0, threads=2, one=0.30)).cause == "serial fraction"


def test_more_threads_than_workers_is_oversubscription():
    many = judged(ALONE, a_run(0.8, 1.3, queued=1.9, threads=8, one=0.0))
    assert many.cause == "oversubscription"
    assert many.verdict.startswith("its threads wanted 4.00 CPUs with 2 workers")
    busy = judged(a_run(0.5, 2.0, threads=4), a_run(0.4, 2.0, threads=8), workers=2)
    assert busy.cause == "oversubscription"
    assert busy.verdict.startswith("4 CPUs at work with 1 worker already, on 4 threads")


def test_more_workers_than_cpus_is_oversubscription_as_with_kernels():
    p = judged(ALONE, a_run(0.25, 2.0, queued=2.0, threads=16), workers=16)
    assert p.cause == "oversubscription"
    assert "16 workers share 8 CPUs" in p.verdict


def test_cpu_inflation_is_told_with_whose_cpu_it_was():
    p = judged(ALONE, a_run(0.75, 1.5, threads=2, one=0.0, system=0.4))
    assert p.cause == "cpu inflation"
    assert p.verdict.startswith("CPU inflation 33 % of core-seconds (1.50 s of CPU with 2 workers, 1.00 s with 1,")
    assert "400 ms of it more in the system" in p.verdict


def test_memory_bandwidth_is_named_only_where_neighbours_that_stream_slow_it():
    rates = {(kind, 1): [1.0] * ROUNDS for kind in ("compute", "memory")}
    rates |= {("compute", 4): [3.9] * ROUNDS, ("memory", 4): [2.0] * ROUNDS}
    run = a_run(0.6, 2.4, threads=4, one=0.0)
    p = judged(ALONE, run, workers=4, rates=rates, share=0.9, beside=1.9)
    assert p.cause == "memory bandwidth"
    slower = judged(ALONE, a_run(0.9, 3.6, threads=4, one=0.0), workers=4, rates=rates, share=0.9, beside=1.9)
    assert slower.cause == "memory bandwidth"
    assert "with 1 worker 1.90× as long beside memory traffic as beside other work" in slower.verdict
    assert judged(ALONE, run, workers=4, rates=rates, share=0.1, beside=1.05).cause == "cpu inflation"


def test_a_quota_and_noise_are_told_as_with_kernels():
    run = a_run(0.8, 1.0, queued=0.5, threads=2, one=0.0)
    stopped = Conditions(2.0, steal=0.0, others=0.0, throttled=0.5, load=0.1, running=0, marked="the CPU quota")
    assert judged(ALONE, run, conditions=stopped).cause == "quota"
    noisy = Conditions(2.0, steal=0.0, others=0.9, throttled=0.0, load=3.0, running=3, marked="other processes")
    assert judged(ALONE, run, conditions=noisy).cause == "noise"


def test_what_cannot_be_told_apart_from_outside_is_said_to_be_so():
    p = judged(ALONE, a_run(0.5, 1.0, threads=4, one=0.0), workers=4)
    assert p.cause == "unknown"
    assert p.verdict.startswith("blocked or idle 50 % of core-seconds, 2.00 CPUs at work on average: a lock, a disk")
    assert p.unknown == ("idle", "startup", "transfer", "serial")


def test_waits_of_one_worker_are_waited_for_by_more_too():
    alone = a_run(1.0, 0.1, one=1.0, nobody=0.9)
    p = judged(alone, a_run(0.13, 0.1, threads=8, one=0.13, nobody=0.1), workers=8)
    assert p.evidence["waits"] == pytest.approx(0.9)
    assert p.ledger["waiting"] == pytest.approx(0.9)
    assert p.ceiling == 8.0
    assert p.cause == "none"


def test_waits_for_a_cpu_of_threads_that_nobody_saw_are_unknown_not_none():
    p = judged(ALONE, a_run(0.8, 1.0, queued=0.02, threads=2, seen=0.3))
    assert "runqueue" in p.unknown
    assert p.ledger["runqueue"] == 0.0
    assert p.ledger["blocked"] == pytest.approx(0.6)
    assert p.notes[1] == (
        "its threads end too soon to be watched: only 30 % of its CPU time was seen; at least 1 % of core-seconds were"
        " waits for a CPU"
    )


def test_without_proc_the_system_s_accounts_are_all_there_is():
    def unwatched(seconds):
        return Finished(seconds, user=0.9, system=0.1, faults=10, voluntary=3, involuntary=4)

    p = judged(unwatched(1.0), unwatched(0.8))
    assert "runqueue" in p.unknown
    assert p.cause == "unknown"
    assert p.details.keys() == {
        "user", "in_the_system", "system", "faults", "voluntary", "involuntary", "used", "used_alone", "seconds_alone",
    }  # fmt: skip
    assert judged(unwatched(1.0), unwatched(1.0)).cause == "workers ignored"


def test_more_cpus_than_workers_are_no_negative_wait():
    p = judged(a_run(1.0, 4.0, threads=4), a_run(0.9, 4.0, threads=4))
    assert p.ledger["blocked"] == 0.0
    assert p.ledger["unexplained"] == pytest.approx(2 * 0.9 - 4.0)


def test_a_program_that_used_no_cpu_at_all_divides_by_nothing():
    assert judged(a_run(0.002, 0.0, threads=0), a_run(0.002, 0.0, threads=0)).cause


def test_what_the_system_charged_nobody_for_is_told():
    lost = replace(a_run(0.52, 1.0, threads=2), uncharged=0.9)
    assert "(SIGCHLD): up to 900 ms of its CPU time is what was seen of them" in points(ALONE, lost)[-1].notes[1]


def test_a_share_of_memory_that_nobody_measured_is_none():
    rates = {(kind, n): [1.0 * n] * ROUNDS for kind in ("compute", "memory") for n in (1, 2)}
    unknown = points(ALONE, a_run(0.52, 1.0, threads=2), rates=rates, share=None)
    assert [p.memory_share for p in unknown] == [None, None]
    assert [p.ceiling for p in unknown] == [1.0, 2.0]


def test_what_it_left_behind_is_told():
    p = points(ALONE, a_run(0.52, 1.0, threads=2, left=("server", "cron")))[-1]
    assert p.notes[1] == "it left processes running when it ended (cron, server), and these were ended"


def test_points_go_to_a_file_and_are_judged_alike_when_they_come_back():
    import json

    scaling = Scaling(points(ALONE, a_run(0.65, 1.0, threads=3, one=0.30)))
    assert from_data(json.loads(scaling.as_json()), "a.json") == scaling
