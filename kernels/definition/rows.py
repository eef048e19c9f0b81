"""Whether a reducing body keeps to the one row of the output that its chunk has, or may write beyond it.

Compiled code does not check bounds: a write beyond the row hits another chunk's row, or memory beside it. A body
whose text shows that it keeps to its row is compiled without checks, and any other with them. `checks` in
kernel_class.py asks this module.
"""

from __future__ import annotations

import ast
import collections
import functools
import inspect
import types
from collections.abc import Iterator
from typing import Any

from kernels.compilation.bounded import MADE
from kernels.definition.bodies import tree_of

ROW, BEYOND, UNKNOWN = "row", "beyond", "unknown"
REMEDY = "write out[0], or out[0, j] where its plan's shape makes a partial result of several numbers"
HARMLESS = frozenset({"shape", "size", "ndim", "dtype", "nbytes", "fill"})  # attributes that write no other row


def check_row(function: types.FunctionType) -> None:
    """ValueError where a reducing body's own text indexes `out` beyond its chunk's row."""
    for index, verdict in _uses(function):
        if verdict == BEYOND and index is not None:
            raise ValueError(
                f"{function.__name__} indexes out[{ast.unparse(index)}], and with reduce= a chunk's out is a single"
                f" row: {REMEDY}"
            )


@functools.lru_cache(maxsize=MADE)
def keeps_to_its_row(function: Any) -> bool:
    """Whether a reducing body's text proves that it writes to its chunk's row alone."""
    if not isinstance(function, types.FunctionType):
        return True  # an intrinsic body of this library, which keeps to its row
    uses = list(_uses(function))
    return bool(uses) and all(verdict == ROW for _, verdict in uses)


@functools.lru_cache(maxsize=MADE)
def writes_at_every_index(function: Any) -> bool:
    """Whether a body's text shows that it writes out[i], or out[i, …], for every i of lo .. hi, without a condition."""
    tree = tree_of(function) if isinstance(function, types.FunctionType) else None
    if tree is None:
        return False
    lo, hi, out = list(inspect.signature(function).parameters)[:3]
    spanning = _spanning(tree, lo, hi)
    return any(
        isinstance(loop, ast.For)
        and isinstance(loop.target, ast.Name)
        and ast.unparse(loop.iter) == f"range({lo}, {hi})"
        and {lo, hi, loop.target.id} <= spanning
        and not any(isinstance(node, ast.Break | ast.Continue | ast.Return) for node in ast.walk(loop))
        and _stores(loop, out, loop.target.id)
        for loop in tree.body
    )


@functools.lru_cache(maxsize=MADE)
def sole_element(function: types.FunctionType) -> str | None:
    """The one element of `out` that a body's text writes, "0" or "lo", where it does nothing else with `out`."""
    tree = tree_of(function)
    if tree is None:
        return None
    lo, _, out = list(inspect.signature(function).parameters)[:3]
    indices = {"?" if index is None else ast.unparse(index) for index, _ in _uses(function)}
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.Lambda) and node is not tree)
    if any(isinstance(use, ast.Name) and use.id == out for inner in functions for use in ast.walk(inner)):
        return None  # a function inside, which may be called for each index, writes to it
    if indices == {lo}:
        names = (node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == lo)
        return None if any(isinstance(name.ctx, ast.Store) for name in names) else lo
    return "0" if indices == {"0"} else None


def _stores(loop: ast.For, out: str, i: str) -> bool:
    for step in loop.body:
        if isinstance(step, ast.For) and _stores(step, out, i):
            return True
        targets = step.targets if isinstance(step, ast.Assign) else [getattr(step, "target", None)]
        for target in targets:
            if isinstance(target, ast.Subscript) and ast.unparse(target.value) == out:
                index = target.slice
                first = index.elts[0] if isinstance(index, ast.Tuple) and index.elts else index
                if isinstance(first, ast.Name) and first.id == i:
                    return True
    return False


def _uses(function: types.FunctionType) -> Iterator[tuple[ast.expr | None, str]]:
    """Every use of `out` in a body: the index, if it is one, and where that leads. Nothing where there is no text."""
    tree = tree_of(function)
    if tree is None:
        return
    lo, hi, out = list(inspect.signature(function).parameters)[:3]
    spanning = _spanning(tree, lo, hi)
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            if not (isinstance(child, ast.Name) and child.id == out):
                continue
            if isinstance(node, ast.Subscript) and node.value is child:
                yield node.slice, _leads(node, spanning)
            elif isinstance(node, ast.Attribute) and node.attr in HARMLESS:
                yield None, ROW
            else:
                yield None, UNKNOWN  # it is passed to a helper, or gets another name


def _spanning(tree: ast.FunctionDef, lo: str, hi: str) -> set[str]:
    """Names that take more values than 0 over a run: lo, hi, and what loops over range(lo, …)."""
    names = (node for node in ast.walk(tree) if isinstance(node, ast.Name))
    stores = collections.Counter(name.id for name in names if isinstance(name.ctx, ast.Store))
    targets = (node.target for node in ast.walk(tree) if isinstance(node, ast.For) and _over(node, lo))
    loops = collections.Counter(target.id for target in targets if isinstance(target, ast.Name))
    return {name for name in (lo, hi) if not stores[name]} | {name for name in loops if loops[name] == stores[name]}


def _over(loop: ast.For, lo: str) -> bool:
    call = loop.iter
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.args):
        return False
    return call.func.id in ("range", "prange") and isinstance(call.args[0], ast.Name) and call.args[0].id == lo


def _leads(node: ast.Subscript, spanning: set[str]) -> str:
    index: ast.expr = node.slice
    if isinstance(index, ast.Tuple) and index.elts:
        index = index.elts[0]
    if isinstance(index, ast.Slice):
        ends = [end for end in (index.lower, index.upper) if end is not None]
        if any(isinstance(end, ast.Name) and end.id in spanning for end in ends):
            return BEYOND
        # A slice that is read is a view; where that is indexed is not looked at.
        return ROW if index.lower is None and isinstance(node.ctx, ast.Store) else UNKNOWN
    if isinstance(index, ast.Name):
        return BEYOND if index.id in spanning else UNKNOWN
    try:
        number = ast.literal_eval(index)
    except ValueError:
        return UNKNOWN
    if number is ...:
        return ROW if isinstance(node.ctx, ast.Store) else UNKNOWN
    return ROW if number in (0, -1) else BEYOND
