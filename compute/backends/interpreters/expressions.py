"""The kinds of a Python body's expressions; see elements.py, which goes through its statements."""

from __future__ import annotations

import ast
import builtins
import functools
import math
import types
from abc import ABC, abstractmethod
from typing import Any, NoReturn

import numpy as np

from compute.backends.backend import Refused
from compute.backends.interpreters.kinds import (
    COUNT,
    FLOAT,
    FORMATS,
    INT,
    LONG,
    MIXED,
    OWN,
    REAL,
    SHORT,
    TRUTH,
    UNKNOWN,
    WHOLE,
    Kind,
    View,
    is_own,
    joined,
    kind_of,
)

ELEMENTS = LONG, WHOLE  # whole numbers as they were loaded
EXACT = 2**53  # up to here a whole number is a float64; larger ones Python compares exactly, and numpy rounds first
REALS = frozenset({
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "copysign", "cos", "cosh", "degrees", "erf",
    "erfc", "exp", "exp2", "expm1", "fabs", "fmod", "gamma", "hypot", "lgamma", "log", "log10", "log1p",
    "log2", "nextafter", "pow", "radians", "remainder", "sin", "sinh", "sqrt", "tan", "tanh", "ulp",
})  # fmt: skip  # functions of math that make a float of numbers, whosever they are
WHOLES = frozenset(("floor", "ceil", "trunc", "gcd", "isqrt", "comb", "perm", "lcm", "factorial"))
TRUTHS = frozenset(("isnan", "isinf", "isfinite"))


class DiffersFromNumpy(Refused):
    """A body that may compute something else from memoryviews than from arrays; the text says what, and the remedy."""


