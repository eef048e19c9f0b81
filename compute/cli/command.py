"""nfold command: how far any program scales with its number of workers."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from compute.cli.commands import WorkersWords, app, asked, refusing
from compute.cli.outputs import Outputs, writes_files

if TYPE_CHECKING:
    from compute.drawing import Stages
    from compute.scaling.results import Scaling


@app.command(context_settings={"allow_interspersed_args": False})
@writes_files
def command(
    program: Annotated[
        list[str],
        typer.Argument(metavar="PROGRAM ARGS…", help="The program and its arguments; {workers} is the number."),
    ],
    workers: WorkersWords = None,
    env: Annotated[
        list[str] | None,
        typer.Option(
            "--env",
            metavar="NAME",
            help="A variable that tells it the number of workers, or NAME=VALUE. May be given again.",
        ),
    ] = None,
    budget: Annotated[
        str, typer.Option("--budget", metavar="TIME", help="How long to measure: 30s, 2m; one round in any case.")
    ] = "1m",
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="TIME", help="A run that takes longer is ended, with all it started.")
    ] = "10m",
    same_output: Annotated[
        bool, typer.Option("--same-output", help="What it prints has to be the same with every count.")
    ] = False,
    *,
    outputs: Callable[[], Outputs],
) -> int:
    """Measure how far any program scales, and say why it does not scale further.

    The program is told the number of workers by {workers} in its arguments, or by a variable. It runs with each number
    once a round, in shuffled order, beside gauges of what this machine allows. One worker is always measured.

    It is given nothing to read and no terminal, and what it prints is thrown away. A run that fails ends the
    measurement.

    \b
    Examples:
      nfold command --workers 1,2,4 -- sort --parallel={workers} words.txt
      nfold command --env OMP_NUM_THREADS -- ./solve 1000
      nfold command --same-output --json scaling.json -- python -m mymodule --jobs {workers}
      nfold command --env OMP_NUM_THREADS --env OMP_WAIT_POLICY=passive -- sh -c 'a | b'
    """
    from compute import report
    from compute.cli import words
    from compute.program.command import check_program
    from compute.program.command import command as as_command
    from compute.scaling.programs import scale_command

    with refusing():
        wanted = outputs()
        counts = words.worker_counts(workers)
        seconds, longest = words.budget(budget), words.budget(timeout, "--timeout")
        check_program(as_command(program, env or ()), [1, *counts])
        report.ready(wanted)
    from compute.cli.ending import deliver, measured

    def measure(tell: Stages) -> Scaling:
        return scale_command(
            program,
            env=env or (),
            workers=counts,
            budget=seconds,
            timeout=longest,
            same_output=same_output,
            progress=tell,
        )

    with ended_as_by_ctrl_c():
        scaling, was_cut = measured(measure, asked.get())
    return deliver(scaling, wanted, was_cut=was_cut)


@contextlib.contextmanager
def ended_as_by_ctrl_c() -> Iterator[None]:
    """Treat SIGTERM and SIGHUP like Ctrl-C: the measured program is ended, and results so far are shown."""
    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    former = {number: signal.getsignal(number) for number in (getattr(signal, name) for name in names)}
    ours = [number for number, handler in former.items() if handler == signal.SIG_DFL]
    for number in ours:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
