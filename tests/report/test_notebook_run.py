"""A notebook, executed as Jupyter does it but without a browser: what cells show, and how progress is drawn in them."""

import re

import pytest
from executed_notebooks import outputs_of

pytest.importorskip("nbclient", reason="nbclient is not installed: pip install -e '.[test]'")
pytest.importorskip("ipykernel", reason="ipykernel is not installed: pip install -e '.[test]'")

CELLS = {
    "run": """
import time
from compute import *
from kernels import count_primes, each, mandelbrot

def slow(x):
    time.sleep(0.05)
    return x * x

result = run(each(slow), range(16), on=Threads(2), progress=True)
result
""",
    "timeline": "result.timeline",
    "scale": "scale(mandelbrot, (40, 40), on=['threads'], workers=[1, 2], budget=0.1, progress=True)",
    "advise": "advise(mandelbrot, (60, 60), on=['threads'], budget=0.5, progress=True)",
    "an error is an error": "scale(mandelbrot, (40, 40), progress=3)",
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """The outputs of each cell, by the cell's name."""
    told = outputs_of(list(CELLS.values()), tmp_path_factory.mktemp("notebook"))
    return dict(zip(CELLS, told, strict=True))


def html_of(cell):
    (shown,) = (output["data"] for output in cell if output["output_type"] == "execute_result")
    return shown["text/html"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["run", "timeline", "scale", "advise"])
def test_a_cell_shows_a_picture_and_a_table(outputs, name):
    assert [output for output in outputs[name] if output["output_type"] == "error"] == []
    html = html_of(outputs[name])
    assert html.count('src="data:image/png;base64,') == 1
    assert "<table>" in html
    assert "<script" not in html


def test_a_value_is_there(outputs):
    assert "[0, 1, 4, 9" in html_of(outputs["run"])


@pytest.mark.parametrize(("name", "end"), [("run", "16/16 chunks, 100 %"), ("scale", "done"), ("advise", "done")])
def test_progress_is_one_line_written_over_itself(outputs, name, end):
    said = "".join(output["text"] for output in outputs[name] if output["output_type"] == "stream")
    assert "\x1b" not in said
    assert said.count("\n") == 1
    lines = said.rstrip().split("\r")
    assert end in lines[-1]
    percents = [int(found[1]) for line in lines if (found := re.search(r"(\d+) %$", line.rstrip()))]
    assert percents == sorted(percents)


def test_what_cannot_be_is_refused(outputs):
    (error,) = outputs["an error is an error"]
    assert error["ename"] == "TypeError"
    assert error["evalue"] == "progress must be a function of (done, total, label), True, False or None, not 3"
