"""Compiles a body with its helpers, as all that it reaches is now. README.md beside this file says why it is so.

`compiled(function)` is the function as numba compiles it at this moment. It is the same object as before for as long as
everything that the function reaches is the same (see reach.py): a global that was set, a helper that was written anew,
an array that was changed in place give other code, so compiled code and Python never disagree about them.

Plain Python functions that it calls are compiled with it, so a body and its helpers need no decorator and the same
source still runs as Python. Helpers that the user has compiled are compiled again, with their options, as a part of
it: numba froze what they read when they were compiled first.

On disk stays only what another process can tell by value to be the same (`kernels.compilation.kept_code`).
"""

from __future__ import annotations

import types
import weakref
from collections.abc import Callable, Hashable
from typing import Any

import numba
from numba.core.caching import NullCache
from numba.core.dispatcher import LiftedCode

from kernels.compilation import entirely, kept_code, machine_code, provenance
from kernels.compilation.bounded import MADE, Bounded
from kernels.compilation.parts import MISSING, attribute_of, builtins_of, globals_of, with_items
from kernels.compilation.reach import forget as forget_reaches
from kernels.compilation.reach import reach_of

OPTIONS = {"nogil": True, "error_model": "numpy"}
# Compiled code alone calls a helper: what would let Python or C call it takes a quarter of the sieve's compile time.
NO_WRAPPERS = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def compiled(function: Callable[..., Any], **options: Any) -> Any:
    """numba's compiled form of a function as it is now: GIL released, no fast-math, nothing fused.

    options are numba's, in place of these. It is not compiled before it is called.
    """
    if not isinstance(function, types.FunctionType):  # numba's own already
        return function
    settings = _settings(options)
    if (known := _still(function, settings)) is not None:
        return known
    with provenance.numbas_lock():
        reach = reach_of(function, compiled=True)
        dispatcher = _made_for(function, reach, options, (reach.key, settings))
    _latest[id(function), settings] = function, reach, dispatcher
    return dispatcher


def renewed(dispatcher: Any) -> Any:
    """The user's own compiled function made again, as all that it reaches is now: for Python, or as a body's input.

    With all that was said to `jit`, but `parallel` and `cache`: numba's cache does not see a change in another file.
    """
    if dispatcher in _own or not isinstance(dispatcher.py_func, types.FunctionType):
        return dispatcher
    with provenance.numbas_lock():
        reach = reach_of(dispatcher.py_func, compiled=True)
        key = id(dispatcher), reach.key, *settings()
        if (known := _made.get(key)) is None:
            known = _made[key] = (reach, dispatcher), _Twins({}, reach.attributes)._twin_of_compiled(dispatcher)
        return known[1]


def settings() -> tuple[Any, ...]:
    """numba's own settings that decide the code, and may be changed at run time."""
    return tuple(map(vars(numba.config).get, kept_code.settings_of_code()))


def have_settings(given: tuple[Any, ...]) -> None:
    """In a worker that compiles itself: have those of its caller."""
    for name, value in zip(kept_code.settings_of_code(), given, strict=True):
        setattr(numba.config, name, value)


def _settings(options: dict[str, Any]) -> Hashable:
    """What decides the code beside what is reached."""
    return _frozen(options) if options else (), *settings()


def _still(function: types.FunctionType, settings: Hashable) -> Any:
    """What was made of the function for these settings, if all that it reaches is as it was; else None."""
    latest = _latest.get((id(function), settings))
    return latest[2] if latest is not None and latest[1].is_current() else None


# The function beside its id keeps that its own.
_latest: Bounded[Hashable, tuple[types.FunctionType, Any, Any]] = Bounded(MADE)


def _made_for(function: types.FunctionType, reach: Any, options: dict[str, Any], key: Hashable) -> Any:
    if (known := _made.get(key)) is None:
        own = {"boundscheck": True} if options.get("boundscheck") else {}
        twins = _Twins(own, reach.attributes)
        known = _made[key] = reach, twins.root(function, options, reach.key if not reach.unkeyed else None)
    return known[1]


# The reach keeps alive what its key tells by identity.
_made: Bounded[Hashable, tuple[Any, Any]] = Bounded(MADE)


