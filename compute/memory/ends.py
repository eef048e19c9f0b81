"""Which of the objects that somebody watches have ended."""

from __future__ import annotations

import weakref
from functools import partial
from typing import Any, Generic, TypeVar

Key = TypeVar("Key")


class EndWatcher(Generic[Key]):
    """Tells which of the objects that it watches were collected, in whatever thread.

    The weak references' callbacks run no Python code (a Ctrl-C inside would be lost) and never wait for a lock.
    """

    def __init__(self) -> None:
        self._watched: dict[Key, Any] = {}
        self._ended: dict[Key, Any] = {}

    def watch(self, key: Key, watched: Any) -> None:
        """Watch this object, under a key. Repeated calls have no further effect."""
        known = self._watched.get(key)
        if known is None or known() is not watched:
            self._watched[key] = weakref.ref(watched, partial(self._ended.__setitem__, key))

    def has_news(self) -> bool:
        """Whether `latest` would tell any key."""
        return bool(self._ended)

    def latest(self) -> list[Key]:
        """The keys of the objects that have ended since the last call."""
        keys = [self._ended.popitem()[0] for _ in range(len(self._ended))]
        for key in keys:
            self._watched.pop(key, None)
        return keys

    def watched(self) -> list[Key]:
        """The keys of the objects that are watched, those that have ended since the last call of `latest` included."""
        return list(self._watched)

    def forget(self) -> None:
        """Stop watching all of them."""
        self._watched.clear()
        self._ended.clear()
