"""Make the current program able to start workers, where it lacks what multiprocessing and loky take for granted.

- Its standard streams may be closed.
- It may be a daemon of multiprocessing's, which may have no children.
- It may be another program with Python inside, so that sys.executable is not Python.
- Its folder for temporary files may have a path that is too long for a socket.
- Earlier programs may have been killed, and have left files and shared memory behind.

Workers also learn here in which folder the caller is, and where it looks for modules.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import re
import signal
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
from compute.memory.descriptors import LimitReached
from compute.memory.segments import SHARED_MEMORY
from kernels.texts import visible

fcntl: Any = importlib.import_module("fcntl") if os.name == "posix" else None

SOCKET_PATH = 107  # bytes: the longest path of a Unix socket on Linux. Other systems have up to four bytes less
LISTENER = len("/listener-12345678") + 4
ROOTS = "/tmp", "/var/tmp", SHARED_MEMORY  # where a socket's folder can be if TMPDIR is too long
# These names contain the number of the process that made them: loky's semaphores, shared memory and files that must
# keep their names, and folders of multiprocessing's sockets that we have made. A folder that multiprocessing made
# itself is marked by a file nfold-owner-PID in it.
IN_MEMORY = re.compile(r"(?:sem\.loky|nfold)-(\d+)-\w+")
IN_FOLDERS = re.compile(r"(?:pymp|nfold-mapped|nfold-code|nfold-dask)-(\d+)-\w+|pymp-\w+")
BLAS_WAIT = "OPENBLAS_THREAD_TIMEOUT"  # the binary logarithm of how many cycles its idle threads spin; at least 4
AT_ONCE = "04"  # written so that nobody else does: a worker takes it out of its environment again
SIGNED = re.compile(r"nfold-owner-(\d+)")


FOLDER_GONE = "the current folder was removed; change to one that exists (cd, or os.chdir)"


def is_folder_gone() -> bool:
    """Whether this process's current folder was removed."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    except OSError:  # one that it may not read
        return False
    return False


def prepare() -> None:
    """Called before workers are started. LimitReached where multiprocessing cannot start any."""
    make_able()
    start_tracker()
    sweep_once()


def make_able() -> None:
    """`prepare` without what can wait until workers are on their way: sweeping takes milliseconds."""
    with interrupts.put_off():  # a TimeoutError that a signal's handler raises would be taken for a closed stream
        if is_folder_gone():
            raise LimitReached(errno.ENOENT, f"workers begin in the current folder, and {FOLDER_GONE}")
        _check_temporary_folder()
        _open_standard_streams()


def start_tracker() -> None:
    """Start multiprocessing's resource tracker where there is none, a Python that takes a CPU for 25 ms to begin."""
    # What a signal's handler raises would be taken for the death of the tracker, of which users would be warned.
    with interrupts.put_off(), able_to_start_processes():
        resource_tracker.ensure_running()


def _check_temporary_folder() -> None:
    """LimitReached where there is no folder for temporary files: sockets are in one."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        raise LimitReached(
            errno.ENOENT,
            f"workers need a folder for temporary files, and there is none: {visible(str(error.strerror))}; set TMPDIR"
            " to a folder with room that this user can write to, or raise `ulimit -f` where that allows no file",
        ) from None


def check_semaphores(whose: str, remedy: str) -> None:
    """LimitReached where this system gives no semaphores, such as multiprocessing's queues and loky have."""
    import multiprocessing

    if "fork" not in multiprocessing.get_all_start_methods():
        return
    try:
        multiprocessing.get_context("fork").Lock()  # this context's has no name that could be left behind
    except (OSError, ImportError) as error:
        raise LimitReached(
            getattr(error, "errno", None) or errno.ENOSYS,
            f"{whose} semaphores cannot be made ({getattr(error, 'strerror', None) or error}), as where /dev/shm is"
            f" read-only or full; {remedy}",
        ) from error


@contextlib.contextmanager
def able_to_start_processes() -> Iterator[None]:
    """Within the block this process may start children, even as a daemon, and they run the Python executable.

    Their BLAS does not spin as they begin. multiprocessing forbids its daemons (a Pool's workers) to have children,
    because these would stay behind. Our workers end when their parent has.
    """
    config: dict[str, Any] = processes.current_process()._config  # type: ignore[attr-defined]
    is_daemon, executable = config.pop("daemon", None), sys.executable
    try:
        python_executable.use_for_children()
        sys.executable = python_executable.find()
        with _streams(), _blas_asleep():
            yield
    finally:
        sys.executable = executable
        if is_daemon is not None:
            config["daemon"] = is_daemon


@contextlib.contextmanager
def _blas_asleep() -> Iterator[None]:
    """Processes that are started within the block have threads of OpenBLAS's that sleep when they have nothing to do.

    Otherwise these spin for 60 ms as numpy is imported, on a CPU that somebody needs. The library reads this variable
    then, and not again. A process that another thread starts meanwhile has it, too, where it does no harm.
    """
    if BLAS_WAIT in os.environ:
        yield
        return
    os.environ[BLAS_WAIT] = AT_ONCE
    try:
        yield
    finally:
        os.environ.pop(BLAS_WAIT, None)


def forget_start() -> None:
    """In a process that was started in such a block, when numpy is imported: have the caller's environment."""
    if os.environ.get(BLAS_WAIT) == AT_ONCE:
        del os.environ[BLAS_WAIT]


