"""The parts of the HTML page: its figures as data, its overview, and the files that a browser reads.

figures.py   what every figure shows, as plain data; page.js draws it
heat.py      the overview as a coloured table
colours.py   the colours of style.py as variables, light and dark
page.css, tables.js, figures.js, page.js, library.js: see README.md beside them
"""

from __future__ import annotations

from importlib.resources import files


def asset(name: str) -> str:
    """The text of a file that is part of the page."""
    return files(__name__).joinpath(name).read_text("utf-8")


def script() -> str:
    """The page's own scripts as one, strict and with no names but its own."""
    parts = "".join(asset(name) for name in ("figures.js", "tables.js", "page.js"))
    return f'"use strict";\n(async () => {{\n{parts}}})();\n'
