"""Compile a body once, and keep the machine code where every process can load it.

numba's own disk cache is keyed by one file's time stamp: it is stale when an imported callee changes (numba#1833) and
processes race for its index (numba#10128). Here an entry is a file of its own, named by the content of everything that
the function was made from, and put in place with one rename: it is right or it is absent.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import pickle
import re
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core import compiler
from numba.core.caching import NullCache
from numba.core.registry import cpu_target
from numba.core.serialize import dumps

from kernels import entries

_dispatchers: dict[tuple[int, bool], tuple[Callable[..., Any], Any]] = {}

# Compiled code alone calls a helper: what would let Python or C call it takes a quarter of the sieve's compile time.
NO_WRAPPERS = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def compiled(function: Callable[..., Any], **options: Any) -> Any:
    """numba's compiled form of a function: GIL released, no fast-math, nothing fused; from the cache where it can be.

    options are numba's, in place of these.

    Plain Python functions that it calls are compiled with it, so a body and its helpers need no decorator and the same
    source still runs as Python.
    """
    if not isinstance(function, types.FunctionType):  # numba's own already
        return function
    return _compiled(function, options)


def _compiled(function: types.FunctionType, options: dict[str, Any], helper: bool = False) -> Any:
    key = id(function), helper  # the entry keeps the function alive, so its id stays its own
    if key not in _dispatchers:
        names = dict(function.__globals__)
        cells = tuple(types.CellType(_for_numba(cell.cell_contents)) for cell in function.__closure__ or ())
        twin = types.FunctionType(function.__code__, names, function.__name__, function.__defaults__, cells)
        twin.__kwdefaults__ = function.__kwdefaults__
        twin.__module__, twin.__qualname__ = function.__module__, function.__qualname__
        dispatcher = numba.njit(**{"nogil": True, "error_model": "numpy"} | options)(twin)
        dispatcher._cache = SourceCache(function, options)
        _dispatchers[key] = function, dispatcher
        # After the entry above: a helper may call itself, or its caller.
        named = inspect.getclosurevars(function).globals
        names.update({name: _for_numba(met) for name, met in named.items()})
        if _is_called_back(function):
            dispatcher._cache = NullCache()  # its code holds the address of a caller's, which numba does not restore
            for name in NO_WRAPPERS:
                dispatcher.targetoptions.pop(name, None)  # without wrappers numba does not find that caller
    return _dispatchers[key][1]


def _is_called_back(function: types.FunctionType) -> bool:
    """Whether a function that this one calls calls this one in turn; to call oneself does not count."""
    seen, waiting = {function}, list(_helpers(function) - {function})
    while waiting:
        helper = waiting.pop()
        seen.add(helper)
        if function in _helpers(helper):
            return True
        waiting += _helpers(helper) - seen
    return False


def _helpers(function: types.FunctionType) -> set[types.FunctionType]:
    named = inspect.getclosurevars(function).globals.values()
    plain = (met for met in named if isinstance(met, types.FunctionType))
    return {met for met in plain if (id(met), True) in _dispatchers or (id(met), False) in _dispatchers}


def _for_numba(value: Any) -> Any:
    """The compiled form of a plain helper function; anything that numba knows by itself stays as it is."""
    if not isinstance(value, types.FunctionType):
        return value
    try:
        cpu_target.typing_context.resolve_value_type(value)  # a library's function, or one with an @overload
    except ValueError:
        if found := _dispatchers.get((id(value), False)):  # which Python may call, too: it is good for both
            return found[1]
        return _compiled(value, NO_WRAPPERS, helper=True)
    return value


class SourceCache(NullCache):  # type: ignore[misc]
    """A compiled function's entries on disk: one file for each signature, named by content."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        self._function = function
        self._options = options

    @functools.cached_property
    def _source(self) -> str:
        return fingerprint(self._function)

    def _path(self, sig: Any, target: Any) -> Path:
        parts = (
            self._source,
            str(sig),
            repr(sorted(self._options.items())),
            repr(target.codegen().magic_tuple()),
            sys.version,
            numba.__version__,
            llvmlite.__version__,
            repr(numba.config.OPT),
        )
        name = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
        return entries.cache_folder() / f"{self._function.__name__.strip('<>')}-{name}.nbc"

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled signature, or None where it is not there or cannot be read (it is then compiled again)."""
        content = entries.read(self._path(sig, target_context))
        if content is None:
            return None
        try:
            payload = pickle.loads(content)
            target_context.refresh()
            return compiler.CompileResult._rebuild(target_context, *payload)
        except Exception:  # a damaged entry costs a compilation, never a run
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep the compiled signature for other processes, where it can be kept."""
        if any(not lifted.can_cache for lifted in data.lifted) or data.library.has_dynamic_globals:
            return
        entries.write(self._path(sig, data.target_context), dumps(data._reduce()))


def fingerprint(function: Callable[..., Any]) -> str:
    """A hash of everything the function's machine code is made from: its own code and, transitively, what it names."""
    digest = hashlib.sha256()
    _absorb(function, digest, set(), home=function.__module__)
    return digest.hexdigest()


def _absorb(value: Any, digest: Any, seen: set[int], home: str) -> None:
    if id(value) in seen:
        return
    seen.add(id(value))
    value = getattr(value, "py_func", value)  # a dispatcher
    value = getattr(value, "_defn", value)  # an intrinsic
    if isinstance(value, types.FunctionType):
        if value.__module__ != home:  # its @overload may stand beside it, named by nobody
            _absorb_module(sys.modules.get(value.__module__), digest)
        closed = inspect.getclosurevars(value)
        _absorb_code(value.__code__, digest)
        digest.update(repr((value.__defaults__, value.__kwdefaults__)).encode())
        for name, met in sorted({**closed.globals, **closed.nonlocals}.items()):
            digest.update(name.encode())
            _absorb(met, digest, seen, home)
    elif isinstance(value, types.ModuleType):
        _absorb_module(value, digest)
    elif isinstance(value, type) or callable(value):
        _absorb_module(inspect.getmodule(value), digest)
        digest.update(getattr(value, "__qualname__", repr(type(value))).encode())
    elif isinstance(value, tuple | list):
        for item in value:
            _absorb(item, digest, seen, home)
    elif hasattr(value, "tobytes"):
        digest.update(repr((getattr(value, "dtype", None), getattr(value, "shape", None))).encode() + value.tobytes())
    else:
        # An address differs in every process, and no process would find what another has compiled.
        digest.update(re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value)).encode())


def _absorb_code(code: types.CodeType, digest: Any) -> None:
    digest.update(code.co_code)
    digest.update(repr(code.co_names).encode())
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            _absorb_code(constant, digest)
        else:
            digest.update(repr(constant).encode())


def _absorb_module(module: types.ModuleType | None, digest: Any) -> None:
    # A library is known by its version, code of this project or of a user by its text.
    if module is None:
        return
    digest.update(module.__name__.encode())
    package = sys.modules.get(module.__name__.partition(".")[0])
    if version := getattr(package, "__version__", None):
        digest.update(str(version).encode())
    else:
        digest.update(_text(getattr(module, "__file__", None) or ""))


@functools.cache
def _text(path: str) -> bytes:
    return Path(path).read_bytes() if path.endswith(".py") else b""
