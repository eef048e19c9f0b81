"""The marker `scaling`: what it asserts on invented figures, and in pytest sessions of their own."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from compiler import needs_compiler

sys.path.insert(0, str(Path(__file__).parent.parent / "scaling"))

from example_points import MACHINE, a_point
from test_pytest_plugin import BENCHMARK, in_a_process

from compute import Threads, run
from compute.adapters import scaling_marker
from compute.adapters.pytest_plugin import _scale
from compute.adapters.scaling_marker import Asked, asked_of
from compute.cli.commands import main
from compute.scaling import imported
from compute.scaling.derive import compare_points
from compute.scaling.results import Scaling
from kernels import mandelbrot

SUITE = """
import threading, time
import pytest
from kernels import kernel, mandelbrot

LOCK = threading.Lock()

def waits(seconds):
    time.sleep(seconds)
    return seconds

def takes_turns(seconds):
    with LOCK:
        time.sleep(seconds)
    return seconds

@pytest.mark.scaling(workers=[2], on=["threads"], min_attainable=0.3, budget=2)
def test_good(scaling):
    found = scaling(waits, [0.001] * 16)
    assert found is not None
    scaling(waits, [0.002] * 16)

@pytest.mark.scaling(workers=[16], on="threads", min_attainable=0.9, budget=3)
def test_bad(scaling):
    scaling(takes_turns, [0.001] * 32)

@pytest.mark.scaling(on=["threads"])
def test_forgotten(scaling):
    pass

@pytest.mark.scaling(on=["threads"])
def test_without_the_fixture():
    pass

@pytest.mark.scaling
def test_bare_without_the_fixture():
    pass

@pytest.mark.scaling(on=["threads"], min_attainable=0.9)
class TestOfAClass:
    def test_in_a_class(self):
        pass

@pytest.mark.scaling(workers=[0])
def test_no_workers(scaling):
    raise AssertionError("it is not run")

@pytest.mark.scaling(on=["thread"])
def test_no_backend(scaling):
    raise AssertionError("it is not run")

@pytest.mark.scaling(on=["threads"], workers=[1])
def test_wrong_argument(scaling):
    scaling(mandelbrot, (-1, 8))

@pytest.mark.scaling(on=["prange"], workers=[1], budget=1)
def test_refused(scaling):
    scaling(waits, [0.001])
"""
TWICE = """
from compute import Serial
from kernels import mandelbrot

def test_twice(scaling):
    scaling(mandelbrot, (8, 8), on=Serial(), variant="python")
    scaling(mandelbrot, (8, 8), on=Serial(), variant="python")
