"""The part of refusals.py that reads numba's errors of compiling.

numba says in some forty lines what it cannot compile. `not_compiled` makes one line of it: what, where, and the remedy.
"""

from __future__ import annotations

import linecache
import os
import re
import types
from collections.abc import Iterator
from typing import TYPE_CHECKING

from kernels.compilation.provenance import is_fixed
from kernels.definition.arguments import DRAW, GENERATORS

if TYPE_CHECKING:
    from kernels.definition import Kernel

SOURCE_POSITION = re.compile(r"During: typing of \S.* at (?P<path>/.+) \((?P<line>\d+)\)")
FILE_AND_LINE = re.compile(r'File "(?P<path>.+)", line (?P<line>\d+):')
NO_NAME = re.compile(r"NameError: name '(?P<name>\w+)' is not defined")
GLOBAL = re.compile(r"Untyped (?:global|freevar) name '(?P<name>\w+)':.*?<class '(?P<kind>[\w.]+)'>", re.DOTALL)
CONSTANT = re.compile(
    r"^<numba\..*During: lowering \"[^\n]*= (?:freevar|global)\((?P<name>\w+): (?P<kind>\w*)",
    re.DOTALL | re.MULTILINE,
)
REFLECTED = re.compile(r"use of a reflected (?P<kind>\w+)\(.*?assigned to variable '(?P<name>\w+)' in globals")
ATTRIBUTE = re.compile(r"Unknown attribute '(?P<name>\w+)' of type Module\(<module '(?P<module>[\w.]+)'")
RAISED = re.compile(r"\.* Raised from (?:None|(?P<path>/.+) \((?P<line>\d+)\))$", re.MULTILINE)
INPUT = re.compile(r"non-precise type pyobject\nDuring: typing of argument at \S*(?:loop|prange)\.py")
INDICES = re.compile(r"cannot index \w*\s*array\(\w+, (\d)d, \w\) with (\d) indices")
STORES = re.compile(r">>> setitem\(array\((\w+), (\d)d, \w\), (.*), (?:readonly )?(array\(\w+, (\d)d|complex\d+)")
OF_C = "cython_function_or_method", "builtin_function_or_method", "ufunc"
READS = "LOAD_GLOBAL", "LOAD_DEREF"  # of what is outside a function
OURS = f"compute{os.sep}lanes{os.sep}", f"compute{os.sep}backends{os.sep}"
SHAPE = "out has one axis where no plan says its shape: @kernel(plan=lambda A: Plan(len(A), (A,), shape=A.shape))"
PYTHON = "say @kernel(compiled=False), for Python to run it"
TAKES = f"pass numbers, texts, arrays, or tuples of these, or {PYTHON}"
STEP = re.compile(r"Failed in \w+ mode pipeline")  # numba's own steps: nopython, object, full_parfor_gufunc


class NotCompiled(TypeError):
    """A body that numba cannot compile. `numba` is numba's own error text, in full."""

    numba: str


def not_compiled(text: str, kernel: Kernel) -> NotCompiled:
    """The error for a kernel, from numba's error text."""
    place = next(_places(text), None)
    error = NotCompiled(f"{kernel.name} is not compiled: {_explanation(text, kernel, place)}{_at(text, kernel, place)}")
    error.numba = text
    return error


def _explanation(text: str, kernel: Kernel, place: tuple[str, int] | None) -> str:
    """What numba's text means for the body, and the remedy."""
    line = linecache.getline(*place) if place else ""
    if match := NO_NAME.search(text):
        return f"the name {match[1]} is not defined"
    if match := GLOBAL.search(text) or CONSTANT.search(text) or REFLECTED.search(text):
        return _about_the_outside(match["name"], match["kind"].rpartition(".")[2])
    if match := ATTRIBUTE.search(text):
        return _about_a_function(f"{match['module']}.{match['name']}")
    if INPUT.search(text):
        return f"one of its inputs is of a kind that compiled code cannot take; {TAKES}"
    if match := INDICES.search(text):
        return f"an array of {_axes(match[1])} is given {match[2]} indices" + (f"; {SHAPE}" if "out[" in line else "")
    if match := STORES.search(text):
        into, axes, value, rows = match[1], match[2], match[4], match[5]
        if value.startswith("complex"):
            return f"it writes complex numbers into an array of {into}; say @kernel(dtype=np.complex128)"
        if "slice" not in match[3] and axes == "1":
            return f"it writes an array of {_axes(rows)} into one element" + (f"; {SHAPE}" if "out[" in line else "")
    if "(IMPORT_NAME)" in text:
        return f"it imports a module, which compiled code cannot; import it at the head of the file, or {PYTHON}"
    return f"{_reason(text)}; where Python can, say @kernel(compiled=False)"


def _about_the_outside(name: str, kind: str) -> str:
    """What a body reads outside itself that no compiled code can: its name and class, and the remedy."""
    if kind in OF_C:
        return _about_a_function(name)
    kind = {"type": "class"}.get(kind, kind)
    remedy = f"pass what it needs of {name} as inputs (numbers, arrays), or {PYTHON}"
    if kind in ("list", "set"):
        remedy = f"make {name} a tuple or an array, or {PYTHON}"
    if kind in GENERATORS:
        remedy = DRAW
    return f"it reads {name}, a {kind or 'value'} outside it, which compiled code cannot; {remedy}"


def _about_a_function(name: str) -> str:
    if name.rpartition(".")[2] in {"default_rng", *GENERATORS}:
        return f"it makes a generator of random numbers by {name}, which compiled code cannot; {DRAW}"
    return f"it takes {name}, which compiled code cannot; call it before the run and pass what it gives, or {PYTHON}"


def _axes(count: str) -> str:
    return "1 axis" if count == "1" else f"{count} axes"


def _reason(text: str) -> str:
    """The first line of numba's text that says something, and the signature that it is about."""
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not STEP.match(line)]
    first = lines[0] if lines else text.strip()
    if first.endswith(":") and len(lines) > 1:
        first = f"{first} {lines[1].removeprefix('>>> ')}"
    return RAISED.sub("", first).rstrip(".")


def _places(text: str) -> Iterator[tuple[str, int]]:
    """Where it happened in the user's own code, the innermost first."""
    for pattern in (SOURCE_POSITION, FILE_AND_LINE, RAISED):
        for match in pattern.finditer(text):
            if match["path"] is None:
                continue
            path = os.path.abspath(match["path"])
            if not any(ours in path for ours in OURS) and "site-packages" not in path and "<" not in match["path"]:
                yield path, int(match["line"])


def _at(text: str, kernel: Kernel, place: tuple[str, int] | None) -> str:
    if place is None and (read := NO_NAME.search(text) or CONSTANT.search(text)):
        place = _where_it_reads(read["name"], kernel.variants[kernel.variant].source())
    return f" (at {place[0]}:{place[1]})" if place else ""


def _where_it_reads(name: str, body: object) -> tuple[str, int] | None:
    """Where a body, or a plain helper that it calls by name, reads a global."""
    import dis

    waiting, seen = [body], set()
    while waiting:
        function = waiting.pop()
        if not isinstance(function, types.FunctionType) or function in seen or is_fixed(function.__module__):
            continue
        seen.add(function)
        line = function.__code__.co_firstlineno
        for step in dis.get_instructions(function.__code__):
            line = (step.positions.lineno if step.positions else None) or line
            if step.opname in READS and step.argval == name:
                return function.__code__.co_filename, line
            if step.opname == "LOAD_GLOBAL":
                waiting.append(function.__globals__.get(step.argval))
    return None
