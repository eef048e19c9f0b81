"""nfold show: the body of a kernel, as it is written, by variant."""

from __future__ import annotations

import os
import types
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compute.cli import terminal
from compute.cli.commands import KernelWord, Refusal, app, refusing

if TYPE_CHECKING:
    from kernels.definition import Kernel

MODES = {
    "python": "the interpreter runs it",
    "compiled": "numba compiles it; it runs without the GIL",
    "awaits": "a coroutine function: it hands over while it waits",
}


@app.command()
def show(
    kernel: KernelWord,
    variant: Annotated[
        str | None, typer.Option("--variant", metavar="LIST", help="Of these ways to run it.  [default: of all]")
    ] = None,
) -> int:
    """Show the body of a kernel as it is written, by variant: what each lane runs, and where it stands.

    Of a compiled variant it is the Python that numba compiles. What the body calls is named below it. A plain function
    of your own, package.module:name, is a kernel whose body is that function. All but the text itself are comments.

    \b
    Examples:
      nfold show mandelbrot                   all its variants
      nfold show count_primes --variant nogil > body.py
      nfold show mymodule:mykernel            one of your own, in this folder
    """
    from compute.cli import words

    with refusing():
        chosen = words.kernel(kernel)
        names = list(chosen.variants) if variant is None else words.variants(variant, chosen)
        parts, reasons = [], []
        for name in names:
            try:
                parts.append("\n".join(_shown(chosen, name)))
            except ValueError as error:
                reasons.append(f"{name}: {error}")
    if not parts:
        raise Refusal("; ".join(reasons))
    for reason in reasons:
        terminal.complain(reason)
    return terminal.deliver(lambda: terminal.say("\n\n".join(parts)))


def _shown(of: Kernel, variant: str) -> Iterator[str]:
    """The lines about one variant; ValueError where its body cannot be shown."""
    from kernels.definition.written import plain_of, written

    chosen = of.variants[variant]
    try:
        function = of.written_body(variant)
    except Exception as error:  # a module of compiled bodies, which needs numba to be imported
        raise ValueError(f"its module cannot be imported: {type(error).__name__}: {error}") from error
    text = written(function)
    runs = "; what runs where no variant is named" if variant == of.variant and len(of.variants) > 1 else ""
    yield f"# {of.name} · {variant} · {_place(text.path, text.line)}"
    yield f"# {MODES[chosen.mode]}{runs}"
    yield text.text.expandtabs()
    if called := list(_called(plain_of(function))):
        width = max(len(name) for name, _ in called)
        yield "# it calls"
        for name, place in called:
            yield f"#   {name:{width}}  {place}"


def _called(function: Any) -> Iterator[tuple[str, str]]:
    """The Python functions whose names it looks up, but for Python's own and numpy's, with their places."""
    from kernels.compilation.parts import globals_of
    from kernels.compilation.provenance import is_trusted
    from kernels.definition.written import plain_of, written

    if not isinstance(function, types.FunctionType):
        return
    for name in globals_of(function.__code__):
        try:
            value = plain_of(function.__globals__.get(name))
            if isinstance(value, types.FunctionType) and value is not function and not is_trusted(value.__module__):
                text = written(value)
                yield name, _place(text.path, text.line)
        except ValueError:  # it has no text
            continue


def _place(path: str, line: int) -> str:
    """`kernels/sieve/windows.py:197`: short where the file is below the current folder."""
    try:
        inside = Path(path).is_relative_to(Path.cwd())
    except OSError:  # that folder has been removed
        inside = False
    return f"{os.path.relpath(path) if inside else path}:{line}"
