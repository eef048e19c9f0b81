"""Whether a Python body computes the same from memoryviews as from numpy's arrays, told by its text.

Where numpy cannot be imported, a body is given memoryviews of the same memory. Their elements are Python's numbers, and
numpy's elsewhere. These differ without a word: int64 overflows where int grows, `sum` adds Python's floats more
exactly, `round` rounds otherwise, `isinstance(x, int)` says something else. So every value in the body gets a kind, and
what comes from an element may only be used in ways that are the same for both. `float(x[i])` and `int(x[i])` make it
Python's own number everywhere, with which the body may do what it likes: that is the remedy in every refusal.

The kinds of a name are joined over all that is ever bound to it, in any order, and helpers are looked into with what
they are given. What is not known to be the same is refused.
"""

from __future__ import annotations

import ast
import types
from collections.abc import Iterator, Sequence
from typing import Any

from compute.backends.interpreters.expressions import DiffersFromNumpy, Expressions, is_slice
from compute.backends.interpreters.kinds import INT, OWN, UNKNOWN, Kind, View, is_own, joined, stores, text_of

SCOPES = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda
COMPREHENSIONS = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


def check(function: Any, kinds: Sequence[Kind]) -> None:
    """DiffersFromNumpy where a body, given these kinds after lo and hi, is not known to compute the same from both."""
    _Body(function, {}).returned((INT, INT, *kinds))


