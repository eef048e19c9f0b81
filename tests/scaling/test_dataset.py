"""A Scaling goes to JSON and comes back unchanged; anything else in a file is told in one line."""

import json
from dataclasses import fields, replace

import pytest
from example_points import a_point, a_scaling
from hypothesis import given
from hypothesis import strategies as st

from compute.scaling import dataset, results, schema
from compute.scaling.dataset import Point
from compute.scaling.derive import compare_points
from compute.scaling.results import Scaling

FIXED = [
    "kernel", "size", "variant", "backend", "workers", "seconds", "samples", "speedup", "speedup_ci", "efficiency",
    "ceiling", "attainable", "ledger", "verdict",
]  # fmt: skip


def test_json_has_the_fixed_keys_and_comes_back_unchanged(tmp_path):
    scaling = a_scaling()
    scaling.to_json(tmp_path / "a.json")
    data = json.loads((tmp_path / "a.json").read_text())
    assert data["schema"] == "nfold/1"
    assert data["machine"] == scaling.machine
    assert all(set(FIXED) <= set(point) for point in data["points"])
    assert [data["points"][0][key] for key in ("ceiling", "attainable", "ledger", "verdict")] == [None] * 4
    assert Scaling.from_json(tmp_path / "a.json") == scaling


FINITE = st.floats(1e-9, 1e9)
A_POINT = st.builds(
    Point,
    kernel=st.text(min_size=1),
    size=st.none() | st.integers(0, 10**18),
    variant=st.sampled_from(["python", "nogil"]),
    backend=st.text(min_size=1),
    workers=st.integers(1, 4096),
    seconds=st.just(1.0),
    samples=st.lists(FINITE, min_size=1, max_size=8).map(tuple),
    work=st.none() | FINITE,
    verdict=st.none() | st.text(),
    notes=st.lists(st.text(), max_size=2).map(tuple),
)


def with_ledger(p, lost):
    whole = p.workers * p.seconds
    return p if lost is None else replace(p, ledger={"useful": (1 - lost) * whole, "unexplained": lost * whole})


@given(
    st.lists(A_POINT, min_size=1, max_size=4, unique_by=lambda p: (p.kernel, p.size, p.variant, p.backend, p.workers)),
    st.none() | st.floats(-1, 1),
)
def test_every_dataset_survives_its_json(points, lost):
    points = [with_ledger(p, lost) for p in compare_points(points, paired=False)]
    scaling = Scaling(tuple(points), {"cpus": 2}, ("told",))
    text = scaling.as_json()
    assert results.from_data(json.loads(text), "a.json") == scaling


def test_keys_of_a_later_version_are_left_out(tmp_path):
    data = json.loads(a_scaling().as_json())
    data["later"] = data["points"][0]["later"] = {"a": 1}
    (tmp_path / "a.json").write_text(json.dumps(data))
    assert Scaling.from_json(tmp_path / "a.json") == a_scaling()


def test_every_field_of_a_point_has_a_type_to_hold_it_to():
    described = {**schema.REQUIRED, **schema.OR_NULL, **schema.EXTRA}
    assert set(described) == {f.name for f in fields(Point)}
    assert set(schema.REQUIRED) | set(schema.OR_NULL) == set(FIXED)


WHOLE = a_scaling().as_json()


def changed(**point):
    data = json.loads(WHOLE)
    data["points"][1].update(point)
    return json.dumps(data)


def without(key):
    data = json.loads(WHOLE)
    del data["points"][2][key]
    return json.dumps(data)


