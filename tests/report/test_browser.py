"""The page in a real browser, without a network: figures are drawn, switches work, nothing is complained of or fetched.

Where no Chromium is installed (Debian: apt install chromium) this is skipped.
"""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html import unescape
from pathlib import Path
from unittest import mock

import pytest
from example_points import a_point, a_scaling, a_timeline, explained
from hostile import MEANT, a_hostile
from patience import PATIENCE

from compute.report import html
from compute.report.page import script
from compute.scaling.derive import compare_points
from compute.scaling.kept_timeline import keep
from compute.scaling.laws import fit_laws
from compute.scaling.results import Scaling

NAMES = "chromium", "chromium-browser", "google-chrome"
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=f"none of {', '.join(NAMES)} is installed")

# Pages in frames of one, because a browser takes seconds to start; its script does to each what a reader does.
READER = (Path(__file__).parent / "reader.html").read_text("utf-8")


def with_runs(scaling):
    most = max(p.workers for p in scaling.points)
    return replace(
        scaling,
        points=tuple(
            replace(p, timeline=keep(a_timeline(40), 0.3)) if p.workers == most else p for p in scaling.points
        ),
    )


def with_laws(scaling):
    laws = [law for kernel in dict.fromkeys(p.kernel for p in scaling.points)
            for law in fit_laws([p for p in scaling.points if p.kernel == kernel], cpus=64)]  # fmt: skip
    return replace(scaling, laws=tuple(laws))


def for_an_old_browser(scaling):
    """The page as a browser sees it that cannot unpack."""
    without = script().replace("DecompressionStream", "NoSuchStream")
    with mock.patch.object(html, "script", return_value=without):
        return html.render(scaling)


def pages():
    """Name -> page and its width; all but the last are as they should be."""
    name = "<b>&</script><script>nonsense()</script>"
    odd = Scaling(compare_points([a_point(kernel=name), a_point("threads", 2, kernel=name)]))
    two = html.render(with_runs(explained(a_scaling((1, 2), ["primes"]))) + odd)
    many = with_laws(with_runs(explained(a_scaling((1, 2, 4, 8, 16), ["primes"]))))
    return {
        "two": (two, 1300),
        "many": (html.render(many + odd), 1300),
        "phone": (html.render(with_runs(explained(a_scaling((1, 2))))), 400),
        "hostile": (html.render(with_runs(a_hostile("".join(MEANT.values())))), 1300),
        "no baseline": (html.render(Scaling(compare_points([a_point("threads", 2)]))), 1300),
        "serial alone": (html.render(Scaling((a_point(),))), 1300),
        "old browser": (for_an_old_browser(explained(a_scaling((1, 2), ["primes"]))), 1300),
        "broken": (two.replace("Plot.plot(", "Plot.nonsense(").replace(
            "<h1>", '<img src="https://example.com/a.png"><img src=x onerror="nonsense()"><h1>'
        ), 1300),
    }  # fmt: skip


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Name -> what was seen of the page, and what the browser's console said of it."""
    folder, made = tmp_path_factory.mktemp("pages"), pages()
    for number, (page, _) in enumerate(made.values()):
        (folder / f"{number}.html").write_text(page, "utf-8")
    widths = enumerate(width for _, width in made.values())
    frames = [f'<iframe src="{k}.html" style="width: {width}px"></iframe>' for k, width in widths]
    (folder / "all.html").write_text(READER.replace("FRAMES", "\n".join(frames)), "utf-8")
    options = [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        "--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1400,2400",
        "--enable-logging=stderr", f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=20000",
        "--allow-file-access-from-files", "--dump-dom", (folder / "all.html").as_uri(),
    ]  # fmt: skip
    told = subprocess.run([CHROMIUM, *options], capture_output=True, text=True, timeout=PATIENCE)
    console = [line for line in told.stderr.splitlines() if "CONSOLE" in line]
    found = re.findall(r'data-seen="([^"]*)"', told.stdout)
    assert found, console
    return {
        name: (page, [line for line in console if f"/{number}.html" in line])
        for number, (name, page) in enumerate(zip(made, json.loads(unescape(found[0])), strict=True))
    }


