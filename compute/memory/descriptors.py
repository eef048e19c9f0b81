"""Open files: whether a descriptor number still refers to its file, and how many files may be open.

Another process's fork may have closed a descriptor that it inherited, and another file may have got the number since.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import TypeVar

from compute.lanes import interrupts

Value = TypeVar("Value")


class LimitReached(OSError):
    """A limit of the system (files, processes, memory) is reached; the text says which, and how to raise it."""

    def __str__(self) -> str:
        return str(self.strerror)


def with_more_files(opens: Callable[[], Value]) -> Value:
    """Call `opens`. If too many files are open, raise the soft limit as far as the system allows, and call it again."""
    try:
        return opens()
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
        try:
            if not _raise_limit():
                raise error
            return opens()
        except OSError as again:
            if again.errno != errno.EMFILE:
                raise
            raise LimitReached(
                errno.EMFILE,
                "Too many open files: workers take some, and a result in shared memory one as long as it is held; raise"
                " `ulimit -n`, use fewer workers, or keep copies of results (value.copy())",
            ) from None


def check_files(count: int) -> None:
    """LimitReached where so many more files cannot be open at once, and the limit cannot be raised."""
    if os.name == "posix":
        with interrupts.put_off():
            with_more_files(lambda: _open_and_close(count))


def _open_and_close(count: int) -> None:
    held: list[int] = []
    try:
        while len(held) < count:
            held.append(os.open(os.devnull, os.O_RDONLY))
    finally:
        for descriptor in held:
            os.close(descriptor)


def _raise_limit() -> bool:
    """Raise the soft limit of open files as far as the system allows. Returns whether it is higher than before."""
    try:
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)
        if soft == resource.RLIM_INFINITY or soft >= most:
            return False
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    except (ImportError, ValueError, OSError):
        return False
    return True


FILES = 2**20  # the limit is never set higher: some programs close every number below it, which would take minutes


class File:
    """A descriptor, and the identity of its file: in a fork that has closed its files, the number may be another's."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.is_mappings = False  # whether mmap opened it, and closes it
        self._identity = _identity_of(descriptor)

    def is_open(self) -> bool:
        """Whether the number still refers to the file for which it was opened."""
        return self._identity is not None and _identity_of(self.descriptor) == self._identity

    def next_number(self) -> int:
        """The number that a duplicate of the descriptor has: the lowest that is free."""
        number = os.dup(self.descriptor)
        os.close(number)
        return number

    def leave_to_mapping(self, likely: int) -> None:
        """Close ours and use the one that mmap opened when it mapped this file, which is open nowhere else yet.

        likely: the `next_number` of before. Another thread may have opened a file since.
        """
        if not self._is_of_mapping(likely):  # to look at all of a thousand takes a millisecond
            likely = next(filter(self._is_of_mapping, map(int, os.listdir("/proc/self/fd"))), self.descriptor)
        if likely != self.descriptor:
            os.close(self.descriptor)
            self.descriptor, self.is_mappings = likely, True

    def _is_of_mapping(self, number: int) -> bool:
        return number != self.descriptor and _identity_of(number) == self._identity

    def close(self) -> None:
        """Close our descriptor. One of mmap's is closed with its mapping."""
        if not self.is_mappings:
            os.close(self.descriptor)


def _identity_of(descriptor: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_dev, status.st_ino