"""
PLUGIN = ["-p", "compute.adapters.pytest_plugin", "--strict-markers", "-rA"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("marked")
    (folder / "test_marked.py").write_text(SUITE)
    (folder / "test_twice.py").write_text(TWICE)
    return folder


@pytest.fixture(scope="module")
def told(folder):
    """What a session of the suite says, with pytest-benchmark; of another where one was undecided on a busy machine."""
    for _ in range(3):
        words = ["-m", "pytest", *PLUGIN, *BENCHMARK, "--benchmark-json=marked.json", "test_marked.py"]
        told = in_a_process(folder, *words)
        if "test_good" in outcomes(told):  # it was not skipped
            break
    return told


def outcomes(told):
    """Test -> what became of it."""
    return {name: word for word, name in re.findall(r"^(PASSED|FAILED|ERROR|SKIPPED) \S*::(\w+)", told, re.MULTILINE)}


def test_tests_pass_and_fail_by_what_was_attained(told):
    assert outcomes(told) == {
        "test_good": "PASSED",
        "test_bad": "FAILED",
        "test_forgotten": "FAILED",
        "test_without_the_fixture": "ERROR",
        "test_bare_without_the_fixture": "PASSED",
        "test_in_a_class": "ERROR",
        "test_no_workers": "ERROR",
        "test_no_backend": "ERROR",
        "test_wrong_argument": "FAILED",
        "test_refused": "FAILED",
    }, told


@needs_compiler
def test_the_failure_says_how_much_and_why(told):
    assert "takes_turns reaches less than 90 % of what this machine allows" in told
    assert re.search(
        r"takes_turns python on threads, 16 workers: [\d.]+× of 16\.0×, \d+ % \[\d+ %, \d+ %\] of att", told
    )
    (verdict,) = re.findall(r"too low, 90 % is asked for\nE +(.+)", told)[:1]
    assert "%" in verdict


@needs_compiler
def test_what_cannot_be_is_said_as_run_says_it(told):
    assert "workers must be at least 1, not 0" in told
    assert "there is no backend 'thread'; choose from serial, threads" in told
    with pytest.raises(ValueError) as error:
        run(mandelbrot, (-1, 8))
    assert str(error.value) in told
    assert told.count("has measured nothing; call scaling(kernel, ...) in it") >= 2
    assert "not measured: Prange(1)" in told


@needs_compiler
def test_the_summary_has_a_line_for_every_configuration(told):
    summary = told.partition("= scaling =")[2]
    assert re.search(r"test_marked.py::test_good: waits python on threads, 2 workers: [\d.]+× of 2\.00×", summary)
    assert re.search(r"test_marked.py::test_bad: takes_turns python on threads, 16 workers: .*too low", summary)


@needs_compiler
def test_figures_go_to_extra_info_and_to_reports(told, folder, capsys):
    benchmarks = json.loads((folder / "marked.json").read_text())["benchmarks"]
    infos = {one["name"]: one["extra_info"] for one in benchmarks if one["extra_info"]}
    good = infos["test_good"]
    assert (good["kernel"], good["size"], good["min_attainable"]) == ("waits", 16, 0.3)
    keys = ("backend", "workers", "speedup", "speedup_ci", "ceiling", "attainable", "samples", "verdict")
    assert all(key in point for point in good["points"] for key in keys)
    points = imported.read(folder / "marked.json").points
    assert {(p.title, p.backend, p.workers) for p in points} >= {
        ("waits (test_marked.py::test_good)", "threads", 2),
        ("waits (test_marked.py::test_good (2))", "threads", 2),
        ("takes_turns (test_marked.py::test_bad)", "threads", 16),
    }
    assert main(["report", str(folder / "marked.json")]) == 0
    assert "waits (test_marked.py::test_good)" in capsys.readouterr().out


@needs_compiler
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param([*BENCHMARK, "-p", "xdist.plugin", "-n", "2"], "SKIPPED", marks=pytest.mark.slow),
        ([*BENCHMARK, "--benchmark-disable"], "PASSED"),
        pytest.param([*BENCHMARK, "--benchmark-skip"], "SKIPPED", marks=pytest.mark.slow),
        pytest.param(["-p", "no:benchmark"], "PASSED", marks=pytest.mark.slow),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else value,
)
def test_switches_are_followed_and_said(folder, options, expected):
    told = in_a_process(folder, "-m", "pytest", *PLUGIN, *options, "test_marked.py", "-k", "good")
    was_disturbed = "inconclusive, others disturbed" in told
    # On a machine with other work a measured test is skipped, as the marker promises.
    assert f"1 {expected.lower()}" in told or (was_disturbed and "1 skipped" in told), told
    if "xdist.plugin" in options:
        assert "pytest-xdist runs tests on 2 workers at once, and they would disturb each other's times" in told
    if "--benchmark-disable" in options:
        assert "waits not timed: --benchmark-disable switches measuring off" in told


@pytest.mark.slow
def test_a_second_call_without_the_marker_says_what_to_do(folder):
    told = in_a_process(folder, "-m", "pytest", *PLUGIN, *BENCHMARK, "test_twice.py", "--benchmark-max-time=0.01")
    assert "this test calls scaling() for the second time" in told
    assert "parametrize the test, or mark it with @pytest.mark.scaling" in told
    assert "FixtureAlreadyUsed" not in told
    told = in_a_process(folder, "-m", "pytest", *PLUGIN, "-p", "no:benchmark", "test_twice.py")
    assert "1 passed" in told


def test_where_benchmarks_would_be_timed_beside_others_the_fixture_alone_refuses_too():
    def no_pool(backend):
        raise AssertionError(f"{backend!r} is opened for nothing")

    timed = SimpleNamespace(disabled=False)  # versions of pytest-benchmark differ in what they do under xdist
    with pytest.raises(pytest.skip.Exception, match="they would disturb each other"):
        _scale(timed, no_pool, "they would disturb each other")(mandelbrot, (8, 8), on=Threads(1))


@pytest.mark.parametrize(
    ("args", "kw", "message"),
    [
        (([1, 2],), {}, "takes on, workers, min_attainable, budget by their names"),
        ((), {"worker": [1]}, "has no 'worker'; .* did you mean 'workers'?"),
        ((), {"min_attainable": 0}, "min_attainable must be a share above 0"),
        ((), {"min_attainable": 80}, "min_attainable must be a share above 0"),
        ((), {"min_attainable": True}, "min_attainable must be a share above 0"),
        ((), {"min_attainable": float("nan")}, "min_attainable must be a share above 0"),
        ((), {"budget": 0}, "budget must be a number of seconds above 0"),
        ((), {"on": ["serial"]}, "nothing but serial"),
        ((), {"on": []}, "nothing but serial"),
        ((), {"on": Threads}, "on must be a backend such as Threads\\(2\\)"),
        ((), {"workers": []}, "workers is empty"),
    ],
)
def test_a_marker_that_cannot_be_is_refused_in_a_line(args, kw, message):
    with pytest.raises((TypeError, ValueError), match=message) as error:
        asked_of(args, kw)
    assert "\n" not in str(error.value)


WRONG_MARKERS = """
import pytest
from kernels import kernel, count_primes, Plan

def plan(n):
    raise ValueError("the plan of a user's own")

@kernel(plan=plan)
def own(lo, hi, out):
    out[lo:hi] = 1

@pytest.mark.scaling(bugdet=3)
def test_word(scaling):
    scaling(count_primes, 10)

