"""Errors that say in somebody's words that a limit of the system is reached, in a line with the remedy."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from compute.backends.host_program import FOLDER_GONE, is_folder_gone
from compute.memory.address_space import limits_of_threads
from compute.memory.descriptors import LimitReached
from kernels.vectors.memory import address_space_left, with_figures

FEWER = "raise `ulimit -u` or the container's limit of processes, or use fewer workers"
BY_ERRNO = {
    errno.EMFILE: "too many files are open; raise `ulimit -n`, or use fewer workers",
    errno.ENFILE: "too many files are open on this system; use fewer workers",
    errno.EAGAIN: f"no more processes can be started; {FEWER}",
}
MEMORY = "memory is too small for what is to be loaded: {}; raise `ulimit -v`, or give the container more"
LOST = "without exception set"  # by the interpreter, where it had no memory for a MemoryError
UNLOADED = "failed to map", "cannot allocate memory", "memory protection"  # the dynamic linker's words for it


def reached(error: BaseException) -> str | None:
    """The line, where that is what an error is about, or one that it came from; None for a kernel's own error."""
    chain = list(_chain(error))
    if any(getattr(link, "__notes__", None) for link in chain):  # it came from a body, whose place the notes name
        return str(with_figures(error)) if isinstance(error, MemoryError) else None
    for link in chain:
        if isinstance(link, LimitReached):
            return str(link)
        if isinstance(link, MemoryError):
            if not str(link) and _has_a_limit():
                return MEMORY.format("Python has none left")
            return str(with_figures(link))
        if isinstance(link, RuntimeError) and "start new thread" in str(link):
            return f"no more threads can be started; {limits_of_threads()}, or use fewer workers"
        if isinstance(link, ImportError | OSError) and any(words in str(link).lower() for words in UNLOADED):
            return MEMORY.format(" ".join(str(link).split()))
        if isinstance(link, SystemError) and LOST in str(link) and _has_a_limit():
            return MEMORY.format("Python lost an error that it had no memory for")
        if isinstance(link, FileNotFoundError) and link.filename is None and is_folder_gone():
            return FOLDER_GONE
        if isinstance(link, OSError) and link.errno in BY_ERRNO:
            return BY_ERRNO[link.errno]
    return None


def _has_a_limit() -> bool:
    """Whether `ulimit -v` sets one."""
    try:
        return address_space_left() is not None
    except MemoryError:  # not even for reading how much is left of it
        return True


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    met: set[int] = set()
    while error is not None and id(error) not in met:
        met.add(id(error))
        yield error
        if isinstance(error, BaseExceptionGroup):
            for member in error.exceptions:
                yield from _chain(member)
        error = error.__cause__ or error.__context__