def forget() -> None:
    """Forget what this process has compiled, so that it looks on disk again; for measuring and tests."""
    _made.clear()
    _latest.clear()
    forget_reaches()


def _frozen(options: dict[str, Any]) -> Hashable:
    return tuple(sorted(options.items()))


def _entirely(compiles: Callable[..., Any]) -> Callable[..., Any]:
    def compiles_entirely(*args: Any, **kw: Any) -> Any:
        with entirely.done():
            return compiles(*args, **kw)

    return compiles_entirely


class _Forgets(dict[Any, Any]):
    """A dictionary that stays empty, for the errors that numba keeps: their frames would keep a run's arrays alive."""

    def __setitem__(self, key: Any, value: Any) -> None:
        pass


def _only_ours(dispatcher: Any) -> Any:
    """The dispatcher, which from now on refuses to link a function that the user has compiled.

    Such a function holds the values that it read when it was compiled. `_Twins` makes all of them again, in every place
    where numba looks for functions. Should it miss one, the compilation ends with an error instead of using old code.
    """
    compiler, made = dispatcher._compiler, dispatcher._compiler.compile
    compiler._failed_cache = _Forgets()

    def compile_(*given: Any) -> Any:
        result = made(*given)
        for called in provenance.dispatchers_in((result.fndesc.typemap or {}).values()):
            if isinstance(called, LiftedCode):  # a block of this very function, for Python to run
                continue
            if (
                called not in _own
                and called not in _adopted
                and not provenance.is_fixed(provenance.home_of(called.py_func))
            ):
                raise RuntimeError(
                    f"{dispatcher.py_func.__qualname__} would be linked with the old machine code of"
                    f" {called.py_func.__qualname__}, which numba has compiled already; call it by its name"
                )
        return result

    compiler.compile = compile_
    _own.add(dispatcher)
    return dispatcher


_own: weakref.WeakSet[Any] = weakref.WeakSet()
_adopted: weakref.WeakSet[Any] = weakref.WeakSet()


def adopt(dispatcher: Any) -> Any:
    """The dispatcher, which may be linked: in a worker, it was made of what the caller has at this moment."""
    _adopted.add(dispatcher)
    return dispatcher


