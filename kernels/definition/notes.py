"""Notes of exceptions (PEP 678), also where an exception's class lets nobody add one."""

from __future__ import annotations


def add_note(error: BaseException, note: str) -> None:
    """Add a note to an error; nothing where its class has no list of notes: the error itself matters more.

    `error.add_note` raises where a class refuses attributes, as frozen dataclasses do, and the error would be lost.
    """
    try:
        notes = getattr(error, "__notes__", [])
        if isinstance(notes, list):
            BaseException.__setattr__(error, "__notes__", [*notes, note])
    except BaseException:  # its own `__notes__` may do anything
        pass
