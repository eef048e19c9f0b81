"""Turn errors of numpy and numba about a user's body into one line with a remedy (`explained`).

These are a write to an input, a write beyond a reducing body's row, and whatever numba cannot compile (which
compile_errors.py reads). `check_writes` refuses a body before it runs, if its source text writes to an input.
Kernel.explained and compute.checking use this module.
"""

from __future__ import annotations

import os
import re
import sys
import traceback
import types
from typing import TYPE_CHECKING, Any

import numpy as np

from kernels.definition.bodies import written_inputs, written_names
from kernels.definition.rows import REMEDY, keeps_to_its_row

if TYPE_CHECKING:
    from kernels.definition import Kernel

# numba's errors about a read-only array: an assignment, or a function that changes its array.
WRITES = re.compile(
    r"setitem\(readonly array|(fill|sort\w*|shuffle|copyto|put)\([^\n]*?readonly array|[Cc]annot modify readonly"
)
WRITE_POSITION = re.compile(r"During: typing of \S+ at (.+) \((\d+)\)")
READ_ONLY = re.compile(r"\b(array|destination) is read-only\b|cannot modify read-only memory")  # numpy's, memoryview's


class WritesToInput(ValueError):
    """A body writes to an input, and its kernel does not say that it may."""


def check_writes(function: Any, names: tuple[str, ...], inout: tuple[int, ...]) -> None:
    """WritesToInput where a body's own text writes to an input.

    Compiled code does not stop all such writes by itself: numba lets fields of records, a.flat and np.nditer through.
    """
    if isinstance(function, types.FunctionType):
        allowed = {names[k] for k in inout}
        if written := [name for name in written_inputs(function) if name not in allowed]:
            raise WritesToInput(_line(function.__name__, written, written[0]))


def explained(error: Exception, kernel: Kernel) -> Exception:
    """One line with a remedy, where numpy or numba raised the error about the body; any other error unchanged."""
    try:
        text = str(error)
    except BaseException:  # of a class of the user's own
        return error
    if type(error) is IndexError and kernel.reduce and not keeps_to_its_row(kernel.variants[kernel.variant].source()):
        return _with_notes(IndexError(f"{kernel.name}: {text}; a chunk's out is a single row: {REMEDY}"), error)
    is_numbas = any(cls.__module__.startswith("numba.") for cls in type(error).__mro__)
    is_numbas = is_numbas or _lowering_failed(error, kernel)
    # What numba raises for `a += 1` on a read-only array.
    is_lost = isinstance(error, AttributeError) and "'NoneType' object has no attribute 'args'" in text
    if not (
        (isinstance(error, ValueError | TypeError) and READ_ONLY.search(text) and not isinstance(error, WritesToInput))
        or is_numbas
        or (is_lost and _was_compiling(error))
    ):
        return error
    if is_numbas and not WRITES.search(text):
        from kernels.definition.compile_errors import not_compiled  # late: most programs need none of its patterns

        return _with_notes(not_compiled(text, kernel), error)
    if outside := _written_globals(kernel):
        outer = WritesToInput(
            f"{kernel.name} writes to {outside[0]}, a global array, which compiled code takes as a constant; write into"
            " out, and add up what chunks have counted with reduce="
        )
        return _with_notes(outer, error)
    frozen = [name for k, name in enumerate(kernel.inputs) if k not in kernel.inout]
    body = kernel.variants["python"].function if "python" in kernel.variants else None
    sure = [name for name in (written_inputs(body) if isinstance(body, types.FunctionType) else ()) if name in frozen]
    named = sure or frozen
    if not named:
        return error
    refusal = _with_notes(WritesToInput(_line(kernel.name, named, named[0])), error)
    if positions := WRITE_POSITION.findall(text):
        refusal.add_note(f"at {positions[0][0]}:{positions[0][1]}")
    elif frames := traceback.extract_tb(error.__traceback__):
        refusal.add_note(f"at {frames[-1].filename}:{frames[-1].lineno}: {text}")
    return refusal


def _written_globals(kernel: Kernel) -> list[str]:
    """The global arrays that a body's own text writes to, where it writes to no input."""
    body = kernel.variants[kernel.variant].source()
    if not isinstance(body, types.FunctionType) or written_inputs(body):
        return []
    return [name for name in written_names(body) if isinstance(body.__globals__.get(name), np.ndarray)]


def _with_notes(refusal: Exception, error: Exception) -> Exception:
    for note in getattr(error, "__notes__", ()):
        refusal.add_note(note)
    return refusal


def _lowering_failed(error: Exception, kernel: Kernel) -> bool:
    """Whether numba itself raised one of Python's errors: for constants that it cannot write into code, it does."""
    if not isinstance(error, NotImplementedError | ValueError) or not kernel.variants[kernel.variant].compiled:
        return False
    numba = os.path.dirname(str(getattr(sys.modules.get("numba"), "__file__", "")))
    frames = traceback.extract_tb(error.__traceback__)
    return bool(numba and frames) and frames[-1].filename.startswith(numba + os.sep)


def _was_compiling(error: Exception) -> bool:
    return any("numba" in frame.filename for frame in traceback.extract_tb(error.__traceback__)) or any(
        "numba" in note for note in getattr(error, "__notes__", ())
    )


def _line(body: str, names: list[str], first: str) -> str:
    which = f"its input {first}" if len(names) == 1 else f"one of its inputs {', '.join(names)}"
    return f"{body} writes to {which}, and inputs are read-only; write into out, or say @kernel(inout=({first!r},))"
