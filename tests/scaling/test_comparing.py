"""Two files beside each other: which point is which, what is no pair, and what the gate makes of it."""

from dataclasses import replace

import numpy as np
import pytest
from example_points import MACHINE, a_point

from compute.report import comparison
from compute.report.comparison import Compared
from compute.scaling.comparing import machines
from compute.scaling.comparing.gate import Limits, judge_pairs
from compute.scaling.comparing.pairs import pair_up, same_measurement
from compute.scaling.derive import compare_points
from compute.scaling.results import Scaling

QUIET = {"compute": 1.0, "compute_low": 0.995, "compute_high": 1.005}


def around(seconds, rounds=12, sigma=0.01, seed=0):
    return tuple(seconds * np.exp(sigma * np.random.default_rng([seed, rounds]).standard_normal(rounds)))


def a_file(factor=1.0, seed=0, rounds=12, sigma=0.01, **other):
    """Serial 1 s, two threads 0.52 s, times factor; of work that computes."""
    other = {"memory_share": 0.0, **other}
    points = [
        a_point("serial", 1, around(factor, rounds, sigma, seed), mode="strong", **other),
        a_point("threads", 2, around(0.52 * factor, rounds, sigma, seed + 1), mode="strong", **other),
    ]
    return Scaling(compare_points(points), MACHINE)


A = a_file()


def outcome(before, after, **limits):
    return judge_pairs(pair_up(before, after), after, Limits(**limits)).outcome


def reasons(before, after, **limits):
    return [finding.reason for finding in judge_pairs(pair_up(before, after), after, Limits(**limits)).findings]


def changed(scaling, number=1, **fields):
    points = list(scaling.points)
    points[number] = replace(points[number], **fields)
    return replace(scaling, points=tuple(points))


def test_a_program_and_itself_are_fine():
    assert outcome(A, a_file(seed=5)) == "fine"
    assert outcome(A, a_file(0.8, seed=5)) == "fine"


@pytest.mark.parametrize("factor", [1.10, 1.5, 100.0])
def test_a_slowdown_is_a_regression(factor):
    assert outcome(A, a_file(factor, seed=5)) == "regression"


def test_one_slow_point_among_fine_ones_is_a_regression_of_that_point():
    slow = changed(a_file(seed=5), samples=around(0.6, seed=9))
    judgement = judge_pairs(pair_up(A, slow), slow, Limits())
    assert [finding.outcome for finding in judgement.findings] == ["fine", "regression"]
    assert judgement.outcome == "regression"


def test_a_slowdown_that_is_sure_and_allowed_is_fine():
    (low, high) = pair_up(A, a_file(1.03, seed=5))[0].interval
    assert 1 < low < high < 1.05
    assert outcome(A, a_file(1.03, seed=5)) == "fine"
    assert outcome(A, a_file(1.03, seed=5), slowdown=0.0) == "regression"
    assert outcome(A, a_file(1.10, seed=5), slowdown=0.2) == "fine"


@pytest.mark.parametrize("factor", [1.06, 1.1])
def test_a_slowdown_in_noise_is_never_passed(factor):
    given = [outcome(a_file(sigma=0.2, seed=k), a_file(factor, sigma=0.2, seed=k + 5)) for k in range(0, 100, 10)]
    assert "fine" not in given
    assert "inconclusive" in given


@pytest.mark.parametrize("rounds", [1, 2, 5])
@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_few_runs_are_inconclusive_on_either_side(rounds, factor):
    for before, after in ((A, a_file(factor, 5, rounds)), (a_file(1.0, 5, rounds), a_file(factor))):
        assert outcome(before, after) == "inconclusive"
        assert all(f"there are {rounds} in the" in reason for reason in reasons(before, after))


