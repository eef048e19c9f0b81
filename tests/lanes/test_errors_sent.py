"""Errors on their way to another process: whole, with their traceback as a note, whatever is installed for pickles."""

from __future__ import annotations

import copyreg
import pickle
import threading
import types

import pytest

from compute.lanes.errors import sendable


def deep(levels):
    if levels:
        deep(levels - 1)
    else:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ValueError("deep down") from error


def refused(traceback):
    raise RecursionError("a pickle of so many frames")


def test_an_error_is_sent_without_its_frames(monkeypatch):
    monkeypatch.setitem(copyreg.dispatch_table, types.TracebackType, refused)
    monkeypatch.setitem(copyreg.dispatch_table, ValueError, lambda e: (ValueError, e.args, vars(e) | _frames(e)))
    with pytest.raises(ValueError, match="deep down") as caught:
        deep(50)
    with pytest.raises(RecursionError):
        pickle.dumps(caught.value)
    sent = pickle.loads(pickle.dumps(sendable(caught.value)))
    assert type(sent) is ValueError
    assert sent.args == ("deep down",)
    assert "deep(levels - 1)" in sent.__notes__[0]
    assert "KeyError: 'first'" in sent.__notes__[0]


def _frames(error):
    """What tblib adds: the traceback of the error, and of what it was raised from."""
    return {"traceback": error.__traceback__, "cause": error.__cause__ and error.__cause__.__traceback__}


class Own(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "stands"),
    [
        (ValueError, ValueError),
        (RecursionError, RecursionError),
        (SystemExit, SystemExit),
        (Own, RuntimeError),
        (lambda what: UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"), UnicodeDecodeError),
    ],
)
def test_what_has_no_pickle_keeps_a_class_of_pythons(error, stands):
    planted = error(threading.Lock())
    sent = pickle.loads(pickle.dumps(sendable(planted)))
    assert type(sent) is stands
    assert str(planted) in str(sent)
    assert isinstance(sent, type(planted)) or str(sent).startswith("Own: ")


def test_what_takes_more_than_a_text_becomes_a_runtime_error():
    planted = ExceptionGroup("several", [ValueError(threading.Lock())])
    sent = pickle.loads(pickle.dumps(sendable(planted)))
    assert type(sent) is RuntimeError
    assert str(sent) == "ExceptionGroup: several (1 sub-exception)"
