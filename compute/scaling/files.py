"""Files that are whole or absent: found unwritable before anything is measured, put in place with one rename after."""

from __future__ import annotations

import os
import stat
from pathlib import Path

StrPath = str | os.PathLike[str]


def check_output_path(path: StrPath) -> None:
    """ValueError, in one line, where a file could not be written there; leaves nothing behind."""
    if obstacle := _obstacle(os.fspath(path)):
        raise ValueError(f"cannot write {os.fspath(path)!r}: {obstacle}")


def _obstacle(path: str) -> str | None:
    if not path:
        return "the path is empty; give the file a name"
    try:
        if os.path.isdir(path):
            return "it is a folder; add a file name"
        if _is_stream(path):
            return None if os.access(path, os.W_OK) else "permission denied; choose another path"
        target = Path(os.path.realpath(path))
        if not target.parent.is_dir():
            return f"there is no folder {str(target.parent)!r}; create it first"
        # Tried, not asked: permission bits say nothing to root, nor about a disk that is mounted read-only.
        beside = _beside(target)
        os.close(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        beside.unlink()
        if len(os.fsencode(target.name)) > os.pathconf(target.parent, "PC_NAME_MAX"):
            return "its name is too long; choose a shorter one"
    except (OSError, ValueError) as error:
        return f"{getattr(error, 'strerror', None) or error}; choose another path"
    return None


def write(path: StrPath, content: str | bytes) -> None:
    """Write a file so that a reader, or a run that is killed, sees the old file or the new one, never half of it."""
    data = content.encode() if isinstance(content, str) else content
    if _is_stream(os.fspath(path)):
        with open(path, "wb") as stream:
            stream.write(data)
        return
    target = Path(os.path.realpath(path))  # through a symbolic link, not over it
    beside = _beside(target)
    try:
        with os.fdopen(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _beside(target: Path) -> Path:
    # The same folder, so that the rename stays within one file system; a short name, so that a long one still fits.
    return target.parent / f".nfold-{os.urandom(8).hex()}.tmp"


def _is_stream(path: str) -> bool:
    """A pipe, a terminal or /dev/stdout, which a rename would replace instead of writing to."""
    if path.startswith(("/dev/std", "/dev/fd/", "/proc/")):
        return True
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        return False
