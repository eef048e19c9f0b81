"""nfold compare: files of results beside each other. nfold check: a gate for continuous integration."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compute.cli import terminal
from compute.cli.commands import Refusal, app, refusing
from compute.cli.limits import reached
from compute.report.formats import by_suffix
from kernels.definition import nearest

if TYPE_CHECKING:
    from compute.report.comparison import Compared
    from compute.report.document import Document

FINE, REGRESSION, BAD_USE, INCONCLUSIVE = range(4)
SUFFIXES = by_suffix("text", "markdown", "html")

Markdown = Annotated[
    Path | None, typer.Option("--markdown", metavar="FILE", help="Write it for a comment on a pull request.")
]
Html = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write it as a page.")]
BySuffix = Annotated[
    list[Path] | None,
    typer.Option("-o", metavar="FILE", help="Write FILE in the format that its suffix says: .txt, .md, .html."),
]
Kernels = Annotated[
    list[str] | None,
    typer.Option("--kernel", metavar="NAME", help="Look at this kernel alone. May be given again."),
]
ByControls = Annotated[
    bool,
    typer.Option(
        "--scale-by-controls",
        help="Take the machines' own speeds out of the ratios, as the controls beside the runs showed them.",
    ),
]


@app.command()
def compare(
    files: Annotated[list[Path], typer.Argument(metavar="A B…", help="Two files of results, or more.")],
    kernel: Kernels = None,
    scale_by_controls: ByControls = False,
    markdown: Markdown = None,
    html: Html = None,
    output: BySuffix = None,
) -> int:
    """Show files of results beside each other: the ratio of their times by point, and what else changed.

    Each file is compared with the first one. A file is nfold's own (--json) or pytest-benchmark's (--benchmark-json).
    A ratio above 1 is slower. Its 95 % interval stands behind it.

    \b
    Examples:
      nfold compare before.json after.json
      nfold compare 3.11.json 3.14.json 3.14t.json --kernel mandelbrot --html pythons.html
      nfold compare laptop.json server.json --scale-by-controls
    """
    from compute.report import comparison

    with refusing():
        wanted = _wanted(markdown, html, output or [])
        if len(files) < 2:
            raise ValueError(f"compare takes two files or more, not {len(files)}; nfold report FILE shows one")
        compared = _read(files, kernel or [], scale_by_controls)
        document = comparison.compared(compared)
    return _deliver(document, wanted)


@app.command()
def check(
    before: Annotated[Path, typer.Argument(metavar="A", help="Results of before the change.")],
    after: Annotated[Path, typer.Argument(metavar="B", help="Results of after it.")],
    max_slowdown: Annotated[
        str, typer.Option("--max-slowdown", metavar="SHARE", help="How much longer a point may take.")
    ] = "5%",
    min_efficiency: Annotated[
        str | None,
        typer.Option("--min-efficiency", metavar="SHARE", help="What B's speedups must reach of N, such as 0.9."),
    ] = None,
    min_attainable: Annotated[
        str | None,
        typer.Option("--min-attainable", metavar="SHARE", help="What they must reach of what the machine allowed."),
    ] = None,
    allow_new: Annotated[
        bool, typer.Option("--allow-new", help="Points that only B holds are no reason to doubt.")
    ] = False,
    same_machine: Annotated[
        bool, typer.Option("--same-machine", help="Trust that it was one machine, where a file does not say which.")
    ] = False,
    kernel: Kernels = None,
    scale_by_controls: ByControls = False,
    markdown: Markdown = None,
    html: Html = None,
    output: BySuffix = None,
) -> int:
    """Say whether B is a regression against A. The exit code is for continuous integration.

    \b
    0  fine: the intervals exclude that a point is slower by more than allowed
    1  a regression: slower beyond doubt and by more than allowed, or less
       efficient than asked for beyond doubt
    2  bad use: no such file, another machine or one that nobody knows, the
       same measurement twice
    3  inconclusive: too few rounds, too much noise, a point that one file
       lacks, another size, no point to have the efficiency asked for

    \b
    Examples:
      nfold check before.json after.json
      nfold check before.json after.json --max-slowdown 10% --min-efficiency 0.9
      nfold check before.json after.json --kernel matmul --kernel triad
      nfold check base.json head.json --markdown comment.md
    """
    try:
        from compute.report import comparison
        from compute.scaling.comparing.gate import Limits, judge_pairs

        with refusing():
            wanted = _wanted(markdown, html, output or [])
            limits = Limits(
                _slowdown(max_slowdown),
                _least("--min-efficiency", min_efficiency),
                _least("--min-attainable", min_attainable),
                scale_by_controls,
                allow_new,
            )
            compared = _read([before, after], kernel or [], scale_by_controls)
            if not scale_by_controls:
                _refuse_other_machines(compared, same_machine)
        judgement = judge_pairs(compared.pairs[0], compared.datasets[1], limits)
        unprinted = _deliver(comparison.judged(compared, judgement), wanted)
    except Refusal:
        raise
    except Exception as error:  # an error of nfold must not look like a regression
        if limit := reached(error):
            raise Refusal(limit) from error
        terminal.explain(error)
        return BAD_USE
    code = {"fine": FINE, "regression": REGRESSION, "inconclusive": INCONCLUSIVE}[judgement.outcome]
    return code or (BAD_USE if unprinted else FINE)


def _read(files: Sequence[Path], kernels: Sequence[str], by_controls: bool) -> Compared:
    """The files and their pairs. ValueError where one is twice there, or where they have nothing in common."""
    from compute.report.comparison import Compared
    from compute.scaling import imported
    from compute.scaling.comparing.gate import unknown_kernels
    from compute.scaling.comparing.pairs import pair_up, same_measurement

    datasets = [imported.read(path, every=True) for path in files]
    if strangers := unknown_kernels(kernels, *datasets):
        held = list(dict.fromkeys(p.kernel for dataset in datasets for p in dataset.points))
        raise ValueError(
            f"--kernel {strangers[0]!r} is in none of the files, which hold {', '.join(held[:8])}"
            f"{', …' * (len(held) > 8)}{nearest(strangers[0], held)}"
        )
    for k, dataset in enumerate(datasets):
        for other, path in zip(datasets[:k], files, strict=False):
            if same_measurement(dataset, other):
                raise ValueError(
                    f"{str(path)!r} and {str(files[k])!r} are the same measurement; measure again, into another file"
                )
    pairs = tuple(pair_up(datasets[0], dataset, kernels) for dataset in datasets[1:])
    for path, matched in zip(files[1:], pairs, strict=True):
        if not any(pair.before and pair.after for pair in matched):
            raise ValueError(
                f"{str(files[0])!r} and {str(path)!r} have no point in common (kernel, variant, backend, workers);"
                " measure the same in both"
            )
        ready = [pair for pair in matched if pair.problem is None]
        if by_controls and ready and not any(pair.expected for pair in ready):
            raise ValueError(
                f"{str(files[0])!r} and {str(path)!r} do not both hold controls to scale by; measure again with this"
                " version of nfold, at least 6 rounds"
            )
    return Compared(_names(files), tuple(datasets), pairs, by_controls)


def _names(files: Sequence[Path]) -> tuple[str, ...]:
    """The files' own names; with their folders where two are called the same."""
    names = [path.name for path in files]
    return tuple(path.name if names.count(path.name) == 1 else str(path) for path in files)