def test_a_point_that_one_file_lacks_is_inconclusive():
    fewer = replace(a_file(seed=5), points=a_file(seed=5).points[:1])
    assert reasons(A, fewer) == [None, "it is in the first file only"]
    assert reasons(fewer, A) == [None, "it is in the second file only"]
    assert outcome(A, fewer) == outcome(fewer, A) == "inconclusive"
    assert outcome(fewer, A, new=True) == "fine"
    assert outcome(A, fewer, new=True) == "inconclusive"


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"size": 513}, "the sizes differ: 512 and 513"),
        ({"size": None}, "the sizes differ: 512 and none"),
        ({"arguments": "512, max_iter=9"}, "the arguments differ: 512 and 512, max_iter=9"),
        ({"work": 2e7}, "the work differs: 10.0 M iterations and 20.0 M iterations"),
        ({"unit": "steps"}, "the work differs: 10.0 M iterations and 10.0 M steps"),
    ],
)
def test_other_work_is_named_and_never_passed(fields, told):
    about = {"arguments": "512", "work": 1e7}
    before, after = a_file(**about), changed(a_file(seed=5, **about), **fields)
    assert [reason and reason.partition(";")[0] for reason in reasons(before, after)] == [None, told]
    assert outcome(before, after) == "inconclusive"


def test_two_sizes_have_a_ratio_for_a_unit_of_work_that_is_never_passed():
    before, after = a_file(work=1e7), a_file(2.2, seed=5, work=2e7, size=1024)
    (pair, _) = pair_up(before, after)
    assert pair.ratio == pytest.approx(1.1, rel=0.02)
    assert pair.interval is not None
    assert pair.problem == "the sizes differ: 512 and 1,024; the ratio is of the times for one of the iterations"
    assert outcome(before, after) == outcome(before, a_file(2.0, seed=5, work=2e7, size=1024)) == "inconclusive"


def test_where_an_object_lies_in_memory_is_no_other_argument():
    one, other = (a_file(seed=seed, arguments=f"<Thing at 0x7f{seed}a>") for seed in (0, 5))
    assert outcome(one, other) == "fine"


@pytest.mark.parametrize("field", ["kernel", "variant", "backend", "file"])
def test_a_point_of_another_name_is_another_point(field):
    other = changed(a_file(seed=5), **{field: "else"})
    assert len(pair_up(A, other)) == 3
    assert outcome(A, other) == "inconclusive"


def test_files_of_before_weak_scaling_pair_with_those_of_today():
    old = replace(A, points=tuple(replace(p, mode=None) for p in A.points))
    assert outcome(old, a_file(seed=5)) == "fine"
    weak = replace(A, points=tuple(replace(p, mode="weak") for p in A.points))
    assert outcome(weak, a_file(seed=5)) == "inconclusive"


def test_samples_that_were_copied_are_no_measurement():
    assert same_measurement(A, replace(a_file(), machine={"cpus": 64}))
    assert not same_measurement(A, a_file(seed=5))
    partly = changed(a_file(seed=5), samples=A.points[1].samples)
    assert reasons(A, partly)[1] == "both files hold the very same samples: one of them is a copy"


def test_a_configuration_that_is_twice_in_a_file_is_refused():
    twice = replace(A, points=(*A.points, A.points[1]))
    with pytest.raises(ValueError, match=r"the second file holds mandelbrot 512 · threads · nogil · 2 workers twice"):
        pair_up(a_file(seed=5), twice)


def test_nothing_to_compare_is_inconclusive():
    assert judge_pairs((), A, Limits()).outcome == "inconclusive"


@pytest.mark.parametrize(
    ("least", "expected"), [(0.5, "fine"), (0.93, "fine"), (0.96, "inconclusive"), (0.99, "regression")]
)
def test_an_efficiency_is_held_against_its_interval(least, expected):
    after = changed(a_file(seed=5), ceiling=2.0)  # it reaches 0.96
    assert outcome(A, after, efficiency=least) == expected
    assert outcome(A, after, attainable=least) == expected


