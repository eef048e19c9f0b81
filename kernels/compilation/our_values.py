"""What compiled code of this library's has read of this library's modules, in words that another process can compare.

A constant may have been set, or a helper replaced, before code was compiled; or some are others on import, since they
were read from the system. Such code is only for processes in which all of these are the same.

`described` says what code has read. A process without numba compares that with the modules that it has loaded
(`agreeing`). It has not loaded those that need numba: for them the code must have read what is there on import. So
`noting` remembers how they were right after it, and code that read anything else is not described.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from importlib.machinery import SourceFileLoader
from typing import Any, NamedTuple

import numpy as np

from kernels.compilation import digests, importing, provenance
from kernels.compilation.parts import PLAIN_TYPES
from kernels.compilation.reach_snapshot import Found, Reach, contents, exact_form

Described = dict[str, dict[str, str]]  # module -> name -> value, in words

_without_numba: set[str] = set()  # our modules that a process has loaded before numba
_as_imported: dict[str, dict[str, Any]] = {}  # and what was in those that came with it, right after their import


def noting(make: Callable[[], Any]) -> Any:
    """What `make` gives; how our modules are that are imported meanwhile is remembered."""
    with importing.in_turn:
        before = set(filter(provenance.is_ours, list(sys.modules)))
        if "numba" not in sys.modules:
            _without_numba.update(before)
        with importing.whole():
            made = make()
        for name, module in list(sys.modules.items()):
            if provenance.is_ours(name) and name not in before:
                _as_imported[name] = dict(vars(module))
        return made


def is_noting() -> bool:
    """Whether this process began without numba, so that code may be described."""
    return bool(_without_numba)


def described(reach: Reach) -> Described | None:
    """What code has read of our modules; None where others could not tell whether they would read the same."""
    words: Described = {}
    waiting = [(names, name) for names, values in reach.ours.values() for name in values]
    for names, name in waiting:
        module = str(names.get("__name__"))
        if vars(sys.modules.get(module, types)) is not names:
            return None
        imported, value = _as_imported.get(module), names.get(name)
        if imported is None and module not in _without_numba:
            return None
        if imported is not None and imported.get(name) is not value:
            return None
        if (word := _in_words(value)) is None:
            return None
        if module not in words:
            words[module] = {}
            waiting += _taken_on_import(module) if imported is not None else ()
        words[module][name] = word
    return words if reach.ours_are_current() else None


def _taken_on_import(module: str) -> Iterator[tuple[dict[str, Any], str]]:
    """What of our other modules a module's own code names: its constants may be made of those."""
    code = _code_of(module)
    for home in filter(provenance.is_ours, code.co_names):
        inside = [home, *(f"{home}.{name}" for name in code.co_names)]
        for names in [vars(sys.modules[name]) for name in inside if name in sys.modules]:
            for name in code.co_names:
                if (
                    name in names
                    and name[:2] != "__"
                    and type(names[name]) in (*PLAIN_TYPES, tuple, np.ndarray, types.FunctionType)
                ):
                    yield names, name


def _code_of(module: str) -> types.CodeType:
    """What a module of ours runs on import. Its source says it where the loader does not, as pytest's."""
    loaded = sys.modules[module]
    gives: Any = getattr(loaded.__loader__, "get_code", None) or SourceFileLoader(module, str(loaded.__file__)).get_code
    code: types.CodeType = gives(module)
    return code


def _in_words(value: Any) -> str | None:
    """A value in words that are the same in every process; None where it has none, or is not ours."""
    kind = type(value)
    if kind in PLAIN_TYPES:
        return f"{kind.__name__} {exact_form(value)!r}"
    if isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject:
        content = digests.sha256(value.tobytes()).hexdigest()
        return f"{kind.__name__} {value.dtype.str} {value.shape} {value.strides} {content}"
    if kind is tuple:
        items = [_in_words(item) for item in value]
        return None if None in items else f"({','.join(map(str, items))})"
    if isinstance(value, types.ModuleType):
        return f"module {value.__name__}"
    if isinstance(value, types.FunctionType):
        if name := provenance.name_of_numbas(value):
            return name
        keywords = tuple(sorted((value.__kwdefaults__ or {}).items()))
        held = _in_words((*map(contents, value.__closure__ or ()), value.__defaults__, keywords))
        is_ours = provenance.is_our_code(value) and value.__code__.co_qualname == value.__qualname__
        return f"function {value.__module__}.{value.__qualname__} {held}" if is_ours and held else None
    return provenance.name_of_ours(value) or provenance.name_of_numbas(value) or _unnamed(value)


def _unnamed(value: Any) -> str | None:
    """Of numba's types and intrinsics, the class: two of one class are told apart by `noting` alone."""
    home = type(value).__module__
    return f"{home} {type(value).__qualname__}" if provenance.is_fixed(home) and home != "builtins" else None


class Agreeing(NamedTuple):
    """The modules of this process that agree with what code has read, as they were found."""

    loaded: list[Found]
    absent: frozenset[str]

    def is_current(self) -> bool:
        """Whether nothing in them was set since, and none was loaded."""
        # The other way round it would go through all modules.
        return sys.modules.keys().isdisjoint(self.absent) and all(values.is_current() for values in self.loaded)


def agreeing(words: Described) -> Agreeing | None:
    """How this process's modules are; None where code that read this is not for it."""
    loaded = []
    for module, values in words.items():
        if module in sys.modules:
            names = vars(sys.modules[module])
            current = {name: names.get(name) for name in values}
            if any(_in_words(current[name]) != word for name, word in values.items()):
                return None
            loaded.append(Found(names, current))
    return Agreeing(loaded, frozenset(words.keys() - sys.modules.keys()))
