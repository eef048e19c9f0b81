"""One subinterpreter, with a GIL of its own: made, entered and ended, on Python 3.13 and on later ones.

`concurrent.interpreters` is there from 3.14 on (PEP 734); 3.13 has what it is made of, as a private module.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import marshal
import platform
import sys
import threading
from typing import Any

VERSION: tuple[int, ...] = sys.version_info[:2]
INSIDE = "compute.backends.interpreters.inside"


def unavailable() -> str | None:
    """Why this Python has no subinterpreters to compute with, in one line; None where it has."""
    if sys.implementation.name != "cpython" or VERSION < (3, 13):
        version = f"{platform.python_implementation()} {platform.python_version()}"
        return f"subinterpreters need CPython 3.13 or newer, and this is {version}; use Threads or Processes"
    try:
        _library()
    except ImportError as error:
        return f"this Python was built without subinterpreters ({error}); use Threads or Processes"
    return None


@functools.cache
def _library() -> Any:
    return importlib.import_module("concurrent.interpreters" if VERSION >= (3, 14) else "_interpreters")


class Subinterpreter:
    """An interpreter that has read `inside.py`; `execute` runs a line of code in it, on the calling thread."""

    def __init__(self) -> None:
        self._made = _library().create()
        try:
            self.execute(_beginning())
        except BaseException:
            self.close()
            raise

    def execute(self, text: str) -> None:
        """Run code there; a RuntimeError where that raises anything."""
        if VERSION >= (3, 14):
            try:
                self._made.exec(text)
                return
            except _library().ExecutionFailed as error:
                failure = error.excinfo
        else:
            failure = _library().exec(self._made, text)
        if failure is not None:
            raise RuntimeError(f"in a subinterpreter: {failure.type.__name__}: {failure.msg}")

    def close(self) -> None:
        """End it. Nothing may be running in it."""
        if VERSION >= (3, 14):
            self._made.close()
        else:
            _library().destroy(self._made)


def _beginning() -> str:
    """What makes `serve` known there; modules are looked for where this process looks for them."""
    path = [entry for entry in sys.path if isinstance(entry, str)]
    return (
        f"import marshal, sys; sys.path[:] = {path!r}; nfold = {{'__name__': {INSIDE!r}, '__file__': {_file()!r}}}\n"
        f"exec(marshal.loads({_code()!r}), nfold); serve = nfold['serve']"
    )


@functools.cache
def _code() -> bytes:
    loader: Any = getattr(importlib.util.find_spec(INSIDE), "loader", None)
    return marshal.dumps(loader.get_code(INSIDE))


def _file() -> str:
    code: Any = marshal.loads(_code())
    return str(code.co_filename)


@functools.cache
def obstacle(module: str) -> str | None:
    """Why a module cannot be imported in a subinterpreter, in a few words; None where it can. It is tried in one."""
    with _trying:
        there = Subinterpreter()
        try:
            there.execute(f"import importlib; importlib.import_module({module!r})")
        except RuntimeError as error:
            return str(error).removeprefix("in a subinterpreter: ").partition("\n")[0]
        finally:
            there.close()
    return None


_trying = threading.Lock()
