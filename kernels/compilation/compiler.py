"""Compiles a body with its helpers, from what they read at this moment. README.md beside this file explains why.

`compiled(function)` is the function as numba compiles it at this moment. It is the same object as before for as long as
everything that the function reaches is the same (see reach.py). A global that was set, a helper that was written anew,
or an array that was changed in place gives other code. So compiled code and Python never disagree about them.

Plain Python functions that it calls are compiled with it, so a body and its helpers need no decorator and the same
source still runs as Python. Helpers that the user has compiled are compiled again, with their options, as a part of
it: numba froze what they read when they were compiled first. What numba compiles is never the user's function itself
but a copy, its *twin*, whose globals hold the compiled forms of what it calls.

Code is kept on disk only if its key is made of values alone, so that another process computes the same key
(`kernels.compilation.kept_code`).
"""

from __future__ import annotations

import types
import weakref
from collections.abc import Callable, Container, Hashable
from typing import Any

import numba
from numba.core.caching import NullCache
from numba.core.dispatcher import LiftedCode

from kernels.compilation import kept_code, machine_code, provenance, ready
from kernels.compilation.bounded import MADE, Bounded
from kernels.compilation.parts import MISSING, attribute_of, builtins_of, globals_of, with_items
from kernels.compilation.reach import forget as forget_reaches
from kernels.compilation.reach import reach_of
from kernels.compilation.reach_snapshot import Reach

# C calls none of it. What would let C call it takes a tenth of a small body's compile time.
OPTIONS = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
# Nor does Python call a helper: compiled code alone does. What would let both takes a quarter of the sieve's.
NO_WRAPPERS = {"no_cpython_wrapper": True}


def compiled(function: Callable[..., Any], ready_as: str = "", **options: Any) -> Any:
    """numba's compiled form of a function as it is now: GIL released, no fast-math, nothing fused.

    options are numba's, in place of these. It is not compiled before it is called. ready_as: of a function of ours, the
    name under which ready.py finds it in processes without numba.
    """
    if not isinstance(function, types.FunctionType):  # numba's own already
        return function
    settings = _settings(options)
    if (known := _still(function, settings)) is not None:
        return known
    with provenance.numbas_lock():
        reach = reach_of(function, compiled=True)
        dispatcher = _made_for(function, reach, options, (reach.key, settings), ready_as)
    _latest[id(function), settings] = function, reach, dispatcher
    return dispatcher


def renewed(dispatcher: Any) -> Any:
    """Compile the user's `@njit` function again, with the present values of everything that it reads.

    The result is called from Python, or passed to a body as an input. It keeps the options given to `jit`, except
    `parallel` and `cache`: numba's cache does not notice a change in another file.
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


def have_settings(callers: tuple[Any, ...], own: Container[str] = ()) -> None:
    """Give this worker the numba settings of its caller. Workers that compile for themselves need it.

    own: names of those that the worker keeps as they are.
    """
    for name, value in zip(kept_code.settings_of_code(), callers, strict=True):
        if name not in own:
            setattr(numba.config, name, value)


def _settings(options: dict[str, Any]) -> Hashable:
    """What decides the code beside what is reached."""
    return _frozen(options) if options else (), *settings()


def _still(function: types.FunctionType, settings: Hashable) -> Any:
    """What was made of the function for these settings, if all that it reaches is as it was; else None."""
    latest = _latest.get((id(function), settings))
    return latest[2] if latest is not None and latest[1].is_current() else None


def _still_or_again(function: types.FunctionType, settings: Hashable) -> Any:
    """The same where a new walk over what it reaches comes to the same key: numba may have learned something since."""
    known = _still(function, settings)
    if known is None and (id(function), settings) in _latest:
        known = _made.get((reach_of(function, compiled=True).key, settings), (None, None))[1]
    return known


# The entry contains the function, so that its id is not used again while the entry exists.
_latest: Bounded[Hashable, tuple[types.FunctionType, Any, Any]] = Bounded(MADE)


def _made_for(function: types.FunctionType, reach: Any, options: dict[str, Any], key: Hashable, ready_as: str) -> Any:
    if (known := _made.get(key)) is None:
        own = {"boundscheck": True} if options.get("boundscheck") else {}
        twins = _Twins(own, reach.attributes)
        dispatcher = twins.root(function, options, reach.key if not reach.unkeyed else None)
        if ready_as and not reach.unkeyed:
            dispatcher._cache.be_ready(ready_as, function, reach)
        known = _made[key] = reach, dispatcher
    return known[1]


# Some keys contain ids. The Reach in the entry keeps these objects alive.
_made: Bounded[Hashable, tuple[Any, Any]] = Bounded(MADE)


def forget() -> None:
    """Forget what this process has compiled, so that it looks on disk again; for measuring and tests."""
    _made.clear()
    _latest.clear()
    forget_reaches()


def _frozen(options: dict[str, Any]) -> Hashable:
    return tuple(sorted(options.items()))


def _undisturbed(compiles: Callable[..., Any]) -> Callable[..., Any]:
    def compiles_undisturbed(*args: Any, **kw: Any) -> Any:
        with provenance.numbas_lock():
            return compiles(*args, **kw)

    return compiles_undisturbed


class InAPart(Exception):
    """An error of numba's about a function that is compiled as a part of another.

    numba wraps errors of its own that rise in an intrinsic, and says of all that it has no such intrinsic; not this.
    """

    def __init__(self, numbas: Exception) -> None:
        super().__init__(str(numbas))
        self.numbas = numbas


class _Forgets(dict[Any, Any]):
    """A dictionary that stays empty. numba keeps errors in it, whose frames would keep a run's arrays alive."""

    def __setitem__(self, key: Any, value: Any) -> None:
        pass


