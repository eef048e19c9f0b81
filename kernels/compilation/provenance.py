"""Where an object comes from: this library, numba and what it stands on, an installed package, or the user.

Objects of this library and of numba are known by their names, because their versions and files are in every key. This
is safe only if the module really has this object under this name. A function that a user has put there is treated as
the user's.
"""

from __future__ import annotations

import functools
import os
import sys
import sysconfig
import types
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from kernels.compilation import garbage, importing, our_files, signal_guard

_STANDARD = frozenset(sys.stdlib_module_names - {"ctypes", "__main__"})
_TRUSTED = _STANDARD | {"builtins", "numpy", "numba", "llvmlite"}


def is_trusted(module: str | None) -> bool:
    """Whether a module is Python's, numpy's or numba's: their versions stand in every key.

    A user's own `wave.py` or `calendar.py` takes the place of the standard one, and is the user's.
    """
    root = (module or "").partition(".")[0]
    return root in _TRUSTED and (root not in _STANDARD or _is_pythons(root))


def _is_pythons(root: str) -> bool:
    """Whether the imported module of this name is really the one of the standard library.

    A module without a file may be a folder of the user's, named like a module of another system (`nt`, `winreg`).
    """
    module = sys.modules.get(root)
    if file := getattr(module, "__file__", None):
        return _is_standard(str(file))
    return root in _BUILT_IN or getattr(getattr(module, "__spec__", None), "origin", None) == "frozen"


_BUILT_IN = frozenset(sys.builtin_module_names)


@functools.cache
def _is_standard(file: str) -> bool:
    """Whether a file is of Python's own library."""
    folders = {sysconfig.get_paths()["stdlib"], os.path.dirname(os.__file__)}
    inside = [os.path.relpath(file, folder) for folder in folders if file.startswith(folder + os.sep)]
    return any(not path.startswith(("site-packages", "dist-packages")) for path in inside)


def is_ours(module: str | None) -> bool:
    """Whether a module is this library's: its files stand in every key."""
    return (module or "").partition(".")[0] in our_files.ROOTS


def is_fixed(module: str) -> bool:
    """Whether nothing of a module is the user's."""
    return is_ours(module) or is_trusted(module)


def name_of_ours(value: Any) -> str:
    """`module.name` of an object of this library's modules; "" for any other."""
    return _name_within(value, is_ours)


def name_of_numbas(value: Any) -> str:
    """`module.name` of an object of Python, numpy or numba; "" for any other."""
    return _name_within(value, is_trusted)


def _name_within(value: Any, is_within: Callable[[str | None], bool]) -> str:
    owner = getattr(value, "__self__", None)
    if owner is None or isinstance(owner, types.ModuleType):
        module = "numpy" if isinstance(value, np.ufunc) else getattr(value, "__module__", None)
        holders = [str(module)]
        name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    else:  # random.random and numpy's random functions are methods of a hidden instance
        module = type(owner).__module__
        holders = [module, str(module).rpartition(".")[0]]
        name = getattr(value, "__name__", None)
    if not isinstance(module, str) or not isinstance(name, str) or not is_within(module):
        return ""
    for holder in holders:
        named: Any = sys.modules.get(holder)
        for part in name.split("."):
            named = getattr(named, part, None)
        if named is value:
            return f"{holder}.{name}"
    return ""


def home_of(function: types.FunctionType) -> str:
    """The module whose globals a function reads; `functools.wraps` may have given it the `__module__` of another."""
    return str(function.__globals__.get("__name__") or "")


def is_our_code(function: types.FunctionType) -> bool:
    """Whether a function was made by code in this library's files, whatever it closes over."""
    file = getattr(sys.modules.get(function.__module__ or ""), "__file__", None)
    return is_ours(function.__module__) and file == function.__code__.co_filename


def is_as_written(function: Any, name: str) -> bool:
    """Whether it is the function of this name as this library's files have it: nobody has put another in its place."""
    return (
        isinstance(function, types.FunctionType)
        and is_our_code(function)
        and function.__code__.co_qualname == name
        and not (function.__closure__ or function.__defaults__ or function.__kwdefaults__)
    )


