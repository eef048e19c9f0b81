"""What a notebook shows: one picture with words for it, the same figures as tables, no scripts, texts as texts."""

import base64
import re

import numpy as np
import pytest
from example_points import a_point, a_timeline, explained
from hostile import CORPUS, a_hostile
from test_html import Page

from compute import Serial, Threads, run
from compute.dispatch import Result
from compute.report import plots
from compute.scaling.derive import compare_points
from compute.scaling.results import Scaling
from compute.scaling.tables.table import groups
from compute.texts import visible
from kernels import count_primes, mandelbrot

ALLOWED = {
    "p",
    "b",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "ul",
    "li",
    "img",
    "details",
    "summary",
    "pre",
    "small",
}


class Cell(Page):
    """Of a notebook: checked for what must not be there."""

    def __init__(self, value):
        text = value._repr_html_()
        super().__init__(text.replace("<img ", "<br "))  # an image has no end, as a line break
        assert self.open == []
        assert {tag for tag, _ in self.tags} - {"br"} <= ALLOWED
        assert {name for _, attrs in self.tags for name in attrs} <= {"style", "alt", "src"}
        assert all(c.isprintable() or c == "\n" for c in text)
        self.images = self.all("br")
        for image in self.images:
            head, data = image["src"].split(",")
            assert head == "data:image/png;base64"
            assert base64.b64decode(data).startswith(b"\x89PNG")
            assert len(image["alt"]) > 20
        self.text = "".join(self.words)


def test_of_a_scaling():
    cell = Cell(explained())
    assert len(cell.images) == 1
    for group in ("count_primes", "mandelbrot"):
        assert group in cell.text
    assert "Invented 9000" in cell.text
    assert "threads·python" in cell.text
    cells = {text for group in groups(explained()) for row in group.rows for text in row.cells if text}
    assert cells <= set(cell.words)
    assert "Core-seconds, in % of workers × time" in cell.text


@pytest.mark.parametrize("scaling", [Scaling((a_point(),)), Scaling((a_point("threads", 2),))])
def test_of_a_scaling_with_nothing_to_compare(scaling):
    cell = Cell(scaling)
    assert cell.images == []
    assert "1.00 s" in cell.text


@pytest.fixture(scope="module")
def plain():
    return [tag for tag, _ in Cell(a_hostile("plain")).tags]


@pytest.mark.parametrize("text", CORPUS.values(), ids=CORPUS)
def test_texts_from_outside_are_texts(text, plain, monkeypatch):
    """But for the picture, which test_hostile.py has."""
    monkeypatch.setattr(plots, "render", lambda scaling: b"\x89PNG")
    cell = Cell(a_hostile(text))
    assert visible(text) in cell.text
    assert [tag for tag, _ in cell.tags] == plain or text == ""


def test_of_a_timeline():
    cell = Cell(a_timeline())
    assert len(cell.images) == 1
    assert cell.images[0]["alt"].startswith("2 lanes ran 6 chunks in 37.0 ms")
    assert "something was mended" in cell.text
    assert [word for word in cell.words if word in ("4000", "4001")] == ["4000", "4001"]


def test_of_a_run():
    result = run(mandelbrot, (64, 64), on=Threads(2), variant="python")
    cell = Cell(result)
    assert "int32 array of shape (64, 64)" in cell.text
    assert "CPU/wall" in cell.text
    assert "168" in Cell(run(count_primes, 1000, on=Serial(), variant="python")).text
    assert "No lane ran a chunk" in Cell(run(mandelbrot, (0, 5), on=Serial(), variant="python")).text


@pytest.mark.parametrize(
    "value", ["<script>alert(1)</script>\x1b[31m", "x" * 10**6, np.array(["<b>"])], ids=["script", "long", "array"]
)
def test_a_value_is_shown_and_not_obeyed(value):
    cell = Cell(Result(value, 0.1, a_timeline))
    assert len(cell.text) < 5000
    assert re.search(r"<script>alert\(1\)</script>\\x1b|x{1000}|<b>", cell.text)


def test_another_number_of_workers_and_every_mark_are_told_in_the_screen():
    points = compare_points(
        [a_point(), a_point("threads", 8, [0.2] * 5 + [0.21]), a_point("prange", 8, [0.2, 0.21] * 3),
         a_point("joblib", 2, [0.5] * 6), a_point("mine", 8, [0.2, 0.6] * 3)]
    )  # fmt: skip
    cell = Cell(Scaling(points))
    assert "2.00/2" in cell.words
    assert "Speedup with 8 workers (or with 2: /2)" in cell.text
    for mark in "* fastest", "= as fast, within noise", "~ uncertain":
        assert mark in cell.text
