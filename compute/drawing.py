"""Progress display on stderr: a bar on a terminal, a line of text in a notebook, nothing elsewhere."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, Protocol, TextIO

from compute.texts import visible

OFTEN = 0.1  # s between two lines in a notebook at least: each is a message to a browser

Stages = Callable[[float, float, str], None]  # tell(done, total, label)


class Drawing(Protocol):
    """Called as drawing(done, total); `close` ends what was drawn."""

    def __call__(self, done: int, total: int) -> None: ...

    def close(self) -> None: ...


def drawing_of(name: str) -> Drawing | None:
    """A drawing of the run of a kernel of this name; None where stderr is a pipe, a file, or closed."""
    stream = sys.stderr
    if is_notebook(stream):
        return _NotebookLine(name, stream)
    return _Bar(name) if is_terminal(stream) else None


def stages(progress: Any) -> AbstractContextManager[Stages]:
    """The progress of a measurement with stages, reported to the function `progress`, or drawn within the context.

    progress: a function of (done, total, label); True: a bar on a terminal, a line in a notebook; else nothing.
    TypeError, at once, for anything else.
    """
    if callable(progress):
        return nullcontext(progress)
    if progress is not None and not isinstance(progress, bool):
        raise TypeError(f"progress must be a function of (done, total, label), True, False or None, not {progress!r}")
    if progress and is_notebook(sys.stderr):
        return _stages_in_a_notebook(sys.stderr)
    if progress and is_terminal(sys.stderr):
        return _stages_on_a_terminal()
    return nullcontext(lambda done, total, label: None)


@contextmanager
def _stages_on_a_terminal() -> Iterator[Stages]:
    # Drawn only between the runs: a thread that redraws would run while something is timed.
    with rich_bar() as bar:
        task = bar.add_task("starting")

        def tell(done: float, total: float, label: str) -> None:
            bar.update(task, completed=done, total=total, description=f"{visible(label):50.50}", refresh=True)

        yield tell


@contextmanager
def _stages_in_a_notebook(stream: TextIO) -> Iterator[Stages]:
    last_drawn = 0.0

    def tell(done: float, total: float, label: str) -> None:
        nonlocal last_drawn
        if done < total and time.monotonic() < last_drawn + OFTEN:
            return
        last_drawn = time.monotonic()
        with suppress(OSError, ValueError):
            stream.write(f"\r{visible(label):50.50} {100 * done / total:3.0f} %")
            stream.flush()

    try:
        yield tell
    finally:
        if last_drawn:
            with suppress(OSError, ValueError):
                stream.write("\n")
                stream.flush()


def is_terminal(stream: TextIO | None) -> bool:
    """Whether this is a terminal that can erase what it drew."""
    with suppress(AttributeError, ValueError):  # None, or closed
        return stream.isatty() and os.environ.get("TERM") != "dumb"  # type: ignore[union-attr]
    return False


def is_notebook(stream: TextIO | None) -> bool:
    """Whether what is written there is shown in a cell of a notebook."""
    module = sys.modules.get("ipykernel.iostream")
    return module is not None and isinstance(stream, module.OutStream)


def rich_bar(**settings: Any) -> Any:
    """rich's Progress in nfold's style: a description, a bar, the time. Drawn by `refresh`, removed at its end."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        auto_refresh=False,
        **settings,
    )


_terminal_lock = threading.Lock()  # held by the bar that is on the terminal: two would overwrite each other


def _begin_as_child() -> None:
    global _terminal_lock
    _terminal_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_as_child)


def _nothing() -> None:
    pass


class _Bar:
    """A bar for a run that has not ended by the first call, if no other run has one. Removed at its end.

    If the terminal goes away, the bar ends and not the run.
    """

    def __init__(self, name: str) -> None:
        self._name, self._lock = visible(name), _terminal_lock
        self._bar: Any = None
        self._task: Any = None
        self._is_shown = False

    def __call__(self, done: int, total: int) -> None:
        if not self._is_shown:
            if done == total or not self._lock.acquire(blocking=False):
                return
            self._is_shown = True
        with suppress(OSError, ValueError):
            if self._bar is None:
                # Otherwise rich would also send to stderr what bodies print.
                self._bar = rich_bar(redirect_stdout=False, redirect_stderr=False)
                self._bar.console.on_broken_pipe = _nothing  # rich would close stdout, and exit
                self._task = self._bar.add_task("")
            self._bar.start()
            text = f"{self._name}  {done:,}/{total:,} chunks"
            self._bar.update(self._task, completed=done, total=total, description=text, refresh=True)

    def close(self) -> None:
        if self._is_shown:
            try:
                with suppress(OSError, ValueError):
                    if self._bar is not None:
                        self._bar.stop()
            finally:
                self._is_shown = False
                self._lock.release()


class _NotebookLine:
    """The same as a line of text, which overwrites itself and stays when the run has ended."""

    def __init__(self, name: str, stream: TextIO) -> None:
        self._name, self._stream, self._width = visible(name), stream, 0

    def __call__(self, done: int, total: int) -> None:
        if done == total and not self._width:
            return
        text = f"{self._name}  {done:,}/{total:,} chunks, {100 * done // total} %"
        self._width = max(self._width, len(text))
        with suppress(OSError, ValueError):
            self._stream.write(f"\r{text:{self._width}}")
            self._stream.flush()

    def close(self) -> None:
        if self._width:
            with suppress(OSError, ValueError):
                self._stream.write("\n")
                self._stream.flush()
            self._width = 0
