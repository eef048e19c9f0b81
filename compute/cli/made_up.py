"""A kernel without example= is measured with arguments that were made up; where it fails on them, a line says so."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from compute.cli.commands import Refusal
from kernels.definition import Kernel
from kernels.definition.compile_errors import NotCompiled
from kernels.definition.default_plan import MadeUp

OF_ARGUMENTS = (TypeError, IndexError, AttributeError, ValueError)  # that an array in the place of a number may cause


@contextmanager
def told(kernel: Kernel) -> Iterator[None]:
    """Until it ends, what a kernel says about arguments that were made up for it is a Refusal that names them."""
    try:
        yield
    except OF_ARGUMENTS as error:
        example = kernel.example
        if isinstance(example, MadeUp) and (place := _blames_them(error, kernel, example)) is not None:
            what = "" if isinstance(error, NotCompiled) else f"{type(error).__name__}: "
            raise Refusal(example.refused(kernel.name, f"{what}{error}{place}")) from error
        raise


def _blames_them(error: Exception, kernel: Kernel, example: MadeUp) -> str | None:
    """Where an error happened that made-up arguments may have caused, or ""; None for any other error."""
    frames = traceback.extract_tb(error.__traceback__)
    if example.of_a_plan:  # that has checked them: what a body raises is its own, and a ValueError the plan's
        return "" if not isinstance(error, ValueError) and any(f.name == "_planned" for f in frames) else None
    if isinstance(error, NotCompiled):
        return ""  # its text has the place
    path = kernel.written_body("python").__code__.co_filename
    within = [f for f in frames if f.filename == path and f.name != "<module>"]
    if within:
        is_its_own = frames[-1] is within[-1] and (frames[-1].line or "").startswith("raise ")
        return None if is_its_own else f" (at {path}:{within[-1].lineno})"
    return "" if isinstance(error, TypeError) and hasattr(error, "__notes__") else None  # another process's
