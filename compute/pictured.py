"""How values of the lower rooms show themselves in a notebook: compute.report.notebook says it, loaded when asked.

Drawing takes matplotlib, which a program that runs a kernel does not pay for. By name, since no room imports one above.
"""

from __future__ import annotations

import importlib
from typing import Any


def html(what: str, *about: Any) -> str:
    """What compute.report.notebook's function `of_<what>` makes of it."""
    made: str = getattr(importlib.import_module("compute.report.notebook"), f"of_{what}")(*about)
    return made
