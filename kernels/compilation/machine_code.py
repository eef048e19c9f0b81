"""Turn numba's compile result into plain bytes, and back, in this process or another.

The bytes are object code, LLVM's bitcode for callers to inline, and a line of JSON: names and types as text, no pickle.
The same of functions that are called without being linked follows.
A compile result may hold more: code that returns to Python, constants that are Python objects, addresses of this
process. Such a result cannot be sent: `portable` returns None, and the code is compiled where it is needed.

Symbols. All code in a process shares one table of names, in which numba tells functions apart by a counter that begins
at 1 in every process. Code from elsewhere would be linked to a function of this process that has the same number. So
the counter begins at a random number here, and again in every forked child.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
import json
import os
import random
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import llvmlite.binding as llvm
import numba
from numba.core import bytecode, codegen, compiler, funcdesc, types
from numba.core.environment import Environment, lookup_environment
from numba.core.typing import signature as signature_of

from kernels.compilation import signal_guard
from kernels.compilation.linking import image_of
from kernels.compilation.native_code import ARRAY_CODES, CODES, RESULTS, SCALAR_CODES, packed, words_of

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
        or (returns := _name_of(result.signature.return_type)) is None
        or any(environment.consts for environment in environments)
        or _calls_back(result.library)
        or names is None
    ):
        return None
    apart = [portable(called) for called in called_apart(result.library)]
    if None in apart:
        return None
    _, _, (object_code, bitcode) = result.library.serialize_using_object_code()
    parts = [object_code, bitcode, *apart]
    header: dict[str, Any] = {
        "library": result.library.name,
        "returns": returns,
        "function": names,
        "environments": [environment.env_name for environment in environments],
        "reload": [f"{load.__module__}:{load.__qualname__}" for load in (*result.reload_init, *_needs(result.library))],
        "lengths": list(map(len, parts)),
    }
    content: bytes = json.dumps(header).encode() + b"\n" + b"".join(parts)
    _known[result.library] = content
    return content


def _name_of(kind: Any) -> str | None:
    """numba's name for a type that can be returned; its text is another for some."""
    return next((name for name in _RETURNED if getattr(types, name) == kind), None)


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


