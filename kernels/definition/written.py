"""Functions as they are written: where their text stands, whatever has been put around them since."""

from __future__ import annotations

import functools
import inspect
import textwrap
import types
from collections.abc import Callable
from typing import Any, NamedTuple

from kernels.texts import visible


class Written(NamedTuple):
    """A function's text, with its decorators, as far to the left as it goes. line: of the file, from 1 on."""

    path: str
    line: int
    text: str


def written(function: Callable[..., Any]) -> Written:
    """Where a function is written, and how. ValueError where it is in no text: built in, or made by a program."""
    plain = plain_of(function)
    try:
        lines, first = inspect.getsourcelines(plain)
        path = inspect.getsourcefile(plain) or inspect.getfile(plain)
        text = textwrap.dedent("".join(lines)).rstrip()
        if isinstance(plain, types.FunctionType) and not _defines(text, plain.__code__.co_name):
            raise OSError(f"{visible(path)} has another text by now")
    except (OSError, TypeError, IndentationError):  # no text, or one that has become another
        raise ValueError(f"{_name(function)} has no text to show: {_why_none(plain)}") from None
    return Written(path, max(first, 1), text)


def _defines(text: str, name: str) -> bool:
    """Whether a function of that name can be from a text. Python 3.13 gives all "<string>" the text of `python -c`."""
    return ("lambda" if name == "<lambda>" else f"def {name}") in text


def plain_of(function: Any) -> Any:
    """The function within a partial, a method, a wrapper that says what it wraps, or an object that can be called."""
    while True:
        if isinstance(function, functools.partial | functools.partialmethod):
            function = function.func
        elif isinstance(inner := getattr(function, "py_func", None), types.FunctionType):  # numba's
            function = inner
        elif isinstance(function, types.MethodType | staticmethod | classmethod):
            function = function.__func__
        elif (inner := inspect.unwrap(function)) is not function:
            function = inner
        elif _is_an_object(function):
            function = type(function).__call__
        else:
            return function


def _is_an_object(function: Any) -> bool:
    """Whether it is called by way of its class, where that is written in Python."""
    if isinstance(function, types.FunctionType | type) or not callable(function):
        return False
    return isinstance(type(function).__call__, types.FunctionType)


def _why_none(function: Any) -> str:
    if isinstance(function, types.FunctionType):
        return f"it was made by a program, or {function.__code__.co_filename} is not there any more"
    return f"it is a {type(function).__name__}, which is not written in Python"


def _name(function: Any) -> str:
    module, name = (getattr(function, attribute, None) for attribute in ("__module__", "__qualname__"))
    return f"{module}.{name}" if module and name else repr(function)
