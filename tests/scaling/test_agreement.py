"""A file that contradicts itself, or holds what nobody can work with, is refused in a line that names it."""

import copy
import json

import pytest
from example_main_job import a_main_job
from example_points import explained

from compute.cli.commands import main
from compute.scaling import imported, results
from compute.scaling.results import Scaling

WHOLE = json.loads(a_main_job(noise=0.02).as_json())
TWO = next(k for k, p in enumerate(WHOLE["points"]) if p["backend"] == "threads" and p["workers"] == 2)
NAMED = f"point {TWO + 1}"


def changed(change, whole=WHOLE):
    data = copy.deepcopy(whole)
    change(data, data["points"][TWO])
    return json.dumps(data)


def times(name, factor):
    def change(data, p):
        p[name] *= factor

    return change


def put(name, value):
    def change(data, p):
        p[name] = value

    return change


def faster(data, p):
    """Twice as fast as its samples are, and all that follows from it."""
    p["speedup"] *= 2
    p["speedup_ci"] = [2 * end for end in p["speedup_ci"]]
    p["efficiency"] *= 2
    p["attainable"] *= 2


def nested(depth):
    return lambda data, p: data["machine"].update(more=json.loads("[" * depth + "]" * depth))


CONTRADICTIONS = [
    (lambda data, p: p["samples"].__setitem__(1, 10**400), f"'points' {TWO + 1} 'samples' 2 is 10000000"),
    (lambda data, p: p["samples"].__setitem__(1, 1.7e308), r"'samples' 2 is 1.7e\+308, which is out of range"),
    (lambda data, p: p["samples"].__setitem__(1, 1e50), f"{NAMED}: 'samples' must be a list of seconds above 0"),
    (put("work", -(10**400)), "'work' is -1000"),
    (put("workers", 10**9), f"{NAMED}: 'workers' is 1000000000, more than any system runs"),
    (put("workers", 2**63), f"{NAMED}: 'workers' must be a whole number from 1 on, not 9223372036854775808"),
    (put("chunks", -1), "'chunks' must be a whole number from 0 on, not -1"),
    (put("work", "NaN"), "'work' must be a number from 0 on, not \"NaN\""),
    (
        lambda data, p: p.update(controls={"compute": 1.0}, memory_share=None),
        f"{NAMED}: 'controls' are there without 'memory_share'",
    ),
    (times("seconds", 2), f"{NAMED}: 'seconds' is .*, and the median of 'samples' is "),
    (times("efficiency", 1.1), "'efficiency' is .*, and 'speedup' over 'workers' is "),
    (times("attainable", 1.1), "'attainable' is .*, and 'speedup' over 'ceiling' is "),
    (times("rate", 3), "'rate' is .*, and 'work' over 'seconds' is "),
    (put("rounds", 3), "'rounds' is 3, and there are 9 'samples'"),
    (put("contaminated", 10), "'contaminated' is 10, and there are 9 'samples'"),
    (put("speedup_ci", [9.0, 10.0]), r"'speedup_ci' is \[9, 10\], which does not hold 'speedup', "),
    (put("seconds_ci", [9.0, 10.0]), r"'seconds_ci' is \[9, 10\], which does not hold 'seconds', "),
    (lambda data, p: p["ledger"].update(useful=99.0), "'ledger' sums to .*, and 'workers' times 'seconds' is "),
    (faster, f"'speedup' of {NAMED} is .*, and its samples make it "),
    (lambda data, p: data["points"].append(p), f"points {TWO + 1} and .* are both of count_primes .* threads 2"),
    (lambda data, p: p.pop("controls"), f"{NAMED} has no 'controls', which nfold writes beside 'evidence'"),
    (lambda data, p: p.pop("rounds"), f"{NAMED} has no 'rounds', which nfold writes"),
    (lambda data, p: p.pop("contaminated"), f"{NAMED} has no 'contaminated', which nfold writes"),
    (lambda data, p: data.pop("conditions"), "has no 'conditions', which nfold writes"),
    (put("controls", {"compute": 1.0}), "has 'controls', and others of the same rounds have none"),
    (lambda data, p: data["machine"].update(cpus="two"), "'cpus' of 'machine' must be a whole number from 0 on, not"),
    (lambda data, p: data["machine"].update(model=[1]), "'model' of 'machine' must be a text"),
    (nested(40), "nested more than 32 deep"),
    (nested(900), "nested more than 32 deep"),
]


