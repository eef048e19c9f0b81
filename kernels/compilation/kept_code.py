"""The cache's files: named by their content, written whole, and read only where no other user can write.

A file's name is a hash of everything that its code was made from, so an entry that is found is the right one. Each
begins with a digest of its name and of all that follows. It is checked before anything else is done with the entry: one
that a disk has damaged, or that stands under another's name, is as good as none. Processes share the folder without a
lock: an entry is put in place by one rename, and an entry that another process has removed meanwhile is a miss. Whoever
can write machine code can run code as its reader. So the folder and every entry must belong to this user and be
writable by no one else. This is checked on open descriptors, and no link is followed.
"""

from __future__ import annotations

import functools
import os
import re
import stat
import sys
import time
import warnings
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kernels.compilation import digests, mathematics, our_files, provenance
from kernels.texts import visible

# Pruning deletes only files that match this: NFOLD_CACHE_DIR may be a folder with other files.
ENTRY = "*-" + "[0-9a-f]" * 32 + ".nbc"
UNREAD = 30 * 86400.0  # s; older entries are deleted. Compiling again takes about one second per kernel
# All our kernels together take 12 MB, so this is room for ten versions or interpreters.
MOST_BYTES = 128 << 20
UNFINISHED = 3600.0  # s; a file whose writer was killed before it got its name is deleted. Writing takes milliseconds
MARK = b"nfold machine code 2\n"
DIGEST = digests.SIZE
# numba's settings for where things are kept or what is printed; every other one may change the code.
_HARMLESS = (
    "DUMP_",
    "DEBUG_",
    "CUDA_",
    "TRACE",
    "HIGHLIGHT",
    "COLOR",
    "CHROME",
    "SHOW_",
    "GDB",
    "CACHE_",
    "NUMBA_",
    "HTML",
    "THREADING_LAYER",
)


def cache_folder() -> Path:
    """NFOLD_CACHE_DIR, or nfold's folder in the user's cache. It need not be there, nor be writable."""
    if chosen := os.environ.get("NFOLD_CACHE_DIR"):
        return Path(chosen)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nfold"
    except RuntimeError:  # a user without a home, as in some containers
        return Path(os.devnull) / "nfold"  # /dev/null is a file, so this path never exists


def path_of(name: str, key: str, options: Hashable, signature: Any, target: Any) -> Path | None:
    """The file for a function whose reach has this key.

    None if a type cannot be written as text, or if nfold's files were changed since they were imported.
    """
    types = provenance.types_in_words(signature)
    ours = our_files.digest()
    if types is None or not ours:
        return None
    processor, c = repr(target.codegen().magic_tuple()), mathematics.identity()
    parts = (key, types, repr(options), processor, c, _versions(), _settings(), ours)
    digest = digests.sha256()
    for part in parts:
        digest.update(f"{len(part)}:{part}".encode())
    # A function's __name__ may be any text: one with a slash or a NUL would be no file in this folder.
    return cache_folder() / f"{re.sub(_NOT_IN_NAMES, '', name)[:LONGEST_NAME]}-{digest.hexdigest()[:32]}.nbc"


_NOT_IN_NAMES = re.compile("[^A-Za-z0-9_]")
LONGEST_NAME = 64  # characters of a function's name: a file's may have 255 bytes


@functools.cache
def _versions() -> str:
    import llvmlite
    import numba
    import numpy

    return repr((sys.version, numba.__version__, llvmlite.__version__, numpy.__version__))


@functools.cache
def settings_of_code() -> tuple[str, ...]:
    """The names of numba's settings that may change the code; each may be set at run time."""
    from numba import config

    return tuple(sorted(name for name in vars(config) if name.isupper() and not name.startswith(_HARMLESS)))


def _settings() -> str:
    from numba import config

    return repr([(name, repr(vars(config).get(name))) for name in settings_of_code()])


