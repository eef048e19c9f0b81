"""A Python process that runs a few functions and has nothing else loaded: what a process costs by itself."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

from compute import python_executable
from compute.backends import children, host_program
from compute.lanes import interrupts
from compute.lessons.lesson import written

ENDING = 10.0  # s that one has to end once its input has: a few milliseconds, on a machine that is not overrun


# Where nobody reads what it writes any more, it ends without a word: it was cut off, and that is no error.
QUIET = "import signal\nif hasattr(signal, 'SIGPIPE'):\n    signal.signal(signal.SIGPIPE, signal.SIG_DFL)"


@contextlib.contextmanager
def fresh_python(
    functions: Iterable[Callable[..., Any]],
    call: str,
    imports: Iterable[str],
    stdout: int | IO[bytes] = subprocess.PIPE,
) -> Iterator[subprocess.Popen[bytes]]:
    """A Python of this version that imports modules, defines the functions, and runs the statements of `call`.

    These read standard input and return when it ends: that is how the process is told to leave. Its standard input is a
    pipe from here, unbuffered, and so is its output where `stdout` is no other file. It does not hear Ctrl-C.
    """
    text = "\n".join([QUIET, *(f"import {name}" for name in imports), written(functions), call])
    process: subprocess.Popen[bytes] | None = None
    host_program.prepare()
    try:
        with children.with_sigint_blocked():
            process = subprocess.Popen(
                # Neither the folder that it is started in nor other distributions: of both it has no need.
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
        except subprocess.TimeoutExpired:  # a process that the program has forked holds our end of its input
            process.kill()
            process.wait()
