"""The programs that processes are started in, where these lack what multiprocessing and loky take for granted.

A program may be a worker of somebody else's pool, have closed its standard streams, be no Python by its own name, have
a folder for temporary files whose path is too long for a socket, or have been killed before it could tidy up.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import re
import socket
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing import process as processes
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from compute import python_executable
from compute.lanes import interrupts

SOCKET_PATH = 107  # bytes: the longest path of a Unix socket on Linux. Other systems have up to four bytes less
LISTENER = len("/listener-12345678") + 4
ROOTS = "/tmp", "/var/tmp", "/dev/shm"  # where a socket's folder can be if TMPDIR is too long
SHARED_MEMORY = Path("/dev/shm")
# Names carry the process that they are of: loky's semaphores, shared memory and files that must keep their names, and
# folders of multiprocessing's sockets that we have made. One that it had made before has a file in it that says so.
IN_MEMORY = re.compile(r"(?:sem\.loky|nfold)-(\d+)-\w+")
IN_FOLDERS = re.compile(r"(?:pymp|nfold-mapped)-(\d+)-\w+|pymp-\w+")
SIGNED = re.compile(r"nfold-owner-(\d+)")


def prepare() -> None:
    """Before workers are started: let this process have what they need of it."""
    # A TimeoutError of a signal's handler would be taken for the system's: for a stream that is closed, or for the
    # death of the tracker, of which users are then warned.
    with interrupts.put_off():
        _hold_streams()
        with parenthood():
            resource_tracker.ensure_running()
        _sweep_once()


@contextlib.contextmanager
def parenthood() -> Iterator[None]:
    """Processes can be started in here, by Python's own program, whatever this process is to others.

    multiprocessing forbids children to its daemons (a Pool's workers), because nobody would end them. Ours leave when
    their parent is gone.
    """
    config: dict[str, Any] = processes.current_process()._config  # type: ignore[attr-defined]
    is_daemon, executable = config.pop("daemon", None), sys.executable
    try:
        python_executable.use_for_children()
        sys.executable = python_executable.find()
        with _streams():
            yield
    finally:
        sys.executable = executable
        if is_daemon is not None:
            config["daemon"] = is_daemon


@contextlib.contextmanager
def _streams() -> Iterator[None]:
    """Have something to flush, as loky does before it starts a process, where this program has closed its streams."""
    absent = [name for name in ("stdout", "stderr") if getattr(getattr(sys, name), "closed", True)]
    former = {name: getattr(sys, name) for name in absent}
    with contextlib.ExitStack() as stack:
        try:
            for name in absent:
                setattr(sys, name, stack.enter_context(open(os.devnull, "w")))
            yield
        finally:
            for name, stream in former.items():
                setattr(sys, name, stream)


def _hold_streams() -> None:
    """Where a standard stream is closed, put nothing in its place: the next file would be taken for it."""
    if os.name != "posix":
        return
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # which is the lowest number that is free
            os.set_inheritable(opened, True)


def socket_folder() -> None:
    """Have multiprocessing's sockets in a folder with a path that is short enough, and with our number in its name."""
    config: dict[str, Any] = processes.current_process()._config  # type: ignore[attr-defined]
    known = config.get("tempdir")
    if known is not None and len(os.fsencode(known)) + LISTENER <= SOCKET_PATH and os.access(known, os.W_OK | os.X_OK):
        if processes.parent_process() is None:  # a child of multiprocessing's uses its parent's
            Path(known, f"nfold-owner-{os.getpid()}").touch()
        return
    from multiprocessing import util
    from shutil import rmtree

    for root in (tempfile.gettempdir(), *ROOTS):
        folder = os.path.join(root, f"pymp-{os.getpid()}-12345678")
        if len(os.fsencode(folder)) + LISTENER > SOCKET_PATH:
            continue
        with contextlib.suppress(OSError):
            config["tempdir"] = tempfile.mkdtemp(prefix=f"pymp-{os.getpid()}-", dir=root)
            # Where this process has given up the right to remove it by then, `sweep` of another one will.
            util.Finalize(None, rmtree, (config["tempdir"], True), exitpriority=-100)
            return
    raise OSError(
        f"the folder for temporary files, {tempfile.gettempdir()}, has too long a path for a socket, and none of"
        f" {', '.join(ROOTS)} can be written to; set TMPDIR to a shorter one, or use start='spawn'"
    )


Place = tuple[list[str], str | None]  # where a process looks for modules, and its folder; None if that is removed


def place() -> Place:
    """Where this process is."""
    try:
        folder = os.getcwd()
    except OSError:
        folder = None
    return sys.path[:], folder


def move(to: Place) -> bool:
    """In a worker: look for modules and files where the caller does; whether that is elsewhere than before."""
    if to == place():
        return False
    path, folder = to
    sys.path[:] = path
    importlib.invalidate_caches()
    if folder is not None:
        with contextlib.suppress(OSError):
            os.chdir(folder)
    return True


_swept_by: int | None = None


def _sweep_once() -> None:
    """Remove what programs of this user have left that were killed before they could: nobody else will."""
    global _swept_by
    if _swept_by != os.getpid() and sys.platform == "linux":
        _swept_by = os.getpid()
        sweep()


def sweep() -> list[str]:
    """Remove the semaphores, the folders of sockets and the named memory whose owners have died; their paths.

    What does not say whose it is, another user's, and what any process still uses is left alone: the numbers of a
    container's processes are not those of others that share its folders.
    """
    from shutil import rmtree

    removed = []
    places = [(SHARED_MEMORY, IN_MEMORY), *((Path(root), IN_FOLDERS) for root in {tempfile.gettempdir(), *ROOTS})]
    for folder, pattern in places:
        with contextlib.suppress(OSError):
            for path in list(folder.iterdir()):
                with contextlib.suppress(OSError):  # another one sweeps, too
                    if (named := pattern.fullmatch(path.name)) and _is_left(path, named[1]):
                        rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
                        removed.append(str(path))
    return removed


def _is_left(path: Path, owner: str | None) -> bool:
    if path.is_symlink() or path.lstat().st_uid != os.getuid():
        return False
    inside = list(path.iterdir()) if path.is_dir() else []
    signatures = (SIGNED.fullmatch(file.name) for file in inside)
    owners = [owner, *(signature[1] for signature in signatures if signature)]
    pids = [int(pid) for pid in owners if pid]
    if not pids or any(map(_is_alive, pids)) or any(map(_is_listened_to, inside)):
        return False
    return path.is_dir() or not _is_mapped(path)


def _is_listened_to(path: Path) -> bool:
    """Whether some process, of whatever container, has a socket there; it hears nothing of the question.

    A listener that was connected to would take it for a request, and a fork server would end. A socket of the wrong
    kind is refused by the system: for its kind where there is a listener, and as any other where there is none.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        return probe.connect_ex(str(path)) != errno.ECONNREFUSED


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # where /proc shows this user's processes alone, this tells of all
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _is_mapped(path: Path) -> bool:
    path = path.resolve()  # /dev/shm can be a link
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            with contextlib.suppress(OSError):
                if f" {path}\n" in (process / "maps").read_text(errors="replace"):
                    return True
    return False
