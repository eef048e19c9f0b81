"""Which process something belongs to, for a fork copies what it finds.

A child has the parent's pools, but not the threads and processes behind them; it has the parent's arrays, but where
these are shared memory both look at the same pages. So a pool notes its owner, what holds descriptors of the owner's
workers lets go of them in a child, and shared memory that a child may look at is not lent again.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

_geteuid: Callable[[], int] = getattr(os, "geteuid", lambda: 0)
latest_user = _geteuid()


def user() -> int:
    """Whose process this is, asked of the system; `latest_user` is what it answered last, for those in a hurry."""
    global latest_user
    latest_user = _geteuid()
    return latest_user


class Owner:
    """The process in which something came to be."""

    def __init__(self) -> None:
        self.process, self._user = os.getpid(), user()

    def is_here(self) -> bool:
        """Whether that is this process, and no fork of it."""
        return self.process == os.getpid()

    def is_same_user(self) -> bool:
        """Whether this process has the user that it had then: servers give up root's rights."""
        return self._user == user()

    def check(self) -> None:
        """RuntimeError with the remedy where this process is another one."""
        if not self.is_here():
            raise RuntimeError(
                f"this pool belongs to process {self.process}; open another one here, after the fork (this is process"
                f" {os.getpid()})"
            )


_forget: weakref.WeakKeyDictionary[Any, Callable[[Any], None]] = weakref.WeakKeyDictionary()


def in_children(owned: Any, forget: Callable[[Any], None]) -> None:
    """Have every fork of this process call `forget(owned)` as it begins, for as long as `owned` lives here."""
    _forget[owned] = forget


def _begin_as_child() -> None:
    _ours.forks = False
    for owned, forget in list(_forget.items()):
        forget(owned)
    _forget.clear()


_forks = 0
_ours = threading.local()


def _count_fork() -> None:
    global _forks
    if not getattr(_ours, "forks", False):
        _forks += 1


@contextlib.contextmanager
def own_forks() -> Iterator[None]:
    """Processes that this thread forks in here are workers: they look at no array that they were not sent."""
    _ours.forks = True
    try:
        yield
    finally:
        _ours.forks = False


class Lending:
    """Whether a fork has happened while something was lent: then a child may look at it for as long as it lives."""

    def __init__(self) -> None:
        self._forks: int | None = None

    def begin(self) -> None:
        """It is lent from now on."""
        self._forks = _forks

    def end(self) -> None:
        """It is lent to nobody any more."""
        self._forks = None

    @property
    def is_copied(self) -> bool:
        """Whether a fork came between, as far as this process can tell."""
        return self._forks is not None and self._forks != _forks


COMPILING = 10.0  # s that a fork waits for another thread's compilation at the most


def _hold_compiler() -> None:
    """Fork between two compilations: in the child, nobody would ever end the one that another thread has begun."""
    module = sys.modules.get("numba.core.compiler_lock")
    lock = getattr(getattr(module, "global_compiler_lock", None), "_lock", None)
    _ours.compiler = lock if lock is not None and lock.acquire(timeout=COMPILING) else None


def _let_go_of_compiler() -> None:
    lock, _ours.compiler = getattr(_ours, "compiler", None), None
    if lock is not None:
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold_compiler, after_in_parent=_let_go_of_compiler, after_in_child=_let_go_of_compiler)
    # Counted before and after the fork: between the first count and the fork itself, another thread may lend something.
    os.register_at_fork(before=_count_fork, after_in_parent=_count_fork, after_in_child=_begin_as_child)
