"""What may be a kernel's body: a plain function of (lo, hi, out, *inputs) that fills out[lo:hi] and returns nothing.

A rule that is visibly broken in the function is refused when the kernel is made. What shows only when it runs (a value
that a callee returned) is refused by `nothing_returned`, in Python and in compiled code alike.
"""

from __future__ import annotations

import ast
import dis
import functools
import inspect
import sys
import textwrap
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from kernels.compilation.bounded import MADE

Body = Callable[..., Any]
POSITIONAL = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
# Positions of a body's own parameters. Other names are allowed, swapped names are not.
PARAMETER_POSITIONS = {"lo": 0, "hi": 1, "out": 2}
# Options of numba that change values, and what to do instead. `compiled` compiles without them, and the `python`
# variant cannot have them.
LOST = {
    "fastmath": "fastmath changes values, and variants would differ",
    "parallel": "lanes run side by side already",
    "boundscheck": "run(…, check=True) checks bounds",
    "forceobj": "object mode holds the GIL; make the kernel with compiled=False",
    "locals": "types follow from the inputs; write np.float32(…) and the like where another is meant",
    "signature": "types follow from the inputs; pass inputs of these dtypes",
    "error_model": "compiled bodies divide as numpy does (1/0 is inf)",
}
# The result of a load or an operator is a value. The result of a call may be None, so it is not refused here.
VALUES = "LOAD_", "BINARY_", "UNARY_", "BUILD_", "COMPARE_", "CONTAINS_", "IS_", "FORMAT_"
CHANGE_THEIR_ARRAY = frozenset({"sort", "fill", "partition", "put", "itemset", "resize", "setfield", "byteswap"})
# The steps of code that may bind a local variable, that return, that name a constant, and that do nothing.
BINDING = frozenset(n for name, n in dis.opmap.items() if name.startswith(("STORE_FAST", "DELETE_FAST")))
RETURN_CONST, LOAD_CONST = dis.opmap.get("RETURN_CONST", -1), dis.opmap["LOAD_CONST"]
RETURNING = frozenset({dis.opmap["RETURN_VALUE"], RETURN_CONST})
EXTENDED, IDLE = dis.EXTENDED_ARG, frozenset({dis.opmap["NOP"], dis.opmap["CACHE"], dis.EXTENDED_ARG})
CHANGE_THEIR_FIRST = frozenset({"fill_diagonal", "copyto", "put", "place", "putmask", "put_along_axis", "shuffle"})


def plain(body: Any, compiled: bool) -> types.FunctionType:
    """The plain Python function of a body; a ValueError with the remedy for anything that is none, or breaks a rule."""
    function = _unwrapped(body)
    _check_parameters(function)
    inner = inspect.unwrap(function)
    if compiled and inspect.iscoroutinefunction(function):
        raise ValueError(
            f"{function.__name__} is an async function, which numba cannot compile; make the kernel with compiled=False"
        )
    if compiled and inner is not function and function.__code__.co_flags & inspect.CO_VARKEYWORDS:
        raise ValueError(
            f"{function.__name__} is wrapped by a decorator, which compiled code cannot call; take it off, or make the"
            " kernel with compiled=False"
        )
    if isinstance(inner, types.FunctionType):
        _check_code(inner)
    return function


def _unwrapped(body: Any) -> types.FunctionType:
    if isinstance(body, staticmethod):
        body = body.__func__
    if callable(getattr(body, "py_func", None)):  # numba's dispatcher, which need not be imported to be known
        options = dict(getattr(body, "targetoptions", {}), locals=dict(getattr(body, "locals", None) or {}))
        options["signature"] = () if getattr(body, "_can_compile", True) else tuple(map(str, body.nopython_signatures))
        for option, reason in LOST.items():
            value = options.get(option)
            if value and not (option == "error_model" and value == "numpy"):
                name = body.py_func.__name__
                raise ValueError(
                    f"{name} is compiled with {option}={value!r}, which a kernel cannot keep ({reason});"
                    f" pass the plain function, without njit"
                )
        body = body.py_func
    if isinstance(body, types.FunctionType):
        return body
    if isinstance(body, types.MethodType):
        raise ValueError(
            f"a body must be a plain function, not the bound method {body.__qualname__};"
            " write a function that takes (lo, hi, out, *inputs), and pass what it needs of the object as inputs"
        )
    kind = f"the {type(body).__name__} {getattr(body, '__name__', repr(body))}"
    raise ValueError(f"a body must be a plain function, not {kind}; wrap it: def body(lo, hi, out, x): …")