def _only_ours(dispatcher: Any) -> Any:
    """The dispatcher, which from now on refuses to link a function that the user has compiled.

    Such a function holds the values that it read when it was compiled. `_Twins` makes all of them again, in every place
    where numba looks for functions. Should it miss one, the compilation ends with an error instead of using old code.
    """
    compiler, numbas_compile = dispatcher._compiler, dispatcher._compiler.compile
    compiler._failed_cache = _Forgets()

    def compile_(*arguments: Any) -> Any:
        try:
            result = numbas_compile(*arguments)
        except InAPart as error:
            raise error.numbas from None
        for called in provenance.dispatchers_in((result.fndesc.typemap or {}).values()):
            if isinstance(called, LiftedCode):  # a block of this very function, for Python to run
                continue
            if (
                called not in _own
                and called not in _adopted
                and not provenance.is_fixed(provenance.home_of(called.py_func))
            ):
                if called.py_func.__qualname__.startswith("closure.<locals>."):  # numba's name for a function in a body
                    raise RuntimeError(
                        f"{dispatcher.py_func.__qualname__} hands on a function that is written in its body"
                        f" ({called.py_func.__name__}), which compiled code cannot here; write that function outside it"
                    )
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
    """The dispatcher, which may be linked: a worker compiled it from what the caller sent, so it is not stale."""
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
        self._keys: dict[int, str] = {}  # of what helpers reached, where these are shared
        self._originals: list[Any] = []  # whose ids are the keys above
        self._with_defaults: list[types.FunctionType] = []  # whose defaults are being made

    def root(self, function: types.FunctionType, options: dict[str, Any], key: str | None) -> Any:
        """The dispatcher of the function itself; what it compiles to is kept under a key that is not None."""
        dispatcher = self._twin(function, numba.njit(**OPTIONS | options))
        dispatcher._cache = CodeOnDisk(function.__name__, key, _frozen(options)) if key else NullCache()
        dispatcher._compile_for_args = _undisturbed(dispatcher._compile_for_args)
        return dispatcher

    def _twin(self, function: types.FunctionType, jit: Callable[..., Any], original: Any = None) -> Any:
        # Only the globals that the code reads. All of them would keep a script's other globals, large arrays perhaps,
        # alive for as long as the compiled code.
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
            # A body may have been compiled by itself, for Python to call. That wrapper does no harm in a lane: the same
            # dispatcher serves both.
            if not self._shared and (known := _still_or_again(value, _settings({}))) is not None:
                return known
            if provenance.name_of_ours(value) and self is not _ours and not self._shared:
                return _ours.of_ours(value)
            dispatcher = self._twin(value, numba.njit(**OPTIONS | NO_WRAPPERS | self._shared), value)
            reach = reach_of(value, compiled=True) if self is _ours else None
            if reach is not None and not reach.unkeyed:
                dispatcher._cache = CodeOnDisk(value.__name__, reach.key, "helper")
            return dispatcher
        if provenance.is_dispatcher(value) and isinstance(value.py_func, types.FunctionType):
            return self._twin_of_compiled(value)
        if isinstance(value, types.ModuleType) and not provenance.is_fixed(value.__name__):
            return self._module(value)
        if isinstance(value, tuple):
            return with_items(value, [self._for_numba(item) for item in value])
        return value

    def of_ours(self, helper: types.FunctionType) -> Any:
        """A helper of this library's, compiled: the same for every kernel, until a constant of ours is set."""
        key = reach_of(helper, compiled=True).key
        if self._keys.setdefault(id(helper), key) != key:
            for known in (self._helpers, self._originals, self._keys):
                known.clear()
            self._keys[id(helper)] = key
        return self._for_numba(helper)

    def _defaults(self, function: types.FunctionType) -> tuple[Any, Any]:
        """A function's defaults in their compiled forms, because numba's signature of the function refers to them."""
        keywords = function.__kwdefaults__ or {}
        if function in self._with_defaults:  # it is a default of its own: return it unchanged, and numba refuses it
            return function.__defaults__, function.__kwdefaults__
        self._with_defaults.append(function)
        compiled_keywords = {name: self._for_numba(value) for name, value in keywords.items()}
        compiled_defaults = self._for_numba(function.__defaults__)
        self._with_defaults.pop()
        return compiled_defaults, compiled_keywords or None

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
        """The user's own compiled helper, compiled again with the options given to `jit`, except `parallel`.

        numba's threads can end the process when a lane starts them (see jitted_in_lanes.py), and all CPUs have lanes.
        """

        def jit(twin: types.FunctionType) -> Any:
            options = {name: value for name, value in dispatcher.targetoptions.items() if name != "parallel"}
            return provenance.kind_of(dispatcher)(
                twin, dict(dispatcher.locals), options, dispatcher._compiler.pipeline_class
            )

        twin = self._twin(dispatcher.py_func, jit, dispatcher)
        if not dispatcher._can_compile:
            for signature in dispatcher.nopython_signatures:
                twin.compile(signature)
            twin.disable_compile()
        return twin


