"""Make an exception picklable before it is sent to another process."""

from __future__ import annotations

import os
import pickle
import traceback


def sendable(error: BaseException) -> BaseException:
    """The error with this process's traceback as a note; a RuntimeError of the same text where it cannot be pickled.

    Many exceptions can be pickled but not unpickled: their `__init__` takes something else than `args`.
    """
    lines = "".join(traceback.format_exception(error))
    note = None if error.__traceback__ is None else f"in worker process {os.getpid()}:\n{lines}"
    import cloudpickle

    if note is not None:
        error.add_note(note)
    try:
        is_error = isinstance(pickle.loads(cloudpickle.dumps(error)), BaseException)
    except BaseException:  # a pickle may call anything, sys.exit too
        is_error = False
    if not is_error:
        error = RuntimeError(f"{type(error).__name__}: {_text_of(error)}")
        if note is not None:
            error.add_note(note)
    return error


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as fault:
        return f"its words cannot be had ({type(fault).__name__})"