@contextlib.contextmanager
def _streams() -> Iterator[None]:
    """Within the block sys.stdout and sys.stderr are open: loky flushes them before it starts a process."""
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


def _open_standard_streams() -> None:
    """Open /dev/null in place of a closed standard stream. Otherwise the next opened file would get its number."""
    if os.name != "posix":
        return
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # it gets the lowest free number, which is the stream's
            os.set_inheritable(opened, True)


_inherited_folder: str | None = None  # of the parent, which removes it as it ends


def socket_folder() -> None:
    """Make multiprocessing put its sockets into a folder that is there, is not the parent's, and has a short path.

    One that is made here has our number in its name, another one is marked with it.
    """
    config: dict[str, Any] = processes.current_process()._config  # type: ignore[attr-defined]
    known = config.get("tempdir")
    if known is not None and known != _inherited_folder:
        with contextlib.suppress(OSError):
            os.makedirs(known, mode=0o700, exist_ok=True)  # cleaners of temporary folders take it
        if len(os.fsencode(known)) + LISTENER <= SOCKET_PATH and os.access(known, os.W_OK | os.X_OK):
            if processes.parent_process() is None:  # a child of multiprocessing's uses its parent's folder
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
            # If this process has lost the right to remove it by then, `sweep` of another process will.
            util.Finalize(None, rmtree, (config["tempdir"], True), exitpriority=-100)
            return
    raise OSError(
        f"the folder for temporary files, {visible(tempfile.gettempdir())}, has too long a path for a socket, and none"
        f" of {', '.join(ROOTS)} can be written to; set TMPDIR to a shorter one, or use start='spawn'"
    )


def _note_parents_folder() -> None:
    global _inherited_folder
    _inherited_folder = processes.current_process()._config.get("tempdir")  # type: ignore[attr-defined]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_parents_folder)


Place = tuple[list[str], str | None]  # sys.path, and the current folder; None where that was removed


def current_place() -> Place:
    """Where this process looks for modules and files."""
    try:
        folder = os.getcwd()
    except OSError:
        folder = None
    return sys.path[:], folder


def move_to(to: Place) -> bool:
    """In a worker: look for modules and files where the caller does. Returns whether that has changed."""
    if to == current_place():
        return False
    path, folder = to
    sys.path[:] = path
    importlib.invalidate_caches()
    if folder is not None:
        with contextlib.suppress(OSError):
            os.chdir(folder)
    return True


_swept_by: int | None = None


@interrupts.put_off()
def sweep_once() -> None:
    """Once in a process: remove what killed programs of this user have left behind."""
    global _swept_by
    if _swept_by != os.getpid() and sys.platform == "linux":
        _swept_by = os.getpid()
        sweep()


@contextlib.contextmanager
def own_folder(what: str) -> Iterator[str]:
    """A temporary folder for the block. It is locked, so that no `sweep` in another container takes it for left.

    Where this program is killed, a later one's `sweep` finds it by its name and removes it.
    """
    from shutil import rmtree

    owner, lock = os.getpid(), None
    folder = tempfile.mkdtemp(prefix=f"nfold-{what}-{owner}-")
    try:
        if fcntl is not None:
            lock = os.open(folder, os.O_RDONLY)
            with contextlib.suppress(OSError):  # some networks' disks have no locks
                fcntl.flock(lock, fcntl.LOCK_SH)
        yield folder
    finally:
        if os.getpid() == owner:  # a fork that ends within the block leaves it to us
            rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def sweep() -> list[str]:
    """Remove the semaphores, the folders of sockets and the named memory whose owners have died; return their paths.

    Left alone is
    - what has no owner's number,
    - what belongs to another user,
    - what any process still uses: processes of another container that shares the folder have numbers of their own.
    """
    from shutil import rmtree

    removed = []
    places = [(Path(SHARED_MEMORY), IN_MEMORY), *((Path(root), IN_FOLDERS) for root in {tempfile.gettempdir(), *ROOTS})]
    for folder, pattern in places:
        with contextlib.suppress(OSError):
            for path in list(folder.iterdir()):
                with contextlib.suppress(OSError):  # another process may sweep at the same time
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
    return not (_is_locked(path) if path.is_dir() else _is_in_use(path))


def _is_locked(folder: Path) -> bool:
    """Whether some process, of whatever container, is in the block of `own_folder` with it."""
    if fcntl is None:
        return False
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no locks there
        return False
    finally:
        os.close(descriptor)
    return False


def _is_listened_to(path: Path) -> bool:
    """Whether some process, of whatever container, listens on this socket; found without connecting to it.

    A listener would take a connection for a request, and a fork server would end. So a socket of the wrong kind is
    used, which the system always refuses: with ECONNREFUSED if no process listens, with another error if one does.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        return probe.connect_ex(str(path)) != errno.ECONNREFUSED


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # unlike /proc, which may show this user's processes only, this works for all
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _is_in_use(path: Path) -> bool:
    """Whether any process, of whatever container, has the file open or mapped: then the system gives no lease of it.

    /proc/PID/maps would tell of the processes of this container alone.
    """
    file = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)  # whoever opens it now would otherwise end us, by SIGIO
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError:  # in use, or on a file system that knows no leases
        return True
    finally:
        os.close(file)
    return False
