"""The processes that a program started, whoever their parent is by now, and their end.

A process whose parent ends is handed to the first process above it that has asked for such orphans. While programs are
run, this process asks (Linux's PR_SET_CHILD_SUBREAPER): then even a daemon, which has left its parent, its session and
its process group, is found below this process, its CPU time is known when it ends, and it can be ended. Where the
system has nothing like that, a family is the program's process group and what is below it at that moment.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator

import psutil

GRACE = 1.0  # s that a program has for its own clearing up, between being asked to end and being killed
LONGEST = 5.0  # s until the end of a family that keeps on starting processes is given up
AGAIN = 5  # times: so often at most, one after the other ends while its children are looked for
SETTLED = 0.1  # s after a program's end: what is still there then was left behind
LOOK = 0.005  # s between looks at whether it has gone
# Reads the numbers of programs until this process has ended, however that came, and kills the last one's group.
_GUARD = 'while read -r next; do last=$next; done; test -z "$last" || kill -s KILL -- "-$last" 2>/dev/null'
_PR_SET_CHILD_SUBREAPER, _PR_GET_CHILD_SUBREAPER = 36, 37


class Keeper:
    """Makes sure that nothing of a program is left, even if this process is killed: a guard then kills the program.

    adopts: whether orphans are handed to this process.
    """

    def __init__(self, adopts: bool, guard: subprocess.Popen[bytes] | None) -> None:
        self.adopts = adopts
        self._guard = guard

    def watch_over(self, program: int | None) -> None:
        """Tell the guard which program's process group it is to kill if this one is killed; None: no program runs."""
        if self._guard is not None and self._guard.stdin is not None:
            with contextlib.suppress(OSError):  # somebody has ended the guard
                self._guard.stdin.write(f"{program or ''}\n".encode())


@contextlib.contextmanager
def keeping() -> Iterator[Keeper]:
    """Take the orphans of what is started meanwhile, where the system lets it; and have a guard, should this be killed.

    Nothing else of this program may start processes meanwhile: they would be taken for the measured program's.
    """
    libc = _libc()
    former = ctypes.c_int(0)
    asked = libc is not None and libc.prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(former), 0, 0, 0) == 0
    adopts = asked and libc is not None and libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    # Where somebody ignores the signal, the system throws away what it knows of each child as soon as that ends.
    deaf = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN
    if deaf:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    guard = None
    try:
        with contextlib.suppress(OSError):  # no shell, no guard
            guard = subprocess.Popen(["sh", "-c", _GUARD], bufsize=0, stdin=subprocess.PIPE, start_new_session=True)
        yield Keeper(adopts, guard)
    finally:
        if guard is not None and guard.stdin is not None:
            guard.stdin.close()
            guard.wait()
        if deaf:
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        if adopts and libc is not None:
            libc.prctl(_PR_SET_CHILD_SUBREAPER, former.value, 0, 0, 0)


def _libc() -> ctypes.CDLL | None:
    """The C library, where the system may have what is wanted of it."""
    return ctypes.CDLL(None) if sys.platform == "linux" else None


def own_children() -> list[int]:
    """The processes whose parent this one is: those that this thread started, and orphans, which the main one gets."""
    return _children("self", {str(os.getpid()), str(threading.get_native_id())})


def children(pid: int) -> list[int]:
    """The processes whose parent a process is now; none where it has gone."""
    try:
        return _children(pid, os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return []


def _children(pid: int | str, threads: Iterable[str]) -> list[int]:
    pids: list[int] = []
    for thread in threads:
        with contextlib.suppress(OSError):  # the thread has ended
            pids += map(int, read(f"/proc/{pid}/task/{thread}/children").split())
    return pids


def read(path: str) -> bytes:
    """A short file of /proc, in a third of the time that `open` takes."""
    file = os.open(path, os.O_RDONLY)
    try:
        return os.read(file, 1 << 16)
    finally:
        os.close(file)


def can_see_children() -> bool:
    """Whether the system lists the children of a process (Linux with CONFIG_PROC_CHILDREN)."""
    return os.path.exists(f"/proc/self/task/{threading.get_native_id()}/children")


def name_of(pid: int) -> str:
    """What a process is called; its number where nobody tells."""
    try:
        return read(f"/proc/{pid}/comm").decode(errors="replace").strip()
    except OSError:
        return str(pid)


class Family:
    """A program's process and everything that it starts, from before its start until `end`."""

    def __init__(self, adopts: bool) -> None:
        self._adopts = adopts and can_see_children()
        self._strangers = frozenset(own_children()) if self._adopts else frozenset[int]()
        self.program: int | None = None  # its process, as soon as it is known

    def roots(self) -> list[int]:
        """Those of its processes that are this one's own children."""
        if not self._adopts:
            return [] if self.program is None else [self.program]
        return [pid for pid in own_children() if pid not in self._strangers]

    def members(self) -> list[int]:
        """All of its processes, the dead ones included that nobody has reaped."""
        roots, pids = self.roots(), dict[int, None]()
        for _ in range(AGAIN):
            pids = dict.fromkeys(roots)
            for pid in (queue := list(pids)):
                below = children(pid) if can_see_children() else _below(pid)
                queue += [child for child in below if child not in pids]
                pids |= dict.fromkeys(below)
            # An orphan whose parent ended just now was here neither before, as a root, nor below its parent.
            if set(now := self.roots()) <= pids.keys():
                break
            roots = now
        return list(pids)

    def living(self) -> list[int]:
        """Those that have not ended."""
        return [pid for pid in self.members() if not has_ended(pid)]

    def settle(self) -> None:
        """Give what ends by itself just now the time to do so."""
        until = time.perf_counter() + SETTLED
        while set(self.living()) - {self.program} and time.perf_counter() < until:
            time.sleep(LOOK)

    def end(self, hurry: Callable[[], bool] = lambda: False) -> None:
        """End every process of the family: asked first, killed after GRACE, or as soon as there is a hurry.

        The dead ones are not reaped.
        """
        asked: set[int] = set()
        began = time.perf_counter()
        while (left := self.living()) and (taken := time.perf_counter() - began) < GRACE + LONGEST:
            # Each is asked once. Killing is repeated, as they may start further ones until they are gone.
            kill = hurry() or taken >= GRACE
            for pid in left if kill else set(left) - asked:
                _send(pid, signal.SIGKILL if kill else signal.SIGTERM)
                _send(pid, signal.SIGCONT)  # one that is stopped hears of nothing before
            asked.update(left)
            time.sleep(LOOK)
        if self.program is not None:  # where orphans are not handed over, those that are still in its group
            with contextlib.suppress(OSError):
                os.killpg(self.program, signal.SIGKILL)


def has_ended(pid: int) -> bool:
    """Whether a process is over, although nobody may have reaped it."""
    try:
        # Its name stands in brackets and may hold anything.
        return read(f"/proc/{pid}/stat").rpartition(b") ")[2][:1] in (b"Z", b"X", b"")
    except OSError:
        with contextlib.suppress(psutil.Error):
            return os.path.exists("/proc/self/stat") or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        return True


def _below(pid: int) -> list[int]:
    with contextlib.suppress(psutil.Error):
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    return []


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, number)
