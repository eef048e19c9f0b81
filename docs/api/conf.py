"""The API reference: `make docs` builds it from the docstrings, and a warning is an error.

The docstrings are prose for whoever reads the code or asks `help()`, with tables of names: no reStructuredText. So each
is shown as it stands, line by line.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from kernels import Kernel

project = "nfold"
author = copyright = "the nfold developers"
extensions = ["sphinx.ext.autodoc"]
html_theme = "alabaster"
html_show_sphinx = False
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "undoc-members": False}

MOST = 300  # characters of a signature: a class of results with all its fields says nothing that its text does not


def as_it_stands(app: Any, what: str, name: str, of: Any, options: Any, lines: list[str]) -> None:
    """Show every line of a docstring, with its indents, as text and not as markup."""
    lines[:] = [f"| {_escaped(line)}" if line.strip() else "|" for line in lines]


def as_it_is_called(app: Any, what: str, name: str, of: Any, options: Any, given: str, returns: str) -> Any:
    """A kernel takes what its plan takes; fields of results are in their text."""
    if isinstance(of, Kernel):
        takes = inspect.signature(of.planner).replace(return_annotation=inspect.Signature.empty)
        return str(takes).replace("'", ""), None
    return ("", None) if what == "class" and len(given or "") > MOST else (given, returns)


def _escaped(line: str) -> str:
    indent = len(line) - len(line.lstrip())
    words = "".join(f"\\{c}" if c in "\\*`|_<>" else c for c in line.lstrip())
    return "\N{NO-BREAK SPACE}" * indent + words


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", as_it_stands)
    app.connect("autodoc-process-signature", as_it_is_called)