FINE = ["two", "many", "phone", "hostile", "no baseline", "serial alone", "old browser"]
DRAWN = ["two", "many", "phone", "hostile"]


@pytest.mark.parametrize("name", FINE)
def test_the_console_is_silent_and_nothing_is_fetched(opened, name):
    page, console = opened[name]
    assert console == []
    assert "failed" not in page, page["failed"]
    assert page["fetched"] == []


@pytest.mark.parametrize("name", DRAWN)
def test_every_figure_is_drawn_and_says_what_it_shows(opened, name):
    page, _ = opened[name]
    beginnings = ["Ways compared, ", "Speedup by workers", "Efficiency by workers", "Where the core-seconds went",
                  "Every round", "Efficiency tree: ", "Timeline of a median run: "]  # fmt: skip
    assert [figure.startswith(b) for figure, b in zip(page["figures"], beginnings, strict=True)] == [True] * 7
    assert all(len(label) > 30 for label in page["labels"])
    assert page["lost"] == page["empty"] == 0


@pytest.mark.parametrize("name", FINE)
def test_figures_stand_beside_each_other_within_the_page(opened, name):
    page, _ = opened[name]
    assert not page["overlaps"]
    assert page["width"] <= (400 if name == "phone" else 1300), page["wide"]


@pytest.mark.parametrize("name", DRAWN)
def test_a_reader_can_switch_hide_choose(opened, name):
    page, _ = opened[name]
    day, night, button = page["themes"]
    assert (day, page["again"], button) == ("rgb(255, 255, 255)", day, "Light page")
    assert sum(map(int, re.findall(r"\d+", night))) < 120
    assert page["rows"][1] == page["rows"][0] - 1 == page["rows"][2] - 1
    assert name == "hostile" or page["at"].startswith("Ways compared, 1 worker")
    assert name == "hostile" or "prange · nogil" in page["depth"]
    assert page.get("further", name != "many")


@pytest.mark.parametrize("name", ["two", "many"])
def test_what_the_machine_allowed_is_a_line_for_each_variant_that_is_shown(opened, name):
    assert opened[name][0]["allowed"] == [2, 1]


def test_disturbed_rounds_are_those_of_the_variant_that_was_measured_in_them(opened):
    assert opened["two"][0]["disturbed"] == 2 * 6  # two rounds of serial and five backends, all nogil


@pytest.mark.parametrize("name", DRAWN)
def test_a_keyboard_reaches_figures_and_their_tips(opened, name):
    page, _ = opened[name]
    assert page["focused"]
    first, second, third = page["tips"]
    assert "speedup: " in first
    assert third == first
    assert second != first or name == "hostile"  # which has one point


@pytest.mark.parametrize("name", DRAWN)
def test_tables_sort_by_what_numbers_mean_and_are_copied(opened, name):
    page, _ = opened[name]
    units = {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1}
    times = [[float(value) * units[unit] for value, unit in map(str.split, column)] for column in page["sorted"][:2]]
    assert times[0] == sorted(times[0], reverse=True)
    assert times[1] == sorted(times[1])
    assert page["restored"]
    head, *rows = page["copied"].split("\n")
    assert head.split("\t")[:4] == ["backend", "variant", "workers", "time"]
    assert all(row.count("\t") == head.count("\t") for row in rows)
    assert not any(re.match(r"\s*[=+@-]\D", cell) for row in rows for cell in row.split("\t"))


def test_what_is_broken_is_seen(opened):
    page, console = opened["broken"]
    assert page["figures"] == []
    refused = [line for line in console if "Content Security Policy" in line]  # scripts that are not ours, and images
    assert any("script" in line for line in refused)
    assert any("img-src" in line for line in refused)


def test_an_old_browser_has_tables_and_says_what_is_missing(opened):
    page, _ = opened["old browser"]
    assert page["figures"] == []
    assert page["old"] == "The figures need a browser of 2023 or later; the tables hold the same numbers."
    assert page["heads"] > 9  # by which tables sort
    assert opened["two"][0]["old"] is None
