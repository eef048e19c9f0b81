"""Reports: pure functions of a Scaling: `render(scaling, "text")`, `write(scaling, {"html": path})`.

Formats, each a module with `render(scaling) -> str | bytes` that is imported when it is asked for:
formats.py     FORMATS: their registry
text.py        on a terminal or in a pipe
markdown.py    for GitHub
csv.py         a row for each point
json.py        nfold's own
html.py        one page with everything; its parts are in page/
plots.py       the speedups as a picture

What they share:
screen.py      the overview (compute.scaling.tables.screen) as text
caption.py     the sentences that explain the overview
bars.py        the ledger as a picture
slices.py      a timeline as slices of time
style.py       colours
canvas.py      makes PNG of matplotlib's figures
folding.py     folds lines of text
static_page.py an HTML page without scripts
page/          the parts of the HTML page

Other documents:
comparison.py  `nfold compare` and `nfold check`
document.py    Document: sentences and tables, in text, Markdown and HTML
notebook.py    what a notebook shows
lanes.py       a timeline as a picture
picture.py     a run's value as a picture
together.py    several results as one
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping

from compute.report.formats import FORMATS, known
from compute.scaling import files
from compute.scaling.files import StrPath, check_output_path, check_outputs
from compute.scaling.results import Scaling

__all__ = ["FORMATS", "check_output_path", "ready", "render", "write", "write_each"]


def ready(outputs: Mapping[str, StrPath | None]) -> None:
    """Before measuring: ValueError where a format is none, its library is missing, or its path cannot be written.

    outputs: format -> path; a path of None asks for nothing. Leaves no file behind.
    """
    for name, path in outputs.items():
        needs = known(name).needs
        if path is not None and needs and importlib.util.find_spec(needs[0]) is None:
            raise ValueError(
                f"the {name} report needs {needs[0]}, which is not installed; run pip install '{needs[1]}'"
            )
    check_outputs((name, path) for name, path in outputs.items() if path is not None)


def render(scaling: Scaling, form: str) -> str | bytes:
    """The report in one of FORMATS: text, or bytes for a picture."""
    module = importlib.import_module(f"compute.report.{known(form).module}")
    content: str | bytes = module.render(scaling)
    return content


def write(scaling: Scaling, outputs: Mapping[str, StrPath | None]) -> None:
    """Write each report to its path, whole or not at all; a path of None asks for nothing.

    Where one fails the others are written all the same, and then its error is raised; several as one ExceptionGroup.
    """
    _, errors = write_each(scaling, outputs)
    if len(errors) > 1:
        raise ExceptionGroup("several reports could not be written", errors)
    if errors:
        raise errors[0]


def write_each(scaling: Scaling, outputs: Mapping[str, StrPath | None]) -> tuple[dict[str, StrPath], list[Exception]]:
    """As `write`; returns the paths that were written, by format, and the errors of the others."""
    written: dict[str, StrPath] = {}
    errors = []
    for form, path in outputs.items():
        try:
            if path is not None:
                files.write(path, render(scaling, form))
                written[form] = path
        except Exception as error:
            errors.append(error)
    return written, errors
