"""Notebook HTML (`_repr_html_`) for Result, Timeline and Scaling.

compute.report.notebook renders it. It lies above the modules that use this one, and needs matplotlib. So it is imported
by name, when a notebook asks for the HTML.
"""

from __future__ import annotations

import importlib
from typing import Any


def render(kind: str, *values: Any) -> str:
    """The HTML that compute.report.notebook's function `of_<kind>` makes of these values."""
    html: str = getattr(importlib.import_module("compute.report.notebook"), f"of_{kind}")(*values)
    return html
