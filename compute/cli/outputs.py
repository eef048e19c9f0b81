"""The files that a command writes: an option for each format, and -o FILE, where the suffix says which format."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from compute.report.formats import FORMATS, format_of

Outputs = dict[str, Path | None]

_BY_SUFFIX = Annotated[
    list[Path] | None,
    typer.Option(
        "-o",
        metavar="FILE",
        help="Write FILE in the format that its suffix says: "
        + ", ".join(form.suffixes[0] for form in FORMATS.values())
        + ". May be given again.",
    ),
]


def writes_files(command: Callable[..., int]) -> Callable[..., int]:
    """A command whose `outputs` (a path, or None, by format) come from its options.

    A ValueError where two files are asked for in one format is raised when `outputs` is called for: it is a function.
    """
    signature = inspect.signature(command, eval_str=True)
    own = [p for name, p in signature.parameters.items() if name != "outputs"]
    options = [
        _option(name, Annotated[Path | None, typer.Option(f"--{name}", metavar="FILE", help=form.option)])
        for name, form in FORMATS.items()
        if form.option
    ]
    options.append(_option("by_suffix", _BY_SUFFIX))

    @functools.wraps(command)
    def with_files(**given: Any) -> int:
        named = {option.name: given.pop(option.name) for option in options}
        more = named.pop("by_suffix") or []
        return command(**given, outputs=lambda: _together(named, more))

    made: Any = with_files
    made.__signature__ = signature.replace(parameters=[*own, *options])
    made.__annotations__ = {p.name: p.annotation for p in (*own, *options)} | {"return": int}
    return with_files


def _option(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _together(named: Outputs, more: Sequence[Path]) -> Outputs:
    outputs = dict(named)
    for path in more:
        form = format_of(path)
        if outputs.get(form) is not None:
            raise ValueError(
                f"{str(outputs[form])!r} and {str(path)!r} are both to be {form}; write one of them, and copy it"
            )
        outputs[form] = path
    return outputs
