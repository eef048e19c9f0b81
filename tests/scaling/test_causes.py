"""From points and the rounds that they were measured in to their evidence, and from that to their verdicts."""

import json
from dataclasses import replace

import pytest
from evidences import of
from example_points import a_point

from compute import machine
from compute.scaling import results
from compute.scaling.build_point import ELSEWHERE
from compute.scaling.ceiling import Ceilings
from compute.scaling.collecting import collect_evidence, look_across
from compute.scaling.derive import compare_points
from compute.scaling.ledger import ENTRIES
from compute.scaling.noise import Conditions
from compute.scaling.results import Scaling
from compute.scaling.schema import EVIDENCE
from compute.scaling.tables.screen import screen
from compute.scaling.verdict import causes
from compute.scaling.verdict.causes import CAUSES, Claims, losses
from compute.scaling.verdict.judgement import judge, judge_points
from kernels import mandelbrot


@pytest.fixture(autouse=True)
def two_cpus(monkeypatch):
    """That the invented runs had: on one, two lanes share it, whatever else there was."""
    monkeypatch.setattr(machine, "usable_cpus", lambda: 2)
    monkeypatch.setattr(machine, "allowed_cpus", lambda: [0, 1])


NOTHING = dict.fromkeys(ENTRIES, 0.0)


def two(waited, entry="runqueue"):
    """A serial run and one of two threads, of which that many of the core-seconds went to an entry."""
    serial = a_point("serial", 1, [1.0] * 6, ledger={**NOTHING, "useful": 1.0})
    threads = {**NOTHING, "useful": 1.0, entry: waited}
    return compare_points([serial, a_point("threads", 2, [0.5 + waited / 2] * 6, ledger=threads)])


def judged(points, rounds, ceilings=Ceilings({}, 2)):  # noqa: B008 (it is frozen)
    return judge_points(collect_evidence(points, mandelbrot, ceilings, rounds))


def test_of_lanes_on_other_machines_this_one_tells_nothing():
    serial, dask = two(0.6)
    cpus = {"cpus": 64, "cpus_shared": 64}
    dask = replace(dask, backend="dask", workers=64, ceiling=None, evidence=ELSEWHERE | cpus)
    busy = Conditions(1.8, steal=0.5, others=2.0, throttled=0.45, load=8.0, running=9, marked="other processes")
    here, there = collect_evidence([serial, dask], mandelbrot, Ceilings({("compute", 1): [1.0]}, 2), [busy] * 6)
    assert (here.evidence["others"], here.evidence["steal"]) == (2.0, 0.5)
    unknown = "quota", "others", "steal", "throttled", "ceiling_compute", "ceiling_memory"
    assert [there.evidence[name] for name in unknown] == [None] * len(unknown)
    assert (there.evidence["cpus"], there.evidence["cpus_shared"], there.attainable) == (64, 64, None)


def test_what_a_quota_stopped_in_a_round_falls_on_those_who_waited():
    stopped = Conditions(1.8, steal=0.0, others=0.0, throttled=0.45, load=0.1, running=0, marked="the CPU quota")
    _, threads = judged(two(0.6), [stopped] * 6)
    assert threads.cause == "quota"
    assert "stopped the lanes for 28 % of core-seconds" in threads.verdict


def test_where_nobody_waited_for_a_cpu_it_stopped_nobody_for_long():
    stopped = Conditions(1.5, steal=0.0, others=0.0, throttled=0.01, load=0.1, running=0, marked=None)
    serial, threads = judged(two(0.0), [stopped] * 6)
    assert (serial.cause, threads.cause) == ("none", "none")


BUSY = Conditions(1.8, steal=0.0, others=0.9, throttled=0.0, load=2.0, running=2, marked="other processes")


def flattered(workers, cpu):
    """A serial run of 1 s that had the CPU for that long, and 3.5 times as fast a run; nobody saw who took the CPU."""
    serial = a_point("serial", 1, [0.9, 1.1], ledger={**NOTHING, "useful": cpu, "runqueue": 1.0 - cpu})
    spent = {**NOTHING, "useful": cpu, "inflation": workers * 0.28 - cpu}
    return compare_points([serial, a_point("threads", workers, [0.27, 0.29], ledger=spent)])


@pytest.mark.parametrize("workers", [1, 2])
def test_faster_than_can_be_after_a_serial_run_that_was_off_the_cpu_is_not_fine(workers):
    quiet = Conditions(1.8, steal=None, others=None, throttled=0.0, load=8.0, running=9, marked=None)
    points = judged(flattered(workers, cpu=0.5), [quiet] * 2)
    assert points[1].cause == "noise"
    assert "the serial run was off the CPU 50 % of its time, which flatters the speedup" in points[1].verdict
    told = screen(Scaling(points))
    assert told.lines[0].cells[0].letter == "a"
    assert "disturbed from outside; measure again on a quiet machine" in told.reasons[0].text


def test_faster_than_can_be_after_a_serial_run_that_had_its_cpu_is_fine():
    quiet = Conditions(1.8, steal=None, others=None, throttled=0.0, load=8.0, running=9, marked=None)
    assert judged(flattered(2, cpu=0.95), [quiet] * 2)[1].cause == "none"


def test_a_serial_run_that_planned_for_long_was_not_off_the_cpu():
    planned = of(1, seconds=0.8, speedup=1.15, serial=0.6)  # as serial did, for 0.48 s of its 0.92 s
    assert planned.alone_off == pytest.approx(0.12 / 0.92)
    assert judge(planned).cause == "none"
    assert judge(of(1, seconds=0.8, speedup=1.15, blocked=0.6)).cause == "noise"


