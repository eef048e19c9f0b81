"""A Python process that runs a few functions and has nothing else loaded, to see what a process itself costs."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

from compute import python_executable
from compute.backends import children, host_program
from compute.lanes import interrupts
from compute.lessons.lesson import written

ENDING = (
    10.0  # s for the process to end after its input has ended: a few milliseconds, on a machine that is not overloaded
)


# When nobody reads its output any more it was cut off on purpose, so it ends without an error message.
QUIET = "import signal\nif hasattr(signal, 'SIGPIPE'):\n    signal.signal(signal.SIGPIPE, signal.SIG_DFL)"


@contextlib.contextmanager
def fresh_python(
    functions: Iterable[Callable[..., Any]],
    call: str,
    imports: Iterable[str],
    stdout: int | IO[bytes] = subprocess.PIPE,
) -> Iterator[subprocess.Popen[bytes]]:
    """A Python of this version that imports modules, defines the functions, and runs the statements of `call`.

    The statements read standard input and must return when it ends, which ends the process. Its standard input is an
    unbuffered pipe from here, and so is its output unless `stdout` is another file. It ignores Ctrl-C.
    """
    text = "\n".join([QUIET, *(f"import {name}" for name in imports), written(functions), call])
    process: subprocess.Popen[bytes] | None = None
    host_program.prepare()
    try:
        with children.with_sigint_blocked():
            process = subprocess.Popen(
                # -P and -S: it needs neither the current folder nor installed distributions.
                [python_executable.find(), "-P", "-S", "-c", text],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=stdout,
            )
        yield process
    finally:
        if process is not None:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    with interrupts.put_off(process.kill):
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            process.wait(ENDING)
        except subprocess.TimeoutExpired:  # a process that this program has forked holds our end of its input open
            process.kill()
            process.wait()
