"""Notebooks, executed as Jupyter does it but without a browser."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from patience import PATIENCE

ROOT = Path(__file__).parent.parent
# In a process of its own: what Jupyter's client warns of and leaves open is its own business.
EXECUTE = """
import asyncio, json, sys
import nbformat
from nbclient import NotebookClient

async def main():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in json.load(sys.stdin)])
    kernel = {"name": "python3", "display_name": "", "language": "python"}
    notebook.metadata["kernelspec"] = kernel
    await NotebookClient(notebook, timeout=float(sys.argv[1]), allow_errors=True).async_execute()
    print(json.dumps([cell.outputs for cell in notebook.cells]))

asyncio.run(main())
"""


def outputs_of(cells: Sequence[str], folder: Path) -> list[list[dict[str, Any]]]:
    """What each of these cells of code puts out, run one after the other in a folder that is empty."""
    # The kernel is this interpreter, whatever is installed for the user.
    spec = folder / "kernels" / "python3"
    spec.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "Python", "language": "python"}))
    env = os.environ | {"JUPYTER_PATH": str(folder), "JUPYTER_RUNTIME_DIR": str(folder), "IPYTHONDIR": str(folder),
                        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}  # fmt: skip
    told = subprocess.run(
        [sys.executable, "-c", EXECUTE, str(PATIENCE)], input=json.dumps(list(cells)), env=env, cwd=folder,
        capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    outputs: list[list[dict[str, Any]]] = json.loads(told.stdout.splitlines()[-1])
    return outputs
