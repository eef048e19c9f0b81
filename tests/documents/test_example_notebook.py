"""examples/lessons.ipynb, executed as Jupyter does it: each lesson says something, and shows it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from executed_notebooks import outputs_of

from compute.lessons import find, gil, race, space
from compute.lessons.lesson import FAILS, HOLDS, UNTOLD

pytest.importorskip("nbclient", reason="nbclient is not installed: pip install -e '.[test]'")
pytest.importorskip("ipykernel", reason="ipykernel is not installed: pip install -e '.[test]'")
pytestmark = pytest.mark.slow  # the lessons' own tests hold each of them
PATH = Path(__file__).parents[2] / "examples" / "lessons.ipynb"
NOTEBOOK = json.loads(PATH.read_text())
CODE = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
HELD = [find(int(number)) for cell in CODE for number in re.findall(r"\blesson\((\d+)", cell)]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory) -> list[list[dict[str, Any]]]:
    return outputs_of(CODE, tmp_path_factory.mktemp("notebook"))


def test_it_holds_three_lessons():
    assert [lesson.number for lesson in HELD] == [gil.LESSON.number, space.LESSON.number, race.LESSON.number]


def test_every_cell_runs(outputs):
    assert [output for cell in outputs for output in cell if output["output_type"] == "error"] == []
    said = "".join(
        o["text"] for cell in outputs for o in cell if o["output_type"] == "stream" and o["name"] == "stderr"
    )
    assert "Warning" not in said


def test_every_lesson_shows_its_statement_its_verdict_and_its_pictures(outputs):
    pages = [o["data"]["text/html"] for cell in outputs for o in cell if o["output_type"] == "execute_result"]
    assert len(pages) == len(HELD)
    for lesson, page in zip(HELD, pages, strict=True):
        assert lesson.statement in page
        assert any(word in page for word in (HOLDS, FAILS, UNTOLD))
        assert page.count('src="data:image/png;base64,') >= 1
        assert "<script" not in page


def test_the_evidence_is_there(outputs):
    (told,) = (output["text"] for output in outputs[-1] if output["output_type"] == "stream")
    assert re.search(r"^with a lock +0 of +[\d,]+ updates lost$", told, re.MULTILINE)


def test_it_is_kept_without_what_one_machine_has_said():
    assert all(
        cell["outputs"] == [] and cell["execution_count"] is None for cell in NOTEBOOK["cells"] if "outputs" in cell
    )
