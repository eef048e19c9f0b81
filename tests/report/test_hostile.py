"""Texts from files, names and machines are shown and not obeyed, in every form."""

import base64
import csv
import gzip
import io
import json
import re
from functools import cache
from html.parser import HTMLParser

import pytest
from hostile import CORPUS, MEANT, OBEYED, a_hostile
from markdown_it import MarkdownIt
from matplotlib.image import imread
from rich.console import Console

from compute import report, texts
from compute.diagnosis import text as diagnosis
from compute.diagnosis.finding import Finding
from compute.report import text as terminal
from compute.scaling.results import Scaling

HERE = ["text", "markdown", "csv", "json"]
every = pytest.mark.parametrize("text", CORPUS.values(), ids=CORPUS)
# To draw one takes a third of a second: one of six is drawn, and all by test-all.
some = pytest.mark.parametrize(
    "text",
    [pytest.param(CORPUS[name], id=name, marks=pytest.mark.slow if k % 18 else ()) for k, name in enumerate(CORPUS)],
)


@cache
def told_of(text: str, form: str) -> str | bytes:
    """What a reader gets of it; of the plain one, with which all others are compared, only once."""
    return report.render(a_hostile(text), form)


def unseen(content: str) -> set[str]:
    return {c for c in content if not c.isprintable() and c != "\n"}


@pytest.mark.parametrize("form", HERE)
@every
def test_nothing_that_is_obeyed_reaches_a_reader(form, text):
    content = told_of(text, form)
    assert unseen(content) == set()
    assert content.encode()
    rows = told_of("plain", form).count("\n")
    if text in OBEYED.values() and form != "text":  # where long lines are folded
        assert content.count("\n") == rows


@every
def test_on_a_terminal_the_only_escapes_are_our_own(text):
    stream = io.StringIO()
    console = Console(file=stream, width=200, force_terminal=True, color_system="standard", legacy_windows=False)
    terminal.show(a_hostile(text), console)
    told = stream.getvalue()
    assert "\x1b" in told
    assert unseen(re.sub(r"\x1b\[[0-9;]*m", "", told)) == set()


@every
def test_what_is_shown_is_the_text(text):
    seen = texts.visible(text)
    assert seen.isprintable()
    assert f"{seen}b" in terminal.render(a_hostile(text), 300)
    assert f"{seen}b" in str(a_hostile(text))
    if text in MEANT.values():
        assert seen == text


@every
def test_json_comes_back_as_it_was(text, tmp_path):
    scaling = a_hostile(text)
    scaling.to_json(tmp_path / "a.json")
    again = Scaling.from_json(tmp_path / "a.json")
    assert again.points == scaling.points
    assert again.as_json() == scaling.as_json()
    assert json.loads(scaling.as_json())["machine"] == scaling.machine


class Page(HTMLParser):
    """The tags of a page with their attributes, and its words."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.words = [], set(), ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.words += data


@every
def test_github_shows_markdown_as_text(text):
    told = told_of(text, "markdown")
    details = re.sub(r"</?(details|summary)>", "", told)
    html = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(details)
    plain = MarkdownIt("gfm-like", {"linkify": False}).render(
        re.sub(r"</?(details|summary)>", "", told_of("plain", "markdown"))
    )
    page = Page(html)
    assert page.tags == Page(plain).tags or text == ""
    assert page.attributes <= {"style"}
    assert texts.visible(text).strip() in page.words


def test_no_text_becomes_a_link_or_a_formula_of_github():
    told = report.render(a_hostile("https://a.example www.a.example $x$ `y`"), "markdown")
    assert not re.search(r"(?<!\\):\/\/|www(?<!\\)\.|(?<!\\)[$`]", told)


@every
def test_a_spreadsheet_computes_nothing_and_numbers_stay_numbers(text):
    scaling = a_hostile(text)
    rows = list(csv.DictReader(io.StringIO(told_of(text, "csv"))))
    assert len(rows) == len(scaling.points)
    for row, p in zip(rows, scaling.points, strict=True):
        for cell in row.values():
            assert re.fullmatch(r"[+-]?[0-9.e+-]+", cell) or not re.match(r"\s*[=+@＝-]", cell)
        assert row["kernel"].removeprefix("'") == texts.visible(p.kernel)
        assert float(row["ledger_inflation"]) == p.ledger["inflation"] if p.ledger else row["ledger_inflation"] == ""


def test_a_number_below_nothing_is_a_number_in_csv():
    rows = csv.DictReader(io.StringIO(report.render(a_hostile("-6.9"), "csv")))
    assert {row["kernel"] for row in rows} == {"'-6.9k", "primes"}
    from dataclasses import replace

    point = replace(a_hostile("").points[0], ledger={"inflation": -6.9})
    (row,) = csv.DictReader(io.StringIO(report.render(Scaling((point,)), "csv")))
    assert row["ledger_inflation"] == "-6.9"


@every
def test_a_page_runs_and_links_nothing(text):
    content = told_of(text, "html")
    body = content[content.index("<body>") :]
    assert unseen(body) == set()
    page, plain = Page(body), Page((other := told_of("plain", "html"))[other.index("<body>") :])
    assert page.tags == plain.tags or text == ""
    assert page.attributes == plain.attributes
    assert texts.visible(text) in page.words
    (packed,) = re.findall(r'<script type="text/plain" id="data">([A-Za-z0-9+/=]*)</script>', body)
    data = gzip.decompress(base64.b64decode(packed))
    ways = {way["name"] for kernel in json.loads(data)["kernels"] for way in kernel["ways"]}
    assert f"{texts.visible(text)}b · {texts.visible(text)}v" in ways


@some
def test_a_picture_is_drawn_with_the_text_as_it_is(text, monkeypatch):
    drawn = []
    from matplotlib.text import Text

    draw = Text.draw

    def noting(self, renderer):
        drawn.append((self.get_text(), self.get_parse_math()))
        draw(self, renderer)

    monkeypatch.setattr(Text, "draw", noting)
    picture = imread(io.BytesIO(report.render(a_hostile(text), "png")))
    assert picture.ndim == 3
    assert any(texts.visible(text)[:25] in words for words, _ in drawn)
    assert not any(parsed for _, parsed in drawn)
    assert all(unseen(words) == set() for words, _ in drawn)


@every
def test_what_the_doctor_finds_is_shown(text):
    told = diagnosis.render(
        [Finding("topic", level="note", value=f"a {text}", meaning=f"b {text}", remedy=f"c {text}")], 400
    )
    assert unseen(told) == set()
    assert f"a {texts.visible(text)}".strip() in told


def test_what_is_fine_is_the_very_object():
    scaling = a_hostile("plain")
    assert texts.shown(scaling) is scaling
    assert texts.shown({"a": [1, ("b", None)]}) == {"a": [1, ("b", None)]}
    assert texts.shown({"\n": ["\t"]}) == {"\\n": ["\\t"]}
