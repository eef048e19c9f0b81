"""Files that are whole or absent: a path is checked before measuring, and one rename puts the finished file there."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import select
import stat
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from compute.scaling.formatting import in_bytes

_AT_ONCE = getattr(os, "O_NONBLOCK", 0)  # opening a pipe otherwise waits for its other end, for ever
StrPath = str | os.PathLike[str]
PART = 2**20  # bytes that are read at once
READER = 30.0  # s that a pipe waits for somebody to read it, and one that is read for somebody to write
STANDARD = {"/dev/stdout": "/dev/fd/1", "/dev/stderr": "/dev/fd/2"}
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the disk, what this user may have of it, what one file may


class Unwritten(OSError):
    """A file that could not be written, in one line: its name, why, and what it needs. errno is the cause's."""

    def __init__(self, path: str, cause: OSError, size: int) -> None:
        super().__init__(cause.errno, cause.strerror or str(cause), path)
        needs = f"it needs {in_bytes(size)}: make room, or " * (cause.errno in FULL)
        self.line = f"cannot write {path!r}: {self.strerror}; {needs}choose another path"

    def __str__(self) -> str:
        return self.line


def check_output_path(path: StrPath) -> None:
    """ValueError, in one line, where a file could not be written there; leaves nothing behind."""
    if obstacle := _obstacle(os.fspath(path)):
        raise ValueError(f"cannot write {os.fspath(path)!r}: {obstacle}")


def check_outputs(wanted: Iterable[tuple[str, StrPath]]) -> None:
    """`check_output_path` of each (form, path); ValueError where two of them are one file."""
    taken: dict[Path, str] = {}
    for form, path in wanted:
        check_output_path(path)
        place, name = Path(path).resolve(), str(path)
        if place in taken:
            both = f"the {taken[place]} and the {form} report both go to {name!r}"
            same = f"{name!r} is to be written twice as {form}"
            raise ValueError(f"{same if taken[place] == form else both}; give each its own file")
        taken[place] = form


def _obstacle(path: str) -> str | None:
    if not path:
        return "the path is empty; give the file a name"
    try:
        if os.path.isdir(path):
            return "it is a folder; add a file name"
        if (descriptor := _descriptor(path)) is not None:
            os.fstat(descriptor)
            return None
        mode = _mode(path)
        if _is_stream(mode):
            return None if os.access(path, os.W_OK) else "permission denied; choose another path"
        target = Path(os.path.realpath(path))
        if mode is not None:
            if not stat.S_ISREG(mode):
                return "it is neither a file nor a pipe; choose another path"
            if not mode & 0o222:  # root could write to it all the same, but it was made read-only on purpose
                return "it is read-only; make it writable, or choose another path"
            os.close(os.open(target, os.O_WRONLY))
        if not target.parent.is_dir():
            return f"there is no folder {str(target.parent)!r}; create it first"
        # A file is made to see whether it can be: permission bits do not bind root, nor tell of a read-only disk.
        beside = _beside(target)
        os.close(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        beside.unlink()
        if len(os.fsencode(target.name)) > os.pathconf(target.parent, "PC_NAME_MAX"):
            return "its name is too long; choose a shorter one"
    except (OSError, ValueError) as error:
        return f"{getattr(error, 'strerror', None) or error}; choose another path"
    return None


def write(path: StrPath, content: str | bytes) -> None:
    """Write a file so that a reader, or a run that is killed, sees the old file or the new one, never half of it.

    A pipe or a device is written to, not replaced. Unwritten, an OSError in one line, where it cannot be.
    """
    path, data = os.fspath(path), content.encode() if isinstance(content, str) else content
    try:
        descriptor = _descriptor(path)
        if descriptor is not None or _is_stream(_mode(path)):
            target = _opened(path) if descriptor is None else os.dup(descriptor)
            with os.fdopen(target, "wb") as stream:
                if _AT_ONCE:
                    os.set_blocking(target, True)
                stream.write(data)
        else:
            _replace(Path(os.path.realpath(path)), data)  # through a symbolic link, not over it
    except OSError as error:
        raise Unwritten(path, error, len(data)) from error


def write_all(*contents: tuple[StrPath | None, Callable[[], str | bytes]]) -> None:
    """Write what each call gives to its path, whatever comes of the others; a path of None asks for nothing.

    An ExceptionGroup of what could not be written.
    """
    errors = []
    for path, content in contents:
        try:
            if path is not None:
                write(path, content())
        except Exception as error:
            errors.append(error)
    if errors:
        raise ExceptionGroup("not everything could be written", errors)


def _opened(path: str) -> int:
    """A descriptor of a pipe or a device to write to. OSError where nobody reads a pipe, and nobody comes to."""
    until = time.monotonic() + READER
    while True:
        try:
            return os.open(path, os.O_WRONLY | _AT_ONCE)
        except OSError as error:
            if error.errno != errno.ENXIO or not stat.S_ISFIFO(_mode(path) or 0):
                raise
            if time.monotonic() > until:
                raise OSError(errno.ENXIO, "nobody reads this pipe") from None
        time.sleep(0.05)


def read(path: StrPath, most: int) -> bytes:
    """What a file, a pipe or a device holds. OSError where that is more than `most` bytes, or nobody writes to it."""
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | _AT_ONCE)) as stream:
        if _AT_ONCE:
            os.set_blocking(stream.fileno(), True)
        data = bytearray()
        while part := _part(stream.fileno()):  # reading `most` at once would first take so much memory
            data += part
            if len(data) > most:
                raise OSError(errno.EFBIG, f"it has more than {in_bytes(most)}")
    return bytes(data)


