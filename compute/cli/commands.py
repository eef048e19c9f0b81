"""The Typer application: `nfold`, scale, run, report, list. `main` turns exceptions into a line and an exit code."""

from __future__ import annotations

import functools
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any

import typer

from compute.cli import limits, terminal
from compute.cli.outputs import Outputs, writes_files

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

KernelWord = Annotated[
    str, typer.Argument(metavar="KERNEL", help="A name that nfold list shows, or package.module:name for your own.")
]
SizeWord = Annotated[str, typer.Argument(metavar="SIZE", help="A whole number: 1000, 1_000 or 1e9.")]
WorkersWords = Annotated[
    str | None,
    typer.Option("--workers", metavar="LIST", help="Worker counts, such as 1,2,4.  [default: 1, 2, 4 … all CPUs]"),
]
VariantWords = Annotated[
    str | None,
    typer.Option("--variant", metavar="LIST", help="Ways to run it; nfold list shows them.  [default: the fastest]"),
]
SchedulerWord = Annotated[
    str | None,
    typer.Option("--scheduler", metavar="ADDRESS", help="Of a Dask cluster, such as tcp://host:8786, for --on dask."),
]
DetailsFlag = Annotated[bool, typer.Option("--details", help="Print a table for each kernel, too.")]


asked: ContextVar[Sequence[str]] = ContextVar("asked", default=())  # the words of the command that is under way


class Refusal(Exception):
    """What cannot be done as asked: one line for the user."""


@contextmanager
def refusing() -> Iterator[None]:
    """Until the measuring begins, such an error is about what the user asked for, or about what is here for it."""
    try:
        yield
    except (ValueError, TypeError, OSError, ImportError) as error:
        raise Refusal(limits.reached(error) or str(error)) from error


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return its exit code: 0, 1 (it failed), 2 (it cannot be done as asked), 130 (Ctrl-C)."""
    terminal.ready()
    words = sys.argv[1:] if argv is None else argv
    asked.set(words)
    for word in words:  # only a program's own list may hold such words; in files' names the parser fails on them
        if "\0" in word:
            return _complain(f"{word!r} holds a NUL character, which no word of a command may; leave it out")
        try:
            os.fsencode(word)
        except UnicodeEncodeError:
            return _complain(f"{word!r} holds half a character, which no word of a command may; leave it out")
    if words[:1] != ["command"]:  # whose words are another program's
        # A negative number is a value, never an option; behind a blank the parser takes it for one.
        words = [f" {word}" if word[:1] == "-" and word[1:2].isdigit() else word for word in words]
    try:
        code = int(_parser()(words, prog_name="nfold", standalone_mode=False) or 0) or terminal.flush()
    except (KeyboardInterrupt, typer.Abort) as abort:
        if isinstance(abort.__cause__ or abort.__context__, EOFError):  # the parser takes a kernel's for its own
            return _failed(abort.__cause__ or abort.__context__ or abort, words)
        code = 130
    except SystemExit as leaving:  # the parser's answer to a broken pipe, whoever's it was
        return _failed(leaving.__context__ or leaving, words)
    except Exception as error:
        return _failed(error, words)
    if code == 130:
        terminal.complain("interrupted")
    return code


@functools.cache
def _parser() -> Any:
    """What reads the words; the commands that this room's other modules add are known by the first call."""
    return typer.main.get_command(app)


SAY_IT_ALL = {
    "compute.dispatch.WorkerDied",
    "compute.program.run.ProgramFailed",
    "compute.scaling.verify.WrongAnswer",
    "kernels.definition.compile_errors.NotCompiled",
}


def _failed(error: BaseException, words: list[str]) -> int:
    """Say what went wrong, in a line where it is about what the user asked for; the exit code."""
    if isinstance(error, OSError) and {"-h", "--help"} & set(words):  # which the parser prints itself
        return terminal.unprinted(error)
    if isinstance(error, Refusal):
        return _complain(str(error))
    if hasattr(error, "format_message"):  # the parser's
        return _complain(f"{error.format_message()} (nfold --help shows what there is)")
    # By name: where memory is what is missing, nothing more can be imported.
    kinds = {f"{kind.__module__}.{kind.__name__}" for kind in type(error).__mro__}
    if "compute.scaling.configurations.Unavailable" in kinds:
        return _complain(str(error))
    if limit := limits.reached(error):
        return _complain(limit)
    if kinds & SAY_IT_ALL:
        return _complain(str(error), code=1)
    terminal.explain(error)  # a kernel's own error, with its chunk and its traceback
    return 1


def _complain(message: str, code: int = 2) -> int:
    terminal.complain(message)
    return code


def _version(wanted: bool) -> None:
    if wanted:
        from compute import machine

        about = f"nfold {machine.version('nfold') or 'not installed'}"
        raise typer.Exit(terminal.deliver(lambda: terminal.say(about)))


