"""Where texts from outside go to each format: one function a format, and nothing that goes past it."""

from __future__ import annotations

import csv
import io
import logging
import re
import warnings
from pathlib import Path

import pytest
from example_points import a_point, a_scaling, explained
from matplotlib.image import imread
from sampling import pairs, quick_first

import compute
from compute import report, texts
from compute.cli import terminal
from compute.lessons import drawn
from compute.lessons.lesson import Picture, Series
from compute.report import canvas, notebook
from compute.scaling.derive import compare_points
from compute.scaling.results import Scaling

ROOM = Path(compute.__file__).parent
LONG = "k" * 2_000_000
MATH = ["$$", "$", "a$b$c", r"$\frac{", r"\$\$", "$_$"]


@pytest.mark.parametrize(
    ("past", "place"),
    [
        (r"^\s*(import html\b|from html import)", "texts.py"),
        (r"\bFigureCanvas|\bpyplot\b|\bparse_math\b", "report/canvas.py"),
        (r"\bwrap=True", None),  # matplotlib's own, which measures what stands between two $ as a formula
    ],
)
def test_there_is_one_way_to_each_format(past, place):
    found = [path for path in ROOM.rglob("*.py") if re.search(past, path.read_text(), re.MULTILINE)]
    assert [path.relative_to(ROOM).as_posix() for path in found] == [place] * (place is not None)


@pytest.mark.parametrize("text", quick_first(2, MATH))
def test_no_picture_typesets_a_name(text):
    picture = Picture(f"what {text} takes", (1.0, 2.0), (Series(f"{text}x", (1.0, 2.0)), Series(text, (2.0, 3.0))))
    bars = Picture(text, (text, "b"), (Series(text, (1.0, 2.0)),), x_label=text, y_label=text)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert imread(io.BytesIO(drawn.render([picture, bars]))).ndim == 3


@pytest.mark.parametrize("counts", [(1, 2), pytest.param((1, 2, 4), marks=pytest.mark.slow)])
def test_no_report_typesets_a_name(counts):
    named = explained(a_scaling(counts, kernels=["$$", r"$\frac{"]))
    assert imread(io.BytesIO(report.render(named, "png"))).ndim == 3


def test_labels_that_leave_no_room_are_drawn_without_a_word_on_stderr(capfd):
    wide = [a_point("計" * 40, 3, [1.0] * 6), a_point("算" * 40, 2, [1e-9] * 6), a_point("x" * 40, 4, [1e9] * 6)]
    report.render(Scaling(compare_points([a_point(), *wide])), "png")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("workers", "seconds"), pairs([7, 64, 2**20, 2**22], [1e-12, 1e12]))
def test_speedups_beyond_all_measure_are_drawn(workers, seconds):
    points = compare_points([a_point(), *(a_point("threads", n, [seconds] * 6) for n in (2, 3, workers))])
    assert imread(io.BytesIO(report.render(Scaling(points), "png"))).ndim == 3


@pytest.mark.parametrize("form", report.FORMATS)
def test_a_name_of_megabytes_is_cut_and_not_laid_out(form):
    points = compare_points([a_point(kernel=LONG), a_point(f"{LONG}b", 2, kernel=LONG, variant="nogil", unit=LONG)])
    content = report.render(Scaling(points, {"model": LONG}, (LONG,)), form)
    if form == "json":  # whoever reads it gets what there was
        assert LONG in content
    else:
        assert len(content) < 10**6
        assert form == "png" or "2,000,000 characters" in content or form == "html"


def test_what_is_cut_is_told_apart():
    one, other = texts.cut(LONG + "a"), texts.cut(LONG + "b")
    assert one != other
    assert one == texts.cut(LONG + "a")
    assert len(one) == texts.LONGEST
    hostile = texts.shown(("\x1b" * 10**5 + "b",))
    assert texts.shown(hostile) is hostile
    assert texts.cut("k" * texts.LONGEST) == "k" * texts.LONGEST
    assert texts.shown((LONG + "\x1b",))[0].isprintable()


