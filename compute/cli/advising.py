"""nfold advise: which way is fastest here. nfold doctor: what on this machine keeps N workers from N-fold."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compute.cli import terminal
from compute.cli.commands import KernelWord, SizeWord, app, refusing


@app.command()
def advise(
    kernel: KernelWord,
    size: SizeWord,
    on: Annotated[
        str, typer.Option("--on", metavar="LIST", help="Backends to choose from; nfold list shows them.")
    ] = "threads,prange,processes,joblib",
    budget: Annotated[
        str, typer.Option("--budget", metavar="TIME", help="How long it may take, compiling included: 30s, 2m.")
    ] = "20s",
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Keep the measurements.")] = None,
) -> int:
    """Say which backend, variant and number of workers is fastest for this work here, and from which size on.

    Measures the kernel at small sizes and on up to SIZE, as far as the budget goes. No run is begun that would take
    longer, by how time has grown so far. Where two are as fast within noise it advises the simpler. It never advises
    what is slower than one core.

    \b
    Examples:
      nfold advise mandelbrot 600
      nfold advise count_primes 1e9 --on threads,processes --budget 1m
      nfold advise mymodule:mykernel 1e6 --json advice.json
    """
    from compute.advice import advise_for_size, text
    from compute.cli import made_up, words
    from compute.scaling import files

    with refusing():
        chosen = words.kernel(kernel)
        number = words.size(size)
        names = [backend.name for backend in words.backends(on)]
        seconds = words.budget(budget)
        if json:
            files.check_output_path(json)
        with made_up.told(chosen):
            args = words.operands(chosen, number)
    with made_up.told(chosen):
        advice = advise_for_size(chosen, number, args=args, on=names, budget=seconds, progress=True)
    return terminal.deliver(
        lambda: text.show(advice, terminal.console()), (lambda: advice.to_json(json)) if json else None
    )


@app.command()
def doctor(
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Keep the findings.")] = None,
) -> int:
    """Look at what decides how far work scales here, each with what it means and what to do about it.

    CPUs, quota, cores, clock, caches, memory, shared memory, the GIL, BLAS, numba, start method, load, virtual machine.
    What this system does not tell is "unknown". Takes as long as importing numba, about half a second.

    \b
    Examples:
      nfold doctor
      nfold doctor --json doctor.json
    """
    from compute.diagnosis import doctor as examined
    from compute.diagnosis import text
    from compute.scaling import files

    with refusing():
        if json:
            files.check_output_path(json)
    findings = examined()
    return terminal.deliver(
        lambda: text.show(findings, terminal.console()),
        (lambda: files.write(json, text.as_json(findings))) if json else None,
    )