@app.callback(invoke_without_command=True)
def main_job(
    context: typer.Context,
    budget: Annotated[str, typer.Option("--budget", metavar="TIME", help="How long it may take: 30s, 2m.")] = "1m",
    everything: Annotated[
        bool, typer.Option("--all", help="Every kernel, in shorter runs.  [default: one of each kind]")
    ] = False,
    details: DetailsFlag = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> int:
    """How close do N workers get to N times faster on this machine, and where did the rest go?

    Without a command: measures one kernel of each kind on the backends that matter, with 1, 2, 4 … workers, within
    about a minute; prints one screen, and keeps nfold-report.json, .html (a page to explore) and .png in the current
    folder. A Ctrl-C keeps what was measured until then.

    \b
    Examples:
      nfold                                   the main job
      nfold scale mandelbrot                  one kernel, on threads and processes
      nfold scale matmul 2000 --on threads,prange --variant nogil,blas
      nfold scale mymodule:mykernel           one of your own, in this folder
      nfold run count_primes 1e9 --workers 2  a run: value, seconds, what lanes did
      nfold command --workers 1,2 -- sort --parallel={workers} words.txt
      nfold report nfold-report.json --html report.html
      nfold advise mandelbrot 600             the fastest way to do this work here
      nfold doctor                            what stands in the way of N-fold here
    """
    if context.invoked_subcommand:
        return 0
    from compute import report
    from compute.cli import words

    outputs = {form: Path(f"nfold-report.{form}") for form in ("json", "html", "png")}
    with refusing():
        seconds = words.budget(budget)
        report.ready(outputs)
    from compute.cli.ending import deliver, measured
    from compute.cli.main_job import survey

    scaling, was_cut = measured(lambda tell: survey(seconds, tell, everything), asked.get())
    return deliver(scaling, outputs, details or None, unasked=True, was_cut=was_cut)


@app.command()
@writes_files
def scale(
    kernel: KernelWord,
    size: Annotated[
        str | None,
        typer.Argument(
            metavar="[SIZE]",
            help="A whole number: 1000, 1_000 or 1e9.  [default: a twentieth of a second on one core, by variant]",
        ),
    ] = None,
    on: Annotated[
        str, typer.Option("--on", metavar="LIST", help="Backends; nfold list shows them.")
    ] = "threads,processes",
    workers: WorkersWords = None,
    scheduler: SchedulerWord = None,
    variant: VariantWords = None,
    budget: Annotated[
        str, typer.Option("--budget", metavar="TIME", help="How long to measure: 30s, 2m, 500ms.")
    ] = "10s",
    mode: Annotated[
        str,
        typer.Option("--mode", metavar="MODE", help="strong: the same work for all; weak: it grows with the workers."),
    ] = "strong",
    pin: Annotated[bool, typer.Option("--pin/--no-pin", help="Hold lanes to CPUs of their own.")] = True,
    *,
    outputs: Callable[[], Outputs],
) -> int:
    """Measure how far one kernel scales: every backend, variant and worker count, in interleaved rounds.

    SIZE is n for the primes and the side of the square for the others; for one of your own, the length of its arrays.

    \b
    Examples:
      nfold scale count_primes 1e8
      nfold scale mandelbrot --on threads,prange,processes,joblib --workers 1,2
      nfold scale triad 1000 --variant python,nogil --on threads --budget 5s
      nfold scale mymodule:mykernel --json mine.json --png mine.png
      nfold scale mandelbrot 4000 --on dask --scheduler tcp://host:8786 --workers 1,2,4,8
    """
    from compute import report
    from compute.cli import made_up, words
    from compute.cli.ending import deliver, measured
    from compute.scaling.calibration import calibrate
    from compute.scaling.rounds import scale_all

    with refusing():
        wanted = outputs()
        chosen = words.kernel(kernel)
        number = None if size is None else words.size(size)
        backends = words.backends(on, scheduler)
        counts = words.worker_counts(workers, scheduler)
        variants = words.variants(variant, chosen)
        seconds = words.budget(budget)
        words.scaling_mode(mode)
        report.ready(wanted)
        with made_up.told(chosen):
            if number is None:  # to each its own: a size that suits Python is over in microseconds where it is compiled
                sizes = {name: calibrate(chosen, seconds / 200, name) for name in variants}
                works = [words.work(chosen, size, [name], counts, mode) for name, size in sizes.items()]
            else:
                works = [words.work(chosen, number, variants, counts, mode)]
    with made_up.told(chosen):
        scaling, was_cut = measured(
            lambda tell: scale_all(works, on=backends, workers=counts, budget=seconds, pin=pin, progress=tell),
            asked.get(),
        )
    return deliver(scaling, wanted, was_cut=was_cut)


@app.command()
def run(
    kernel: KernelWord,
    size: SizeWord,
    on: Annotated[
        str, typer.Option("--on", metavar="BACKEND", help="Who computes; nfold list shows them.")
    ] = "threads",
    workers: Annotated[
        str | None, typer.Option("--workers", metavar="N", help="How many workers.  [default: all CPUs]")
    ] = None,
    scheduler: SchedulerWord = None,
    variant: Annotated[
        str | None,
        typer.Option(
            "--variant", metavar="NAME", help="How to run it; nfold list shows the variants.  [default: the fastest]"
        ),
    ] = None,
    png: Annotated[
        Path | None, typer.Option("--png", metavar="FILE", help="Draw the value, where it is a matrix.")
    ] = None,
    trace: Annotated[
        Path | None, typer.Option("--trace", metavar="FILE", help="Keep who ran what when, for ui.perfetto.dev.")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option("--dtype", metavar="NAME", help="Of its arrays: float64, float32, complex128, int64.")
    ] = None,
) -> int:
    """Run a kernel once: its value, the seconds, and what each lane did.

    \b
    Examples:
      nfold run count_primes 1e9 --workers 2
      nfold run mandelbrot 800 --on processes --png mandelbrot.png
      nfold run matmul 1000 --dtype float32
      nfold run mandelbrot 800 --trace run.json                 every chunk on a track of its lane
      nfold run mandelbrot 200 --on threads --variant python    the lanes take turns at the GIL
      nfold run count_primes 1e11 --on dask --scheduler tcp://host:8786    on a cluster (docs/cluster.md)
    """
    from compute import report
    from compute.cli import made_up, words
    from compute.scaling import formatting as worded

    with refusing():
        chosen = words.kernel(kernel).held_to(variant)
        number = words.size(size, least=0)
        count = None if workers is None else words.worker_count(workers, scheduler)
        backend = words.backend(on, count, scheduler)
        if reason := backend.refuses(chosen):
            raise ValueError(reason)
        with made_up.told(chosen):
            args = words.operands(chosen, number, dtype)
        if png and not words.gives_matrix(chosen, args):
            raise ValueError(f"--png draws a matrix, and the value of {chosen.name} is none; leave it out")
        report.ready({"png": png, "json": trace})
        pool = backend.open()
    with pool, made_up.told(chosen):
        compiling = pool.warm(chosen, *args)
        result = pool.run(chosen, *args)
        startup = pool.startup
    about = (
        f"{chosen.name} · {chosen.variant} · {backend.name} · "
        f"start-up {worded.seconds(startup)} and compiling or loading"
        f" {worded.seconds(compiling)} not counted"
    )

    def keep() -> None:
        from compute.report import picture
        from compute.scaling import files

        files.write_all(
            (png, lambda: picture.render(result.value)), (trace, lambda: json.dumps(result.timeline.to_trace()))
        )

    return terminal.deliver(lambda: terminal.tell(result, about), keep)


@app.command("report")
@writes_files
def show_report(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="From --json, or pytest --benchmark-json.")],
    details: DetailsFlag = False,
    *,
    outputs: Callable[[], Outputs],
) -> int:
    """Show results again, in any form: nfold's own JSON files, or pytest-benchmark's.

    Where several files hold the same kernel, it gets a line, or a table, for each of them.

    \b
    Examples:
      nfold report nfold-report.json
      nfold report nfold-report.json --details
      nfold report before.json after.json
      nfold report nfold-bench.json --markdown table.md --png scaling.png
    """
    from compute import report
    from compute.cli.ending import deliver
    from compute.report.together import together
    from compute.scaling import imported

    with refusing():
        wanted = outputs()
        scaling = together({path: imported.read(path) for path in files})
        report.ready(wanted)
    return deliver(scaling, wanted, details or None, read=files)


@app.command("list")
def show_list() -> int:
    """Show the kernels, with their variants, and the backends."""
    import kernels
    from compute.backends import BACKENDS

    width, names = terminal.width(), max(map(len, (*kernels.REGISTRY, *BACKENDS)))
    lines = ["kernels"]
    for name, kernel in kernels.REGISTRY.items():
        named = f"  {name:{names}}  {', '.join(kernel.variants):20}"
        lines.append(terminal.beside(named, _first_of(kernel.__doc__), width))
    lines += ["", "backends"]
    for name in BACKENDS:
        try:
            about = BACKENDS[name].__doc__
        except ValueError as error:
            about = str(error)
        lines.append(terminal.beside(f"  {name:{names}} ", _first_of(about), width))
    return terminal.deliver(lambda: terminal.say("\n".join(lines)))


def _first_of(text: str | None) -> str:
    """Its first sentence."""
    return re.split(r"(?<=\w\.)\s", " ".join((text or "").split("\n\n")[0].split()))[0].rstrip(".:")
