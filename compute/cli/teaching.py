"""nfold lessons: run lessons, show them, and write them to files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compute.cli import limits, terminal
from compute.cli.command import ended_as_by_ctrl_c
from compute.cli.commands import app, refusing
from compute.cli.ending import CUT

if TYPE_CHECKING:
    from compute.lessons.elsewhere import Interpreter
    from compute.lessons.experiment import Course, Experiment
    from compute.lessons.lesson import Lesson, Setting


@app.command()
def lessons(
    which: Annotated[
        list[str] | None, typer.Argument(metavar="[LESSON…]", help="Numbers or names.  [default: all of them]")
    ] = None,
    python: Annotated[
        list[str] | None,
        typer.Option("--python", metavar="PATH", help="Hold them in this interpreter as well. May be given again."),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option("--task", metavar="MODULE:FUNCTION", help="A function of yours without arguments, for lesson 1."),
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
      nfold lessons 1 --task mymodule:work    what a function of yours is bound by
      nfold lessons --html lessons.html       a page to hand out
    """
    from compute import report
    from compute.cli import words
    from compute.lessons import LESSONS, conduct, find
    from compute.lessons.elsewhere import Interpreter
    from compute.lessons.lesson import Setting
    from compute.lessons.own import find_task

    if only_list:
        columns = terminal.width()
        lines = [
            terminal.beside(f"{lesson.number:>2} {lesson.name:12}", lesson.statement, columns)
            for lesson in LESSONS.values()
        ]
        return terminal.deliver(lambda: terminal.say("\n".join(lines)))
    with refusing():
        asked = [find(word) for word in which or LESSONS]
        chosen = list({lesson.number: lesson for lesson in asked}.values())
        setting = Setting(words.budget(seconds), task=find_task(task) if task is not None else None)
        conduct.check_task(setting.task, chosen)
        report.ready({"html": html, "json": json, "png": png})
        others = [Interpreter.of(path) for path in dict.fromkeys(python or ())]
    course = conduct.empty_course()
    with ended_as_by_ctrl_c():  # otherwise another interpreter would go on
        held, code = _held(chosen, others, setting)
    if not held:
        return code
    course = replace(course, experiments=tuple(held))
    return terminal.deliver(lambda: _remark(course), lambda: _write(course, html, json, png)) or code


def _held(chosen: Sequence[Lesson], others: Sequence[Interpreter], setting: Setting) -> tuple[list[Experiment], int]:
    """Run the lessons and show each when it is over. Returns those that were run, and the exit code.

    An error in one does not cost the others. A Ctrl-C ends them; it is raised where none is finished.
    """
    from compute.lessons import text

    held: list[Experiment] = []
    code = 0
    try:
        for done, lesson in enumerate(chosen):
            try:
                experiments = _everywhere(lesson, others, setting, (done, len(chosen)))
            except Exception as error:
                limit = limits.reached(error)
                if limit is None:
                    terminal.explain(error)
                given_up = f"lesson {lesson.number} ({lesson.name}) was given up"
                terminal.complain(given_up if limit is None else f"{given_up}: {limit}")
                code = 1 if limit is None else 2
                continue
            held += experiments
            code = terminal.deliver(lambda: text.show(experiments, terminal.console())) or code  # noqa: B023, at once
    except KeyboardInterrupt:
        if not held:
            raise
        code = CUT
        terminal.complain(f"cut short by Ctrl-C after {len({e.lesson.number for e in held})} of {len(chosen)} lessons")
    return held, code


def _everywhere(
    lesson: Lesson, others: Sequence[Interpreter], setting: Setting, place: tuple[int, int]
) -> list[Experiment]:
    """One lesson in every interpreter; place: how many are over, of how many. Its bar is gone when it is shown."""
    from compute import drawing
    from compute.lessons import conduct

    with drawing.stages(True) as tell:
        say = conduct.passing((1 + len(others)) * setting.seconds, tell, place, f"{lesson.number} {lesson.name} · ")
        say("getting ready")
        return conduct.run_everywhere(lesson, others, replace(setting, say=say))


def _remark(course: Course) -> None:
    from compute.lessons import text

    text.show_remarks(course.remarks, terminal.console())


def _write(course: Course, html: Path | None, json: Path | None, png: Path | None) -> None:
    from compute.lessons import drawn, page
    from compute.scaling import files
    from compute.texts import as_json

    pictures = course.pictures
    if png and not pictures:
        terminal.complain(f"nothing was measured that could be drawn: {str(png)!r} is not written")
    files.write_all(
        (html, lambda: page.render(course)),
        (json, lambda: as_json(course.as_dict())),
        (png if pictures else None, lambda: drawn.render(pictures)),
    )
