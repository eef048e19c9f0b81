"""Translate a function of Python into LLVM's IR: whole numbers, one array of words, and operations that are given.

The lane loop is written once, in Python. numba takes 0.4 s for it, as it infers the type of every value, and there is
nothing to infer: a variable is an int64, the control array is the address of its words. So this takes milliseconds. It
knows the statements that the loop is made of, and refuses all others.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
import tokenize
import types
from collections.abc import Callable, Mapping
from typing import Any

from llvmlite import ir

WORD = ir.IntType(64)
WORDS = WORD.as_pointer()
BYTES = ir.IntType(8).as_pointer()
Operation = Callable[..., Any]  # (builder, *what its arguments are) -> the IR of its value, or None

_BINARY = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul"}
_COMPARED = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}


def inner_functions(outer: Callable[..., Any], *names: str) -> list[ast.FunctionDef]:
    """The definitions of functions inside of another, from its source.

    RuntimeError where the source is not there, or another one by now: a file that was replaced while the program ran
    may speak of other words than the modules that were imported from the former one.
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(outer)))
        code = compile(tree, "", "exec", dont_inherit=True)
        now = [_computed(code, name) for name in names]
    except (OSError, SyntaxError, tokenize.TokenError):  # the last two: the lines of the new file are no function
        now = []
    if None in now or now != [_computed(outer.__code__, name) for name in names]:
        raise RuntimeError(
            f"the source of {outer.__module__}.{outer.__qualname__}, which compiled code is made of, is not there, or"
            " was changed after it was imported; install nfold with its .py files, and start this program again"
        )
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    return [functions[name] for name in names]


def _computed(code: types.CodeType, name: str) -> Any:
    """What a function of this name computes that is defined within the code; None where none is."""
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            if inner.co_name == name:
                return inner.co_code, inner.co_consts, inner.co_names, inner.co_varnames, inner.co_freevars
            if (value := _computed(inner, name)) is not None:
                return value
    return None


def translate(
    definition: ast.FunctionDef,
    function: ir.Function,
    given: Mapping[str, Any],
    constants: Mapping[str, Any],
    operations: Mapping[str, Operation],
) -> None:
    """Write a definition's statements into an empty function of the IR, which returns an int64.

    given: what its parameters are: a value of the IR, the address of words, or anything that operations take; for one
    that stands behind a star, a tuple of these. constants: its globals. operations: by the names under which it calls
    them. Its variables must be set before they are read. ValueError for what is not known here.
    """
    _Translation(function, given, constants, operations).translate(definition)


