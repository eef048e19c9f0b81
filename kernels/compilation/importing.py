"""numba, and modules that stand on it, are imported one thread after another, numba first and to its end.

Modules of numba import each other in circles. Where two threads begin at different ones, each waits for what the other
is importing; Python then gives one of them half of a module, and numba is unusable until the process ends. It is as
unusable after an import that a signal's exception has cut off, and in a process that was forked in the middle of one.

So what may be the first in its process to need numba does that within `whole`. And every import of a part of numba
comes after `import numba` in the same place: a thread that has to wait then waits for the whole, and holds no part.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from kernels.compilation import garbage, signal_guard

WAITS = 10.0  # s that a fork waits for another thread's import of numba, and for its compilation, at the most

in_turn: Any = threading.RLock()
of_bodies: Any = threading.RLock()  # held while a body's module is imported
_imported: set[str] = set()  # the modules of bodies that were
# .locks: those that a fork of this thread holds; .missing: the places of those for which it has waited in vain.
_held = threading.local()


@contextlib.contextmanager
def whole() -> Iterator[None]:
    """Within the block, numba is imported, no other thread is in such a block, and exceptions of signals wait."""
    with signal_guard.postponed(), in_turn, garbage.uncollected():
        _come_before_logging()
        try:
            import numba  # noqa: F401
        except Exception as error:
            if getattr(error, "name", None) != "numba":  # where it is not installed, what needs it says so itself
                words = " ".join(str(error).split())
                raise ImportError(
                    f"numba is installed and cannot be imported ({type(error).__name__}: {words}); install it again, or"
                    " set NUMBA_DISABLE_JIT=1 to run everything in Python"
                ) from error
        else:
            import numpy.ma  # noqa: F401  # numpy puts it off until numba sees a first array, which is in no such block
        yield


@functools.cache
def compiler() -> ModuleType:
    """compiler.py beside this file, which needs numba."""
    with whole():
        from kernels.compilation import compiler
    return compiler


def body_module(name: str) -> ModuleType:
    """The module of a body. A fork waits for its import: the child would wait for ever for the import's own lock.

    Exceptions of signals wait, too: it may be the first to import numba, or what another module of it stands on.
    """
    if name in _imported:
        return importlib.import_module(name)  # it may be another one by now
    has_turn = of_bodies.acquire(timeout=WAITS)  # whoever has it may wait for what this thread is importing
    try:
        with signal_guard.postponed():
            module = importlib.import_module(name)
    finally:
        if has_turn:
            of_bodies.release()
    _imported.add(name)
    return module


def mind_forks() -> None:
    """Called as a pool opens: the program may use numba itself, and fork, before anything here needs numba."""
    if "numba" in sys.modules:
        _come_before_logging()


def _hold() -> None:
    """Before a fork, wait for imports of bodies and numba, for its compiler lock and LLVM's, at the most WAITS seconds.

    Otherwise what another thread has begun of these would stay unfinished in the child, with the lock held.
    """
    missing = _held.__dict__.get("missing", [])  # a fork may call this twice: see _come_before_logging
    _held.locks, _held.missing = _held.__dict__.get("locks", []), []
    until = time.monotonic() + WAITS
    for place in _places():
        lock = getattr(*place)
        if isinstance(lock, _Lost):
            continue
        if lock.acquire(timeout=0 if place in missing else max(0.0, until - time.monotonic())):
            _held.locks.append(lock)
        else:
            _held.missing.append(place)


def _places() -> Iterator[tuple[Any, str]]:
    """The locks, by the object that has each and the attribute that it is, in the order in which they are taken."""
    yield sys.modules[__name__], "of_bodies"
    yield sys.modules[__name__], "in_turn"
    # Only now: whoever had the turn before may just have imported numba, and compile by now.
    numbas = getattr(sys.modules.get("numba.core.compiler_lock"), "global_compiler_lock", None)
    llvms = getattr(getattr(sys.modules.get("llvmlite.binding.ffi"), "lib", None), "_lock", None)
    yield from ((lock, "_lock") for lock in (numbas, llvms) if lock is not None)


def _let_go() -> None:
    _held.__dict__.pop("missing", None)
    for lock in reversed(_held.__dict__.pop("locks", [])):
        lock.release()


def _begin_as_child() -> None:
    """Replace the locks for which the fork has waited in vain: here nobody releases them."""
    for holder, name in _held.__dict__.get("missing", []):
        # LLVM's is taken by finalizers as well, which must not fail. Who compiles holds numba's before it. And of all
        # bodies' modules it is a single one that cannot be imported here.
        is_needed = type(holder).__name__ == "_LLVMLock" or name == "of_bodies"
        setattr(holder, name, threading.RLock() if is_needed else _Lost())
    _let_go()


class _Lost:
    """A lock that a thread of the parent held as this process was forked: what that was at will stay unfinished."""

    def acquire(self, *_: Any, **__: Any) -> bool:
        raise RuntimeError(
            f"process {os.getpid()} cannot compile: it was forked while another thread of its parent imported or"
            f" compiled with numba, for longer than {WAITS:g} s; fork before that, or start processes by forkserver"
        )

    def release(self) -> None:
        pass

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        pass


def _at_forks() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_hold, after_in_parent=_let_go, after_in_child=_begin_as_child)


@functools.cache
def _come_before_logging() -> None:
    """Have a fork take these locks before logging's, for which numba asks while it is imported.

    A fork begins with what was registered last.
    """
    import logging  # noqa: F401

    _at_forks()


_at_forks()
