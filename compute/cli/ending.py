"""How a measurement ends, whole or cut short by a Ctrl-C: what was found is shown, then kept in files."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from compute import drawing
from compute.cli import terminal
from compute.drawing import Stages
from compute.scaling.files import StrPath
from compute.scaling.results import CutShort, Scaling

CUT = 130  # the exit code of a command that a Ctrl-C ended
KEPT = {"json": "Results", "html": "Page", "png": "Picture"}  # what files are called; others by their format


def measured(measure: Callable[[Stages], Scaling], asked: Sequence[str]) -> tuple[Scaling, bool]:
    """What `measure(progress)` found, and whether a Ctrl-C cut it short; KeyboardInterrupt where nothing was found.

    asked: the words of the command line, by which the results tell how to measure them again.
    """
    try:
        with drawing.stages(True) as tell:
            scaling, was_cut = measure(tell), False
    except CutShort as cut:
        scaling, was_cut = cut.scaling, True
    return replace(scaling, command=shlex.join(["nfold", *asked])), was_cut


def deliver(
    scaling: Scaling,
    outputs: Mapping[str, Path | None],
    details: bool | None = None,
    *,
    read: Sequence[StrPath] = (),
    unasked: bool = False,
    was_cut: bool = False,
) -> int:
    """Print the report, write the files, and say where the rest is to be found. The exit code.

    details: whether tables are printed; None: where there is one kernel. read: the files that the results are from.
    unasked: whether the user did not name the outputs, and is to be told of them.
    """
    from compute import report

    kept: dict[str, StrPath] = {}

    def keep() -> None:
        written, errors = report.write_each(scaling, outputs)
        kept.update(written)
        if errors:
            raise ExceptionGroup("not everything could be written", errors)

    def conclude() -> None:
        results = [*read] or [path for form, path in kept.items() if form == "json"]
        has_tables = details or len({p.title for p in scaling.points}) == 1
        if text := where(kept if unasked else {}, () if has_tables else results):
            terminal.say(f"\n{text}")

    code = terminal.deliver(lambda: terminal.show(scaling, details), keep, conclude)
    return CUT if was_cut else code


def where(kept: Mapping[str, StrPath], results: Sequence[StrPath]) -> str:
    """The lines at the end: the command that shows tables of these results, and each file that was written."""
    lines = [f"Tables:  {shlex.join(['nfold', 'report', *map(str, results), '--details'])}"] if results else []
    lines += [f"{KEPT.get(form, form) + ':':8} {path}" for form, path in kept.items()]
    return "\n".join(lines)