def _refuse_other_machines(compared: Compared, trusted: bool) -> None:
    """ValueError where the two were measured on different machines, or where nobody knows and it is not `trusted`."""
    from compute.scaling.comparing.machines import other_machine, unknown

    before, after = (dataset.machine for dataset in compared.datasets)
    lacks = {"A": unknown(before, after), "B": unknown(after, before)}
    silent = {letter: names for letter, names in lacks.items() if names}
    if silent and not trusted:
        names = ", ".join(dict.fromkeys(name for names in silent.values() for name in names))
        raise ValueError(
            f"{' and '.join(silent)} {'do' if len(silent) > 1 else 'does'} not say on which machine it was measured"
            f" ({names}), so nobody knows whether it was one; measure both again, or give --same-machine if you know"
        )
    if changes := other_machine(before, after):
        raise ValueError(
            f"A and B were measured on different machines ({', '.join(map(str, changes))}); measure both on one, or"
            " give --scale-by-controls"
        )


def _slowdown(word: str) -> float:
    """The share that --max-slowdown names: 5%, or 0.05."""
    share = _share(word)
    if not 0 <= share < math.inf or (share >= 1 and "%" not in word):
        hint = f"; did you mean {word.strip()}%?" if share >= 1 else ""
        raise ValueError(f"--max-slowdown must be a share from 0 on, such as 5% or 0.05, not {word.strip()!r}{hint}")
    return share


def _least(option: str, word: str | None) -> float | None:
    """The share that --min-efficiency or --min-attainable names: 0.9, or 90%."""
    if word is None:
        return None
    share = _share(word)
    if not 0 < share <= 1:
        hint = f"; did you mean {word.strip()}%?" if 1 < share <= 100 and "%" not in word else ""
        raise ValueError(
            f"{option} must be a share above 0 and up to 1, such as 0.9 or 90%, not {word.strip()!r}{hint}"
        )
    return share


def _share(word: str) -> float:
    """The number that a word like 5%, 5 % or 0.05 is; NaN for others."""
    parts = re.fullmatch(r"\+?([0-9]+\.?[0-9]*|\.[0-9]+)\s*(%?)", word.strip())
    return float(parts[1]) / (100 if parts[2] else 1) if parts else math.nan


def _wanted(markdown: Path | None, html: Path | None, more: Sequence[Path]) -> list[tuple[str, Path]]:
    """(format, path) of each file that is asked for; ValueError where one cannot be written."""
    from compute.scaling.files import check_outputs

    wanted = [(form, path) for form, path in (("markdown", markdown), ("html", html)) if path is not None]
    for path in more:
        if (suffix := path.suffix.lower()) not in SUFFIXES:
            raise ValueError(f"{str(path)!r} says no format that this is written in; end it in .txt, .md or .html")
        wanted.append((SUFFIXES[suffix], path))
    check_outputs(wanted)
    return wanted


def _deliver(document: Document, wanted: Sequence[tuple[str, Path]]) -> int:
    """Print the document, then write it in each format. The exit code: 0, or 1 where one could not be written."""
    from compute.report import document as forms
    from compute.scaling import files

    def keep() -> None:
        files.write_all(*((path, partial(forms.FORMS[form], document)) for form, path in wanted))

    return terminal.deliver(lambda: forms.show(document, terminal.console()), keep)