def _part(descriptor: int) -> bytes:
    """What comes next from an open file; nothing at its end. OSError where nothing comes for READER seconds."""
    if _AT_ONCE:
        (written := select.poll()).register(descriptor, select.POLLIN)
        if not written.poll(1000 * READER):
            is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
            raise OSError(errno.ENXIO, "nobody writes to this pipe" if is_pipe else "nothing comes from it")
    return os.read(descriptor, PART)


def _replace(target: Path, data: bytes) -> None:
    """Put a file there that holds the data and is as open to others as the one before."""
    beside, mode = _beside(target), _mode(target)
    try:
        with os.fdopen(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666), "wb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), stat.S_IMODE(mode))
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise


def _beside(target: Path) -> Path:
    # The same folder, so that the rename stays within one file system; a short name, so that a long one still fits.
    return target.parent / f".nfold-{os.urandom(8).hex()}.tmp"


def _mode(path: StrPath) -> int | None:
    """Kind and permissions of what is there; None where nothing is."""
    try:
        return os.stat(path).st_mode
    except FileNotFoundError:
        return None


def _is_stream(mode: int | None) -> bool:
    """A pipe or a terminal, which a rename would replace instead of writing to. No disk: that would be overwritten."""
    return mode is not None and (stat.S_ISFIFO(mode) or stat.S_ISCHR(mode))


def _descriptor(path: str) -> int | None:
    """The open descriptor that the path names, such as /dev/fd/3, or that goes to the same file as standard output.

    It is written to as it is. Opening /dev/fd/3 anew would begin at the start of the file that a shell has put there.
    Replacing the file of standard output would lose what was printed before. OSError where the shell has closed it:
    another file may have its number by now.
    """
    path = STANDARD.get(path, path)
    if match := re.fullmatch(r"/(?:dev|proc/self)/fd/([0-9]{1,9})", path):
        number = int(match[1])
        if number in (1, 2) and (sys.__stdout__, sys.__stderr__)[number - 1] is None:
            raise OSError(errno.EBADF, "it is closed")
        return number
    for stream in (sys.__stdout__, sys.__stderr__):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            if stream is not None and os.path.samestat(os.stat(path), os.fstat(stream.fileno())):
                return stream.fileno()
    return None
