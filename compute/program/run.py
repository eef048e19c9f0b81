"""One run of a command: its time, its answer, and what the system charged its processes for.

It is given nothing to read, and no terminal. What it prints goes nowhere, or is counted and hashed as it comes, so that
a gigabyte of it takes no memory; of its stderr the end is kept. Its time ends with the program itself: what it leaves
behind is ended after that.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from typing import Any

from compute.lanes import interrupts
from compute.memory import address_space
from compute.program.command import Command
from compute.program.families import LONGEST, Family, Keeper, name_of
from compute.program.watching import Watch, Watched, can_watch

TAIL = 1 << 13  # bytes of stderr that are kept: its last line is all that is shown
BEYOND, LEAST_BEYOND = 0.1, 0.02  # of the CPU time that was charged, and seconds: both accounts are no more exact
BLOCK = 1 << 20  # bytes that are read at once: as many as a pipe can hold


class ProgramFailed(RuntimeError):
    """The program could not be started, ended with an error, or did not end in time. In one line, with its command."""


@dataclass(frozen=True)
class Finished:
    """A run that went well. In seconds, of the program's process and of all descendants that have ended with it.

    seconds:  from just before its start until its process ended. user, system: CPU time.
    faults:   minor page faults. voluntary, involuntary: switches.
    watched:  what was seen of its threads; None where the system does not tell.
    left:     names of processes that it left behind, which were ended.
    printed:  how many bytes it wrote to stdout, and their digest; None where nobody asked for it.
    uncharged: CPU seconds that were seen of its threads, and that the system charged nobody for: it forgets what the
              children of a process used that ignores their ends (SIGCHLD). They are in `user`.
    """

    seconds: float
    user: float
    system: float
    faults: int = 0
    voluntary: int = 0
    involuntary: int = 0
    watched: Watched | None = None
    left: tuple[str, ...] = ()
    printed: tuple[int, str] | None = None
    uncharged: float = 0.0

    @property
    def cpu(self) -> float:
        """CPU seconds."""
        return self.user + self.system


def run(
    of: Command, workers: int, *, keeper: Keeper, timeout: float | None = None, keep_output: bool = False
) -> Finished:
    """Run it once with so many workers, and end whatever is left of it. ProgramFailed where that did not go well.

    keeper: of compute.program.families.keeping. timeout: seconds.
    """
    running = _Run(of, workers, keeper, keep_output)
    # A Ctrl-C ends the program first and is raised then: nowhere does it find anything that would be left.
    with interrupts.put_off(running.interrupt), running:
        if not running.watch(timeout):
            raise ProgramFailed(
                f"{of.line_at(workers)} had not ended after {timeout:g} s, and was ended; give it a smaller task, or"
                " more time (--timeout)"
            )
        finished = None if running.interrupted else running.finished()
    assert finished is not None  # else it has been raised
    return finished


def _how_it_ended(code: int) -> str:
    if code > 0:
        return f"ended with exit code {code}"
    with contextlib.suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"


@dataclass
class _Run:
    """A program that runs, from its start to its end."""

    of: Command
    workers: int
    keeper: Keeper
    keeps_output: bool
    _process: Any = None
    _began: float = 0.0
    _ended: list[float] = field(default_factory=list)
    _reaped: list[tuple[int, Any]] = field(default_factory=list)  # by the thread that waits, where it has to
    _tail: bytes = b""
    _printed: int = 0
    _hash: Any = field(default_factory=hashlib.sha256)
    interrupted: int = 0  # how often
    _is_open: bool = False  # whether there is somebody to be woken

    def interrupt(self) -> None:
        """Have it ended; when called again, without any more patience."""
        self.interrupted += 1
        if self._is_open:
            os.write(self._woken, b".")

    def __enter__(self) -> _Run:
        self.family = Family(self.keeper.adopts)
        self._wake, self._woken = os.pipe()
        self._is_open = True
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        argv, environment = self.of.argv(self.workers), self.of.environment(self.workers)
        self._began = time.perf_counter()
        try:
            self._process = subprocess.Popen(
                argv,
                bufsize=0,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if self.keeps_output else subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=environment,
                start_new_session=True,  # no terminal: one that asks for a password fails, and does not hang
            )
        except OSError as error:
            remedy = "; put its interpreter before it, as in -- sh FILE" if error.errno == errno.ENOEXEC else ""
            raise ProgramFailed(f"cannot start {self.of.line_at(self.workers)}: {error.strerror}{remedy}") from None
        self.family.program = self._process.pid
        self.keeper.watch_over(self._process.pid)
        self._waiter = threading.Thread(target=self._await_end, args=(self._process.pid,), daemon=True)
        address_space.start(self._waiter)

    def _await_end(self, pid: int) -> None:
        if hasattr(os, "waitid"):  # not on macOS before Python 3.13
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        else:
            self._reaped.append(os.wait4(pid, 0)[1:])
        self._ended.append(time.perf_counter())
        os.write(self._woken, b".")

    def __exit__(self, *_: object) -> None:
        """End all of it, reap the dead, and close what is open."""
        self.family.end(lambda: self.interrupted > 1)
        if self._process is not None:
            if self._waiter.ident is not None:  # else there was no thread to be had
                self._waiter.join(LONGEST)
            if self._waiter.is_alive():  # not even the system can end it: it hangs in a device
                return
            if self._process.returncode is None:
                self._reap()
            for stream in (self._process.stdout, self._process.stderr):
                if stream is not None:
                    stream.close()
        _reap_orphans(self.family)
        self._is_open = False
        os.close(self._wake)
        os.close(self._woken)

    def watch(self, timeout: float | None) -> bool:
        """Watch it until it has ended, or is interrupted; False where that takes longer than `timeout` seconds."""
        watch = Watch(self._began) if can_watch() else None
        self._watch = watch
        streams = [stream.fileno() for stream in (self._process.stderr, self._process.stdout) if stream is not None]
        until = None if timeout is None else self._began + timeout
        next_look = self._began
        while not (self._ended or self.interrupted):
            now = time.perf_counter()
            if until is not None and now >= until:
                return False
            if watch is not None and now >= next_look:
                watch.look(self.family.members)
                next_look = time.perf_counter() + watch.pause
            waits = [at - now for at in (until, next_look if watch is not None else None) if at is not None]
            ready = wait([self._wake, *streams], max(0.0, min(waits)) if waits else None)
            # A stream that it has closed has nothing more to come.
            streams = [stream for stream in streams if stream not in ready or self._take(stream)]
        if watch is not None and self._ended:
            watch.look(self.family.members, self._ended[0])
        for stream in streams:
            os.set_blocking(stream, False)
            with contextlib.suppress(BlockingIOError):
                self._take(stream)  # once: a pipe holds no more, and what it has left behind may print for ever
        return True

    def _take(self, stream: int) -> bool:
        """Take what was printed there; False where there will be no more."""
        data = os.read(stream, BLOCK)
        if stream == self._process.stderr.fileno():
            self._tail = (self._tail + data)[-TAIL:]
        else:
            self._printed += len(data)
            self._hash.update(data)
        return bool(data)

    def finished(self) -> Finished:
        """What the run took, now that the program has ended. ProgramFailed where it ended with an error."""
        self._waiter.join()
        self.family.settle()
        usages = _reap_orphans(self.family)
        left = tuple(name_of(pid) for pid in self.family.living() if pid != self._process.pid)
        self.family.end(lambda: self.interrupted > 0)  # before its number may become another process's
        code, usage = self._reap()
        if code:
            line = self.of.line_at(self.workers)
            raise ProgramFailed(f"{line} {_how_it_ended(code)}{self._last_words()}")
        usages.append(usage)
        user, system = sum(u.ru_utime for u in usages), sum(u.ru_stime for u in usages)
        watched = self._watch.result() if self._watch is not None else None
        uncharged = watched.cpu - user - system if watched else 0.0
        if uncharged <= max(BEYOND * (user + system), LEAST_BEYOND):
            uncharged = 0.0
        return Finished(
            seconds=self._ended[0] - self._began,
            user=user + uncharged,
            system=system,
            faults=sum(u.ru_minflt for u in usages),
            voluntary=sum(u.ru_nvcsw for u in usages),
            involuntary=sum(u.ru_nivcsw for u in usages),
            watched=watched,
            left=left,
            uncharged=uncharged,
            printed=(self._printed, self._hash.hexdigest()) if self.keeps_output else None,
        )

    def _reap(self) -> tuple[int, Any]:
        status, usage = self._reaped[0] if self._reaped else os.wait4(self._process.pid, 0)[1:]
        code = os.waitstatus_to_exitcode(status)
        self._process.returncode = code  # else Popen would wait for it once more
        self.keeper.watch_over(None)
        self.family.program = None
        return code, usage

    def _last_words(self) -> str:
        """`: its last line on stderr`, or that it said nothing."""
        lines = [line.strip() for line in self._tail.decode(errors="replace").splitlines() if line.strip()]
        return f": {lines[-1]}" if lines else ", and wrote nothing to stderr"


def _reap_orphans(family: Family) -> list[Any]:
    """Bury the dead orphans of a family; what each used."""
    usages = []
    for pid in family.roots():
        if pid != family.program:
            with contextlib.suppress(ChildProcessError):
                dead, _, usage = os.wait4(pid, os.WNOHANG)
                usages += [usage] if dead else []
    return usages