def _check_parameters(function: types.FunctionType) -> None:
    name, signature = function.__name__, inspect.signature(function)
    parameters = list(signature.parameters.values())
    first = parameters[:3]
    if len(first) < 3 or any(p.kind not in POSITIONAL for p in first) or first[0].name in ("self", "cls"):
        raise ValueError(
            f"{name} must take (lo, hi, out, *inputs), not {signature}: a body is a loop, for i in range(lo, hi), that"
            " fills out[i]; of a function of one item, each(f) makes a kernel"
        )
    for position, p in enumerate(parameters):
        if PARAMETER_POSITIONS.get(p.name, position) != position:
            raise ValueError(f"{name} must take (lo, hi, out, *inputs), in this order, not {signature}")
    for p in parameters[3:]:
        if p.kind is p.KEYWORD_ONLY:
            raise ValueError(f"{name}'s parameter {p.name} is keyword-only, which no input is; move it before the *")
        if p.kind is p.VAR_KEYWORD:
            raise ValueError(f"{name}'s parameter **{p.name} cannot be an input; name each input, or take *{p.name}")


def _check_code(function: types.FunctionType) -> None:
    name, code = function.__name__, function.__code__
    if code.co_flags & (inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR):
        raise ValueError(f"{name} is a generator, whose body no lane would run; take out its yield and fill out[lo:hi]")
    if not _is_plainly_right(code):
        _look_closely(name, code)


def _look_closely(name: str, code: types.CodeType) -> None:
    out = code.co_varnames[2]
    if any(_binds(inner, out) for inner in _with_nested(code, out)):
        raise ValueError(
            f"{name} binds {out} to another object, and what that holds is lost; write into it, {out}[lo:hi] = …,"
            " and give a view of it another name"
        )
    latest: dis.Instruction | None = None
    for step in dis.get_instructions(code):
        value = latest if step.opname == "RETURN_VALUE" else step if step.opname == "RETURN_CONST" else None
        if value and _is_a_value(value):
            third = "" if out == "out" else f" ({out}, the third parameter, is the output)"
            raise ValueError(f"{name} returns a value, which is lost; {WRITE.replace('out', out)}{third}")
        if step.opname not in ("NOP", "CACHE"):
            latest = step


def _is_plainly_right(code: types.CodeType) -> bool:
    """Whether a body that shares `out` with no inner function returns None alone, and binds `out` nowhere.

    False is no answer: dis gives it, which takes twenty times as long, and all kernels are made when they are imported.
    """
    if code.co_varnames[2] in code.co_cellvars or sys.version_info >= (3, 15):
        return False
    raw, former, extended = code.co_code, (0, 0), 0
    for at in range(0, len(raw), 2):
        step, argument = raw[at], raw[at + 1] | extended
        extended = argument << 8 if step == EXTENDED else 0
        if step in BINDING and 2 in (argument, argument >> 4, argument & 15):  # 3.13 has two names in one argument
            return False
        returned = argument if step == RETURN_CONST else former[1] if former[0] == LOAD_CONST else None
        if step in RETURNING and (returned is None or code.co_consts[returned] is not None):
            return False
        if step not in IDLE:
            former = step, argument
    return True


