"""The page holds everything and fetches nothing."""

from html.parser import HTMLParser

import pytest
from example_points import a_point, a_scaling, explained

from compute.report import html
from compute.scaling.derive import compare_points
from compute.scaling.results import Scaling


class Page(HTMLParser):
    """What a browser would see: tags with their attributes, and the text outside of scripts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.open = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] not in (["script"], ["style"]):
            self.words.append(data)


def test_without_plotly_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "plotly.offline", None)
    with pytest.raises(ValueError, match=r"needs plotly, which is not installed; run pip install 'nfold\[html\]'"):
        html.render(a_scaling())


def test_the_tables_are_there_without_the_figures():
    (group, _) = html.table.groups(a_scaling())
    page = Page(html._table(group.sheet))
    assert page.open == []
    assert sum(tag == "tr" for tag, _ in page.tags) == len(group.rows) + 1
    assert {cell for row in group.rows for cell in row.cells if cell} <= set(page.words)


def test_the_page_fetches_nothing_and_is_well_formed():
    pytest.importorskip("plotly")
    name = "<script>alert(1)</script>"
    scaling = Scaling(compare_points([a_point(kernel=name), a_point("threads", 2, kernel=name)]), {"model": "<i>"})
    page = Page(html.render(scaling + a_scaling()))
    assert page.open == []
    assert not any({"src", "href"} & set(attrs) for _, attrs in page.tags)
    policies = [attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policies[0].startswith("default-src 'none';")
    assert "http" not in policies[0]
    assert "<script>alert(1)</script>" in page.words  # as words
    assert "<i>" in "".join(page.words)
    assert sum(attrs.get("class") == "figure" for tag, attrs in page.tags if tag == "script") == 3
    explained_page = Page(html.render(explained(scaling)))
    assert sum(attrs.get("class") == "figure" for tag, attrs in explained_page.tags if tag == "script") == 2
