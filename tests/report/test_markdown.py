"""Markdown tables that GitHub shows as they are meant."""

import re

from example_points import a_point, a_scaling, explained

from compute.report import markdown
from compute.scaling.derive import compare_points
from compute.scaling.results import Scaling


def test_a_table_a_kernel():
    told = markdown.render(a_scaling())
    assert re.findall("^### .*$", told, re.MULTILINE) == [
        "### count_primes · size 1,000,000 · median of 12 rounds",
        "### mandelbrot · size 1,000,000 · median of 12 rounds",
    ]
    assert told.count("| --- | --- | ---: | ---: | ---: | ---: | ---: |") == 2
    assert re.search(
        r"^\| threads \| nogil \| 2 \| 25.4 ms \| 1.97 \[[\d., ]+\] \| 98 % \| 0.98 \|$", told, re.MULTILINE
    )
    assert "> ⚠ one thing" in told


def test_every_row_has_as_many_cells_as_the_head():
    rows = [line for line in markdown.render(a_scaling()).splitlines() if line.startswith("|")]
    assert len(rows) > 40
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {8}


def test_signs_of_markdown_in_a_name_are_text():
    scaling = Scaling(compare_points([a_point("my|*pool", 1, kernel="<k>")]))
    told = markdown.render(scaling)
    assert r"| my\|\*pool | nogil" in told
    assert r"### \<k> · size 512" in told


def test_what_explains_is_folded_beneath_the_table_and_every_table_is_whole():
    told = markdown.render(explained(a_scaling(kernels=["primes"])))
    assert re.findall("<summary>(.*)</summary>", told) == [
        "Core-seconds, in % of workers × time",
        "Efficiencies",
        "Laws",
    ]
    assert told.count("<details>\n<summary>") == told.count("\n\n</details>\n") == 3
    assert "- **threads · nogil**: 1.97× of 2; this machine allows 1.95× → 101 % of attainable.\n" in told
    assert "| threads | python | 2 | 50 | 0 | 48 | 1.3 | 0 | 0.2 | 0 | 0 | 0.3 |" in told
    assert "| prange | nogil | 2 | 97 | -2.0 | 0 | unknown | 3.0 |" in told
    assert "| threads | python | 2 | **50 % !** | **50 % !** | 100 % | **50 % !** | 99 % |" in told
    for block in told.split("\n\n"):
        rows = [line for line in block.splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) <= 1