def test_an_efficiency_without_a_serial_run_or_a_ceiling_is_inconclusive():
    alone = replace(a_file(seed=5), points=a_file(seed=5).points[1:])
    assert "the second file holds no serial run of it to compare with" in reasons(A, alone, efficiency=0.5)
    assert "the second file has no ceiling of it" in reasons(A, a_file(seed=5), attainable=0.5)
    few = a_file(seed=5, rounds=3)
    assert "3 runs in the second file, which carry no interval" in reasons(A, few, efficiency=0.5)


def test_a_ceiling_that_the_kernel_outran_passes_nothing():
    """It was measured at a worse moment: of it, more than all was reached, which says nothing about what is lost."""
    after = a_file(seed=5)
    slow = changed(after, ceiling=1.0, samples=tuple(1.6 * s for s in after.points[1].samples))  # 1.2 of 2
    assert outcome(A, slow, attainable=0.8, slowdown=9.0) == "inconclusive"
    assert "at a worse moment" in reasons(A, slow, attainable=0.8, slowdown=9.0)[-1]
    assert outcome(A, changed(a_file(seed=5), ceiling=1.2), attainable=0.8) == "fine"  # it reaches 0.96 of 2


@pytest.mark.parametrize("test", ["efficiency", "attainable"])
def test_an_efficiency_that_others_may_have_flattered_is_not_passed(test):
    def disturbed(others, rounds=11):
        about = {"contaminated": rounds, "evidence": {"cpus": 2, "others": others}}
        after = a_file(seed=5, **about)
        return replace(after, points=(after.points[0], replace(after.points[1], ceiling=2.0)))

    def found(after, least):
        judgement = judge_pairs(pair_up(A, after), after, Limits(slowdown=9.0, **{test: least}))
        return [(of.outcome, of.reason) for of in judgement.findings if of.test == test]

    told = "others disturbed 11 of the second file's 12 rounds, which may have flattered it; measure on a quiet machine"
    assert found(disturbed(1.0), 0.9) == [("inconclusive", told)]  # it reaches 0.96, and serial may be twice as slow
    assert found(disturbed(1.0), 0.45) == [("fine", None)]
    assert found(disturbed(1.0, rounds=3), 0.9) == [("fine", None)]
    assert found(disturbed(0.02), 0.9) == [("fine", None)]
    assert found(disturbed(0.02), 0.99) == [("regression", None)]


@pytest.mark.parametrize("test", ["efficiency", "attainable"])
def test_what_no_point_could_be_held_against_is_inconclusive(test):
    alone = replace(a_file(seed=5), points=a_file(seed=5).points[:1])
    before = replace(A, points=A.points[:1])
    assert outcome(before, alone) == "fine"
    assert outcome(before, alone, **{test: 0.9}) == "inconclusive"
    assert reasons(before, alone, **{test: 0.9})[-1].endswith("measure with 2 workers or more")


def test_a_kernel_that_could_not_be_held_against_what_is_asked_is_named_beside_others():
    before, after = (
        replace(both, points=(*both.points, *(replace(p, kernel="triad") for p in lone.points[:1])))
        for both, lone in ((A, a_file(seed=3)), (a_file(seed=5), a_file(seed=6)))
    )
    assert outcome(before, after) == "fine"
    findings = judge_pairs(pair_up(before, after), after, Limits(efficiency=0.5)).findings
    assert [(of.pair.point.kernel, of.outcome) for of in findings if of.test == "efficiency"] == [
        ("mandelbrot", "fine"),
        ("triad", "inconclusive"),
    ]


def test_on_a_machine_that_became_slower_neither_outcome_is_believed():
    slower = {name: 1.1 * seconds for name, seconds in QUIET.items()}
    before = a_file(controls=QUIET)
    assert outcome(before, a_file(1.1, seed=5, controls=slower)) == "inconclusive"
    assert outcome(before, a_file(1.1, seed=5, controls=slower), by_controls=True) == "fine"
    assert outcome(before, a_file(1.3, seed=5, controls=slower)) == "regression"  # more than the machine explains
    assert outcome(before, a_file(1.3, seed=5, controls=slower), by_controls=True) == "regression"


