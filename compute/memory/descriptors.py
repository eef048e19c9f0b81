"""How many files may be open: as many as the system allows, where the user's own limit is too low."""

from __future__ import annotations

import errno
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


FILES = 2**20  # at the most: programs that close all they could have open would be at it for minutes