def test_errors_of_megabytes_are_a_line(capsys):
    terminal.complain(LONG + "\n" + LONG)
    terminal.explain(ValueError(f"{LONG}\x1b\n{LONG}"))
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err) <= 3 * texts.LONGEST + 50
    assert "\x1b" not in err


class Silent:
    def __repr__(self):
        raise RuntimeError("nothing to say")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (10**5000, "a int that cannot be shown (ValueError: Exceeds the limit"),
        (Silent(), "a Silent that cannot be shown (RuntimeError: nothing to say)"),
        (list(range(10**6)), "characters"),
        ("a\x1b[31m", "a"),
    ],
    ids=["digits", "silent", "long", "escape"],
)
def test_any_value_of_a_run_is_told(value, told):
    assert told in texts.as_text(value)
    page = notebook._value(value)
    assert told in page
    assert len(page) < texts.LONGEST + 50


@pytest.mark.parametrize("name", ["a;=1+1", "a | =cmd", "=1", " =1", "＝1", "a;b;@x"])
def test_no_spreadsheet_computes_a_name_whatever_ends_its_cells(name):
    table = report.render(Scaling(compare_points([a_point(kernel=name)])), "csv")
    for delimiter in ",;|":
        for row in csv.reader(io.StringIO(table), delimiter=delimiter):
            assert not any(re.match(r"\s*[=@＝]", cell) for cell in row)
    assert "'" in table
    assert texts.in_csv("a=b; 5 - 3; e-9") == "a=b; 5 - 3; e-9"


def test_pictures_are_the_same_whatever_the_readers_matplotlib_says(tmp_path, monkeypatch):
    import matplotlib

    before = report.render(a_scaling(), "png")
    with matplotlib.rc_context({"text.parse_math": True, "font.size": 30, "axes.edgecolor": "red"}):
        assert report.render(a_scaling(), "png") == before
    assert canvas.folded("one two three", 7) == "one two\nthree"


ALIKE = [  # that nobody can tell apart once the one is escaped, put together, or stripped
    ("k\x1b", r"k\x1b"),
    ("a\nb", r"a\nb"),
    ("e\u0301", "\u00e9"),
    ("k ", "k"),
    ("\u202ek", r"\u202ek"),
]


@pytest.mark.parametrize("names", ALIKE, ids=repr)
def test_names_that_look_alike_stay_different(names):
    one, other = texts.shown(names)
    assert texts._look(one) != texts._look(other)
    assert names[1] in (one, other)
    assert texts.shown((one, other)) == (one, other)  # shown again, they are the same
    assert len(texts.shown(dict.fromkeys(names, 1))) == 2
    assert texts.shown(names[:1]) == (texts.visible(names[0]),)  # alone, it is like nothing else


@pytest.mark.parametrize("form", ["text", "markdown", "csv", "html"])
@pytest.mark.parametrize("names", ALIKE[:2], ids=repr)
def test_kernels_that_look_alike_have_a_row_each(names, form):
    points = compare_points([p for name in names for p in (a_point(kernel=name), a_point("threads", 2, kernel=name))])
    shown = [p.kernel for p in texts.shown(Scaling(points)).points]
    content = str(report.render(Scaling(points), form))
    digest = shown[0].rpartition(" ")[2]
    assert len(set(shown)) == 2
    assert digest.strip("()") in content


def test_names_that_are_cut_stay_different():
    one, other = "k" * 99 + "1", "k" * 99 + "2"
    assert texts.short(one, 20) != texts.short(other, 20)
    assert len(texts.short(one, 20)) == 20
    assert texts.short("k" * 20, 20) == "k" * 20


def test_matplotlib_s_own_advice_about_folders_is_not_printed(capfd):
    log = logging.getLogger("matplotlib.font_manager")
    with canvas.without_advice():
        log.warning("Matplotlib created a temporary cache directory, as \x1b[31m is no writable directory")
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("matplotlib").level == logging.NOTSET