@pytest.mark.scaling(on=["threads"])
def test_argument(scaling):
    scaling(count_primes, "ten")

@pytest.mark.scaling(on=["threads"])
def test_plan(scaling):
    scaling(own, 10)
"""


def test_what_is_wrong_with_a_marker_or_a_call_is_told_without_the_librarys_own_lines(tmp_path):
    (tmp_path / "test_wrong_markers.py").write_text(WRONG_MARKERS)
    said = in_a_process(tmp_path, "-m", "pytest", "-q", "-p", "compute.adapters.pytest_plugin", "test_wrong_markers.py")
    assert "@pytest.mark.scaling has no 'bugdet'" in said
    assert "1 error" in said
    assert re.search(r'^> +scaling\(count_primes, "ten"\)', said, re.MULTILINE)
    assert 'raise ValueError("the plan of a user\'s own")' in said
    assert "compute/" not in said.replace("-p compute", "")
    assert "kernels/definition" not in said
    assert len(said.splitlines()) < 60


def test_a_number_for_a_plain_function_is_so_many_items():
    work = scaling_marker._work(abs_of, (5,), {}, None, None)
    assert (work.kernel.name, list(work.args[0]), work.size_of(5)) == ("abs_of", [0, 1, 2, 3, 4], 5)
    assert list(scaling_marker._work(abs_of, ([7, -7],), {}, None, None).args[0]) == [7, -7]
    with pytest.raises(ValueError, match="size must be at least 1, not 0"):
        scaling_marker._work(abs_of, (0,), {}, None, None)


def test_a_word_or_a_number_alone_is_a_list_of_one():
    assert asked_of((), {"on": "threads", "workers": 2}) == Asked(("threads",), (2,))
    assert asked_of((), {"on": Threads(3)}) == Asked((Threads(3),))


def abs_of(item):
    return abs(item)


def judged(speedup, least=0.8, rounds=20, sigma=0.01, **other):
    rng = np.random.default_rng(1)
    noise = np.exp(sigma * rng.standard_normal((2, rounds)))
    points = [a_point("serial", 1, noise[0], mode="strong"), a_point("threads", 2, noise[1] / speedup, mode="strong")]
    made = compare_points(points)
    found = Scaling((made[0], replace(made[1], **{"ceiling": 1.9, **other})), MACHINE)
    return scaling_marker._judge(found.points[1], found, Asked(least=least))


def test_what_is_beyond_doubt_decides():
    assert (judged(1.85).decided, judged(1.85).passes) == (True, True)
    assert (judged(1.0).decided, judged(1.0).passes) == (True, False)
    assert "53 % [5" in judged(1.0).line


def test_what_is_undecided_is_said_to_be_and_goes_by_the_figure():
    above, below = judged(1.60, sigma=0.1), judged(1.40, sigma=0.1)
    assert (above.decided, above.passes) == (False, True)
    assert (below.decided, below.passes) == (False, False)
    assert "inconclusive" in below.line
    assert "near 80 %" in above.line


@pytest.mark.parametrize("known", [{"rounds": 3}, {"ceiling": None}])
def test_nothing_passes_for_want_of_rounds_or_of_a_ceiling(known):
    one = judged(1.9, **known)
    assert not one.passes
    assert "inconclusive" in one.line


def test_what_others_disturbed_is_no_success_where_that_may_have_flattered_it():
    others = {"contaminated": 15, "evidence": {"cpus": 2, "others": 0.4}}
    for speedup in (1.6, 1.85):
        flattered = judged(speedup, **others)  # serial may have been slowed by a quarter
        assert (flattered.passes, flattered.disturbed) == (False, True)
        assert "inconclusive, others disturbed 15 of 20 rounds" in flattered.line
    assert judged(1.85, **others, least=0.7).passes


@pytest.mark.parametrize("rounds", [3, 5, 9])
def test_few_rounds_that_others_disturbed_are_skipped_like_many(rounds):
    one = judged(1.0, rounds=rounds, contaminated=rounds, evidence={"cpus": 2, "others": 1.0})
    assert (one.decided, one.passes, one.disturbed) == (False, False, True)
    assert f"inconclusive, others disturbed {rounds} of {rounds} rounds" in one.line
    assert not judged(1.0, rounds=3).disturbed


def test_two_measurements_share_the_false_alarms_of_a_test(monkeypatch):
    levels = []
    real = scaling_marker.gate.share_reached
    monkeypatch.setattr(scaling_marker.gate, "share_reached", lambda *of: levels.append(of[-1]) or real(*of))
    judged(1.0)
    assert levels == [pytest.approx(1 - 2 * 0.025 / 2)]


def test_what_others_disturbed_is_no_failure_where_that_may_explain_it():
    others = {"contaminated": 15, "evidence": {"cpus": 2, "others": 1.0}}
    assert judged(1.0, **others).disturbed
    assert not judged(0.5, **others).disturbed  # half of the CPUs explain no more than a factor of two
    assert not judged(1.0, contaminated=5, evidence=others["evidence"]).disturbed  # a quarter
