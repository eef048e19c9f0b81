"""Markdown tables that GitHub shows as they are meant."""

import re

from invented import a_point, a_scaling

from compute.report import markdown
from compute.scaling.dataset import Scaling
from compute.scaling.points import compared


def test_a_table_a_kernel():
    told = markdown.render(a_scaling())
    assert re.findall("^### .*$", told, re.MULTILINE) == [
        "### count_primes · size 1,000,000 · median of 12 rounds",
        "### mandelbrot · size 1,000,000 · median of 12 rounds",
    ]
    assert told.count("| --- | --- | ---: | ---: | ---: | ---: | ---: |") == 2
    assert "| threads | nogil | 2 | 25.4 ms | 1.97 [1.95, 1.98] | 98 % | 0.98 |" in told
    assert "> ⚠ one thing" in told


def test_every_row_has_as_many_cells_as_the_head():
    rows = [line for line in markdown.render(a_scaling()).splitlines() if line.startswith("|")]
    assert len(rows) > 40
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {8}


def test_signs_of_markdown_in_a_name_are_text():
    scaling = Scaling(compared([a_point("my|*pool", 1, kernel="<k>")]))
    told = markdown.render(scaling)
    assert r"| my\|\*pool | nogil" in told
    assert r"### \<k> · size 512" in told
