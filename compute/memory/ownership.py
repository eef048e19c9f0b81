"""Track the owning process of pools and arrays, because a fork copies them.

A child has the parent's pools, but not the threads and processes behind them. It has the parent's arrays, but where
these are shared memory both processes use the same pages. So a pool remembers its owner, objects with descriptors of
the owner's workers close them in a child, and shared memory that a child may use is not lent again.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

_geteuid: Callable[[], int] = getattr(os, "geteuid", lambda: 0)
latest_user = _geteuid()


def user() -> int:
    """The effective user of this process, from the system; cached in `latest_user` for callers that must be fast."""
    global latest_user
    latest_user = _geteuid()
    return latest_user


class Owner:
    """Remembers the process and the user that created an object."""

    def __init__(self) -> None:
        self.process, self._user = os.getpid(), user()

    def is_this_process(self) -> bool:
        """Whether that process is this one, and not a parent that forked it."""
        return self.process == os.getpid()

    def is_same_user(self) -> bool:
        """Whether this process still has the same user: servers give up root's rights."""
        return self._user == user()

    def check(self) -> None:
        """RuntimeError with the remedy where this process is another one."""
        if not self.is_this_process():
            raise RuntimeError(
                f"this pool belongs to process {self.process}; open another one here, after the fork (this is process"
                f" {os.getpid()})"
            )


_forget: weakref.WeakKeyDictionary[Any, Callable[[Any], None]] = weakref.WeakKeyDictionary()


def in_children(owned: Any, forget: Callable[[Any], None]) -> None:
    """Make every fork of this process call `forget(owned)` as it begins, for as long as `owned` exists here."""
    _forget[owned] = forget


def _begin_as_child() -> None:
    _ours.forks = False
    for owned, forget in list(_forget.items()):
        forget(owned)
    _forget.clear()


_latest_fork = object()  # a new one at each fork: of a count that two threads raise at once, one could be lost
_ours = threading.local()


def _note_fork() -> None:
    global _latest_fork
    if not getattr(_ours, "forks", False):
        _latest_fork = object()


@contextlib.contextmanager
def own_forks() -> Iterator[None]:
    """Within the block this thread forks workers only: they use no array that they were not sent."""
    _ours.forks = True
    try:
        yield
    finally:
        _ours.forks = False


class Lending:
    """Whether another process may use what is lent for as long as it lives: a fork, or one that was told."""

    def __init__(self) -> None:
        self._since: object | None = None  # the latest fork when it was lent

    def begin(self) -> None:
        """Call it when the object is lent."""
        self._since = _latest_fork

    def end(self) -> None:
        """Call it when the object is no longer lent."""
        self._since = None

    def leave(self) -> None:
        """Call it where another process goes on to use the object, and nobody will learn when it ends."""
        self._since = object()

    @property
    def is_copied(self) -> bool:
        """Whether there was a fork since `begin`, or a call of `leave`, as far as this process knows."""
        return self._since is not None and self._since is not _latest_fork


if hasattr(os, "register_at_fork"):
    # Noted before and after the fork: between the first note and the fork itself, another thread may lend something.
    os.register_at_fork(before=_note_fork, after_in_parent=_note_fork, after_in_child=_begin_as_child)
