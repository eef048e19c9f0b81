"""The page in a real browser, without a network: figures are drawn, nothing is complained of."""

import json
import re
import shutil
import subprocess
from html import unescape

import pytest
from example_points import a_point, a_scaling, explained
from patience import PATIENCE

from compute.report import html
from compute.scaling.derive import compare_points
from compute.scaling.results import Scaling

pytest.importorskip("plotly", reason="the page needs plotly: pip install 'nfold[html]'")
NAMES = "chromium", "chromium-browser", "google-chrome"
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=f"none of {', '.join(NAMES)} is installed")

# Pages in frames of one: a browser takes seconds to start.
ALL_PAGES = """<!doctype html><style>iframe {{ width: 1200px; height: 2400px; border: 0 }}</style>
{frames}
<script>
const place = svg => (({{ left, right }}) => [left, right])(svg.getBoundingClientRect());
const look = page => ({{
  drawn: [...page.querySelectorAll(".js-plotly-plot")].map(plot => [plot.id, place(plot.querySelector(".main-svg"))]),
  legends: [...page.querySelectorAll("text.legendtext")].map(text => text.textContent),
}});
addEventListener("load", () => setTimeout(() => {{
  const pages = [...document.querySelectorAll("iframe")].map(frame => look(frame.contentDocument));
  document.body.dataset.seen = JSON.stringify(pages);
}}, 500));
</script>"""


def pages():
    """Name -> page; two are as they should be."""
    name = "<b>&</script><script>nonsense()</script>"
    odd = Scaling(compare_points([a_point(kernel=name), a_point("threads", 2, kernel=name)]))
    two = html.render(explained(a_scaling((1, 2), ["primes"])) + odd)
    return {
        "two": two,
        "four": html.render(explained(a_scaling((1, 2, 4, 8), ["primes"])) + odd),
        "broken": two.replace("Plotly.newPlot", "Plotly.nonsense").replace(
            "<h1>", '<img src="https://example.com/a.png"><h1>'
        ),
    }


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Name -> what the browser drew of the page, and what its console said of it."""
    folder, made = tmp_path_factory.mktemp("pages"), pages()
    for name, page in made.items():
        (folder / f"{name}.html").write_text(page, "utf-8")
    frames = "\n".join(f'<iframe src="{name}.html"></iframe>' for name in made)
    (folder / "all.html").write_text(ALL_PAGES.format(frames=frames), "utf-8")
    options = [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        "--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1300,2400",
        "--enable-logging=stderr", f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=1500",
        "--allow-file-access-from-files", "--dump-dom", (folder / "all.html").as_uri(),
    ]  # fmt: skip
    told = subprocess.run([CHROMIUM, *options], capture_output=True, text=True, timeout=PATIENCE)
    (seen,) = re.findall(r'data-seen="([^"]*)"', told.stdout)
    console = [line for line in told.stderr.splitlines() if "CONSOLE" in line]
    return {
        name: (page, [line for line in console if f"/{name}.html" in line])
        for name, page in zip(made, json.loads(unescape(seen)), strict=True)
    }


@pytest.mark.parametrize("name", ["two", "four"])
def test_every_figure_is_drawn_and_the_console_is_silent(opened, name):
    page, console = opened[name]
    assert console == []
    places = dict(page["drawn"])
    assert set(places) == {"speedup-0", "ledger-0", "speedup-1"}
    assert max(right - left for left, right in places.values()) < 1200
    assert "threads · nogil" in page["legends"] or name == "two"
    assert "blocked" in page["legends"]


@pytest.mark.parametrize("name", ["two", "four"])
def test_figures_stand_beside_each_other_and_not_on_each_other(opened, name):
    places = dict(opened[name][0]["drawn"])
    assert places["speedup-0"][1] <= places["ledger-0"][0]


def test_what_is_broken_is_seen(opened):
    page, console = opened["broken"]
    assert page["drawn"] == []
    assert any("Plotly.nonsense is not a function" in line for line in console)
    assert any("Content Security Policy" in line for line in console)  # which refuses what would leave the page