def test_a_faster_machine_hides_no_slowdown():
    faster = {name: 0.9 * seconds for name, seconds in QUIET.items()}
    before = a_file(controls=QUIET)
    assert outcome(before, a_file(1.0, seed=5, controls=faster)) == "inconclusive"
    assert outcome(before, a_file(1.0, seed=5, controls=faster), by_controls=True) == "regression"


def test_controls_in_one_file_alone_leave_open_whether_the_machine_has_changed():
    before, after = a_file(controls=QUIET), a_file(seed=5)
    for one, other in ((before, after), (after, before)):
        assert outcome(one, other) == "inconclusive"
        assert all(reason.startswith("only one file has controls") for reason in reasons(one, other))
    benchmarks = replace(after, points=tuple(replace(p, mode=None) for p in after.points))  # have none at all
    assert outcome(before, benchmarks) == "fine"


def test_without_controls_there_is_nothing_to_scale_by():
    told = (
        "the first and the second file has no controls of this kind with an interval; measure again with this version"
    )
    assert reasons(A, a_file(seed=5), by_controls=True) == [told] * 2
    half = a_file(seed=5, controls={"compute": 1.0})  # too few rounds for its interval
    assert outcome(a_file(controls=QUIET), half, by_controls=True) == "inconclusive"
    streams = {"memory_share": 1.0}
    before, after = a_file(controls=QUIET, **streams), a_file(seed=5, controls=QUIET, **streams)
    assert outcome(before, after, by_controls=True) == "inconclusive"  # computing says nothing of memory


def test_what_others_may_have_done_is_no_regression_and_hides_none():
    disturbed = {"contaminated": 11, "evidence": {"cpus": 2, "others": 1.0}}
    before = a_file()
    assert outcome(before, a_file(1.5, seed=5, **disturbed)) == "inconclusive"
    assert outcome(before, a_file(2.5, seed=5, **disturbed)) == "regression"  # half of the CPUs explain no more than 2
    assert outcome(a_file(**disturbed), a_file(1.0, seed=5)) == "inconclusive"
    assert outcome(a_file(**disturbed), a_file(0.4, seed=5)) == "fine"
    waits = {**disturbed, "evidence": {"cpus": 2, "others": 1.0, "waits": 0.99}}
    assert outcome(before, a_file(1.5, seed=5, **waits)) == "regression"  # nobody makes a wait longer
    steady = {**disturbed, "cpu_per_wall": 0.99}  # lanes had their CPUs, and runs are alike
    assert outcome(before, a_file(1.5, seed=5, **steady)) == "regression"
    assert outcome(before, a_file(1.15, seed=5, **steady)) == "inconclusive"
    now_and_then = {**disturbed, "contaminated": 3}
    assert outcome(before, a_file(1.5, seed=5, **now_and_then)) == "regression"


def test_runs_that_were_not_interleaved_must_agree_with_the_quickest_of_them():
    def alone(factor, seed, held_up=1.0):
        samples = around(factor, 20, seed=seed)
        samples = (*samples[:2], *(held_up * sample for sample in samples[2:]))
        return Scaling((a_point("serial", 1, samples),), MACHINE)

    assert outcome(alone(1.0, 0), alone(1.0, 1, held_up=1.3)) == "inconclusive"  # somebody else ran in that second
    assert outcome(alone(1.0, 0, held_up=1.3), alone(1.1, 1)) == "inconclusive"  # which would hide a slowdown
    assert outcome(alone(1.0, 0), alone(1.15, 1)) == "regression"
    assert outcome(alone(1.0, 0), alone(1.0, 1)) == "fine"