class _Twins:
    """The functions of one compilation: each is a copy whose globals hold the compiled forms of what it calls.

    shared:     numba's options of the root that its plain helpers have as well.
    attributes: the names that their code reads of modules.
    """

    def __init__(self, shared: dict[str, Any], attributes: frozenset[str]) -> None:
        self._shared, self._attributes = shared, attributes
        self._helpers: dict[int, Any] = {}
        self._originals: list[Any] = []  # whose ids are the keys above
        self._with_defaults: list[types.FunctionType] = []  # whose defaults are being made

    def root(self, function: types.FunctionType, options: dict[str, Any], key: str | None) -> Any:
        """The dispatcher of the function itself; what it compiles to is kept under a key that is not None."""
        dispatcher = self._twin(function, numba.njit(**OPTIONS | options))
        dispatcher._cache = Kept(function.__name__, key, _frozen(options)) if key else NullCache()
        dispatcher._compile_for_args = _entirely(dispatcher._compile_for_args)
        return dispatcher

    def _twin(self, function: types.FunctionType, jit: Callable[..., Any], original: Any = None) -> Any:
        # What it reads and no more: the rest of a script's globals would live for as long as its code.
        kept = ("__name__", "__file__", "__builtins__", *globals_of(function.__code__))
        names = {name: function.__globals__[name] for name in kept if name in function.__globals__}
        names |= builtins_of(function)
        cells = tuple(types.CellType(cell.cell_contents) for cell in function.__closure__ or ())
        twin = types.FunctionType(function.__code__, names, function.__name__, None, cells)
        twin.__defaults__, twin.__kwdefaults__ = self._defaults(function)
        twin.__module__, twin.__qualname__ = function.__module__, function.__qualname__
        dispatcher = _only_ours(jit(twin))
        if original is not None:  # before its own helpers: it may call itself, or its caller
            self._helpers[id(original)] = dispatcher
            self._originals.append(original)
        for cell in cells:
            cell.cell_contents = self._for_numba(cell.cell_contents)
        for name in globals_of(function.__code__):
            if name in names:
                names[name] = self._for_numba(names[name])
        return dispatcher

    def _for_numba(self, value: Any) -> Any:
        """The compiled form of a helper; anything that numba knows by itself stays as it is."""
        if id(value) in self._helpers:
            return self._helpers[id(value)]
        if isinstance(value, types.FunctionType) and not provenance.is_known_to_numba(value):
            # What Python may call, too, is good for both: a body is compiled alone, and again in its lane.
            if not self._shared and (known := _still(value, _settings({}))) is not None:
                return known
            if provenance.name_of_ours(value) and self is not _ours and not self._shared:
                return _ours._for_numba(value)
            dispatcher = self._twin(value, numba.njit(**OPTIONS | NO_WRAPPERS | self._shared), value)
            reach = reach_of(value, compiled=True) if self is _ours else None
            if reach is not None and not reach.unkeyed:
                dispatcher._cache = Kept(value.__name__, reach.key, "helper")
            return dispatcher
        if provenance.is_dispatcher(value) and isinstance(value.py_func, types.FunctionType):
            return self._twin_of_compiled(value)
        if isinstance(value, types.ModuleType) and not provenance.is_fixed(value.__name__):
            return self._module(value)
        if isinstance(value, tuple):
            return with_items(value, [self._for_numba(item) for item in value])
        return value

    def _defaults(self, function: types.FunctionType) -> tuple[Any, Any]:
        """A function's defaults in their compiled forms, in whose terms numba tells its signature."""
        keywords = function.__kwdefaults__ or {}
        if function in self._with_defaults:  # it is a default of its own: once more round, and it is refused
            return function.__defaults__, function.__kwdefaults__
        self._with_defaults.append(function)
        made = {name: self._for_numba(value) for name, value in keywords.items()}
        given = self._for_numba(function.__defaults__)
        self._with_defaults.pop()
        return given, made or None

    def _module(self, module: types.ModuleType) -> types.ModuleType:
        """A module with the compiled forms of the functions that are called through it."""
        twin = types.ModuleType(module.__name__)
        self._helpers[id(module)] = twin
        self._originals.append(module)
        vars(twin).update(vars(module))
        vars(twin).pop("__getattr__", None)
        for name in self._attributes:
            if (value := attribute_of(module, name)) is not MISSING:
                setattr(twin, name, self._for_numba(value))
        return twin

    def _twin_of_compiled(self, dispatcher: Any) -> Any:
        """The user's own compiled helper, compiled again with all that was said to `jit`, but `parallel`.

        Started from a lane, numba's threads can end the process (see serially.py), and all CPUs have lanes already.
        """

        def jit(twin: types.FunctionType) -> Any:
            options = {name: value for name, value in dispatcher.targetoptions.items() if name != "parallel"}
            return provenance.kind_of(dispatcher)(
                twin, dict(dispatcher.locals), options, dispatcher._compiler.pipeline_class
            )

        made = self._twin(dispatcher.py_func, jit, dispatcher)
        if not dispatcher._can_compile:
            for signature in dispatcher.nopython_signatures:
                made.compile(signature)
            made.disable_compile()
        return made


_ours = _Twins({}, frozenset())  # this library's helpers, which never change: every kernel shares them


class Kept(NullCache):  # type: ignore[misc]
    """What a dispatcher compiles to, on disk: a file for each signature, which begins with its own name.

    So a copy under another name, as a hand or a repaired disk may leave it, is a damaged entry.
    """

    def __init__(self, name: str, key: str, options: Hashable) -> None:
        self._name, self._key, self._options = name.strip("<>"), key, options

    def _path(self, signature: Any, target: Any) -> Any:
        return kept_code.path_of(self._name, self._key, self._options, signature, target)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled signature, or None where it is not there or cannot be read (it is then compiled again)."""
        path = self._path(sig, target_context)
        name, _, content = ((path and kept_code.read(path)) or b"").partition(b"\n")
        if not path or name != path.name.encode():
            return None
        try:
            return machine_code.restored(content, sig, target_context)
        except Exception:  # a damaged entry costs a compilation, never a run
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep the compiled signature for other processes, where it can be kept."""
        path = self._path(sig, data.target_context)
        content = path and machine_code.portable(data)
        if path and content:
            kept_code.write(path, path.name.encode() + b"\n" + content)