def test_the_nogil_variant_of_another_trial_tells_what_python_waited_for():
    def trial(variant, blocked):  # each of its own size, as the main job measures them
        points = [replace(p, variant=variant, size=size) for p in two(blocked, "blocked")]
        return judge_points(collect_evidence(points, mandelbrot, Ceilings({}, 2), []))

    size = 100
    python = trial("python", 0.9)
    assert python[1].cause == "unknown"
    assert look_across(python) == python
    size = 9000
    points = look_across([*python, *trial("nogil", 0.0)])
    assert [p.cause for p in points] == ["none", "gil", "none", "none"]
    assert "the nogil variant 0 %: consistent with the GIL" in points[1].verdict


def test_evidence_is_all_that_is_kept_and_goes_to_a_file():
    points = collect_evidence(two(0.6), mandelbrot, Ceilings({}, 2), [BUSY] * 6)
    assert [p.evidence.keys() for p in points] == [EVIDENCE.keys()] * 2
    assert [(p.cause, p.verdict) for p in points] == [(None, None)] * 2  # judging is another step
    again = results.from_data(json.loads(Scaling(points).as_json()), "a.json")
    assert again == Scaling(judge_points(points))


def written(**changed):
    """The two threads of a file, with something of them changed."""
    data = json.loads(Scaling(judged(two(0.6), [BUSY] * 6)).as_json())
    data["points"][1] |= changed
    return data


def read(data):
    return results.from_data(data, "a.json").points[1]


def test_a_file_has_the_cause_and_the_verdict_and_they_are_made_again_when_it_is_read():
    point = written()["points"][1]
    assert (point["cause"], point["verdict"]) == ("noise", read(written()).verdict)
    assert "other processes used 0.90 CPUs" in point["verdict"]
    assert read(written(verdict="invented", cause="gil")) == read(written())
    assert read(written(verdict=None, cause=None)) == read(written())


def test_another_evidence_is_another_verdict():
    crowd = written()
    crowd["points"][1]["evidence"] |= {"others": 0.0, "cpus": 1}
    assert read(crowd).cause == "oversubscription"
    quiet = written()
    quiet["points"][1]["evidence"] |= {"others": None, "a later version's": [1]}
    assert read(quiet).verdict == (
        "queued for a CPU 37 % of core-seconds, and nothing measured says behind whom; see what else runs"
    )


def test_a_file_of_before_evidence_was_kept_keeps_its_verdict():
    former = written(verdict="told then", cause="gil")
    del former["points"][1]["evidence"]
    assert (read(former).cause, read(former).verdict) == ("gil", "told then")
    assert read(written(verdict="told then", cause="gil", evidence=None)).verdict == "told then"


@pytest.mark.parametrize(
    ("evidence", "error"),
    [
        ([1], "point 2: 'evidence' must be an object"),
        ({"steal": "much"}, "point 2: 'steal' of 'evidence' must be a number from 0 on, not \"much\"; measure again"),
        ({"compiled": 1}, "'compiled' of 'evidence' must be true or false, not 1"),
        ({"cpus": 1.5}, "'cpus' of 'evidence' must be a whole number"),
        ({"quota": -1}, "'quota' of 'evidence' must be a number from 0 on"),
        (
            {"ticket_seconds": 1e308},
            "'ticket_seconds' of 'evidence' must be a number from 0 on, not 1e\\+308; measure again",
        ),
    ],
)
def test_evidence_that_is_none_is_refused_in_a_line(evidence, error):
    data = written(ledger={**NOTHING, "useful": 1.0, "inflation": 0.6}, chunks=10**6, evidence=evidence)
    with pytest.raises(ValueError, match=error):
        read(data)


def test_a_cause_claims_no_entry_that_its_record_does_not_name():
    unclaimed = {"idle": 0.2, "runqueue": 0.3}
    claims = Claims(unclaimed, ("idle",))
    with pytest.raises(ValueError, match="as its record says"):
        claims.take("runqueue")
    assert (claims.take(most=0.05), claims.take(), claims.take()) == (0.05, pytest.approx(0.15), 0.0)
    assert unclaimed == {"idle": 0.0, "runqueue": 0.3}


def test_a_record_is_all_that_a_further_cause_is(monkeypatch):
    preempted = causes.Cause(
        "preempted",
        ("idle",),
        causes.where(lambda e: e.voluntary == 7),
        causes.always("taken off"),
        causes.always("run less beside it"),
        caps=lambda e: e.voluntary == 7,
        limit=causes.always("but all were taken off"),
    )
    records = (preempted, *CAUSES)
    monkeypatch.setattr(causes, "CAUSES", records)
    monkeypatch.setattr("compute.scaling.verdict.judgement.CAUSES", records)
    known = {"idle": 0.3, "blocked": 0.01}
    assert losses(of(**known, voluntary=7))[0] == causes.Loss(preempted, pytest.approx(0.3))
    assert losses(of(**known, voluntary=8))[0].cause.code == "imbalance"
    assert judge(of(**known, voluntary=7)).sentence == "taken off; run less beside it"
    p = replace(two(0.0)[1], ceiling=1.0, speedup=0.98, attainable=0.98, details={"voluntary": 7}, evidence={})
    assert judge_points([p])[0].verdict == "98 % of attainable, but all were taken off; run less beside it"