def with_more(**items):
    return json.dumps(json.loads(WHOLE) | items)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty; measure again"),
        (" \n", "is empty; measure again"),
        ("speedup,1.9\n", "is not JSON .line 1: .*; give a file that nfold wrote"),
        ("{'schema': 1}", "is not JSON"),
        ("[1, 2]", "holds a JSON list, not an object"),
        ("{}", "has no schema"),
        ('{"schema": "nfold/9", "points": []}', "has schema 'nfold/9', not 'nfold/1'; measure again"),
        ('{"schema": "nfold/1", "machine": {}, "points": []}', "holds no points; measure again"),
        ('{"schema": "nfold/1", "machine": {}}', "has no 'points'"),
        ('{"schema": "nfold/1", "points": [{}]}', "has no 'machine'"),
        ('{"schema": "nfold/1", "machine": {}, "points": 3}', "'points' must be a list, not 3"),
        ('{"schema": "nfold/1", "machine": [], "points": [1]}', "'machine' must be an object"),
        ('{"schema": "nfold/1", "machine": {}, "points": [1]}', "point 1 must be an object, not 1"),
        ('{"schema": "nfold/1", "machine": {}, "points": [{}], "warnings": [3]}', "'warnings' must be a list of texts"),
        ('{"schema": "nfold/1", "machine": {}, "points": [1e999]}', "holds 1e999"),
        (with_more(laws=[3]), "'laws' must be a list of objects, not of 3"),
        (with_more(laws=[{}, {"sentences": "A."}]), "'sentences' of 'laws' 2 must be a list of texts"),
        (with_more(laws=[{"assumption": 1}]), "'assumption' of 'laws' 1 must be a text, not 1"),
        (with_more(conditions={}), "'conditions' must be a list, not {}"),
        (with_more(conditions=[{"others": "x"}]), "'others' of 'conditions' 1 must be a number from 0 on, not \"x\""),
        (with_more(conditions=[{"variant": []}]), "'variant' of 'conditions' 1 must be a text"),
        (with_more(harness={"overhead": None}), "'harness' must be an object of numbers from 0 on"),
        (with_more(harness=[]), "'harness' must be an object, not"),
        ('{"benchmarks": []}', "pytest-benchmark's.*nfold report"),
        (without("kernel"), "point 3 has no 'kernel'"),
        (without("speedup"), "point 3 has no 'speedup'"),
        (changed(workers=0), "point 2: 'workers' must be a whole number from 1 on, not 0"),
        (changed(workers=True), "'workers' must be .* not true"),
        (changed(workers="2"), "'workers' must be .* not \"2\""),
        (changed(seconds=-1), "'seconds' must be a number of seconds above 0, not -1"),
        (changed(seconds=None), "'seconds' must be .* not null"),
        (changed(samples=[]), "'samples' must be a list of seconds above 0"),
        (changed(samples=[1, "2"]), "'samples' must be"),
        (changed(speedup_ci=[2, 1]), r"'speedup_ci' must be \[low, high\], not \[2, 1\]"),
        (changed(speedup_ci=[1]), "'speedup_ci' must be"),
        (changed(ledger=[1]), "'ledger' must be an object of numbers"),
        (changed(size=1.5), "'size' must be a whole number"),
        (changed(notes=["a", 1]), "'notes' must be a list of texts"),
        (changed(speedup=float("nan")), "it holds NaN"),
        (changed(seconds=float("inf")), "it holds Infinity"),
        ("[" * 100_000, "measure again|is not JSON"),
    ],
    ids=lambda given: given if len(given) < 100 else f"{len(given)} characters",  # each process sends all names
)
def test_what_is_wrong_with_a_file_is_told_in_one_line_with_a_remedy(tmp_path, text, told):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=told) as caught:
        Scaling.from_json(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.77, 0.999])
def test_a_file_that_is_cut_off_is_told_so(tmp_path, share):
    path = tmp_path / "a.json"
    path.write_text(WHOLE[: int(len(WHOLE.rstrip()) * share)])
    with pytest.raises(ValueError, match=r"is cut off at line [0-9]+; measure again"):
        Scaling.from_json(path)


@given(st.integers(1, len(WHOLE.rstrip()) - 1))
def test_a_file_cut_off_anywhere_is_an_error_in_one_line(tmp_path_factory, end):
    path = tmp_path_factory.mktemp("cut") / "a.json"
    path.write_text(WHOLE[:end])
    with pytest.raises(ValueError, match="measure again"):
        Scaling.from_json(path)


def test_a_file_that_is_not_there_or_not_text(tmp_path):
    with pytest.raises(ValueError, match=r"there is no file .*none.json.*--json"):
        Scaling.from_json(tmp_path / "none.json")
    with pytest.raises(ValueError, match=r"cannot read .*Is a directory"):
        Scaling.from_json(tmp_path)
    (tmp_path / "picture").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(ValueError, match="it is not text"):
        Scaling.from_json(tmp_path / "picture")


def test_nan_is_never_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        Scaling((replace(a_point(), speedup=float("nan")),)).to_json(tmp_path / "a.json")
    assert not list(tmp_path.iterdir())


def test_two_datasets_are_added_and_a_warning_stands_once():
    both = a_scaling(kernels=["primes"]) + a_scaling(kernels=["triad"])
    assert {p.kernel for p in both.points} == {"primes", "triad"}
    assert len(both.warnings) == 1
    elsewhere = replace(a_scaling(), machine={"model": "Invented 2"})
    assert (both + elsewhere).warnings[1:] == (dataset.SEVERAL,)
    assert (both + elsewhere).machine == both.machine
