"""What every report is held to: checked before measuring, a pure function of the dataset, written whole."""

import importlib.util
import os
from dataclasses import replace

import pytest
from example_points import a_point, a_scaling, explained

from compute import report
from compute.scaling.derive import compare_points
from compute.scaling.results import Scaling

HERE = list(report.FORMATS)
ODD = {
    "one point": Scaling((a_point(),)),
    "no baseline": Scaling(compare_points([a_point("threads", 2)])),
    "no machine, no size, three rounds": Scaling(
        compare_points([a_point(size=None, samples=[1.0] * 3), a_point("threads", 64, [0.1] * 3, size=None)])
    ),
    "a name to be escaped": Scaling(
        compare_points([replace(a_point(), kernel="<b>|_*&\n")]), {"model": "<i>"}, ("<u> & $x$",)
    ),
    "slower by far": Scaling(
        compare_points([a_point(), a_point("dask", 3, [500.0] * 6), a_point("mine", 7, [1e-9] * 6)])
    ),
    "four counts": a_scaling((1, 2, 3, 4)),
    "all that explains it": explained(a_scaling((1, 2), kernels=["a"])),
    "explained, four counts": explained(a_scaling((1, 2, 3, 4), kernels=["a"])),
    "up to 64": a_scaling((1, 2, 4, 8, 16, 32, 48, 64), kernels=["a"]),
}


@pytest.mark.parametrize(
    ("form", "scaling"),
    [  # a picture takes ten times as long as a text: one of them is quick
        pytest.param(
            form, ODD[odd], id=f"{form}-{odd}", marks=pytest.mark.slow if form == "png" and odd != "up to 64" else ()
        )
        for form in HERE
        for odd in ODD
    ],
)
def test_any_dataset_can_be_shown_and_always_the_same(form, scaling):
    content = report.render(scaling, form)
    assert len(content) > 50
    assert content == report.render(scaling, form)


@pytest.mark.parametrize("form", HERE)
def test_every_kernel_and_backend_is_in_every_text(form):
    content = report.render(a_scaling(), form)
    if isinstance(content, str):
        for word in ("count_primes", "mandelbrot", "threads", "processes", "joblib", "coroutines", "python", "nogil"):
            assert word in content


def test_written_each_to_its_path(tmp_path):
    outputs = {form: tmp_path / f"a.{form}" for form in HERE}
    report.ready({**outputs, "html": None})
    assert os.listdir(tmp_path) == []
    report.write(a_scaling(), {**outputs, "csv": None})
    assert sorted(os.listdir(tmp_path)) == sorted(f"a.{form}" for form in HERE if form != "csv")
    assert (tmp_path / "a.markdown").read_text() == report.render(a_scaling(), "markdown")


@pytest.mark.parametrize(
    ("outputs", "told"),
    [
        ({"makrdown": "a"}, "no report is called 'makrdown'; choose from .*; did you mean 'markdown'"),
        ({"json": "no/a.json"}, "cannot write 'no/a.json': there is no folder"),
        ({"csv": "."}, "cannot write '.': it is a folder"),
        ({"json": "a.json", "csv": "./a.json"}, "the json and the csv report both go to './a.json'"),
    ],
)
def test_what_cannot_be_written_is_told_before_anything_is_measured(tmp_path, monkeypatch, outputs, told):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=told):
        report.ready(outputs)
    assert os.listdir(tmp_path) == []


def test_a_missing_library_is_told_before_anything_is_measured(tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else found(name))
    with pytest.raises(ValueError, match=r"png report needs matplotlib.*pip install 'nfold'"):
        report.ready({"png": tmp_path / "a"})
    report.ready({"png": None, "html": tmp_path / "a"})