class Expressions(ABC):
    """What a function's expressions are, where its names have these kinds.

    known: what helpers return for arguments of these kinds, by function and kinds.
    """

    def __init__(self, function: Any, known: dict[Any, Kind | None]) -> None:
        self._function, self._known = function, known
        self._kinds: dict[str, Kind | None] = {}

    @abstractmethod
    def _helper(self, function: types.FunctionType, given: tuple[Kind, ...]) -> Kind | None:
        """What another function returns for arguments of these kinds."""

    def _bind(self, name: str | None, kind: Kind | None) -> None:
        if name is not None:
            self._kinds[name] = joined(self._kinds.get(name), kind)

    def _refuse(self, node: ast.AST, why: str, remedy: str) -> NoReturn:
        text = ast.unparse(node).partition("\n")[0]
        line = getattr(node, "lineno", self._function.__code__.co_firstlineno)
        raise DiffersFromNumpy(
            f"{self._function.__name__} has `{text}` in line {line}: {why}; {remedy}, or run it on Threads or Processes"
        )

    def _refuse_element(self, node: ast.AST) -> NoReturn:
        why = "where numpy cannot be imported, elements of arrays are Python's numbers, with which that may differ"
        self._refuse(node, why, "take them by float(…) or int(…)")

    # ---------------------------------------------------------------- expressions

    def _kind(self, node: ast.expr) -> Kind | None:
        match node:
            case ast.Constant(value=value):
                return kind_of(value)
            case ast.Name(id=name):
                return self._kinds[name] if name in self._kinds else kind_of(self._resolved(node))
            case ast.Tuple(elts=items) if not any(isinstance(item, ast.Starred) for item in items):
                return tuple(self._kind(item) for item in items)
            case ast.BinOp(left=left, op=op, right=right):
                return self._operated(node, self._kind(left), op, self._kind(right), right)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                self._truth(operand)
                return OWN
            case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
                kind = self._kind(operand)
                return kind if kind in (INT, FLOAT, REAL, UNKNOWN, None) else self._own(operand)
            case ast.BoolOp(values=values):
                return functools.reduce(joined, [self._truth(value) for value in values])
            case ast.IfExp(test=test, body=body, orelse=orelse):
                self._truth(test)
                return joined(self._kind(body), self._kind(orelse))
            case ast.Compare():
                return self._compared(node)
            case ast.Subscript():
                return self._subscript(node)
            case ast.Attribute(value=value, attr=name):
                of = self._kind(value)
                if isinstance(of, View):
                    if name not in ("shape", "ndim"):
                        self._refuse(node, f"a memoryview has no {name} of numpy's", "write a loop")
                    return INT if name == "ndim" else (INT,) * of.axes
                return UNKNOWN if of == UNKNOWN else self._own(value)
            case ast.Call():
                return self._called(node)
            case ast.NamedExpr(target=target, value=value):
                kind = self._kind(value)
                self._bind(target.id, kind)
                return kind
            case ast.ListComp(elt=made) | ast.SetComp(elt=made) | ast.GeneratorExp(elt=made):
                return self._comprehended(node.generators, made)
            case ast.DictComp(key=key, value=value):
                return self._comprehended(node.generators, key, value)
            case ast.Lambda():
                return self._scope(node)
            case _:
                for child in ast.iter_child_nodes(node):
                    if isinstance(child, ast.expr):
                        self._own(child)
                return OWN

    def _own(self, node: ast.expr | None) -> Kind | None:
        """OWN, for something that must be Python's on every backend."""
        if node is not None and not is_own(kind := self._kind(node)):
            if isinstance(kind, View):
                self._refuse(node, "there it is a memoryview, of which only elements are read", "write a loop")
            self._refuse_element(node)
        return OWN

    def _scope(self, node: ast.AST) -> Kind:
        """OWN, for code with names of its own, or of a kind that is seldom: it may use nothing that differs."""
        for inner in ast.walk(node):
            if isinstance(inner, ast.Name) and not is_own(self._kinds.get(inner.id)):
                self._refuse(node, f"what is done there with {inner.id} is not looked into", "write a plain loop")
            if isinstance(inner, ast.Nonlocal | ast.Global | ast.NamedExpr):
                self._refuse(node, "it sets a name of another scope", "write into out")
            if isinstance(inner, ast.Name) and not isinstance(inner.ctx, ast.Load) and isinstance(node, ast.stmt):
                self._bind(inner.id, OWN)
            if isinstance(inner, ast.MatchAs | ast.MatchStar):
                self._bind(inner.name, OWN)
        return OWN

    def _comprehended(self, loops: list[ast.comprehension], *made: ast.expr) -> Kind | None:
        for loop in loops:
            item = self._item_of(loop.iter)
            if not isinstance(loop.target, ast.Name) and not is_own(item):
                self._refuse_element(loop.target)
            for target in ast.walk(loop.target):
                if isinstance(target, ast.Name):
                    self._bind(target.id, item if target is loop.target else OWN)
            for test in loop.ifs:
                self._truth(test)
        for value in made:
            self._own(value)
        return OWN

    def _truth(self, node: ast.expr) -> Kind | None:
        kind = self._kind(node)
        if isinstance(kind, View):
            self._refuse(node, "an array has no truth", "ask its length or an element")
        return kind

    def _operated(
        self, node: ast.AST, a: Kind | None, op: ast.operator, b: Kind | None, right: ast.expr
    ) -> Kind | None:
        if UNKNOWN in (a, b):
            return UNKNOWN
        if a is None or b is None:  # not known yet, in this round
            return a if b is None else b if is_own(b) or b == REAL else None
        if is_own(a) and is_own(b):
            if a == b == INT and not isinstance(op, ast.Pow | ast.Div | ast.MatMult):
                return INT
            numbers = {a, b} <= {INT, FLOAT}
            return FLOAT if numbers and isinstance(op, ast.Add | ast.Sub | ast.Mult | ast.Div) else OWN
        if {a, b} <= {REAL, INT, FLOAT}:
            divisor = right.value if isinstance(right, ast.Constant) else 0
            if isinstance(op, ast.Add | ast.Sub | ast.Mult) or (isinstance(op, ast.Div) and divisor):
                return REAL
        if {a, b} <= {LONG, COUNT, INT} and isinstance(op, ast.Add | ast.Sub | ast.Mult):
            return COUNT
        if isinstance(a, View) or isinstance(b, View):
            self._refuse(node, "memoryviews do not compute", "write a loop")
        self._refuse_element(node)

    def _compared(self, node: ast.Compare) -> Kind:
        operands = [node.left, *node.comparators]
        kinds = [self._kind(operand) for operand in operands]
        if all(map(is_own, kinds)):
            return OWN
        if all(isinstance(op, ast.Lt | ast.LtE | ast.Gt | ast.GtE | ast.Eq | ast.NotEq) for op in node.ops):
            if all(
                kind in (REAL, FLOAT, UNKNOWN, None) or (kind == INT and _is_small(operand))
                for kind, operand in zip(kinds, operands, strict=True)
            ):
                return TRUTH
            if all(kind in (*ELEMENTS, INT, UNKNOWN, None) for kind in kinds) and sum(map(kinds.count, ELEMENTS)) == 1:
                return TRUTH
        return self._refuse_element(node)

    # ---------------------------------------------------------------- arrays

    def _item_of(self, over: Any) -> Kind | None:
        """The kind of what a loop is over."""
        if isinstance(over, ast.Call) and self._resolved(over.func) is range:
            for argument in over.args:
                self._index(argument)
            return INT
        kind = self._kind(over.value if is_slice(over) else over)
        if isinstance(kind, View):
            if kind.axes != 1:
                self._refuse(over, "rows of a memoryview cannot be had", "loop over indices")
            if is_slice(over):
                self._bounds(over)
            return self._loaded(over, kind)
        if isinstance(kind, tuple):
            return functools.reduce(joined, kind, None)
        return UNKNOWN if kind == UNKNOWN else OWN

    def _subscript(self, node: ast.Subscript) -> Kind | None:
        of: Any = self._kind(node.value)
        if isinstance(of, View):
            return self._element(node, of)
        if isinstance(of, tuple):
            place = node.slice.value if isinstance(node.slice, ast.Constant) else None
            if isinstance(place, int) and -len(of) <= place < len(of):
                item: Kind = of[place]
                return item
            if is_slice(node) or not is_own(of):
                self._refuse_element(node)
        self._own(node.value)
        self._index_of_own(node.slice)
        return UNKNOWN if of == UNKNOWN else OWN

    def _index_of_own(self, index: ast.expr) -> None:
        if self._kind(index) not in ELEMENTS:
            self._own(index)

    def _element(self, node: ast.Subscript, of: View) -> Kind:
        indices = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if any(isinstance(index, ast.Slice) for index in indices):
            self._refuse(node, "slices of arrays are only copied here, as out[lo:hi] = x[lo:hi]", "write a loop")
        if len(indices) != of.axes:
            self._refuse(node, f"a memoryview of {of.axes} axes takes {of.axes} indices", "give one for each axis")
        for index in indices:
            self._index(index)
        return self._loaded(node, of)

    def _loaded(self, node: ast.AST, of: View) -> Kind:
        if of.dtype.char not in FORMATS or not of.dtype.isnative:
            self._refuse(node, f"memoryviews have no elements of dtype {of.dtype}", "use float64 or int64")
        if of.dtype.kind == "f":
            return REAL if of.dtype.itemsize == 8 else SHORT
        if of.dtype.kind == "b":
            return TRUTH
        return LONG if of.dtype == np.int64 else WHOLE

    def _index(self, node: ast.expr) -> None:
        if self._kind(node) not in (INT, *ELEMENTS, UNKNOWN, None):
            self._refuse(node, "it may be no whole number, and a truth is another index to numpy", "say int(…)")

    def _bounds(self, node: Any) -> None:
        for bound in (node.slice.lower, node.slice.upper, node.slice.step):
            if bound is not None:
                self._index(bound)

    # ---------------------------------------------------------------- calls

    def _resolved(self, node: ast.expr) -> Any:
        """What a global name, or an attribute of a global module, stands for; None where that is not known."""
        if isinstance(node, ast.Attribute):
            module = self._resolved(node.value)
            return vars(module).get(node.attr) if isinstance(module, types.ModuleType) else None
        if not isinstance(node, ast.Name) or node.id in self._kinds:
            return None
        function = self._function
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        if node.id in cells:
            return cells[node.id].cell_contents
        return function.__globals__.get(node.id, getattr(builtins, node.id, None))

    def _called(self, node: ast.Call) -> Kind | None:
        called = self._resolved(node.func)
        if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
            for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
                self._own(argument.value if isinstance(argument, ast.Starred) else argument)
            self._own(node.func)
            return OWN
        if called is map and len(node.args) == 2 and _is_any(self._resolved(node.args[0]), int, float):
            over = self._kind(node.args[1])
            if isinstance(over, View) and over.axes == 1 and self._loaded(node, over):
                return OWN
        given = [self._kind(argument) for argument in node.args]
        if isinstance(called, types.FunctionType):
            return self._helped(node, called, tuple(OWN if kind is None else kind for kind in given))
        known = self._known_call(called, given)
        if known is not None:
            return known
        for argument in (node.func, *node.args):
            self._own(argument)
        return UNKNOWN if UNKNOWN in given else OWN

    def _helped(self, node: ast.Call, function: types.FunctionType, given: tuple[Kind, ...]) -> Kind | None:
        """What a helper returns; of one that is given nothing but Python's own, it is Python's own."""
        pure, key = all(map(is_own, given)), (function, given)
        if key not in self._known:
            self._known[key] = OWN if pure else MIXED  # of a helper that calls itself
            try:
                self._known[key] = self._helper(function, given)
            except DiffersFromNumpy:
                if not pure:
                    raise
        return self._known[key]

    @staticmethod
    def _known_call(called: Any, given: list[Kind | None]) -> Kind | None:
        """What calls return that are the same for Python's numbers and for numpy's; None for any other."""
        kinds = {OWN if is_own(kind) and kind not in (INT, FLOAT) else kind for kind in given}
        are_numbers = all(not isinstance(kind, tuple) and kind not in (COUNT, MIXED) for kind in given)
        if _is_any(called, int, float, bool) and len(given) == 1 and are_numbers:
            return {int: INT, float: FLOAT}.get(called, OWN)
        if called is len and len(given) == 1 and (isinstance(given[0], View) or is_own(given[0])):
            return INT
        if called is abs and len(given) == 1 and kinds <= {INT, FLOAT, REAL}:
            return given[0]
        if _is_any(called, min, max) and len(given) > 1 and (kinds <= {REAL, FLOAT} or kinds in ({INT}, {FLOAT})):
            return functools.reduce(joined, given)
        if called is divmod and given == [INT, INT]:
            return (INT, INT)
        name = getattr(called, "__name__", "")
        if given and are_numbers and getattr(math, name, None) is called:
            return FLOAT if name in REALS else INT if name in WHOLES else OWN if name in TRUTHS else None
        return None


def is_slice(node: ast.AST) -> Any:
    return isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice)


def _is_any(value: Any, *these: Any) -> bool:
    return any(value is other for other in these)  # `in` would ask an array whether it is equal


def _is_small(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp):
        node = node.operand
    return isinstance(node, ast.Constant) and isinstance(node.value, int) and abs(node.value) <= EXACT
