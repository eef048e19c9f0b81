"""Turn numba's compile result into plain bytes, and back, in this process or another.

The bytes are object code, LLVM's bitcode for callers to inline, and a line of JSON: names and types as text, no pickle.
A compile result may hold more: code that returns to Python, constants that are Python objects, addresses of this
process. Such a result cannot be sent: `portable` returns None, and the code is compiled where it is needed.

Symbols. All code in a process shares one table of names, in which numba tells functions apart by a counter that begins
at 1 in every process. Code from elsewhere would be linked to a function of this process that has the same number. So
the counter begins at a random number here, and again in every forked child.
"""

from __future__ import annotations

import importlib
import itertools
import json
import os
import random
import weakref
from typing import Any

import llvmlite.binding as llvm
import numba
from numba.core import bytecode, codegen, compiler, funcdesc, types
from numba.core.environment import Environment, lookup_environment
from numba.core.typing import signature as signature_of

_RETURNED = ("none", "boolean", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32",
             "float64", "complex64", "complex128")  # fmt: skip


def _number_from_elsewhere() -> None:
    bytecode.FunctionIdentity._unique_ids = itertools.count(random.SystemRandom().getrandbits(62))


_number_from_elsewhere()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_number_from_elsewhere)


def portable(result: Any) -> bytes | None:
    """A compile result as bytes; None where it holds what no other process can take."""
    known: bytes | None = _known.get(result.library)
    if known is not None:
        return known
    environments = [result.environment, *result._find_referenced_environments()]
    names = _plain_fields(result.fndesc)
    if (
        result.lifted
        or result.objectmode
        or result.library.has_dynamic_globals
        or str(result.signature.return_type) not in _RETURNED
        or any(environment.consts for environment in environments)
        or _calls_back(result.library)
        or names is None
    ):
        return None
    _, _, (object_code, bitcode) = result.library.serialize_using_object_code()
    header: dict[str, Any] = {
        "library": result.library.name,
        "returns": str(result.signature.return_type),
        "function": names,
        "environments": [environment.env_name for environment in environments],
        "reload": [f"{function.__module__}:{function.__qualname__}" for function in result.reload_init],
        "lengths": [len(object_code), len(bitcode)],
    }
    content: bytes = json.dumps(header).encode() + b"\n" + object_code + bitcode
    _known[result.library] = content
    return content


def _calls_back(library: Any) -> bool:
    """Whether functions in it call each other in a cycle: numba writes one's address into the other when it links."""
    prefix = codegen.RuntimeLinker.PREFIX
    return any(variable.name.startswith(prefix) for variable in library._final_module.global_variables)


# The bytes of each library that was exported or loaded before. numba cannot return the object code of a library that it
# has loaded, so it is kept here.
_known: weakref.WeakKeyDictionary[Any, bytes] = weakref.WeakKeyDictionary()


def _plain_fields(description: Any) -> dict[str, Any] | None:
    """numba's description of a function as plain data, without its types; None where plain data cannot hold it."""
    fields = {name: getattr(description, name) for name in funcdesc.FunctionDescriptor.__slots__ if name not in _TYPED}
    try:
        return fields if json.loads(json.dumps(fields)) == _listed(fields) else None
    except (TypeError, ValueError):
        return None


_TYPED = ("typemap", "calltypes", "restype", "argtypes")


def _listed(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}


def restored(content: bytes | memoryview, argument_types: tuple[Any, ...], target: Any) -> Any:
    """The compile result from its bytes, for these types of arguments.

    target is numba's target context. ValueError where they call a symbol that is missing here. Damaged bytes could do
    anything: whoever has them from a file has checked them (kept_code.py).
    """
    content = bytes(content)
    line, _, code = content.partition(b"\n")
    header = json.loads(line)
    object_code, bitcode = code[: header["lengths"][0]], code[header["lengths"][0] :]
    target.refresh()  # which makes numba's own functions known to LLVM
    if missing := _missing_symbols(bitcode):
        raise ValueError(f"it calls {', '.join(missing)}, which this process has not")
    for path in header["reload"]:
        module, _, name = path.partition(":")
        getattr(importlib.import_module(module), name)()
    returns = getattr(types, header["returns"])
    description = funcdesc.PythonFunctionDescriptor.__new__(funcdesc.PythonFunctionDescriptor)
    for name, value in header["function"].items():
        setattr(description, name, tuple(value) if isinstance(value, list) else value)
    description.typemap = description.calltypes = None
    description.restype, description.argtypes = returns, tuple(argument_types)
    own, *referenced = [_environment(name) for name in header["environments"]]
    result = compiler.CompileResult._rebuild(
        target,
        (header["library"], "object", (object_code, bitcode)),
        description,
        own,
        signature_of(returns, *argument_types),
        False,
        (),
        "",
        (),
        tuple(referenced),
    )
    _known[result.library] = content
    return result


def exported(dispatcher: Any, arguments: tuple[Any, ...]) -> bytes | None:
    """The code of a dispatcher for arguments like these, compiled if need be. None as for `portable`."""
    signature = tuple(map(dispatcher.typeof_pyval, arguments))
    dispatcher.compile(signature)
    return portable(dispatcher.overloads[signature])


def imported(content: bytes, arguments: tuple[Any, ...]) -> Any:
    """A function that runs exported code, for arguments like these alone; a ValueError where it cannot be loaded."""

    # Only the number of arguments counts: it is that of compute.lanes.loop's lane function.
    def stand_in(control, me, out, inputs, until):  # type: ignore[no-untyped-def]
        return 0

    dispatcher = numba.njit(stand_in)
    signature = tuple(map(dispatcher.typeof_pyval, arguments))
    result = restored(content, signature, dispatcher.targetctx)
    dispatcher.add_overload(result)
    dispatcher.targetctx.insert_user_function(result.entry_point, result.fndesc, [result.library])
    dispatcher.disable_compile()
    return dispatcher


def _environment(name: str) -> Environment:
    """numba's place for a function's constants, of which this one has none."""
    environment = lookup_environment(name)
    if environment is None:
        environment = Environment({"__name__": __name__})
        environment.env_name = name
        Environment._memo[name] = environment
    return environment


def _missing_symbols(bitcode: bytes) -> list[str]:
    """Functions that the code calls and this process has not: LLVM would end the process over the first one."""
    module = llvm.parse_bitcode(bitcode)
    outside = (f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm."))
    return [name for name in outside if llvm.address_of_symbol(name) is None]
