"""nfold lessons: every taught statement as an experiment."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compute.cli import terminal
from compute.cli.commands import app, refusing
from compute.cli.ending import CUT

if TYPE_CHECKING:
    from compute.lessons.experiment import Course, Experiment
    from compute.lessons.lesson import Lesson


@app.command()
def lessons(
    which: Annotated[
        list[str] | None, typer.Argument(metavar="[LESSON…]", help="Numbers or names.  [default: all of them]")
    ] = None,
    python: Annotated[
        list[str] | None,
        typer.Option("--python", metavar="PATH", help="Hold them in this interpreter as well. May be given again."),
    ] = None,
    seconds: Annotated[
        str, typer.Option("--budget", metavar="TIME", help="About how long each may take: 10s, 1m.")
    ] = "10s",
    only_list: Annotated[bool, typer.Option("--list", help="Say which there are, and hold none.")] = False,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page to hand out.")] = None,
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Keep the evidence.")] = None,
    png: Annotated[Path | None, typer.Option("--png", metavar="FILE", help="Draw the pictures.")] = None,
) -> int:
    """Hold lessons: what is taught about threads, processes, coroutines and the GIL, tried out on this machine.

    Each measures the code that it shows, and says whether the statement holds here and why. All take about two minutes.
    A Ctrl-C keeps those that are finished.

    \b
    Examples:
      nfold lessons                           all of them
      nfold lessons 4                         threads and the GIL
      nfold lessons 4 9 --python python3.14t  beside an interpreter without a GIL
      nfold lessons --html lessons.html       a page to hand out
    """
    from compute.cli import words
    from compute.lessons import LESSONS, conduct, find

    if only_list:
        lines = [f"{lesson.number:>2} {lesson.name:12} {lesson.statement}" for lesson in LESSONS.values()]
        return terminal.deliver(lambda: terminal.say("\n".join(lines)))
    outputs = {"html": html, "json": json, "png": png}
    with refusing():
        chosen = list({lesson.number: lesson for word in which or () if (lesson := find(word))}.values()) or [
            *LESSONS.values()
        ]
        budget = words.budget(seconds)
        _check(outputs)
        for path in python or ():
            conduct.check_python(path)
    held: list[Experiment] = []
    code = 0
    try:
        for done, lesson in enumerate(chosen):
            experiments = _held(lesson, python or (), budget, (done, len(chosen)))
            held += experiments
            code = terminal.deliver(functools.partial(_show, experiments)) or code
    except KeyboardInterrupt:
        if not held:
            raise
        code = CUT
        terminal.complain(f"cut short by Ctrl-C after {len({e.lesson.number for e in held})} of {len(chosen)} lessons")
    course = conduct.as_course(held)
    return terminal.deliver(lambda: None, lambda: _write(course, outputs)) or code


def _held(lesson: Lesson, pythons: Sequence[str], budget: float, place: tuple[int, int]) -> list[Experiment]:
    """One lesson in every interpreter; place: how many are done, of how many. Its bar is gone when it is printed."""
    from compute import drawing
    from compute.lessons import conduct

    with drawing.stages(True) as tell:
        return conduct.hold_everywhere(
            lesson, pythons, budget, lambda text: tell(*place, f"{lesson.number} {lesson.name} · {text}")
        )


def _check(outputs: Mapping[str, Path | None]) -> None:
    """ValueError where a file cannot be written, or two are to be the same."""
    from compute.scaling import files

    taken: dict[Path, str] = {}
    for name, path in outputs.items():
        if path is None:
            continue
        files.check_output_path(path)
        if (other := taken.setdefault(path.resolve(), name)) != name:
            raise ValueError(f"--{other} and --{name} both name {str(path)!r}; give each its own file")


def _show(experiments: list[Experiment]) -> None:
    from compute.lessons import text

    text.show(experiments, terminal.console())


def _write(course: Course, outputs: Mapping[str, Path | None]) -> None:
    from compute.lessons import drawn, page
    from compute.scaling import files
    from compute.texts import as_json

    forms: dict[str, Callable[[], str | bytes]] = {
        "html": lambda: page.render(course),
        "json": lambda: as_json(course.as_dict()),
        "png": lambda: drawn.render([p for e in course.experiments for p in e.judgement.pictures]),
    }
    errors = []
    for name, path in outputs.items():
        if path is not None:
            try:
                files.write(path, forms[name]())
            except OSError as error:
                errors.append(error)
    if errors:
        raise ExceptionGroup("not everything could be written", errors)
