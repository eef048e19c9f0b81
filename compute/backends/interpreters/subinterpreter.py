"""One subinterpreter, with a GIL of its own: made, entered and ended, on Python 3.13 and on later ones.

`concurrent.interpreters` is there from 3.14 on (PEP 734); 3.13 has what it is made of, as a private module.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import marshal
import os
import platform
import sys
import threading
import time
import warnings
import weakref
from importlib import resources
from typing import Any

from compute.lanes import interrupts

VERSION: tuple[int, ...] = sys.version_info[:2]
WAITS = 10.0  # s that a fork, and the end of the program, wait for what runs in interpreters, at the most


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
        self._made: Any = None
        self._busy = threading.Lock()
        with _adding:
            _all.add(self)
        with self._busy:
            self._begin()

    def _begin(self) -> None:
        self._made = _library().create()
        try:
            self._execute(_beginning())
        except BaseException:
            self._end()
            raise

    def execute(self, text: str) -> None:
        """Run code there; a RuntimeError where that raises anything."""
        with self._busy:
            if self._made is None:
                self._begin()
            self._execute(text)

    def pause(self, seconds: float) -> bool:
        """End it, and keep everybody out until `go_on`; whether that could be done: not while something runs in it."""
        if not self._busy.acquire(timeout=seconds):
            return False
        try:
            self._end()
        except Exception:  # a lane, or whoever closes it, will raise it again
            self._busy.release()
            return False
        return True

    def go_on(self) -> None:
        """Let the next line in, for which it is made anew."""
        self._busy.release()

    def forget(self) -> None:
        """In a fork, which has no interpreter but the main one."""
        self._made, self._busy = None, threading.Lock()

    def close(self) -> None:
        """End it. Nothing may be running in it."""
        with self._busy:
            self._end()

    def _execute(self, text: str) -> None:
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

    def _end(self) -> None:
        made, self._made = self._made, None
        if made is not None and VERSION >= (3, 14):
            made.close()
        elif made is not None:
            _library().destroy(made)


def _beginning() -> str:
    """What makes `serve` known there; modules are looked for where this process looks for them."""
    lines = [f"import marshal, sys; sys.path[:] = {search_path()!r}; nfold = {{'__name__': 'nfold'}}"]
    for file, code in _inside():
        lines.append(f"nfold['__file__'] = {file!r}; exec(marshal.loads({code!r}), nfold)")
    return "\n".join([*lines, "serve = nfold['serve']"])


def search_path() -> list[str]:
    """Where this process looks for modules."""
    return [entry for entry in sys.path if isinstance(entry, str)]


@functools.cache
def _inside() -> list[tuple[str, bytes]]:
    """The files of what runs there, and their code."""
    files = resources.files("compute.lanes").joinpath("errors.py"), resources.files(__package__).joinpath("inside.py")
    return [
        (str(file), marshal.dumps(compile(file.read_text("utf-8"), str(file), "exec", dont_inherit=True)))
        for file in files
    ]


@functools.cache
def obstacle(module: str) -> str | None:
    """Why a module cannot be imported in a subinterpreter, in a few words; None where it can. It is tried in one."""
    there = Subinterpreter()
    try:
        there.execute(f"import importlib; importlib.import_module({module!r})")
    except RuntimeError as error:
        return str(error).removeprefix("in a subinterpreter: ").partition("\n")[0]
    finally:
        there.close()
    return None


# ---------------------------------------------------------------- forks

_all: weakref.WeakSet[Subinterpreter] = weakref.WeakSet()
_adding = threading.RLock()  # a fork holds it, so that none is added meanwhile; a signal's handler may fork as well
_paused: list[list[Subinterpreter]] = []  # by each fork that is under way, and by the end of the program


def pause_all() -> None:
    """End every interpreter, but those in which something runs on for WAITS seconds, and keep everybody out.

    Nobody makes another, either. The threads of lanes are not awaited: one of a pool that nobody closed may be waiting
    for what this thread holds.
    """
    until = time.monotonic() + WAITS
    with interrupts.put_off():  # cut off, it would keep everybody out for ever
        _adding.acquire()
        _paused.append([])
        for there in list(_all):
            if there.pause(max(0.0, until - time.monotonic())):
                _paused[-1].append(there)
                _all.discard(there)


def _before_a_fork() -> None:
    """CPython's child would crash before it runs a line, where there are other interpreters (cpython#101437)."""
    pause_all()
    if _all:
        warnings.warn(
            "this process forks while Interpreters compute, and CPython's child will crash; fork before, or after",
            RuntimeWarning,
            stacklevel=2,
        )


def _after_a_fork() -> None:
    for there in _paused.pop():
        _all.add(there)
        there.go_on()
    _adding.release()


def _begin_as_child() -> None:
    global _adding
    for there in (*itertools.chain.from_iterable(_paused), *_all):
        there.forget()
    _paused.clear()
    _adding = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_a_fork, after_in_parent=_after_a_fork, after_in_child=_begin_as_child)