class _Body(Expressions):
    """One function: its statements, which give its names their kinds."""

    def __init__(self, function: Any, known: dict[Any, Kind | None]) -> None:
        super().__init__(function, known)
        self._returned: Kind | None = None

    def _helper(self, function: types.FunctionType, given: tuple[Kind, ...]) -> Kind | None:
        return _Body(function, self._known).returned(given)

    def returned(self, given: tuple[Kind, ...]) -> Kind | None:
        """What the function returns for arguments of these kinds."""
        tree = text_of(self._function)
        if tree is None:
            raise DiffersFromNumpy(
                f"the text of {getattr(self._function, '__name__', self._function)} cannot be read, or is not what"
                " runs: whether it computes the same without numpy is not known; put it into a file, or run it on"
                " Threads or Processes"
            )
        self._bind_parameters(tree, given)
        before: Any = None
        while before != (self._kinds, self._returned):
            before = dict(self._kinds), self._returned
            self._run(tree.body)
        return self._returned if self._returned is not None else OWN

    def _bind_parameters(self, tree: ast.FunctionDef, given: tuple[Kind, ...]) -> None:
        names = [parameter.arg for parameter in (*tree.args.posonlyargs, *tree.args.args)]
        self._kinds = dict.fromkeys(names, OWN)
        self._kinds.update(zip(names, given, strict=False))
        if tree.args.vararg:
            rest = given[len(names) :]
            self._kinds[tree.args.vararg.arg] = UNKNOWN if UNKNOWN in rest else tuple(rest)
        self._kinds |= {parameter.arg: OWN for parameter in tree.args.kwonlyargs}
        self._kinds |= dict.fromkeys(set(_bound(tree.body)) - self._kinds.keys(), None)

    def _run(self, statements: Sequence[ast.stmt]) -> None:
        for statement in statements:
            self._statement(statement)

    def _statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    if not self._copies(target, value):
                        self._assign(target, self._kind(value), node)
            case ast.AnnAssign(target=target, value=value) if value is not None:
                self._assign(target, self._kind(value), node)
            case ast.AugAssign(target=target, op=op, value=value):
                before = self._kind(_as_read(target))
                self._assign(target, self._operated(node, before, op, self._kind(value), value), node)
            case ast.For(target=target, iter=over):
                self._assign(target, self._item_of(over), node)
                self._run([*node.body, *node.orelse])
            case ast.While(test=test) | ast.If(test=test) | ast.Assert(test=test):
                self._truth(test)
                if isinstance(node, ast.Assert):
                    self._own(node.msg)
                else:
                    self._run([*node.body, *node.orelse])
            case ast.Return(value=value):
                self._returned = joined(self._returned, self._kind(value) if value is not None else OWN)
            case ast.Expr(value=value):
                self._kind(value)
            case ast.Try() | ast.TryStar():
                for handler in node.handlers:
                    self._own(handler.type)
                    self._bind(handler.name, OWN)
                    self._run(handler.body)
                self._run([*node.body, *node.orelse, *node.finalbody])
            case ast.With(items=items, body=body):
                for item in items:
                    self._own(item.context_expr)
                    if item.optional_vars is not None:
                        self._assign(item.optional_vars, OWN, node)
                self._run(body)
            case ast.Pass() | ast.Break() | ast.Continue() | ast.AnnAssign():
                pass
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                for alias in names:
                    self._bind((alias.asname or alias.name).partition(".")[0], OWN)
            case ast.FunctionDef(name=name):
                self._scope(node)
                self._bind(name, OWN)
            case ast.Raise(exc=exc, cause=cause):
                self._own(exc)
                self._own(cause)
            case ast.Delete(targets=targets) if all(isinstance(target, ast.Name) for target in targets):
                pass
            case ast.Global() | ast.Nonlocal():
                why = "what it sets would be set in the interpreter of its lane alone"
                self._refuse(node, why, "write into out")
            case _:
                self._scope(node)

    def _copies(self, target: ast.expr, value: ast.expr) -> bool:
        """Whether a part of a vector is copied into one of the same dtype: that is all that slices are good for."""
        if not (is_slice(target) and is_slice(value)):
            return False
        into, of = self._kind(target.value), self._kind(value.value)  # type: ignore[attr-defined]
        if not (isinstance(into, View) and into == of and into.axes == 1):
            return UNKNOWN in (into, of)
        self._bounds(target)
        self._bounds(value)
        return True

    def _assign(self, target: ast.expr, kind: Kind | None, node: ast.stmt) -> None:
        match target:
            case ast.Name(id=name):
                self._bind(name, kind)
            case ast.Tuple(elts=targets) | ast.List(elts=targets):
                several = isinstance(kind, tuple) and not isinstance(kind, View) and len(kind) == len(targets)
                for place, element in enumerate(targets):
                    if isinstance(element, ast.Starred):
                        element, several = element.value, False
                    if not several and not is_own(kind):
                        self._refuse_element(node)
                    item: Any = kind[place] if several and kind else UNKNOWN if kind == UNKNOWN else OWN
                    self._assign(element, item, node)
            case ast.Subscript(value=value, slice=index):
                of = self._kind(value)
                if not isinstance(of, View):
                    self._own(value)
                    self._index_of_own(index)
                    if not is_own(kind):
                        self._refuse_element(node)
                else:
                    self._element(target, of)
                    if not stores(of, kind):
                        why = f"it stores a number of another kind than {of.dtype}"
                        self._refuse(node, why, "make it one by int(…) or float(…)")
            case _:
                if not is_own(kind):
                    self._refuse_element(node)
                self._own(target)


def _bound(statements: Sequence[ast.AST]) -> Iterator[str]:
    """The names that a function binds itself, in its own scope."""
    for node in statements:
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.ExceptHandler | ast.FunctionDef | ast.ClassDef) and node.name:
            yield node.name
        elif isinstance(node, ast.alias):
            yield (node.asname or node.name).partition(".")[0]
        if not isinstance(node, SCOPES | COMPREHENSIONS):
            yield from _bound(list(ast.iter_child_nodes(node)))


def _as_read(target: ast.expr) -> ast.expr:
    read: ast.expr = ast.parse(ast.unparse(target), mode="eval").body
    for node in ast.walk(read):
        if hasattr(node, "lineno"):
            node.lineno = target.lineno
    return read