@functools.cache
def _library_folders() -> tuple[str, ...]:
    folders = [sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    folders += [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]  # --user, Debian's
    return tuple({str(Path(folder)) + os.sep for folder in folders})


def is_installed(thing: Any) -> bool:
    """Whether it comes from a package that pip has put where packages are put, from Python, or from this library.

    A worker imports these by name. A user's own module may have changed since, or may not be found there. A function's
    `__module__` is not enough: `functools.wraps` gives it the name of what it wraps.
    """
    if isinstance(thing, types.ModuleType):
        return _is_installed_module(thing)
    if isinstance(thing, types.FunctionType):
        home = sys.modules.get(str(thing.__globals__.get("__name__")))
        if not thing.__closure__ and getattr(home, "__dict__", None) is thing.__globals__:
            return _is_installed_module(home)
        # Otherwise a library may have wrapped a user's function in it, or code was given a library's name.
        return bool(_name_within(thing, lambda module: _is_installed_module(sys.modules.get(module or ""))))
    return _is_installed_module(sys.modules.get(thing.__module__ or ""))


def _is_installed_module(module: Any) -> bool:
    name = getattr(module, "__name__", "__main__")
    # cloudpickle unpickles everything else, so every worker has it.
    if is_fixed(name) or name.partition(".")[0] == "cloudpickle":
        return True
    # vars(), not getattr: a module's __getattr__ would run code.
    file = vars(module).get("__file__") or "" if module is not None else ""
    return name != "__main__" and str(file).startswith(_library_folders())


def is_dispatcher(value: Any) -> bool:
    """Whether it is a function under numba's `jit`."""
    dispatcher = sys.modules.get("numba.core.dispatcher")
    return dispatcher is not None and isinstance(value, dispatcher.Dispatcher)


def kind_of(dispatcher: Any) -> Any:
    """The class that numba made a dispatcher of; lanes may have put one of ours before it."""
    return next(kind for kind in type(dispatcher).__mro__ if not is_ours(kind.__module__))


def dispatchers_in(kinds: Iterable[Any]) -> Iterator[Any]:
    """The compiled functions in numba's types: each is a type of its own."""
    import numba  # noqa: F401  # all of it, before a part: see kernels/compilation/importing.py
    from numba.core import types

    known: Any = types

    for kind in kinds:
        if isinstance(kind, known.Dispatcher):
            yield kind.dispatcher
        elif isinstance(kind, known.BaseTuple):
            yield from dispatchers_in(kind)
        elif isinstance(kind, known.Omitted) and is_dispatcher(kind.value):
            yield kind.value


def dispatcher_options(dispatcher: Any) -> list[str] | None:
    """The options given to `jit`, as text; None where one cannot be written as text."""
    import numba
    import numba.core.compiler

    options: dict[str, Any] = dict(dispatcher.targetoptions)
    signatures = [] if dispatcher._can_compile else dispatcher.nopython_signatures
    types = [types_in_words((signature.return_type, *signature.args)) or "\0" for signature in signatures]
    words = [*(f"{name}={_plainly(value)}" for name, value in sorted(options.items())), *types]
    is_plain = (
        kind_of(dispatcher).__module__ == "numba.core.registry"
        and dispatcher._compiler.pipeline_class is numba.core.compiler.Compiler
        and not dispatcher.locals
        and all("\0" not in word for word in words)
    )
    return words if is_plain else None


def types_in_words(given: Any) -> str | None:
    """numba's types as text; None if a type's text does not identify it (some texts contain an address)."""
    import numba  # noqa: F401  # all of it, before a part: see kernels/compilation/importing.py
    from numba.core import types

    known: Any = types

    plain = (known.Integer, known.Float, known.Complex, known.Boolean, known.NoneType)
    if isinstance(given, tuple | known.BaseTuple):
        items = [types_in_words(item) for item in given]
        return None if None in items else f"{type(given).__name__}({','.join(map(str, items))})"
    if isinstance(given, known.Array):
        dtype = types_in_words(given.dtype)
        layout = given.ndim, given.layout, given.mutable, given.aligned
        return None if dtype is None or type(given) is not known.Array else f"array({dtype},{layout})"
    return str(given) if type(given) in plain else None


def dispatcher_parts(dispatcher: Any) -> tuple[Any, ...]:
    """What `dispatcher_again` needs to make the same dispatcher again."""
    signatures = [] if dispatcher._can_compile else list(dispatcher.nopython_signatures)
    pipeline = dispatcher._compiler.pipeline_class
    return kind_of(dispatcher), dict(dispatcher.locals), dict(dispatcher.targetoptions), pipeline, signatures


def dispatcher_again(function: Any, parts: tuple[Any, ...]) -> Any:
    """A dispatcher of this function with the options of another, from `dispatcher_parts`."""
    kind, names, options, pipeline, signatures = parts
    dispatcher = kind(function, names, options, pipeline)
    for signature in signatures:
        dispatcher.compile(signature)
    if signatures:
        dispatcher.disable_compile()
    return dispatcher


def _plainly(value: Any) -> str:
    """An option as text. It contains a NUL character if the option cannot be written as text."""
    if isinstance(value, bool | int | str | None):
        return repr(value)
    if isinstance(value, set | frozenset):
        return f"{{{','.join(sorted(map(_plainly, value)))}}}"
    if isinstance(value, dict):
        return f"{{{','.join(sorted(f'{key!r}:{_plainly(item)}' for key, item in value.items()))}}}"
    if isinstance(value, tuple | list):
        return f"({','.join(map(_plainly, value))})"
    if type(value).__module__.startswith("numba.core.options"):
        return f"{type(value).__name__}{_plainly(vars(value))}"
    return "\0"


def frozen_functions(value: Any) -> list[types.FunctionType]:
    """The functions of a ufunc, stencil, callback or class of numba's, which offers no way to compile these again."""
    made_by = value.__class__.__module__ if not isinstance(value, type) else type(value).__module__
    if made_by.partition(".")[0] != "numba":
        return []
    stencil = getattr(getattr(value, "kernel_ir", None), "func_id", None)
    functions = [getattr(getattr(value, "_dispatcher", None), "py_func", None), getattr(value, "_pyfunc", None)]
    functions += [getattr(stencil, "func", None)]
    kind = getattr(value, "class_type", None)
    methods = [*getattr(kind, "jit_methods", {}).values(), *getattr(kind, "jit_static_methods", {}).values()]
    methods += [function for pair in getattr(kind, "jit_props", {}).values() for function in pair.values()]
    functions += [function.py_func for function in methods]
    return [function for function in functions if isinstance(function, types.FunctionType)]


def intrinsic_of_ours(value: Any) -> types.FunctionType | None:
    """The function that generates an intrinsic's code, if it is this library's."""
    definition = getattr(value, "_defn", None)
    if isinstance(definition, types.FunctionType) and is_our_code(definition):
        return definition
    return None


def is_known_to_numba(function: types.FunctionType) -> bool:
    """Whether numba takes the function as it is: a library's that it implements, or one with an `@overload`."""
    import numba  # noqa: F401
    from numba.core.registry import cpu_target

    try:
        cpu_target.typing_context.resolve_value_type(function)
    except ValueError as error:
        # The exception, its traceback and the frames refer to each other. That cycle would keep the run's arrays alive.
        error.__traceback__ = None
        return False
    return True


def kernel_parts(value: Any) -> list[Any]:
    """The functions of a kernel that a Python body names."""
    definition = sys.modules.get("kernels.definition.kernel_class")
    if definition is None or not isinstance(value, definition.Kernel):
        return []
    parts = [value.planner, value.reduce, value.finisher]
    return [value.name, *parts, *(variant.function for variant in value.variants.values())]


@contextmanager
def numbas_lock() -> Iterator[None]:
    """Hold the lock under which numba compiles. Asking numba for types fills its registries, one thread at a time."""
    with signal_guard.postponed():
        importing.compiler()  # `whole` each time would ask for the turn to import while the lock is held
        import numba  # noqa: F401  # all of it, before a part: see kernels/compilation/importing.py
        from numba.core.compiler_lock import global_compiler_lock

        with global_compiler_lock, garbage.uncollected():  # in this order: forks wait for the lock
            yield


def bring_up_to_date() -> None:
    """Have numba read what was registered since it last compiled. By itself it does so only when it compiles."""
    import numba  # noqa: F401
    from numba.core.registry import cpu_target

    cpu_target.typing_context.refresh()


def registrations() -> int:
    """How many functions, attributes and their code numba knows at this moment; 0 before it is imported."""
    return sum(map(len, _registries()))


def foreign() -> str:
    """The module that has extended numba and is neither numba's nor ours, or "".

    An `@overload` is registered for a function and not named by the code that calls it. Such code does not show what
    the overload does, so nothing is kept on disk where there is one.
    """
    for place, registry in enumerate(_registries()):
        for entry in registry[_looked_at.get(place, 0) :]:
            for home in _homes(entry):
                if home.partition(".")[0] not in ("numba", *our_files.ROOTS):
                    return home
            _looked_at[place] = _looked_at.get(place, 0) + 1
    return ""


# How many entries of each registry were already found to be numba's or ours. Registries only grow.
_looked_at: dict[int, int] = {}


def _registries() -> tuple[list[Any], ...]:
    global _known
    if not _known and "numba.core.registry" in sys.modules:
        import numba  # noqa: F401  # another thread may be importing the rest
        from numba.core.imputils import builtin_registry as lowering
        from numba.core.typing.templates import builtin_registry as typing

        _known = (typing.functions, typing.attributes, lowering.functions, lowering.getattrs, lowering.setattrs,
                  lowering.casts, lowering.constants)  # fmt: skip
    return _known


_known: tuple[list[Any], ...] = ()


def _homes(entry: Any) -> Iterator[str]:
    """The modules of the functions that make a registry's entry: a template, or a tuple with an implementation."""
    written = entry[0] if isinstance(entry, tuple) else entry
    waiting = (
        {name: part for name, part in vars(written).items() if name != "key"}
        if isinstance(written, type)
        else {"": written}
    )
    functions = [getattr(part, "__func__", part) for part in waiting.values()]  # out of their staticmethods
    for function in functions:
        if isinstance(function, types.FunctionType):
            yield str(function.__globals__.get("__name__"))
            closed = [cell.cell_contents for cell in function.__closure__ or ()]
            functions += [part for part in closed if part not in functions]


def short_repr(value: Any) -> str:
    """An object's repr, shortened for a message; its class where repr raises."""
    try:
        text = repr(value)
    except Exception:
        text = type(value).__name__
    return text if len(text) <= 60 else text[:57] + "..."