def _with_nested(code: types.CodeType, name: str) -> Iterator[types.CodeType]:
    """The code, and every function in it that shares this variable with it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType) and name in constant.co_freevars:
            yield from _with_nested(constant, name)


def _binds(code: types.CodeType, name: str) -> bool:
    for step in dis.get_instructions(code):
        if step.opname.startswith(("STORE_FAST", "STORE_DEREF", "DELETE_FAST", "DELETE_DEREF")):
            # Two steps in one, from Python 3.13 on: "STORE_FAST_LOAD_FAST" binds the first of two names.
            names = step.argval if isinstance(step.argval, tuple) else (step.argval,)
            if name in (names[:1] if "LOAD" in step.opname else names):
                return True
    return False


def _is_a_value(step: dis.Instruction) -> bool:
    if step.opname in ("LOAD_CONST", "RETURN_CONST"):
        return step.argval is not None
    return step.opname.startswith(VALUES)


def nothing_returned(value: Any) -> None:
    """ValueError where a body returned a value. Compiled lanes raise the same (compute/lanes/native_lane.py)."""
    if value is not None:
        raise ValueError(RETURNED)


WRITE = "write it into out[lo:hi], or a chunk's one partial result into out[0] with @kernel(reduce=sum)"
RETURNED = f"a body must return nothing: what it returns is lost; {WRITE}"


def inputs_of(function: types.FunctionType) -> inspect.Signature:
    """The signature of a body's inputs: how a kernel without a plan is called."""
    return inspect.Signature(list(inspect.signature(function).parameters.values())[3:])


def names_of(function: types.FunctionType) -> tuple[str, ...]:
    """The names of a body's inputs, as in its signature: the last one may be "*arrays"."""
    parameters = inputs_of(function).parameters.values()
    return tuple(f"*{p.name}" if p.kind is p.VAR_POSITIONAL else p.name for p in parameters)


def places_of(inout: Iterable[str], names: tuple[str, ...], body: str) -> tuple[int, ...]:
    """The positions of the inputs that a body may write to; a ValueError for a name that no input has."""
    if isinstance(inout, str):
        raise ValueError(f"inout must be a tuple of names, not {inout!r}; write inout=({inout!r},)")
    for name in (inout := tuple(inout)):
        if name not in names:
            known_names = ", ".join(name for name in names if not name.startswith("*")) or "no inputs"
            raise ValueError(f"inout names {name!r}, which is no input of {body}; it has {known_names}")
    return tuple(sorted({names.index(name) for name in inout}))


@functools.lru_cache(maxsize=MADE)
def tree_of(function: types.FunctionType) -> ast.FunctionDef | None:
    """A function's source text, parsed, without its decorators; None for a lambda and where there is no source.

    None, too, for what `functools.wraps` has wrapped: the text is of the function inside, which may be given anything.
    """
    if hasattr(function, "__wrapped__"):
        return None
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except Exception:  # no text, or one that has changed since, whatever that looks like to a parser
        return None
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    found = next((node for node in functions if node.name == function.__name__), None)
    if found is not None:
        found.decorator_list = []  # an `out` in them is another one
    return found


@functools.lru_cache(maxsize=MADE)
def written_inputs(function: types.FunctionType) -> tuple[str, ...]:
    """The inputs that a body's own text writes to, in its order; nothing where there is no text.

    An input whose name is bound again in the body is left out: it may be a copy by then.
    """
    written = written_names(function)
    return tuple(name for name in inputs_of(function).parameters if name in written)


@functools.lru_cache(maxsize=MADE)
def written_names(function: types.FunctionType) -> tuple[str, ...]:
    """The names whose arrays a body's own text writes to, and that it does not bind itself."""
    tree = tree_of(function)
    if tree is None:
        return ()
    bound = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    roots = [_root(target) for node in ast.walk(tree) for target in _targets(node)]
    return tuple(dict.fromkeys(name for name in roots if name is not None and name not in bound))


def _targets(node: ast.AST) -> Iterator[ast.AST]:
    """The expressions whose arrays a node of the syntax tree writes into."""
    if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
        yield node.value
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr in CHANGE_THEIR_ARRAY:
            yield node.func.value
        if node.func.attr in CHANGE_THEIR_FIRST and node.args:
            yield node.args[0]


def _root(node: ast.AST) -> str | None:
    """The name whose array an expression is a part of: `a` of a[i], a.flat and a[i].field."""
    while isinstance(node, ast.Subscript | ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None
