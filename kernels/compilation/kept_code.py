"""The cache's files: named by their content, written whole, and read only where no other user can write.

A file's name is a hash of everything that its code was made from, so an entry that is found is the right one. Processes
share the folder without a lock: an entry is put in place by one rename, and an entry that another process has removed
meanwhile is a miss. Whoever can write machine code can run code as its reader. So the folder and every entry must
belong to this user and be writable by no one else. This is checked on open descriptors, and no link is followed.
"""

from __future__ import annotations

import functools
import hashlib
import os
import stat
import sys
import tempfile
import time
import warnings
from collections.abc import Hashable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kernels.compilation import our_files, provenance

# Pruning deletes only files that match this: NFOLD_CACHE_DIR may be a folder with other files.
ENTRY = "*-" + "[0-9a-f]" * 32 + ".nbc"
UNREAD = 30 * 86400.0  # s; older entries are deleted. Compiling again takes about one second per kernel
# All our kernels together take 12 MB, so this is room for ten versions or interpreters. Listing that many files adds
# 10 ms to a write.
MOST_BYTES = 128 << 20
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
    parts = (key, types, repr(options), repr(target.codegen().magic_tuple()), _versions(), _settings(), ours)
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)}:{part}".encode())
    return cache_folder() / f"{name}-{digest.hexdigest()[:32]}.nbc"


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
    """An open descriptor of what only this user can write; PermissionError for anything else, and for a link."""
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # opening a pipe would block
    descriptor = os.open(path if folder is None else path.name, flags, dir_fd=folder)
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid():
            raise PermissionError(f"{path} belongs to user {status.st_uid}, not to {os.geteuid()}")
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise PermissionError(f"{path} can be written by others (mode {stat.S_IMODE(status.st_mode):o})")
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            raise OSError(f"{path} is no file")
        yield descriptor
    finally:
        os.close(descriptor)


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
            _warn(f"{path.parent} is a symbolic link", path.parent)
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
            f" Give yourself a folder of your own (chmod go-w {folder}, or set NFOLD_CACHE_DIR to another)",
            RuntimeWarning,
            stacklevel=2,
        )


def read(path: Path) -> bytes | None:
    """The entry, or None where there is none of this user's own. Reading sets its time, so that pruning keeps it."""
    try:
        with _folder_of(path) as folder:
            if folder is None:
                content = path.read_bytes()
                os.utime(path)
                return content
            try:
                with _private(path, os.O_RDONLY, folder) as descriptor:
                    with suppress(OSError):  # deleted meanwhile
                        os.utime(descriptor)
                    with open(descriptor, "rb", closefd=False) as file:
                        return file.read()
            except PermissionError as error:
                if error.errno is None:
                    _warn(str(error), path.parent)
                return None
    except OSError:
        return None


def write(path: Path, content: bytes) -> None:
    """Put the entry in place with one rename, and prune its folder; do without where the disk refuses."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _folder_of(path):
            # The temporary name matches ENTRY as well, so that pruning deletes the file if its writer was killed.
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=path.name, delete=False) as file:
                try:
                    file.write(content)
                    file.close()
                    os.replace(file.name, path)
                except BaseException:  # a full disk, a folder in its place, a Ctrl-C
                    os.unlink(file.name)
                    raise
            prune(path.parent)


def prune(folder: Path) -> None:
    """Delete the entries that were not read for UNREAD seconds, and the longest unread beyond MOST_BYTES in all."""
    entries = []
    for path in folder.glob(ENTRY):
        with suppress(OSError):  # another process prunes, too
            status = path.stat()
            entries.append((status.st_mtime, status.st_size, path))
    kept_bytes, now = 0, time.time()
    for read_at, size, path in sorted(entries, reverse=True):
        kept_bytes += size
        if kept_bytes > MOST_BYTES or now - read_at > UNREAD:
            with suppress(OSError):
                path.unlink()
