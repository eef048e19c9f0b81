"""Whatever `scale` and `scale_all` measure is read back from their file, with the figures that it had."""

import signal
import time
from dataclasses import replace

import pytest

from compute import Coroutines, CutShort, Threads, machine
from compute.scaling import agreement
from compute.scaling.results import Scaling
from compute.scaling.rounds import Work, scale, scale_all
from kernels import Plan, count_primes, kernel


def _plan(n, steps):
    return Plan(n, (steps,), grain=1)


@kernel(plan=_plan, compiled=False)
def laps(lo, hi, out, steps):
    """Fill out[lo..hi], after so many steps each."""
    for i in range(lo, hi):
        total = 0.0
        for step in range(steps):
            total += step
        out[i] = total


@kernel(compiled=False, bound="wait")
def naps(lo, hi, out, x):
    for i in range(lo, hi):
        time.sleep(0.001)
        out[i] = x[i]


def read_back(scaling, path):
    scaling.to_json(path / "a.json")
    assert Scaling.from_json(path / "a.json") == scaling
    return scaling


def test_one_size_with_other_arguments_has_a_serial_run_of_its_own(tmp_path):
    works = [Work(laps, (100, steps)) for steps in (5, 500)]
    found = read_back(scale_all(works, on=[Threads(2)], rounds=3), tmp_path)
    assert [(p.arguments, p.baseline) for p in found.points] == [("100, 5", "serial")] * 2 + [
        ("100, 500", "serial")
    ] * 2


@pytest.mark.parametrize("usable", [1, 2])
def test_more_workers_than_the_gauges_have_lanes(usable, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "usable_cpus", lambda *_: usable)
    monkeypatch.setattr(machine, "allowed_cpus", lambda *_: list(range(64)))
    read_back(scale(laps, 100, 5, on=[Threads(2), Threads(12)], rounds=2), tmp_path)


def test_sizes_with_other_variants_and_rounds_that_were_disturbed(tmp_path):
    """Each of them has conditions of its own, and a work with one variant no longer takes those of a work with two."""
    works = [Work(laps, (100, 5), variants=["python"]), Work(laps, (200, 5)), Work(laps, (200, 6), on=["threads"])]
    found = read_back(scale_all(works, on=[Threads(2), Coroutines(2)], rounds=4), tmp_path)
    assert [(c["size"], c["arguments"], c["round"]) for c in found.conditions] == [
        (size, f"{size}, {steps}", n) for size, steps in ((100, 5), (200, 5), (200, 6)) for n in range(1, 5)
    ]
    assert all(c["variants"] == ["python"] == [c["variant"]] and c["mode"] == "strong" for c in found.conditions)


def test_rounds_of_trials_that_say_nothing_of_themselves_contradict_none(tmp_path):
    """As in files of before: a condition says its kernel, and its variant where it has only one."""
    found = scale_all([Work(laps, (n, 5)) for n in (100, 200)], on=[Threads(2)], rounds=3)
    former = [{k: v for k, v in c.items() if k not in agreement.TRIAL} for c in found.conditions]
    former += [{**c, "round": c["round"] + 3, "marked": "a neighbour"} for c in former]
    read_back(replace(found, conditions=tuple(former)), tmp_path)
    doubled = replace(found, conditions=(*found.conditions[:3], *found.conditions))
    with pytest.raises(ValueError, match="'conditions' has 6 rounds of laps, and its points have 3"):
        read_back(doubled, tmp_path)


@pytest.mark.parametrize("options", [{"mode": "weak"}, {"variants": ["python", "nogil"]}])
def test_real_kernels(options, tmp_path):
    args = (20_000,) if "mode" in options else (2000,)
    read_back(scale(count_primes, *args, on=[Threads(1), Threads(2)], rounds=3, **options), tmp_path)


def test_what_waits_and_what_was_cut_short(tmp_path):
    works = [Work(naps, ([1.0] * 8,)), Work(laps, (100, 5))]
    read_back(scale_all(works, on=[Threads(2)], rounds=3), tmp_path)
    told = []

    def progress(done, total, label):
        told.append(label)
        if told.count("laps · python · threads 2") == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(CutShort) as stopped:
        scale_all(works, on=[Threads(2)], rounds=9, progress=progress)
    read_back(stopped.value.scaling, tmp_path)


def test_works_that_no_file_could_tell_apart_are_refused_before_a_worker_starts():
    on = [Work(laps, (100, 5), on=[name]) for name in ("threads", "coroutines")]
    told = r"two works are of laps 100 with the arguments 100, 5: .*; give each a size= of its own"
    with pytest.raises(ValueError, match=told):
        scale_all(on, on=[Threads(2), Coroutines(2)], rounds=1, progress=lambda *_: pytest.fail("it began"))


def test_the_same_work_under_two_sizes_is_two_works(tmp_path):
    works = [Work(laps, (100, 5), size=size) for size in (1, 2)]
    assert [p.size for p in read_back(scale_all(works, on=[Threads(2)], rounds=2), tmp_path).points] == [1, 1, 2, 2]
