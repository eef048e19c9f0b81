"""Kinds of values in a Python body, by what memoryviews and numpy's arrays make of them; see elements.py."""

from __future__ import annotations

import ast
import functools
import inspect
import types
import warnings
from typing import Any, NamedTuple

import numpy as np

from kernels.compilation.parts import codes_of


class View(NamedTuple):
    """The kind of an array: its dtype, and how many axes it has."""

    dtype: np.dtype[Any]
    axes: int


# Python's own, the same everywhere: a whole number, a float, anything else. A tuple's kind is the tuple of its items'.
INT, FLOAT, OWN = "int", "float", "own"
# From an element: a float64 and what + - * make of it; an int64; what + - * make of that; another whole number; a
# float32; a truth; one of several.
REAL, LONG, COUNT, WHOLE, SHORT, TRUTH, MIXED = "float64", "int64", "count", "whole", "float32", "truth", "mixed"
UNKNOWN = "unknown"  # of an input that nobody has given yet: anything may be done with it
Kind = str | View | tuple[Any, ...]

FORMATS = "?bBhHiIlLqQfd"  # of memoryview's elements, as `dtype.char` says them


def kind_of(value: Any) -> Kind:
    """The kind of what a body is given: an array, or a value of Python's."""
    if isinstance(value, np.ndarray):
        return View(value.dtype, value.ndim)
    if type(value) is tuple:
        return tuple(kind_of(item) for item in value)
    return {int: INT, float: FLOAT}.get(type(value), OWN)


def is_own(kind: Kind | None) -> bool:
    """Whether a value is Python's, and the same everywhere. None, for a kind not known yet, says nothing against it."""
    if isinstance(kind, tuple) and not isinstance(kind, View):
        return all(map(is_own, kind))
    return kind in (INT, FLOAT, OWN, UNKNOWN, None)


def joined(a: Kind | None, b: Kind | None) -> Kind | None:
    """The kind of what is one or the other."""
    if a == b or b is None:
        return a
    if a is None:
        return b
    if UNKNOWN in (a, b):
        return UNKNOWN
    if type(a) is tuple and type(b) is tuple and len(a) == len(b):
        return tuple(joined(x, y) for x, y in zip(a, b, strict=True))
    pair = {a, b}
    if pair <= {REAL, INT, FLOAT}:
        return REAL if REAL in pair else OWN
    for several in (LONG, INT), (COUNT, LONG, INT), (WHOLE, LONG, INT):
        if pair <= set(several):
            return several[0]
    if TRUTH in pair and all(kind == TRUTH or is_own(kind) for kind in pair):
        return TRUTH
    return OWN if is_own(a) and is_own(b) else MIXED


def stores(of: View, kind: Kind | None) -> bool:
    """Whether a memoryview keeps what numpy's array would of such a value, or says that it cannot."""
    if kind in (INT, TRUTH, UNKNOWN, OWN, None):
        return True
    code, size = of.dtype.kind, of.dtype.itemsize
    if kind == COUNT:  # beyond int64 numpy's wraps round; here it grows, until it fits again or cannot be stored
        return code == "i" and size == 8
    if kind in (WHOLE, LONG):
        return code == "b" or (code in "if" and size == 8)  # int64 to float32 is rounded once by numpy, here twice
    return kind in (REAL, FLOAT, SHORT) and code in "fb"  # numpy cuts off what is behind the point, for whole numbers


def text_of(function: Any) -> ast.FunctionDef | None:
    """A function's text, parsed; None where there is none, or it is not what runs (of a file that was edited since)."""
    if not isinstance(function, types.FunctionType):
        return None
    code = function.__code__
    try:
        nodes, codes = _functions_in("".join(inspect.findsource(function)[0]))
    except Exception:  # no text, or one that has changed since, whatever that looks like to a parser
        return None
    place = code.co_name, code.co_firstlineno
    return nodes.get(place) if any(_does(made) == _does(code) for made in codes.get(place, ())) else None


Place = tuple[str, int]  # a function's name, and its first line


@functools.lru_cache(maxsize=8)
def _functions_in(text: str) -> tuple[dict[Place, ast.FunctionDef], dict[Place, list[types.CodeType]]]:
    """The functions of a file: each one's text, parsed, and what it compiles to."""
    nodes: dict[Place, ast.FunctionDef] = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            nodes[node.name, min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])] = node
    codes: dict[Place, list[types.CodeType]] = {}
    with warnings.catch_warnings(action="ignore"):  # whoever imported the file has been warned
        whole = compile(text, "", "exec", dont_inherit=True)
    for code in codes_of(whole):
        codes.setdefault((code.co_name, code.co_firstlineno), []).append(code)
    return nodes, codes


def _does(code: types.CodeType) -> tuple[Any, ...]:
    """What a function's code does."""
    constants = [_does(c) if isinstance(c, types.CodeType) else (type(c), repr(c)) for c in code.co_consts]
    names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    return code.co_name, code.co_code, names, constants
