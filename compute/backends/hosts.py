"""The programs that processes are started in, where these lack what multiprocessing and loky take for granted.

A program may be a worker of somebody else's pool, have closed its standard streams, be no Python by its own name, have
a folder for temporary files whose path is too long for a socket, or have been killed before it could tidy up.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing import process as processes
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

SOCKET_PATH = 107  # bytes of the path of a Unix socket: Linux's limit, and nobody's is lower by more than four
LISTENER = len("/listener-12345678") + 4
ROOTS = "/tmp", "/var/tmp", "/dev/shm"  # where a socket's folder can be if TMPDIR is too long
SHARED_MEMORY = Path("/dev/shm")
# The names carry the process that they are of: loky's semaphores, shared memory that must keep its name, and folders of
# multiprocessing's that we have made.
SEMAPHORE, FOLDER = re.compile(r"(?:sem\.loky|nfold)-(\d+)-"), re.compile(r"(?:pymp|nfold)-(\d+)-")


def prepare() -> None:
    """Before workers are started: let this process have what they need of it."""
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
    sys.executable = python()
    try:
        if sys.executable != executable:
            _start_with(sys.executable)
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


def _start_with(executable: str) -> None:
    from multiprocessing import spawn

    spawn.set_executable(executable)
    if module := sys.modules.get("joblib.externals.loky.backend.spawn"):
        module._python_exe = executable  # type: ignore[attr-defined]


def is_daemon() -> bool:
    """Whether this process is a daemon of multiprocessing's."""
    return bool(processes.current_process().daemon)


def python() -> str:
    """The program that runs Python files: where Python is embedded (uWSGI), sys.executable is another one."""
    found = sys.executable or ""
    if os.name != "posix" or os.path.basename(found).lower().startswith(("python", "pypy")):
        return found
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    names = (os.path.join(prefix, "bin", f"python{version}") for prefix in (sys.prefix, sys.exec_prefix))
    return next((name for name in names if os.access(name, os.X_OK)), found)


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
        return
    from multiprocessing import util
    from shutil import rmtree

    for root in (tempfile.gettempdir(), *ROOTS):
        folder = os.path.join(root, f"pymp-{os.getpid()}-12345678")
        if len(os.fsencode(folder)) + LISTENER > SOCKET_PATH:
            continue
        with contextlib.suppress(OSError):
            config["tempdir"] = tempfile.mkdtemp(prefix=f"pymp-{os.getpid()}-", dir=root)
            # Later, this process may have no right to: then whoever sweeps has.
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
    """Remove loky's semaphores and multiprocessing's folders whose owner has died; their paths.

    A name without a number, another user's, and a semaphore that any process has mapped is left alone: in a container,
    the numbers of processes are not those of others that share its /dev/shm.
    """
    from shutil import rmtree

    removed = []
    for folder, pattern in ((SHARED_MEMORY, SEMAPHORE), (Path(tempfile.gettempdir()), FOLDER)):
        with contextlib.suppress(OSError):
            for path in [path for path in folder.iterdir() if _is_left(path, pattern)]:
                rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
                removed.append(str(path))
    return removed


def _is_left(path: Path, pattern: re.Pattern[str]) -> bool:
    owner = pattern.match(path.name)
    if not owner or path.is_symlink() or path.lstat().st_uid != os.getuid() or _is_alive(int(owner[1])):
        return False
    return pattern is FOLDER or not _is_mapped(path)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # where /proc shows this user's processes alone, this tells of all
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _is_mapped(path: Path) -> bool:
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            with contextlib.suppress(OSError):
                if f" {path}\n" in (process / "maps").read_text(errors="replace"):
                    return True
    return False
