"""The page holds everything and fetches nothing, is small, and says the same without its scripts."""

import base64
import gzip
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from example_points import a_point, a_scaling, a_timeline, explained

from compute.report import html, text
from compute.report.page import asset, colours
from compute.report.page.figures import speedups_of_rounds
from compute.report.style import SHARES
from compute.scaling.derive import compare_points
from compute.scaling.kept_timeline import keep
from compute.scaling.laws import fit_laws
from compute.scaling.results import Scaling

OPTIONAL = ("td", "th", "tr")  # end where the next one begins, with an end tag or without


class Page(HTMLParser):
    """What a browser would see: tags with their attributes, scripts, and the text outside of them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.scripts, self.open = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br", *OPTIONAL):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert tag in OPTIONAL or self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] == ["script"]:
            self.scripts.append((self.tags[-1][1], data))
        elif self.open[-1:] != ["style"]:
            self.words.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def unpacked(page, name):
    (text,) = (text for attrs, text in page.scripts if attrs.get("id") == name)
    return gzip.decompress(base64.b64decode(text)).decode()


def data_of(page):
    return json.loads(unpacked(page, "data"))


def test_the_tables_are_there_without_the_figures():
    (group, _) = html.table.groups(a_scaling())
    page = Page(html._table(group.sheet, "a name"))
    assert page.open == []
    assert len(page.all("tr")) == len(group.rows) + 1
    assert {cell for row in group.rows for cell in row.cells if cell} <= set(page.words)


def test_the_page_fetches_nothing_and_is_well_formed():
    name = "<script>alert(1)</script>"
    scaling = Scaling(compare_points([a_point(kernel=name), a_point("threads", 2, kernel=name)]), {"model": "<i>"})
    page = Page(html.render(scaling + explained()))
    assert page.open == []
    assert not any({"src", "srcset", "action"} & set(attrs) for _, attrs in page.tags)
    assert all(attrs["href"].startswith("#") for attrs in [*page.all("a"), *page.all("link")])
    assert not re.search(r"url\(|@import", asset("page.css") + colours.variables())
    assert "<script>alert(1)</script>" in page.words  # as words
    assert "<i>" in "".join(page.words)
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {attrs["href"][1:] for attrs in page.all("a")} <= set(ids)
    assert {attrs["aria-labelledby"] for _, attrs in page.tags if "aria-labelledby" in attrs} <= set(ids)


def test_only_the_pages_own_scripts_may_run():
    page = Page(html.render(explained()))
    (policy,) = (a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert set(rules) == {"default-src", "script-src", "style-src", "img-src"}
    assert "http" not in policy
    own = [unpacked(page, "library"), *(text for attrs, text in page.scripts if "type" not in attrs)]
    assert len(own) == 2
    hashes = {f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in own}
    assert set(rules["script-src"].split()) == hashes
    assert not any("</" in text for text in own)


@pytest.mark.parametrize(
    ("counts", "kernels"),
    [
        ((1, 2), 7),
        ((1, 2, 4, 8, 16, 32, 64), 7),
        pytest.param((1, 2, 4), 40, marks=pytest.mark.slow),
        (range(1, 65), 1),
    ],
)
def test_the_page_is_small(counts, kernels):
    scaling = explained(a_scaling(counts, [f"kernel_{k}" for k in range(kernels)]))
    most = max(counts)
    run = keep(a_timeline(512, 2), 1.0)
    scaling = replace(
        scaling, points=tuple(replace(p, timeline=run) if p.workers == most else p for p in scaling.points)
    )
    assert len(html.render(scaling).encode()) < 1_000_000


def test_the_first_screen_has_a_cell_for_each_kernel_and_way():
    page = Page(html.render(explained(a_scaling((1, 2, 4)))))
    text = html.render(explained(a_scaling((1, 2, 4))))
    first = text[: text.index('<section class="kernel"')]
    assert first.count('href="#k') == 2
    assert len(re.findall(r'<td class="share share-[0-3]"', first)) == 2 * 9
    assert page.all("table")[0]["class"] == "heat"
    assert "Speedup with 4 workers, and its share of what this machine allows." in page.words
    assert f"under {SHARES[-2][0] * 100:.0f} %" in page.words


def test_the_figures_hold_what_was_measured():
    scaling = explained(a_scaling((1, 2, 4), ["primes"]))
    data = data_of(Page(html.render(scaling)))
    (kernel,) = data["kernels"]
    assert kernel["counts"] == [1, 2, 4]
    (group,) = html.table.groups(scaling)
    assert len(kernel["points"]) == len(group.rows)
    for shown, row in zip(kernel["points"], group.rows, strict=True):
        p = row.point
        way = kernel["ways"][shown["way"]]["name"]
        assert (way, shown["workers"]) == (f"{p.backend} · {p.variant}", p.workers)
        assert shown["speedup"] == pytest.approx(p.speedup, rel=1e-3)
        assert (shown["low"], shown["high"]) == pytest.approx(p.speedup_ci, rel=1e-3)
        assert len(shown["times"]) == p.rounds
        assert ("samples" in shown) != p.is_serial
        samples = sorted(shown.get("samples") or [1.0] * 12)
        assert samples[5] <= shown["speedup"] * 1.001 <= samples[6] * 1.002
        assert sum(filter(None, shown["shares"])) == pytest.approx(1, abs=0.03)
        assert shown["tree"][0] == pytest.approx(p.efficiencies["global"], rel=1e-3)
    assert kernel["variants"] == ["nogil", "python"]
    assert kernel["disturbed"] == [[1, 2], []]


def test_a_laws_curve_has_a_point_at_every_count():
    scaling = explained(a_scaling((1, 2, 5, 6, 7), ["primes"]))
    scaling = replace(scaling, laws=fit_laws(scaling.points, cpus=64))
    (kernel,) = data_of(Page(html.render(scaling)))["kernels"]
    assert {law["name"] for law in kernel["laws"]} == {"USL"}
    for law in kernel["laws"]:
        counts = [n for n, _ in law["curve"]]
        assert {1, 2, 5, 6, 7} <= set(counts)
        assert counts == sorted(counts)
        assert law["further"][0][0] == 14


def test_samples_that_do_not_pair_are_compared_with_the_median():
    baseline = a_point(samples=[1.0, 2.0, 3.0])
    assert speedups_of_rounds(a_point("threads", 2, [1.0, 0.5]), baseline) == [2.0, 4.0]
    assert speedups_of_rounds(a_point("threads", 2, [1.0, 1.0, 1.0]), baseline) == [1.0, 2.0, 3.0]
    assert speedups_of_rounds(a_point("threads", 2), None) == []
    weak = a_point("threads", 2, [1.0] * 3, mode="weak", work=20.0)
    assert speedups_of_rounds(weak, a_point(samples=[1.0] * 3, work=10.0)) == [2.0] * 3


def test_the_page_says_what_measured_it_and_claims_no_other_command_to_do_the_same():
    scaling = explained(a_scaling((1, 2), ["primes"]))
    page = html.render(replace(scaling, command="nfold 'a b' <x>"))
    assert re.findall(r'<pre class="command">(.*)</pre>', page) == ["nfold &#x27;a b&#x27; &lt;x&gt;"]
    assert "<pre" not in html.render(scaling)


def test_marks_and_what_is_unknown_are_told_as_the_text_tells_them():
    cases = {
        "one core is fastest": [a_point(), a_point("threads", 2, [1.2] * 6)],
        "★ fastest": [a_point(), a_point("threads", 2, [0.6] * 6)],
        "= as fast, within noise": [
            a_point(), a_point("threads", 2, [0.6, 0.61] * 3), a_point("prange", 2, [0.6, 0.62] * 3)
        ],
        "": [a_point(variant=v, size=n, backend=b, workers=w, samples=[s] * 6)
             for v, n in (("nogil", 9), ("python", 3)) for b, w, s in (("serial", 1, 1.0), ("threads", 2, 0.6))],
    }  # fmt: skip
    for told, points in cases.items():
        scaling = Scaling(compare_points(points))
        found = [word for word in Page(html.render(scaling)).words if "fast" in word and "faster" not in word]
        assert (told in found) if told else not found
        assert told.replace("★", "*") in " ".join(text.render(scaling, details=False).split())
    equal = html.render(Scaling(compare_points(cases["= as fast, within noise"])))
    assert '>=</span><span class="heard"> as fast</span>' in equal


def test_the_caption_says_how_work_grows_and_where_a_share_is_of_n_fold():
    weak = [replace(p, mode="weak") for p in explained(a_scaling((1, 2), ["primes"])).points]
    some = [replace(p, attainable=None) if p.backend == "joblib" else p for p in weak]
    sentence = (
        "Speedup with 2 workers as the work grows with them, and its share of what this machine allows"
        " (of N-fold where that is not known)."
    )
    assert sentence in Page(html.render(Scaling(tuple(some)))).words
    assert sentence in " ".join(text.render(Scaling(tuple(some)), details=False).split())
