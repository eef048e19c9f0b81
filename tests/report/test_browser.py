"""The page in a real browser, without a network: figures are drawn, nothing is complained of."""

import json
import re
import shutil
import subprocess
from html import unescape

import pytest
from invented import a_point, a_scaling, explained

from compute.report import html
from compute.scaling.dataset import Scaling
from compute.scaling.points import compared

pytest.importorskip("plotly", reason="the page needs plotly: pip install 'nfold[html]'")
NAMES = "chromium", "chromium-browser", "google-chrome"
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=f"none of {', '.join(NAMES)} is installed")


@pytest.fixture
def opened(tmp_path):
    """opened(html) -> what the browser made of the page, and what its console said."""

    def see(page):
        path = tmp_path / "page.html"
        path.write_text(page, "utf-8")
        options = [
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1200,2400",
            "--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000",
            "--dump-dom",
        ]  # fmt: skip
        told = subprocess.run([CHROMIUM, *options, path.as_uri()], capture_output=True, text=True, timeout=90)
        return told.stdout, [line for line in told.stderr.splitlines() if "CONSOLE" in line]

    return see


@pytest.mark.parametrize("counts", [(1, 2), (1, 2, 4, 8)])
def test_every_figure_is_drawn_and_the_console_is_silent(opened, counts):
    name = "<b>&</script><script>nonsense()</script>"
    odd = Scaling(compared([a_point(kernel=name), a_point("threads", 2, kernel=name)]))
    dom, console = opened(html.render(explained(a_scaling(counts, ["primes"])) + odd))
    assert console == []
    drawn = set(re.findall(r'<div id="([a-z]+-\d)"[^>]*class="[^"]*js-plotly-plot', dom))
    assert drawn == {"speedup-0", "ledger-0", "speedup-1"}
    widths = {float(width) for width in re.findall(r'<svg class="main-svg"[^>]*width="([\d.]+)"', dom)}
    assert max(widths) < 1200
    assert "threads · nogil" in re.findall(r'<text class="legendtext"[^>]*>([^<]*)<', dom) or len(counts) == 2
    assert "blocked" in re.findall(r'<text class="legendtext"[^>]*>([^<]*)<', dom)


def test_figures_stand_beside_each_other_and_not_on_each_other(opened):
    page = html.render(explained(a_scaling((1, 2), ["primes"])))
    ask = """<script>
      const frames = [...document.querySelectorAll(".main-svg")].map(e => e.getBoundingClientRect());
      document.body.dataset.frames = JSON.stringify(frames.map(r => [r.left, r.right]));
    </script>"""
    dom, console = opened(page.replace("</body>", ask + "</body>"))
    assert console == []
    (told,) = re.findall(r'data-frames="([^"]*)"', dom)
    frames = sorted({(round(low), round(high)) for low, high in json.loads(unescape(told))})
    assert len(frames) == 2
    assert frames[0][1] <= frames[1][0]


def test_what_is_broken_is_seen(opened):
    page = html.render(a_scaling((1, 2), ["primes"]))
    assert opened(page.replace("Plotly.newPlot", "Plotly.nonsense"))[1]
    assert opened(page.replace("<h1>", '<img src="https://example.com/a.png"><h1>'))[1]  # the policy refuses it
