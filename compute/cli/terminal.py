"""What the command line prints to: consoles for reports and results, and lines on stderr; also where they are closed.

What it prints is made visible on the way: `say` and `complain` for lines, compute.report and its like for tables.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
import textwrap
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import kernels
from compute.texts import as_text, cut, lines

PAGE = 100  # characters of a line where there is no terminal
SCREEN = 80  # characters of the overview there


_is_closed = False  # whether the shell closed standard output, and nobody has been told that what was printed is lost


def ready() -> None:
    """Make sure that standard streams are open, and that they can take every character.

    What the shell closed (>&-) goes nowhere: its number would be the next file's that is opened, and what libraries
    print would go there. `flush` says that standard output is lost; nobody is there to be told of standard error.
    """
    global _is_closed
    _is_closed = sys.stdout is None
    for number in range(3):
        _occupy(number)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, for as long as the program runs
        stream = getattr(sys, name)
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that cannot show × still gets the table
        with suppress(OSError, ValueError):  # no file is behind it
            # Another program may have set a shared pipe to non-blocking. A full one would then lose the rest.
            os.set_blocking(stream.fileno(), True)


def _occupy(number: int) -> None:
    """Point a closed standard descriptor at /dev/null, for this program and for those that it starts."""
    try:
        os.fstat(number)
    except OSError:
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, number)
        if nowhere != number:
            os.close(nowhere)


def warn_in_lines() -> None:
    """From now on, show this package's own warnings as lines: a user of the command line has not called its code."""
    former, ours = warnings.showwarning, (str(Path(__file__).parents[1]), str(Path(kernels.__file__).parent))

    def show(message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None) -> None:
        if file is None and (filename.startswith(ours) or "site-packages" in filename):
            complain(str(message))
        else:
            former(message, category, filename, lineno, file, line)

    warnings.showwarning = show


def say(text: str) -> None:
    """Print lines, whatever is in them as a text."""
    print(lines(text))


def complain(message: str, head: str = "nfold: ") -> None:
    """Print one line on stderr: what went wrong, or a warning."""
    _say_aside(head + cut(" ".join(line.strip() for line in message.split("\n"))))


def explain(error: BaseException) -> None:
    """Print an error's traceback on stderr as the interpreter would, with control characters made visible."""
    text = "".join(traceback.format_exception(error)).rstrip("\n")
    _say_aside("\n".join(map(cut, text.split("\n"))))


def _say_aside(text: str) -> None:
    try:
        print(lines(text), file=sys.stderr, flush=True)
    except OSError:  # stderr is closed
        _give_up(sys.stderr)


def deliver(
    show: Callable[[], object],
    keep: Callable[[], object] | None = None,
    conclude: Callable[[], object] | None = None,
) -> int:
    """Call show, keep and conclude in this order, each even if the one before failed.

    The exit code: 0, or 1 where one failed. What could not be shown or written is a line on stderr each; a reader that
    has left, as head does, is no complaint. A Ctrl-C meanwhile is raised when all is done, a second one at once.
    """
    with _unhurried():
        code = _printed(show)
        try:
            if keep:
                keep()
        except* OSError as group:
            for unwritten in _single(group):
                complain(str(unwritten))
            code = 1
        return (_printed(conclude) if conclude else 0) or code


def _printed(show: Callable[[], object]) -> int:
    """Call what prints. 0, or 1 where that failed."""
    try:
        show()
        return flush()
    except SystemExit:  # how rich answers a closed pipe
        return 1
    except OSError as error:
        return unprinted(error)


def _single(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _single(error)
        else:
            yield error


@contextmanager
def _unhurried() -> Iterator[None]:
    """Put off the first Ctrl-C to the end of the block, and say so; from the second on they are raised at once.

    Writing may wait for long: for the reader of a pipe, for a disk that is far away.
    """
    former = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(former):
        yield
        return
    came = False

    def hear(number: int, frame: Any) -> None:
        nonlocal came
        came = True
        signal.signal(signal.SIGINT, former)
        with suppress(OSError):  # whatever is being printed, nothing of it is in the way of this
            os.write(2, b"nfold: ending as soon as all is written; a second Ctrl-C ends it now\n")

    signal.signal(signal.SIGINT, hear)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is hear:
            signal.signal(signal.SIGINT, former)
    if came:
        raise KeyboardInterrupt


def flush() -> int:
    """Flush standard output: 0, or 1 where that fails."""
    global _is_closed
    try:
        if _is_closed:
            _is_closed = False
            raise OSError(errno.EBADF, "standard output is closed")
        sys.stdout.flush()
    except OSError as error:
        return unprinted(error)
    return 0


def unprinted(error: OSError) -> int:
    """Say that printing failed, unless the reader closed the pipe, and print no more. The exit code, 1."""
    if not isinstance(error, BrokenPipeError):
        complain(f"cannot print: {error.strerror}; choose another place for the output")
    _give_up(sys.stdout)
    return 1


def _give_up(stream: TextIO) -> None:
    """Print nothing more there. The interpreter's flush at exit must not fail, either."""
    with suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


def show(scaling: Any, details: bool | None = None) -> None:
    """Print the report: with colours on a terminal, plain words in a pipe. details: as compute.report.text.show."""
    from compute.report import text

    text.show(scaling, console(), details, None if sys.stdout.isatty() else SCREEN)


def console() -> Any:
    """The console for tables: as wide as the terminal, or PAGE where there is none."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else PAGE)


def width() -> int:
    """The width of `console`, for lines that need no rich, which takes a while to import."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else PAGE


def beside(head: str, text: str, columns: int) -> str:
    """The head, and the text folded beside it, to lines of so many columns."""
    folded = textwrap.wrap(text, max(columns - len(head) - 1, 20), break_on_hyphens=False) or [""]
    return "\n".join(f"{head if not row else ' ' * len(head)} {line}" for row, line in enumerate(folded))


def tell(result: Any, about: str) -> None:
    """Print what a run gave, what each lane did, and the line about it."""
    import numpy as np

    from compute.scaling import formatting as worded

    value = result.value
    if isinstance(value, np.ndarray):
        say(f"value    {value.dtype} array of shape {value.shape}")
        say("\n".join(map(cut, np.array2string(value, threshold=100, edgeitems=3).split("\n"))))
    else:
        say(f"value    {as_text(value)}")
    say(f"time     {worded.seconds(result.seconds)}")
    for lane in result.timeline.lanes:
        share = lane.cpu / lane.wall if lane.wall > 0 else 0.0
        many = f"{lane.chunks} chunk{'' if lane.chunks == 1 else 's'}"
        say(f"lane {lane.lane:<3} {many}, {worded.seconds(lane.wall)}, CPU/wall {share:.2f}")
    for event in result.timeline.events:
        say(f"! {event}")
    say(about)