def test_machines_are_told_apart_by_their_hardware_and_not_by_their_versions():
    there = {**MACHINE, "python": "3.14.0t", "gil": False}
    assert machines.other_machine(MACHINE, there) == ()
    assert [str(c) for c in machines.other_versions({**MACHINE, "gil": True}, there)] == [
        "python 3.14.0 → 3.14.0t",
        "GIL on → off",
    ]
    (change,) = machines.other_machine({**MACHINE, "quota": None}, {**MACHINE, "quota": 1.5})
    assert str(change) == "CPU quota none → 1.5"
    assert machines.other_machine({**MACHINE, "cores": None}, {**MACHINE, "cores": 4}) == ()
    assert [c.name for c in machines.other_machine(MACHINE, {**MACHINE, "model": "Other", "cpus": 4})] == [
        "CPU",
        "usable CPUs",
    ]
    assert machines.is_known(MACHINE, MACHINE)
    assert not machines.is_known({}, {})
    assert not machines.is_known({"model": "Invented 9000"}, {"cpus": 2})  # nothing that both tell
    assert machines.unknown({"cpus": 2}, MACHINE) == ("CPU",)  # many a machine has two
    assert machines.unknown({"model": "Invented 9000"}, MACHINE) == ("usable CPUs",)
    assert machines.other_machine({"caches": "L1"}, {"caches": ["L1"], "memory": "much"}) == ()


def test_of_pytest_benchmark_the_cpus_that_are_there_are_compared():
    foreign = {"source": "pytest-benchmark 5", "cpus": 64, "cpus_present": 64, "model": MACHINE["model"]}
    assert machines.other_machine({**MACHINE, "cpus_present": 64}, foreign) == ()
    assert len(machines.other_machine({**MACHINE, "cpus_present": 2}, foreign)) == 1


def test_runs_of_one_process_are_no_regression_by_less_than_processes_differ_by():
    def of(factor, seed, mode=None):
        points = [a_point("serial", 1, around(factor, 200, 0.01, seed), mode=mode, memory_share=0.0)]
        return Scaling(compare_points(points), MACHINE)

    for factor in (1.04, 1.08):
        assert outcome(of(1, 1), of(factor, 2), slowdown=0.02) == "inconclusive"
        assert "do not tell a change of less than 10%" in reasons(of(1, 1), of(factor, 2), slowdown=0.02)[0]
        assert outcome(of(1, 1, "strong"), of(factor, 2, "strong"), slowdown=0.02) == "regression"
    assert outcome(of(1, 1), of(1.2, 2), slowdown=0.02) == "regression"
    assert outcome(of(1, 1), of(1, 2)) == "fine"


def with_two_arguments(factor=1.0, seed=0):
    """The same kernel and size with s=1, and with s=2, which takes so many times as long."""
    parts = (a_file(1.0, seed=seed, arguments="s=1"), a_file(factor, seed=seed + 20, arguments="s=2"))
    return Scaling(tuple(p for part in parts for p in part.points), MACHINE)


def test_points_of_several_arguments_are_compared_with_those_of_the_same():
    findings = judge_pairs(pair_up(with_two_arguments(), after := with_two_arguments(1.5, 5)), after, Limits()).findings
    assert {finding.pair.name: finding.outcome for finding in findings} == {
        "mandelbrot 512 (s=1) · serial · nogil · 1 worker": "fine",
        "mandelbrot 512 (s=1) · threads · nogil · 2 workers": "fine",
        "mandelbrot 512 (s=2) · serial · nogil · 1 worker": "regression",
        "mandelbrot 512 (s=2) · threads · nogil · 2 workers": "regression",
    }
    assert [pair.apart for pair in pair_up(A, a_file(seed=5))] == ["", ""]
    table = comparison.compared(Compared(("a", "b"), (after, after), (pair_up(with_two_arguments(), after),)))
    rows = {section.title: len(section.sheet.rows) for section in table.sections if section.sheet}
    assert rows == {"mandelbrot · size 512 · s=1": 2, "mandelbrot · size 512 · s=2": 2}


def test_arguments_that_one_file_does_not_tell_pair_by_size():
    pairs = pair_up(A, a_file(seed=5, arguments="s=1"))
    assert [pair.problem for pair in pairs] == [None, None]
    one_more = pair_up(a_file(arguments="s=1"), with_two_arguments(seed=5))
    assert [pair.problem for pair in one_more] == [None, "it is in the second file only"] * 2
