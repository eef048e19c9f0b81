"""Reports: pure functions of a Scaling, one file a format: `render(scaling, "text")`, `write(scaling, {"html": path})`.

Each format is a module here with `render(scaling) -> str | bytes`; it is imported when it is asked for. `formats` lists
them.
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