_ours = _Twins({}, frozenset())  # this library's helpers: every kernel shares them


class CodeOnDisk(NullCache):  # type: ignore[misc]
    """A dispatcher's machine code on disk: a file for each signature."""

    def __init__(self, name: str, key: str, options: Hashable) -> None:
        self._name, self._key, self._options = name, key, options
        self._ready_as, self._takes_more, self._reach = "", False, Reach()

    def be_ready(self, name: str, function: types.FunctionType, reach: Reach) -> None:
        """Keep it for processes without numba, too, under this name."""
        self._ready_as, self._takes_more, self._reach = name, machine_code.takes_more(function), reach

    def _path(self, signature: Any, target: Any) -> Any:
        return kept_code.path_of(self._name, self._key, self._options, signature, target)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled signature, or None where it is not there or cannot be read (it is then compiled again)."""
        path = self._path(sig, target_context)
        content = path and kept_code.read(path)
        if not content:
            return None
        try:
            result = machine_code.restored(content, sig, target_context)
        except Exception:  # what this process cannot use costs a compilation, never a run
            return None
        self._keep_ready(result)
        return result

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep the compiled signature for other processes, where it can be kept."""
        path = self._path(sig, data.target_context)
        content = path and machine_code.portable(data)
        if path and content:
            kept_code.write(path, content)
            self._keep_ready(data)

    def _keep_ready(self, result: Any) -> None:
        if self._ready_as:
            ready.keep(self._ready_as, result, self._takes_more, self._reach)
