"""Open files: what a descriptor still means, and how many may be open: as many as the system allows."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import TypeVar

Made = TypeVar("Made")


def with_more_files(opens: Callable[[], Made]) -> Made:
    """What `opens` gives; where too many files are open for it, tried again with the system's limit, not the user's."""
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
            raise OSError(
                errno.EMFILE,
                "Too many open files: workers take some, and a result in shared memory one as long as it is held; raise"
                " `ulimit -n`, use fewer workers, or keep copies of results (value.copy())",
            ) from None


def _raise_limit() -> bool:
    """Let this process have as many files open as it is allowed to; whether that is more than before."""
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


FILES = 2**20  # more is never asked for: some programs close every number below the limit, which would take minutes


class File:
    """A descriptor, and what it was opened for: in a fork that has closed all it had, the number may mean another."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.is_mappings = False  # whether mmap opened it, and closes it
        self._identity = _identity_of(descriptor)

    def is_open(self) -> bool:
        """Whether the number still means what it was opened for."""
        return self._identity is not None and _identity_of(self.descriptor) == self._identity

    def leave_to_mapping(self) -> None:
        """Close ours and use the one that mmap opened when it mapped this file, which nobody else has open yet."""
        others = (int(number) for number in os.listdir("/proc/self/fd"))
        for number in sorted(others, reverse=True):  # the latest is among the highest
            if number != self.descriptor and _identity_of(number) == self._identity:
                os.close(self.descriptor)
                self.descriptor, self.is_mappings = number, True
                return

    def close(self) -> None:
        """Close ours. A descriptor of mmap's is closed with its mapping."""
        if not self.is_mappings:
            os.close(self.descriptor)


def _identity_of(descriptor: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_dev, status.st_ino