@contextmanager
def _private(path: Path, flags: int, folder: int | None = None) -> Iterator[int]:
    """An open descriptor of a folder, or of a file in an open folder; PermissionError where others can write to it.

    Anything else is not opened at all: opening could block (a pipe) or do something (a device).
    """
    name, is_right = (path, stat.S_ISDIR) if folder is None else (path.name, stat.S_ISREG)
    if not is_right(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        raise OSError(f"{visible(str(path))} is something else")
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # it may have been replaced since
    descriptor = os.open(name, flags, dir_fd=folder)
    try:
        _check(path, os.fstat(descriptor), is_right)
        yield descriptor
    finally:
        os.close(descriptor)


def _check(path: Path, status: os.stat_result, is_right: Callable[[int], bool]) -> None:
    """An OSError for what is of another kind, such as a link; a PermissionError for what others can write."""
    if not is_right(status.st_mode):
        raise OSError(f"{visible(str(path))} is something else")
    if status.st_uid != os.geteuid():
        raise PermissionError(f"{visible(str(path))} belongs to user {status.st_uid}, not to {os.geteuid()}")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(f"{visible(str(path))} can be written by others (mode {stat.S_IMODE(status.st_mode):o})")


@contextmanager
def _folder_of(path: Path) -> Iterator[int | None]:
    """A descriptor of an entry's folder, if it is this user's own; None on systems without such owners."""
    if not hasattr(os, "geteuid"):
        yield None
        return
    try:
        with _private(path.parent, os.O_RDONLY | os.O_DIRECTORY) as folder:
            yield folder
    except OSError as error:
        if isinstance(error, PermissionError) and error.errno is None:
            _warn(str(error), path.parent)
        elif path.parent.is_symlink():
            _warn(f"{visible(str(path.parent))} is a symbolic link", path.parent)
        raise


def say_nothing() -> None:
    """Switch warnings off. Workers call this, because their caller has already warned about the same folder."""
    global _is_silent
    _is_silent = True


_is_silent = False


@functools.cache
def _warn(what: str, folder: Path) -> None:
    """Warn once for each folder: what is wrong, and what to do about it."""
    if not _is_silent:
        warnings.warn(
            f"no compiled code is kept or read: {what}; whoever can write there could run code as you."
            f" Give yourself a folder of your own (chmod go-w {visible(str(folder))}, or set NFOLD_CACHE_DIR to"
            " another)",
            RuntimeWarning,
            stacklevel=2,
        )


def read(path: Path) -> bytes | None:
    """What was kept under this name; None where there is none, or one that is damaged or that others can write.

    Reading sets the file's time, so that pruning keeps it.
    """
    try:
        with _folder_of(path) as folder:
            if folder is None:
                if not path.is_file() or path.stat().st_size > MOST_BYTES:
                    return None
                os.utime(path)
                return _unsealed(path.name, path.read_bytes())
            try:
                with _private(path, os.O_RDONLY, folder) as descriptor:
                    if os.fstat(descriptor).st_size > MOST_BYTES:  # none of ours is
                        return None
                    with suppress(OSError):  # deleted meanwhile
                        os.utime(descriptor)
                    with open(descriptor, "rb", closefd=False) as file:
                        return _unsealed(path.name, file.read())
            except PermissionError as error:
                if error.errno is None:
                    _warn(str(error), path.parent)
                return None
    except OSError:
        return None


def write(path: Path, content: bytes) -> None:
    """Keep the content under this name, with one rename; do without where the disk refuses.

    Its folder is pruned at this process's first entry, and when its entries have grown: thousands take 20 ms to list.
    """
    import tempfile  # which takes longer to import than to read an entry

    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _folder_of(path):
            # The temporary name matches ENTRY as well, so that pruning deletes the file if its writer was killed.
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=path.name, delete=False) as file:
                try:
                    file.write(sealed(path.name, content))
                    file.close()
                    os.replace(file.name, path)
                except BaseException:  # a full disk, a folder in its place, a Ctrl-C
                    os.unlink(file.name)
                    raise
            _added[path.parent] = _added.get(path.parent, MOST_BYTES) + len(content)
            if _added[path.parent] > MOST_BYTES // 64:
                _added[path.parent] = 0
                prune(path.parent)


_added: dict[Path, int] = {}  # bytes that this process has written since it pruned the folder, which it does at first


def sealed(name: str, content: bytes) -> bytes:
    """A file of this name that holds the content: a mark, a digest of the name and the content, the content."""
    return MARK + _digest(name, content) + content


def _unsealed(name: str, entry: bytes) -> bytes | None:
    """The content of a file of this name; None where a bit of it, or its name, is another than it was."""
    begin = len(MARK) + DIGEST
    content = entry[begin:]
    return content if entry[:begin] == MARK + _digest(name, content) else None


def _digest(name: str, content: bytes) -> bytes:
    return digests.sha256(os.fsencode(name) + b"\0" + content).digest()


def prune(folder: Path) -> None:
    """Delete the entries that were not read for UNREAD seconds, and the longest unread beyond MOST_BYTES in all."""
    entries = []
    for path in folder.glob(ENTRY):
        with suppress(OSError):  # another process prunes, too
            status = path.lstat()
            entries.append((status.st_mtime, status.st_size, path))
    kept_bytes, now = 0, time.time()
    for read_at, size, path in sorted(entries, reverse=True):
        lasts = UNFINISHED if path.name.startswith(".") else UNREAD
        if kept_bytes + size > MOST_BYTES or now - read_at > lasts:
            with suppress(OSError):
                path.unlink()
        else:
            kept_bytes += size