class _Translation:
    def __init__(
        self,
        function: ir.Function,
        given: Mapping[str, Any],
        constants: Mapping[str, Any],
        operations: Mapping[str, Operation],
    ) -> None:
        self._given, self._constants, self._operations = given, constants, operations
        self._builder = ir.IRBuilder(function.append_basic_block())
        self._variables: dict[str, Any] = {}
        self._loops: list[tuple[Any, Any]] = []  # where `continue` and `break` go

    def translate(self, definition: ast.FunctionDef) -> None:
        names = (node for node in ast.walk(definition) if isinstance(node, ast.Name))
        for name in dict.fromkeys(node.id for node in names if isinstance(node.ctx, ast.Store)):
            self._variables[name] = self._builder.alloca(WORD, name=name)
            if name in self._given:
                self._builder.store(self._given[name], self._variables[name])
        self._block(definition.body)
        if not self._builder.block.is_terminated:
            self._builder.unreachable()

    # ------------------------------------------------------------ statements

    def _block(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            known = getattr(self, f"_{type(statement).__name__.lower()}", None)
            if known is None:
                raise _unknown(statement)
            known(statement)

    def _expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # a docstring
            self._value(node.value)

    def _assign(self, node: ast.Assign) -> None:
        if len(node.targets) == 1 and isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple):
            targets, values = node.targets[0].elts, [self._value(value) for value in node.value.elts]
        else:
            targets, values = node.targets, [self._value(node.value)] * len(node.targets)
        for target, value in zip(targets, values, strict=True):
            self._builder.store(value, self._place(target))

    def _augassign(self, node: ast.AugAssign) -> None:
        place = self._place(node.target)
        former = self._builder.load(place)
        self._builder.store(self._binary(node.op, former, self._value(node.value)), place)

    def _if(self, node: ast.If) -> None:
        with self._builder.if_else(self._truth(node.test)) as (then, otherwise):
            with then:
                self._block(node.body)
            with otherwise:
                self._block(node.orelse)
        # Where neither comes here, the block has no way in, and the next statement none either.

    def _while(self, node: ast.While) -> None:
        if node.orelse:
            raise _unknown(node)
        begin, body, end = (self._builder.append_basic_block() for _ in range(3))
        self._builder.branch(begin)
        self._builder.position_at_end(begin)
        self._builder.cbranch(self._truth(node.test), body, end)
        self._builder.position_at_end(body)
        self._loops.append((begin, end))
        self._block(node.body)
        self._loops.pop()
        if not self._builder.block.is_terminated:
            self._builder.branch(begin)
        self._builder.position_at_end(end)

    def _continue(self, node: ast.Continue) -> None:
        self._builder.branch(self._loops[-1][0])

    def _break(self, node: ast.Break) -> None:
        self._builder.branch(self._loops[-1][1])

    def _return(self, node: ast.Return) -> None:
        if node.value is None:
            raise _unknown(node)
        self._builder.ret(self._value(node.value))

    # ------------------------------------------------------------ places

    def _place(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Name):
            return self._variables[node.id]
        if isinstance(node, ast.Subscript):
            return self._builder.gep(self._value(node.value), [self._value(node.slice)])
        raise _unknown(node)

    # ------------------------------------------------------------ values

    def _value(self, node: ast.expr) -> Any:
        """A value of the IR: a word, or what was given."""
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            return ir.Constant(WORD, int(node.value))
        if isinstance(node, ast.Name):
            return self._named(node)
        if isinstance(node, ast.Subscript):
            return self._builder.load(self._place(node))
        if isinstance(node, ast.BinOp):
            return self._binary(node.op, self._value(node.left), self._value(node.right))
        if isinstance(node, ast.Compare | ast.BoolOp):
            return self._builder.zext(self._truth(node), WORD)
        if isinstance(node, ast.IfExp):
            return self._chosen(node)
        if isinstance(node, ast.Call):
            return self._call(node)
        raise _unknown(node)

    def _call(self, node: ast.Call) -> Any:
        if not (isinstance(node.func, ast.Name) and node.func.id in self._operations) or node.keywords:
            raise _unknown(node)
        arguments = []
        for argument in node.args:
            if not isinstance(argument, ast.Starred):
                arguments.append(self._value(argument))
            elif isinstance(argument.value, ast.Name) and isinstance(self._given.get(argument.value.id), tuple):
                arguments += self._given[argument.value.id]
            else:
                raise _unknown(node)
        return self._operations[node.func.id](self._builder, *arguments)

    def _named(self, node: ast.Name) -> Any:
        if node.id in self._variables:
            return self._builder.load(self._variables[node.id])
        if node.id in self._given:
            return self._given[node.id]
        if isinstance(self._constants.get(node.id), int):
            return ir.Constant(WORD, int(self._constants[node.id]))
        raise _unknown(node)

    def _chosen(self, node: ast.IfExp) -> Any:
        with self._builder.if_else(self._truth(node.test)) as (then, otherwise):
            with then:
                chosen = self._value(node.body), self._builder.block
            with otherwise:
                alternative = self._value(node.orelse), self._builder.block
        return self._either(chosen, alternative)

    def _either(self, first: tuple[Any, Any], second: tuple[Any, Any]) -> Any:
        """One of two values, by the block from which it came here."""
        either = self._builder.phi(first[0].type)
        either.add_incoming(*first)
        either.add_incoming(*second)
        return either

    def _binary(self, operator: ast.operator, left: Any, right: Any) -> Any:
        if type(operator) not in _BINARY:
            raise ValueError(f"{type(operator).__name__.lower()}, an operator, cannot be translated")
        return getattr(self._builder, _BINARY[type(operator)])(left, right)

    def _truth(self, node: ast.expr) -> Any:
        """A bit."""
        if isinstance(node, ast.Compare):
            if len(node.ops) != 1 or type(node.ops[0]) not in _COMPARED:
                raise _unknown(node)
            left, right = self._value(node.left), self._value(node.comparators[0])
            return self._builder.icmp_signed(_COMPARED[type(node.ops[0])], left, right)
        if isinstance(node, ast.BoolOp):
            if not isinstance(node.op, ast.And):
                raise _unknown(node)
            return self._all(node.values)
        return self._builder.icmp_signed("!=", self._value(node), ir.Constant(WORD, 0))

    def _all(self, nodes: list[ast.expr]) -> Any:
        first, *others = nodes
        bit, here = self._truth(first), self._builder.block
        if not others:
            return bit
        with self._builder.if_then(bit):
            rest = self._all(others), self._builder.block
        return self._either((ir.Constant(bit.type, 0), here), rest)


def _unknown(node: ast.AST) -> ValueError:
    return ValueError(f"line {getattr(node, 'lineno', 0)}, {ast.unparse(node)!r}, cannot be translated")
