"""Exceptions whose classes do what no class should, and what arrives of each in another process: `ODD`."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import threading
import time
import types


class TextExits(Exception):
    def __str__(self):
        raise SystemExit(3)


class TextInterrupts(Exception):
    def __str__(self):
        raise KeyboardInterrupt


class TextIsANumber(Exception):
    def __str__(self):
        return 3


class Words(str):
    """A text without a pickle."""

    def __reduce__(self):
        raise TypeError("no pickle")

    def __format__(self, spec):
        raise ValueError("no format")


class TextIsOfAClass(Exception):
    def __str__(self):
        return Words("what happened")


class RefusesAttributes(Exception):
    def __init__(self, text):
        super().__init__(text)
        vars(self)["code"] = 3

    def __setattr__(self, name, value):
        raise AttributeError(f"{name} cannot be set")


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int


class RefusesNotes(Exception):
    def add_note(self, note):
        raise SystemExit(5)


class NotesAreNoList(Exception):
    __notes__ = 3


class NotesExit(Exception):
    @property
    def __notes__(self):
        raise SystemExit(4)


class OwnTraceback(Exception):
    @property
    def __traceback__(self):
        raise RuntimeError("no traceback")

    def with_traceback(self, trace):
        raise RuntimeError("no traceback")


class OwnCause(Exception):
    @property
    def __cause__(self):
        raise SystemExit(1)


class Lies(Exception):
    @property
    def __class__(self):
        return int


class OfNoException(BaseException):
    pass


class HoldsLock(ValueError):
    def __init__(self, text):
        super().__init__(text)
        self.lock = threading.Lock()


class LosesItsWords(Exception):
    """Its pickle leaves out what its text is made of."""

    def __init__(self, words):
        super().__init__()
        self.words = words

    def __reduce__(self):
        return LosesItsWords.__new__, (LosesItsWords,)

    def __str__(self):
        return self.words


class OnlyWhereMade(Exception):
    """It can be unpickled in the process that pickled it."""

    def __init__(self, text, process=None):
        if process not in (None, os.getpid()):
            raise RuntimeError("elsewhere")
        super().__init__(text, process or os.getpid())

    def __str__(self):
        return self.args[0]


class OwnSyntaxError(SyntaxError):
    pass


class OwnExit(SystemExit):
    pass


def of_a_module_that_only_the_worker_has():
    module = types.ModuleType(f"only_here_{os.getpid()}_{time.monotonic_ns()}")
    sys.modules[module.__name__] = module
    module.There = type("There", (Exception,), {"__module__": module.__name__})
    return module.There("what happened")


def long_chain():
    error = ValueError("the first")
    for number in range(20_000):
        cause, error = error, ValueError(str(number))
        error.__cause__ = cause
    return error


def cycle():
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__context__ = other, one
    return one


def nested():
    error = ValueError("the first")
    for _ in range(3_000):
        error = ExceptionGroup("group", [error])
    return error


def holding_a_lock(error):
    error.lock = threading.Lock()
    return error


ODD = {  # by name: what makes it, and the text of the RuntimeError that stands for it where it has no pickle
    "text exits": (lambda: TextExits("a"), None),
    "text interrupts": (lambda: TextInterrupts("a"), None),
    "text is a number": (lambda: TextIsANumber("a"), None),
    "text is of a class": (lambda: TextIsOfAClass(), None),
    "refuses attributes": (lambda: RefusesAttributes("a"), "RefusesAttributes: a"),
    "frozen": (lambda: Frozen(3), "Frozen: 3"),
    "refuses notes": (lambda: RefusesNotes("a"), None),
    "notes are no list": (lambda: NotesAreNoList("a"), None),
    "notes exit": (lambda: NotesExit("a"), None),
    "own traceback": (lambda: OwnTraceback("a"), None),
    "own cause": (lambda: OwnCause("a"), None),
    "lies": (lambda: Lies("a"), None),
    "of no exception": (lambda: OfNoException("a"), None),
    "holds a lock": (lambda: HoldsLock("a"), "HoldsLock: a"),
    "loses its words": (lambda: LosesItsWords("a"), "LosesItsWords: a"),
    "only where made": (lambda: OnlyWhereMade("a"), "OnlyWhereMade: a"),
    "of a module": (of_a_module_that_only_the_worker_has, "There: what happened"),
    "long chain": (long_chain, None),
    "cycle": (cycle, None),
    # Python 3.14 pickles as deep as its stack goes.
    "nested": (nested, None if sys.version_info >= (3, 14) else "ExceptionGroup: group (1 sub-exception)"),
    "group with a lock": (
        lambda: ExceptionGroup("group", [ValueError(threading.Lock())]),
        "ExceptionGroup: group (1 sub-exception)",
    ),
    "of words": (lambda: ValueError(Words("a")), None),
    "KeyError with a lock": (lambda: holding_a_lock(KeyError("a")), None),
    "OSError with a lock": (lambda: holding_a_lock(OSError(2, "No such file", "name")), None),
    "SyntaxError": (lambda: SyntaxError("bad", ("file", 1, 2, "text")), None),
    "own SyntaxError": (lambda: OwnSyntaxError("bad"), None),
    "UnicodeDecodeError": (lambda: UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"), None),
    "JSONDecodeError": (lambda: json.JSONDecodeError("bad", "text", 0), None),
    "StopIteration": (lambda: StopIteration(3), None),
    "SystemExit": (lambda: SystemExit(3), None),
    "own SystemExit": (lambda: OwnExit(3), None),
    "MemoryError": (lambda: MemoryError(), None),
}
BY_ATTRIBUTES = {
    "StopIteration": "value",
    "SystemExit": "code",
    "own SystemExit": "code",
    "OSError with a lock": "errno",
}


def text_of(error):
    """What it says; the class of what it raises instead."""
    try:
        return str(error)
    except BaseException as fault:
        return type(fault)


def notes_of(error):
    """All notes as one text; of an error that gives none away, those that it holds."""
    return "\n".join(vars(error).get("__notes__", []))


def check(name, found):
    """AssertionError where `found` is not what should arrive of that error in another process."""
    make, stands = ODD[name]
    error = make()
    if stands is not None:
        assert (type(found), str(found)) == (RuntimeError, stands)
        return
    assert type(found) is type(error)
    assert text_of(found) == text_of(error)
    if name in BY_ATTRIBUTES:
        assert getattr(found, BY_ATTRIBUTES[name]) == getattr(error, BY_ATTRIBUTES[name])
