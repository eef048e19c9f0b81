"""FORMATS: the registry of report formats, one record each. The command line, `render` and `write` read it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kernels.definition import nearest


@dataclass(frozen=True)
class Format:
    """module: of compute.report, with `render(scaling) -> str | bytes`. suffixes: of files, the usual one first.

    option: what the command line says of `--NAME FILE`; without it there is `-o FILE` alone. needs: a library, and what
    pip installs it with.
    """

    module: str
    suffixes: tuple[str, ...]
    option: str = ""
    needs: tuple[str, str] | None = None


FORMATS: dict[str, Format] = {
    "text": Format("text", (".txt",)),
    "json": Format("json", (".json",), "Keep the results, for nfold report."),
    "csv": Format("csv", (".csv",), "Write a row a point, for a spreadsheet."),
    "markdown": Format("markdown", (".md", ".markdown"), "Write the tables for a README."),
    "html": Format("html", (".html", ".htm"), "Write a page with figures to explore."),
    "png": Format("plots", (".png",), "Draw the speedups.", ("matplotlib", "nfold")),
}


def known(name: str) -> Format:
    """The format of that name; ValueError, with the nearest name, where there is none."""
    if name not in FORMATS:
        raise ValueError(f"no report is called {name!r}; choose from {', '.join(FORMATS)}{nearest(name, FORMATS)}")
    return FORMATS[name]


def by_suffix(*names: str) -> dict[str, str]:
    """The name of a format by each suffix of these formats."""
    return {suffix: name for name in names for suffix in FORMATS[name].suffixes}


def format_of(path: Path) -> str:
    """The name of the format of a file's suffix; ValueError that lists the suffixes where it is none of them."""
    formats, suffix = by_suffix(*FORMATS), path.suffix.lower()
    if suffix not in formats:
        problem = f"{str(path)!r} ends in {suffix!r}" if suffix else f"{str(path)!r} has no suffix"
        raise ValueError(f"{problem}, which says no format; end it in one of {', '.join(formats)}")
    return formats[suffix]
