"""The operations of shared_words.py in LLVM's IR, and a table by which Python finds them.

The table has their addresses as functions of C, then room for those of Python's functions that they call, then
what Python makes functions of its own of (PyMethodDef). What stands before such an operation takes the array's words
out of its object: in numpy's C interface, the address of its data follows what every object begins with.
This takes llvmlite alone, without numba.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir

from compute.lanes.shared_words import OPERATIONS, PYTHONS, SYMBOL, make_operations, numbers
from compute.lanes.translation import BYTES, WORD, WORDS, inner_functions, translate
from kernels.compilation import linking, native_code
from kernels.vectors import clocks

_I32 = ir.IntType(32)
_FASTCALL = ir.FunctionType(BYTES, [BYTES, BYTES.as_pointer(), WORD])  # a method that is given an array of objects
_METHOD = ir.LiteralStructType([BYTES, _FASTCALL.as_pointer(), _I32, BYTES])
METH_FASTCALL = 0x80


def image() -> bytes | None:
    """The table and the operations for processes without LLVM; None where there are no images, or none of these."""
    made = linking.image_of([object_code()], SYMBOL)
    return None if made is None else native_code.packed(made, (), "", "none")


def object_code() -> bytes:
    """The same for LLVM to load."""
    module = ir.Module(SYMBOL)
    module.triple = llvm.get_process_triple()
    made = [_operation(module, definition) for definition in inner_functions(make_operations, *OPERATIONS)]
    # The table is made last, since it names all that; what stands before the operations finds Python's functions in it.
    kinds = [BYTES] * (len(made) + len(PYTHONS)) + [_METHOD] * len(made)
    table = ir.GlobalVariable(module, ir.LiteralStructType(kinds), SYMBOL)
    nothing = ir.Constant(BYTES, None)
    methods = [
        ir.Constant(
            _METHOD,
            [_text(module, name), _for_python(module, table, of, lets_go), ir.Constant(_I32, METH_FASTCALL), nothing],
        )
        for of, (name, lets_go) in zip(made, OPERATIONS.items(), strict=True)
    ]
    table.initializer = ir.Constant(
        table.value_type, [*(of.bitcast(BYTES) for of in made), *[nothing] * len(PYTHONS), *methods]
    )
    return linking.object_code_of(module, speed=0)  # they wait, or call Python


def _operation(module: ir.Module, definition: ast.FunctionDef) -> ir.Function:
    """An operation as a function of C: the address of words and int64s -> int64."""
    parameters = [argument.arg for argument in definition.args.args]
    takes = [WORDS, *[WORD] * (len(parameters) - 1)]
    function = ir.Function(module, ir.FunctionType(WORD, takes), f"{SYMBOL}_{definition.name}")
    translate(definition, function, dict(zip(parameters, function.args, strict=True)), dict(numbers()), PARTS)
    return function


def _text(module: ir.Module, text: str) -> Any:
    """The address of a text that ends with a zero byte."""
    content = bytearray(text.encode() + b"\0")
    variable = ir.GlobalVariable(module, ir.ArrayType(ir.IntType(8), len(content)), module.get_unique_name("text"))
    variable.initializer, variable.global_constant = ir.Constant(variable.value_type, content), True
    return variable.bitcast(BYTES)


def _for_python(module: ir.Module, table: Any, operation: ir.Function, lets_go: bool) -> ir.Function:
    """What Python calls: it takes an array's words and numbers out of their objects. lets_go: of the GIL."""
    function = ir.Function(module, _FASTCALL, f"{operation.name}_for_python")
    builder = ir.IRBuilder(function.append_basic_block())
    objects = function.args[1]

    def given(k: int) -> Any:
        return builder.load(builder.gep(objects, [ir.Constant(WORD, k)]))

    def python(name: str, result: Any, *args: Any) -> Any:
        at = ir.Constant(_I32, len(OPERATIONS) + PYTHONS.index(name))
        place = builder.load(builder.gep(table, [ir.Constant(_I32, 0), at]))
        kind = ir.FunctionType(result, [arg.type for arg in args])
        return builder.call(builder.bitcast(place, kind.as_pointer()), args)

    begin = builder.gep(given(0), [ir.Constant(WORD, object.__basicsize__)])
    words = builder.load(builder.bitcast(begin, WORDS.as_pointer()))
    values = [python("PyLong_AsLongLong", WORD, given(k)) for k in range(1, len(operation.args))]
    nothing = ir.Constant(BYTES, None)
    with builder.if_then(builder.icmp_unsigned("!=", python("PyErr_Occurred", BYTES), nothing), likely=False):
        builder.ret(nothing)  # one of them was no such number
    state = python("PyEval_SaveThread", BYTES) if lets_go else None
    result = builder.call(operation, [words, *values])
    if lets_go:
        python("PyEval_RestoreThread", ir.VoidType(), state)
    builder.ret(python("PyLong_FromLongLong", BYTES, result))
    return function


def _word(builder: Any, words: Any, index: Any) -> Any:
    return builder.gep(words, [index])


def _pause(builder: Any) -> None:
    """Tell the core that this is a spin: the other hardware thread gets its units (x86 only; nothing elsewhere)."""
    if llvm.get_process_triple().startswith("x86_64"):
        name, kind = "llvm.x86.sse2.pause", ir.FunctionType(ir.VoidType(), [])
        builder.call(builder.module.globals.get(name) or ir.Function(builder.module, kind, name), [])


# What the operations are made of; the lane loop takes them, too.
PARTS: dict[str, Callable[..., Any]] = {
    "add": lambda builder, words, index, value: builder.atomic_rmw(
        "add", _word(builder, words, index), value, ordering="acq_rel"
    ),
    "load": lambda builder, words, index: builder.load_atomic(_word(builder, words, index), "acquire", 8),
    "store": lambda builder, words, index, new: builder.store_atomic(new, _word(builder, words, index), "release", 8),
    "fence": lambda builder: builder.fence("seq_cst"),
    "clock": clocks.monotonic,
    "pause": _pause,
}