@pytest.mark.parametrize(("change", "told"), CONTRADICTIONS, ids=[told for _, told in CONTRADICTIONS])
def test_what_cannot_be_is_refused_by_whatever_reads_it(change, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.json").write_text(json.dumps(WHOLE))
    (tmp_path / "b.json").write_text(changed(change))
    with pytest.raises(ValueError, match=told) as caught:
        Scaling.from_json("b.json")
    assert str(caught.value).startswith("b.json")
    for words in (["report", "b.json"], ["check", "a.json", "b.json"], ["compare", "b.json", "a.json"]):
        assert main(words) in (1, 2)
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        assert "b.json" in err


def test_what_nfold_writes_agrees_with_itself():
    for scaling in (a_main_job(), a_main_job(mode="weak"), explained()):
        assert results.from_data(json.loads(scaling.as_json()), "a.json").points


def test_figures_of_fewer_digits_are_the_same_figures():
    def rounded(data, p):
        for name in ("seconds", "speedup", "efficiency", "rate"):
            p[name] = float(f"{p[name]:.8g}")

    assert results.from_data(json.loads(changed(rounded)), "a.json").points


@pytest.mark.parametrize(
    ("replaced", "told"),
    [
        (('"points": [', '"points": [], "points": ['), "an object in it has 'points' twice"),
        (('"kernel": "triad"', '"kernel": "triad", "kernel": "triad"'), "an object in it has 'kernel' twice"),
        (('"workers": 2', '"workers": 2' + "0" * 5000), "it holds a number of 5001 digits"),
    ],
)
def test_what_json_lets_through_is_refused(replaced, told, tmp_path):
    text = json.dumps(WHOLE)
    assert replaced[0] in text
    (tmp_path / "b.json").write_text(text.replace(*replaced, 1))
    with pytest.raises(ValueError, match=told) as caught:
        Scaling.from_json(tmp_path / "b.json")
    assert "\n" not in str(caught.value)


def test_rounds_that_were_disturbed_are_those_that_the_conditions_name():
    whole = json.loads(explained().as_json())

    def refusal(change):
        data = copy.deepcopy(whole)
        change(data)
        with pytest.raises(ValueError, match="'conditions' has") as caught:
            results.from_data(data, "a.json")
        return str(caught.value)

    assert "'conditions' has 23 rounds of count_primes, and its points have 12" in refusal(
        lambda data: data["conditions"].extend(data["conditions"][:11])
    )
    assert "2 disturbed rounds of count_primes, and its points have 3" in refusal(
        lambda data: data["conditions"][0].update(marked=None)
    )


def test_halves_of_characters_are_shown_as_escapes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = json.dumps(WHOLE).replace('"triad"', '"tri\\ud800ad"')
    (tmp_path / "b.json").write_text(text)
    assert main(["report", "b.json", "--details", "--markdown", "b.md", "--html", "b.html", "--csv", "b.csv"]) == 0
    assert "tri\\ud800ad" in capsys.readouterr().out
    assert "tri\\ud800ad" in (tmp_path / "b.csv").read_text()


def benchmark(**stats):
    info = {"kernel": "triad", "size": 100, "variant": "nogil", "backend": "serial", "workers": 1}
    return {"name": "test_a", "extra_info": info, "stats": {"data": [1.0, 2.0, 3.0], **stats}}


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (benchmark(rounds=4), "test_a has rounds 4, and its data make it 3"),
        (benchmark(min=0.5), "test_a has min 0.5, and its data make it 1.0"),
        (benchmark(max="3"), "test_a has max '3', and its data make it 3.0"),
        (benchmark(data=[1.0, 1e300]), "test_a holds no times"),
        ({**benchmark(), "extra_info": {**benchmark()["extra_info"], "workers": 10**8}}, "more than any system runs"),
        ({**benchmark(), "fullname": ["a"], "extra_info": {}}, "the name of a benchmark must be a text"),
    ],
)
def test_benchmarks_are_held_to_the_same(made, told):
    with pytest.raises(ValueError, match=told) as caught:
        imported.from_benchmarks({"benchmarks": [made]}, "b.json", every=True)
    assert "\n" not in str(caught.value)


