"""Make an exception picklable before it is sent to another process."""

from __future__ import annotations

import os
import pickle
import traceback


def sendable(error: BaseException) -> BaseException:
    """The error with this process's traceback as a note; one that stands for it where it cannot be pickled.

    That is one of the same class with the same text where Python itself has the class, and else a RuntimeError that
    names it. Many exceptions can be pickled but not unpickled: their `__init__` takes something else than `args`.
    """
    lines = "".join(traceback.format_exception(error))
    note = None if error.__traceback__ is None else f"in worker process {os.getpid()}:\n{lines}"
    import cloudpickle

    if note is not None:
        error.add_note(note)
    # Where tblib is installed for pickles (dask does that), a pickle has every frame in it, and a deep one fails.
    for one in _chain_of(error):
        one.__traceback__ = None
    try:
        copy = pickle.loads(cloudpickle.dumps(error))
        # tblib's pickles do not call `__init__`, without which some of Python's own classes have no words.
        is_error = isinstance(copy, BaseException) and bool(_text_of(copy) or not _text_of(error))
    except BaseException:  # a pickle may call anything, sys.exit too
        is_error = False
    if not is_error:
        error = _stand_in(error)
        if note is not None:
            error.add_note(note)
    return error


def _stand_in(error: BaseException) -> BaseException:
    text = _text_of(error)
    if type(error).__module__ == "builtins":  # who catches a RecursionError or a ValueError is to catch it here, too
        try:
            return type(error)(text)
        except Exception:  # such as UnicodeDecodeError, which takes five words
            pass
    return RuntimeError(f"{type(error).__name__}: {text}")


def _chain_of(error: BaseException) -> list[BaseException]:
    """The error, and those that it was raised from or during."""
    chain, more = dict[int, BaseException](), [error]
    while more:
        one = more.pop()
        if id(one) not in chain:
            chain[id(one)] = one
            more += [other for other in (one.__cause__, one.__context__) if other is not None]
    return list(chain.values())


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as fault:
        return f"its words cannot be had ({type(fault).__name__})"
