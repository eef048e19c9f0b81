"""What Python runs, described for a subinterpreter: by value, as it is in the caller at this moment.

A module imported there would be made anew from its file: with globals as the file sets them and not as the caller has
set them, and from a file that may have been edited since. And a module that makes kernels imports numpy, which cannot
be imported there. So the user's functions are described by their code and by what they read, this library's own
likewise; Python's modules, and what pip has installed, are imported there, if they can be. Anything else is refused.
"""

from __future__ import annotations

import hashlib
import io
import marshal
import pickle
import random
import types
from typing import Any, NamedTuple

import numpy as np

from compute.backends.backend import Refused
from compute.backends.interpreters.subinterpreter import obstacle
from kernels.compilation import provenance
from kernels.compilation.bounded import MADE, Bounded
from kernels.compilation.parts import (
    PLAIN_TYPES,
    builtins_of,
    codes_of,
    globals_of,
    imported_by,
    runs_code_for_attributes,
)
from kernels.compilation.reach import reach_of
from kernels.texts import visible

REMEDY = "run it on Threads or Processes"


class CannotBeThere(Refused):
    """Code that reads what a subinterpreter cannot have; the text names that, and the remedy."""


class Code(NamedTuple):
    """Code for subinterpreters: its digest, and the bytes that describe it, which stay where they are."""

    digest: bytes
    content: np.ndarray[Any, Any]

    @property
    def place(self) -> tuple[bytes, int, int]:
        """As messages tell it."""
        return self.digest, self.content.ctypes.data, len(self.content)


def code_of(function: types.FunctionType, name: str) -> Code:
    """The function as it is now, with all that it reads; CannotBeThere for what no subinterpreter can have.

    name: of its kernel, for messages.
    """
    reach = reach_of(function, compiled=False)
    of, known, code = _known.get(id(function), (None, None, None))
    if code is None or of is not function or known is not reach or reach.mutable:
        described = _Description(name, reach.attributes)
        code = coded(described.of(function, name))
        _check_imports(described)
        _known[id(function)] = function, reach, code
    return code


_known: Bounded[int, tuple[Any, Any, Code]] = Bounded(MADE)


def parts_of(parts: dict[Any, Any]) -> Code:
    """This library's own functions and clocks, by name."""
    return coded(_Description("nfold", frozenset()).of(parts, "the lane loop"))


def coded(description: tuple[Any, ...]) -> Code:
    content = pickle.dumps(description, protocol=5)
    return Code(hashlib.sha256(content).digest(), np.frombuffer(content, np.uint8))


def plainly_pickled(value: Any) -> bytes:
    """A pickle that needs nothing but what can be imported by name; CannotBeThere for a class or function of the
    user's."""
    file = io.BytesIO()
    pickler = _Pickler(file)
    pickler.dump(value)
    for module in pickler.modules:
        if why := obstacle(module):
            raise CannotBeThere(f"it needs {module}, which cannot be imported in a subinterpreter ({why})")
    return file.getvalue()


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=5)
        self.modules: set[str] = set()

    def reducer_override(self, obj: Any) -> Any:
        kind: Any = obj if isinstance(obj, type | types.FunctionType | types.BuiltinFunctionType) else type(obj)
        module = str(getattr(kind, "__module__", None))
        if not provenance.is_installed(kind) or provenance.is_ours(module):
            what = getattr(kind, "__qualname__", kind)
            raise CannotBeThere(f"it is made of {what}, of {module}, where objects would be others by the same names")
        if module not in ("builtins", "None"):
            self.modules.add(module)
        return NotImplemented