def _parts(content: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """What `portable` gave: the header; the object code, the bitcode, and the same of what is called apart."""
    line, _, code = content.partition(b"\n")
    header: dict[str, Any] = json.loads(line)
    ends = list(itertools.accumulate(header["lengths"], initial=0))
    return header, [code[begin:end] for begin, end in itertools.pairwise(ends)]


def _object_codes(content: bytes) -> list[bytes]:
    """Its object code, and that of what it calls apart."""
    object_code, _, *apart = _parts(content)[1]
    return [object_code, *itertools.chain.from_iterable(map(_object_codes, apart))]


def call_apart(library: Any, result: Any) -> None:
    """Note that a library calls a compile result's function by its name. LLVM finds it, without linking the two.

    What is linked is optimized and compiled once more, as a part of each caller.
    """
    _apart.setdefault(library, []).append(result)


def called_apart(library: Any) -> list[Any]:
    """What a library calls apart, and what it is linked with."""
    return [result for inner in _with_linked(library) for result in _apart.get(inner, ())]


def need(library: Any, load: Callable[[], Any]) -> None:
    """Note a function of a module that must be called before a library's code can be loaded."""
    _needed.setdefault(library, []).append(load)


def _needs(library: Any) -> dict[Callable[[], Any], None]:
    """What a library needs, and what it is linked with: each once, in order."""
    return dict.fromkeys(load for inner in _with_linked(library) for load in _needed.get(inner, ()))


def _with_linked(library: Any) -> Iterator[Any]:
    yield library
    for inner in getattr(library, "_linking_libraries", ()):
        yield from _with_linked(inner)


_needed: weakref.WeakKeyDictionary[Any, list[Callable[[], Any]]] = weakref.WeakKeyDictionary()
_apart: weakref.WeakKeyDictionary[Any, list[Any]] = weakref.WeakKeyDictionary()


def restored(content: bytes | memoryview, argument_types: tuple[Any, ...], target: Any) -> Any:
    """The compile result from its bytes, for these types of arguments.

    target is numba's target context. ValueError where they call a symbol that is missing here. Damaged bytes could do
    anything: whoever has them from a file has checked them (kept_code.py).
    """
    content = bytes(content)
    header, (object_code, bitcode, *apart) = _parts(content)
    target.refresh()  # which makes numba's own functions known to LLVM
    loads = []
    for path in header["reload"]:
        module, _, name = path.partition(":")
        loads.append(getattr(importlib.import_module(module), name))
        loads[-1]()
    called = [restored(part, (), target) for part in apart]  # its types do not count: no caller is compiled any more
    known = {inner.fndesc.llvm_func_name for inner in called}
    if missing := [name for name in _missing_symbols(bitcode) if name not in known]:
        raise ValueError(f"it calls {', '.join(missing)}, which this process has not")
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
    for inner in called:
        call_apart(result.library, inner)
    for load in loads:
        need(result.library, load)
    return result


def exported(dispatcher: Any, arguments: tuple[Any, ...]) -> bytes | None:
    """The code of a dispatcher for arguments like these, compiled if need be. None as for `portable`."""
    return portable(_compiled_for(dispatcher, arguments))


def _compiled_for(dispatcher: Any, arguments: tuple[Any, ...]) -> Any:
    if takes_more(dispatcher.py_func):
        named = dispatcher.py_func.__code__.co_argcount
        arguments = (*arguments[:named], arguments[named:])
    signature = tuple(map(dispatcher.typeof_pyval, arguments))
    with signal_guard.postponed():
        dispatcher.compile(signature)
    return dispatcher.overloads[signature]


def takes_more(function: Any) -> bool:
    """Whether its last arguments are `*inputs`, of which numba makes one tuple."""
    return bool(function.__code__.co_flags & inspect.CO_VARARGS)


def without_numba(result: Any, takes_more: bool) -> tuple[tuple[str, ...], bytes] | None:
    """A compile result for processes without numba: the types of its arguments, and the bytes that NativeCode takes.

    takes_more: as `takes_more` says. None where the code needs numba or Python, or takes what native_code.py does not
    lay flat.
    """
    kinds = tuple(result.signature.args)
    given = (*kinds[:-1], *kinds[-1]) if takes_more else kinds
    words, codes = tuple(map(_word, given)), "".join(map(_flat_codes, kinds))
    flat = [str(kind) for kind in result.target_context.get_arg_packer(kinds).argument_types]
    returns = _name_of(result.signature.return_type)
    content = portable(result)
    # The codes are what a caller gives, and what numba takes: where these differ, it takes something else.
    if content is None or returns not in RESULTS or codes != "".join(CODES.get(kind, "P") for kind in flat):
        return None
    image = image_of(_object_codes(content), result.fndesc.llvm_func_name)
    return None if image is None else (words, packed(image, words, codes, returns))


def exported_without_numba(dispatcher: Any, arguments: tuple[Any, ...]) -> bytes | None:
    """The code of a dispatcher for arguments like these, as NativeCode takes it. None as for `without_numba`."""
    words = words_of(arguments)
    if words is None:
        return None
    with signal_guard.postponed():  # LLVM is asked, under a lock of llvmlite's
        made = without_numba(_compiled_for(dispatcher, arguments), takes_more(dispatcher.py_func))
    return made[1] if made is not None and made[0] == words else None


def _word(kind: Any) -> str:
    """A type of numba's in native_code.py's words."""
    known: Any = types
    if isinstance(kind, known.BaseTuple):
        return f"({','.join(map(_word, kind))})"
    if type(kind) is known.Array:
        return f"array({kind.dtype},{kind.ndim},{kind.layout},{kind.mutable},{kind.aligned})"
    return str(kind)


def _flat_codes(kind: Any) -> str:
    """The codes of an argument of this type, laid flat as native_code.py does it; "?" where it does not."""
    known: Any = types
    if isinstance(kind, known.BaseTuple):
        return "".join(map(_flat_codes, kind))
    if type(kind) is known.Array:
        return ARRAY_CODES + "q" * int(2 * kind.ndim)
    return SCALAR_CODES.get(str(kind), "?")


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
