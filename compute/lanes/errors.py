"""Send an exception to another process or interpreter, whatever its class does when it is pickled, shown or noted.

A subinterpreter reads this file, too, and cannot import `compute`: nothing but Python is imported here.
"""

from __future__ import annotations

import builtins
import copyreg
import os
import pickle

TYPE_CHECKING = False  # `typing` itself takes long where a subinterpreter begins
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Any

NO_WORDS = "its words cannot be had"
LOST = ("", "None")  # what an error says whose pickle did not call its `__init__`


class Sent:
    """An error on its way: unpickled, it is what `arrived` makes of its parts."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __reduce__(self) -> tuple[Any, ...]:
        return arrived, self.parts


def sendable(error: BaseException) -> Any:
    """What arrives as the error, with this process's traceback as a note, when it has been pickled and unpickled."""
    import cloudpickle

    return Sent(*packed(error, f"worker process {os.getpid()}", cloudpickle.dumps))


def packed(error: BaseException, where: str, dumps: Callable[[Any], bytes]) -> tuple[bytes, str, list[str]]:
    """An error as `arrived` takes it: a pickle, the words of a RuntimeError that may stand for it, its notes.

    Many exceptions can be pickled and not unpickled: their `__init__` takes something else than `args`. An error of one
    of Python's own classes keeps its class even so, where one can be made of its arguments or its text. All others are
    told by a RuntimeError that names the class: an ExceptionGroup of errors without a pickle, too. The error itself
    and what it was raised from lose their tracebacks.
    """
    text, notes = text_of(error), _notes_of(error, where)
    _forget_frames(error)
    content = b""
    for way in _ways(error, text):
        try:
            pickled = dumps(way())
            arrived = text_of(_unpickled(pickled, notes))
            if arrived == text or not (arrived in LOST or arrived.startswith(NO_WORDS)):
                content = pickled
                break
        except BaseException:  # a pickle may call anything, sys.exit too
            continue
    return content, f"{type(error).__name__}: {text}", notes


def arrived(content: bytes, words: str, notes: list[str]) -> BaseException:
    """The error that was packed; a RuntimeError where it cannot be unpickled here, or had no pickle."""
    try:
        return _unpickled(content, notes)
    except Exception:
        error = RuntimeError(words)
        error.__notes__ = notes
        return error


def text_of(error: BaseException) -> str:
    """What the error says; that it says nothing where its class raises something instead, sys.exit's error too."""
    try:
        return f"{error!s}"
    except BaseException as fault:
        return f"{NO_WORDS} ({type(fault).__name__})"


def traceback_of(error: BaseException) -> TracebackType | None:
    """`error.__traceback__`, also where a class has something else of that name."""
    trace: TracebackType | None = BaseException.__dict__["__traceback__"].__get__(error)
    return trace


def _unpickled(content: bytes, notes: list[str]) -> BaseException:
    error: BaseException = pickle.loads(content)
    if not issubclass(type(error), BaseException):
        raise TypeError("an error's pickle has made something else of it")
    if notes:  # a class may leave them out of its pickle, and may let nobody set them
        vars(error)["__notes__"] = notes
    return error


class _Made:
    """Pickled, this is what a function makes of arguments: the tuple that `__reduce__` returns."""

    def __init__(self, *how: Any) -> None:
        self._how = how

    def __reduce__(self) -> tuple[Any, ...]:
        return self._how


def _ways(error: BaseException, text: str) -> list[Callable[[], Any]]:
    """What may be pickled in place of the error, the best first.

    What somebody registered for pickles of its class knows it best. What tblib registers for every class loses words,
    exit codes and values (dask installs it). But it can unpickle some errors that cannot be unpickled otherwise.
    """
    kind: Any = type(error)
    known = copyreg.dispatch_table
    of_all = known.get(BaseException)

    def own() -> Any:
        return kind.__reduce_ex__(error, 4)

    ways: list[Callable[[], Any]] = [lambda: error, lambda: _Made(*own())]
    if of_all is not None and known.get(kind) is of_all:
        ways.reverse()
    if getattr(builtins, kind.__name__, None) is kind:
        ways += [lambda: _Made(*own()[:2]), lambda: _Made(kind, (text,))]
    return ways


def _notes_of(error: BaseException, where: str) -> list[str]:
    """The notes of an error, and its traceback as one more where it has been raised."""
    import traceback  # late: most lanes raise nothing

    notes: list[str] = []
    try:
        if isinstance(error.__notes__, list):
            notes += [note for note in error.__notes__ if type(note) is str]
    except BaseException:  # there are none, or its class has something else of that name
        pass
    trace = traceback_of(error)
    if trace is None:
        return notes
    try:
        lines = traceback.format_exception(type(error), error, trace)
    except BaseException:  # raised by what its class has in place of a cause or of notes
        lines = [*traceback.format_tb(trace), f"{type(error).__name__}: {text_of(error)}\n"]
    return [*notes, f"in {where}:\n{''.join(lines)}"]


def _forget_frames(error: BaseException) -> None:
    """Remove the tracebacks. Where tblib is installed, a pickle has every frame in them, and a deep one fails."""
    try:
        for relative in related(error):
            BaseException.with_traceback(relative, None)
    except BaseException:  # a class may have something else in place of a cause
        pass


def related(error: BaseException) -> Iterator[BaseException]:
    """The error, those that it was raised from or during, and those that it groups."""
    known, more = set[int](), [error]
    while more:
        relative = more.pop()
        if id(relative) not in known:
            known.add(id(relative))
            yield relative
            grouped = relative.exceptions if isinstance(relative, BaseExceptionGroup) else ()
            more += [other for other in (relative.__cause__, relative.__context__, *grouped) if other is not None]