class _Description:
    """Of one function and all that it reaches.

    attributes: the names that its code reads of modules. modules: those that are to be imported there.
    """

    def __init__(self, whose: str, attributes: frozenset[str]) -> None:
        self.whose, self._attributes = whose, attributes
        self.modules: dict[str, str] = {}  # and how the code reaches each
        self._numbers: dict[int, int] = {}
        self._spaces: dict[int, int] = {}  # of globals: modules of one name may have several
        self._held: list[Any] = []  # so that an id stays its own

    def of(self, value: Any, path: str) -> tuple[Any, ...]:
        """A value in tuples and plain values; path: how the code names it."""
        kind = type(value)
        if kind in PLAIN_TYPES:
            return "value", value
        if id(value) in self._numbers:
            return "again", self._numbers[id(value)]
        if kind in (tuple, frozenset):
            return kind.__name__, [self.of(item, path) for item in value]
        if kind in (list, set, dict):  # one object, whoever reads it
            number, items = self._number(value), value.items() if kind is dict else value
            return kind.__name__, [self.of(item, path) for item in items], number
        if isinstance(value, types.ModuleType):
            return self._module(value, path)
        if isinstance(value, types.FunctionType) and (
            provenance.is_ours(value.__module__) or not provenance.is_installed(value)
        ):
            return self._function(value)
        if isinstance(getattr(value, "__self__", None), random.Random):
            self._refuse(path, "a generator of random numbers, of which each lane would have its own copy")
        if isinstance(value, np.ndarray | np.generic | np.dtype | np.ufunc) or provenance.is_dispatcher(value):
            library = "numba" if provenance.is_dispatcher(value) else "numpy"
            self._refuse(path, f"{library}'s, which cannot be imported there")
        try:
            content = plainly_pickled(value)
        except CannotBeThere as error:
            self._refuse(path, f"a {kind.__name__}: {error}")
        except Exception as error:
            self._refuse(path, f"a {kind.__name__}, which does not pickle ({type(error).__name__}: {error})")
        return "pickle", content

    def _refuse(self, path: str, what: str) -> Any:
        raise CannotBeThere(
            f"{self.whose} reads {visible(path)}, which is {what}, and a subinterpreter cannot have it; pass what is"
            f" needed of it as an input, or {REMEDY}"
        )

    def _number(self, value: Any) -> int:
        self._held.append(value)
        return self._numbers.setdefault(id(value), len(self._numbers))

    def _module(self, module: types.ModuleType, path: str) -> tuple[Any, ...]:
        name = module.__name__
        read = {name: value for name, value in vars(module).items() if name in self._attributes}
        if provenance.is_installed(module) and not provenance.is_ours(name):
            self.modules.setdefault(name, path)
            return "module", name, {k: v for k, v in read.items() if type(v) in PLAIN_TYPES and not k.startswith("__")}
        if runs_code_for_attributes(module):
            self._refuse(path, "a module whose attributes are computed")
        number = self._number(module)
        parts = {name: self.of(value, f"{path}.{name}") for name, value in read.items() if not name.startswith("__")}
        return "part", number, name, parts

    def _function(self, function: types.FunctionType) -> tuple[Any, ...]:
        name, code = function.__name__, function.__code__
        for inner in codes_of(code):
            self._check(function, inner)
        number = self._number(function)
        used = {read: function.__globals__[read] for read in globals_of(code) if read in function.__globals__}
        names = {read: self.of(value, read) for read, value in (used | builtins_of(function)).items()}
        cells = [
            self.of(cell.cell_contents, read)
            for read, cell in zip(code.co_freevars, function.__closure__ or (), strict=True)
        ]
        for module in imported_by(function):
            if module is random and any(map(_draws, code.co_names)):
                self._refuse("random, which it imports itself", "one generator, of which each lane would have its own")
            if provenance.is_installed(module) and not provenance.is_ours(module.__name__):
                self.modules.setdefault(module.__name__, f"{name}'s import of it")
            else:
                self._refuse(f"{module.__name__}, which it imports itself", "a module of your own or of nfold's")
        home = provenance.home_of(function), self._spaces.setdefault(id(function.__globals__), len(self._spaces))
        given = self.of(function.__defaults__, f"{name}'s defaults"), self.of(function.__kwdefaults__, name)
        return "function", number, marshal.dumps(code), home, names, *given, cells, (name, function.__qualname__)

    def _check(self, function: types.FunctionType, code: types.CodeType) -> None:
        import dis

        latest: Any = None
        for step in dis.get_instructions(code):
            if latest is random and _draws(str(step.argval)):
                self._refuse(f"random.{step.argval}", "drawn from one generator, of which each lane would have its own")
            latest = function.__globals__.get(step.argval) if step.opname == "LOAD_GLOBAL" else None
            if step.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
                raise CannotBeThere(
                    f"{function.__name__} sets the global {step.argval}, which would be set in the interpreter of its"
                    f" lane alone; write into out, or run it on Threads"
                )
        if vars(function).keys() - {"__wrapped__"}:
            self._refuse(f"{function.__name__}, with attributes of its own", "a function that carries more than code")


def _draws(name: str) -> bool:
    """Whether random's function of that name draws from the one generator that all of a program share."""
    return isinstance(getattr(getattr(random, name, None), "__self__", None), random.Random)


def _check_imports(described: _Description) -> None:
    for module, path in described.modules.items():
        if why := obstacle(module):
            raise CannotBeThere(
                f"{described.whose} needs {module} ({visible(path)}), which cannot be imported in a subinterpreter"
                f" ({why}); take a compiled variant, or {REMEDY}"
            )
