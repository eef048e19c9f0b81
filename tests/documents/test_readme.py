"""The documents as a new user takes them: every Python block that is a whole script is saved, and runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE

ROOT = Path(__file__).parents[2]


def blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


# In these pages every block is a script; in docs/kernels.md only those are that begin with an import.
PAGES = [
    "README.md",
    "docs/pools.md",
    "docs/items.md",
    "docs/waiting.md",
    "docs/joblib.md",
    "docs/executors.md",
    "docs/scaling.md",
    "docs/command.md",
    "docs/command-line.md",
    "docs/advise.md",
    "docs/lessons.md",
    "docs/pytest.md",
]
SCRIPTS = [(page, number, block) for page in PAGES for number, block in enumerate(blocks(page))]
SCRIPTS += [
    ("docs/kernels.md", number, block)
    for number, block in enumerate(blocks("docs/kernels.md"))
    if block.startswith(("import ", "from "))
]


def test_every_page_shows_a_script():
    assert {page for page, _, _ in SCRIPTS} == {*PAGES, "docs/kernels.md"}


def test_the_readme_shows_python_before_a_newcomer_scrolls():
    above, found, _ = (ROOT / "README.md").read_text().partition("```python\n")
    assert found
    assert above.count("\n") < 40


# What these compile or measure takes five seconds each; their pages have others.
LONG = (
    ("docs/kernels.md", 0),
    ("docs/pools.md", 0),
    ("docs/scaling.md", 0),
    ("docs/scaling.md", 2),
    ("docs/pytest.md", 0),
    ("docs/pytest.md", 1),
    ("docs/advise.md", 0),
    ("docs/advise.md", 1),
    ("docs/command.md", 0),
    ("docs/scaling.md", 1),
)


@pytest.mark.parametrize(
    ("page", "number", "block"),
    [
        pytest.param(*script, id=f"{script[0]}-{script[1]}", marks=pytest.mark.slow if script[:2] in LONG else ())
        for script in SCRIPTS
    ],
)
def test_a_snippet_runs_as_it_stands(warm_python, page, number, block, tmp_path):
    """As a script in an empty folder; one that defines tests is run by pytest."""
    if not re.search(r"^def test_", block, re.MULTILINE):
        warm_python.run(block, cwd=tmp_path)
        return
    (tmp_path / "test_snippet.py").write_text(block)
    plugins = ["-p", "pytest_benchmark.plugin", "-p", "compute.adapters.pytest_plugin", "--benchmark-disable"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugins, "test_snippet.py"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )
    assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