def test_tests_that_measured_the_same_are_told():
    (serial, two, *_) = (p for p in WHOLE["points"] if p["kernel"] == "triad" and p["variant"] == "nogil")
    tests = [{"name": name, "extra_info": {"points": [serial, two]}} for name in ("test_a", "test_b")]
    warning, *_ = imported.from_benchmarks({"benchmarks": tests}, "b.json").warnings
    assert warning.startswith("several tests measured triad ")
    assert results.from_data(WHOLE, "a.json").points[TWO].name == "count_primes 1,000,000 · python · threads 2"


def test_tests_that_measured_the_same_stand_by_themselves_in_the_file_that_is_written_of_them(tmp_path):
    (serial, two, *_) = (p for p in WHOLE["points"] if p["kernel"] == "triad" and p["variant"] == "nogil")
    tests = [
        {"name": "test_a", "extra_info": {"points": [serial]}},
        {"name": "test_b", "extra_info": {"points": [serial, two, serial, two]}},  # of two measurements
    ]
    found = imported.from_benchmarks({"benchmarks": tests}, "b.json")
    files = [p.file for p in found.points]
    assert files == [None, "test_b", "test_b", "test_b 2", "test_b 2"]

    found.to_json(tmp_path / "a.json")
    assert Scaling.from_json(tmp_path / "a.json").points == found.points


def test_datasets_with_a_common_serial_run_are_told_apart_and_read_back():
    one, two, three = a_main_job(), a_main_job(noise=0.01), a_main_job(noise=0.02)
    added = one + two + three
    number = len(one.points)
    assert [p.file for p in added.points] == [None] * number + ["2"] * number + ["3"] * number
    read = results.from_data(json.loads(added.as_json()), "a.json").points
    assert [(p.file, p.speedup) for p in read] == [(p.file, p.speedup) for p in added.points]
    assert [p.speedup for p in read] == [p.speedup for d in (one, two, three) for p in d.points]


def test_a_dataset_that_is_added_twice_is_there_once():
    one, two = a_main_job(), a_main_job(noise=0.01)
    read = results.from_data(json.loads((one + two).as_json()), "a.json")
    for added, of in ((one + one, one), (one + two + read, one + two), (one + two + two, None)):
        found = results.from_data(json.loads(added.as_json()), "b.json")
        assert of is None or (found.points, len(found.conditions)) == (of.points, len(of.conditions))


def test_datasets_that_have_nothing_in_common_are_added_as_they_are():
    one, other = a_main_job(), a_main_job(kernels=["dot"])
    added = one + other
    assert added.points == one.points + other.points
    assert results.from_data(json.loads(added.as_json()), "a.json").points


def test_results_add_up_and_nothing_else_is_added_to_them():
    one, two = a_main_job(), a_main_job(noise=0.01)
    assert sum([one, two]).points == (one + two).points
    for other in (1, None, "a.json", one.points, True):
        for add in (lambda x: one + x, lambda x: x + one):
            with pytest.raises(TypeError, match=r"unsupported operand|can only concatenate"):
                add(other)
