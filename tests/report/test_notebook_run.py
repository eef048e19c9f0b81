"""A notebook, executed as Jupyter does it but without a browser: what cells show, and how progress is drawn in them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE

pytest.importorskip("nbclient", reason="nbclient is not installed: pip install -e '.[test]'")
pytest.importorskip("ipykernel", reason="ipykernel is not installed: pip install -e '.[test]'")
ROOT = Path(__file__).parent.parent.parent

CELLS = {
    "run": """
import time
from compute import *
from kernels import count_primes, each, mandelbrot

def slow(x):
    time.sleep(0.05)
    return x * x

result = run(each(slow), range(16), on=Threads(2), progress=True)
result
""",
    "timeline": "result.timeline",
    "scale": "scaling = scale(mandelbrot, (40, 40), on=['threads'], workers=[1, 2], budget=1, progress=True)\nscaling",
    "advise": "advise(mandelbrot, (60, 60), on=['threads'], budget=4, progress=True)",
    "an error is an error": "scale(mandelbrot, (40, 40), progress=3)",
}
# In a process of its own: what Jupyter's client warns of and leaves open is its own business.
EXECUTE = """
import asyncio, json, sys
import nbformat
from nbclient import NotebookClient

async def main():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in json.load(sys.stdin)])
    kernel = {"name": "python3", "display_name": "", "language": "python"}
    notebook.metadata["kernelspec"] = kernel
    await NotebookClient(notebook, timeout=None, allow_errors=True).async_execute()
    print(json.dumps([cell.outputs for cell in notebook.cells]))

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """The outputs of each cell, by the cell's name."""
    folder = tmp_path_factory.mktemp("notebook")
    # The kernel is this interpreter, whatever is installed for the user.
    spec = folder / "kernels" / "python3"
    spec.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "Python", "language": "python"}))
    env = os.environ | {"JUPYTER_PATH": str(folder), "JUPYTER_RUNTIME_DIR": str(folder), "IPYTHONDIR": str(folder),
                        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}  # fmt: skip
    told = subprocess.run(
        [sys.executable, "-c", EXECUTE], input=json.dumps(list(CELLS.values())), env=env, cwd=folder,
        capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    return dict(zip(CELLS, json.loads(told.stdout.splitlines()[-1]), strict=True))


def html_of(cell):
    (shown,) = (output["data"] for output in cell if output["output_type"] == "execute_result")
    return shown["text/html"]


@pytest.mark.parametrize("name", ["run", "timeline", "scale", "advise"])
def test_a_cell_shows_a_picture_and_a_table(outputs, name):
    assert [output for output in outputs[name] if output["output_type"] == "error"] == []
    html = html_of(outputs[name])
    assert html.count('src="data:image/png;base64,') == 1
    assert "<table>" in html
    assert "<script" not in html


def test_a_value_is_there(outputs):
    assert "[0, 1, 4, 9" in html_of(outputs["run"])


@pytest.mark.parametrize(("name", "end"), [("run", "16/16 chunks, 100 %"), ("scale", "done"), ("advise", "done")])
def test_progress_is_one_line_written_over_itself(outputs, name, end):
    said = "".join(output["text"] for output in outputs[name] if output["output_type"] == "stream")
    assert "\x1b" not in said
    assert said.count("\n") == 1
    lines = said.rstrip().split("\r")
    assert end in lines[-1]
    percents = [int(found[1]) for line in lines if (found := re.search(r"(\d+) %$", line.rstrip()))]
    assert percents == sorted(percents)


def test_what_cannot_be_is_refused(outputs):
    (error,) = outputs["an error is an error"]
    assert error["ename"] == "TypeError"
    assert error["evalue"] == "progress must be a function of (done, total, label), True, False or None, not 3"
