"""README.md as a new user takes it: every Python block is a script of its own, and runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text() if (ROOT / "README.md").exists() else ""
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_there_are_snippets():
    assert len(BLOCKS) >= 3, "README.md shows how to call a kernel, how to write one, and how to use pytest"


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_snippet_runs_as_it_stands(number, tmp_path):
    """As a script in an empty folder; one that defines tests is run by pytest."""
    block = BLOCKS[number]
    is_test = re.search(r"^def test_", block, re.MULTILINE) is not None
    name = "test_snippet.py" if is_test else "snippet.py"
    (tmp_path / name).write_text(block)
    command = [
        "-m",
        "pytest",
        "-q",
        "-p",
        "pytest_benchmark.plugin",
        "-p",
        "compute.adapters.pytest_plugin",
        "--benchmark-disable",
    ]
    done = subprocess.run(
        [sys.executable, *(command if is_test else ["-W", "error"]), name],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )
    assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    assert is_test or done.stderr == ""
