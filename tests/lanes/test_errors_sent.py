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
    ("kind", "stands"),
    [(ValueError, ValueError), (RecursionError, RecursionError), (SystemExit, SystemExit), (Own, RuntimeError)],
)
def test_what_has_no_pickle_keeps_a_class_of_pythons(kind, stands):
    planted = kind(threading.Lock())
    sent = pickle.loads(pickle.dumps(sendable(planted)))
    assert type(sent) is stands
    assert str(sent) == (str(planted) if stands is kind else f"Own: {planted}")


def test_what_takes_more_than_a_text_becomes_a_runtime_error():
    planted = ExceptionGroup("several", [ValueError(threading.Lock())])
    sent = pickle.loads(pickle.dumps(sendable(planted)))
    assert type(sent) is RuntimeError
    assert str(sent) == "ExceptionGroup: several (1 sub-exception)"


def without_init(kind, args):
    error = kind.__new__(kind)
    error.args = args
    return error


def test_an_error_whose_words_a_pickle_loses_is_told_by_another(monkeypatch):
    """tblib makes such pickles of all errors, and a program that uses dask has it."""
    planted = UnicodeDecodeError("utf-8", b"x", 0, 1, "bad")
    assert str(pickle.loads(pickle.dumps(sendable(planted)))) in (str(planted), f"UnicodeDecodeError: {planted}")
    planted = UnicodeDecodeError("utf-8", b"x", 0, 1, "bad")
    monkeypatch.setitem(copyreg.dispatch_table, UnicodeDecodeError, lambda e: (without_init, (type(e), e.args)))
    assert str(pickle.loads(pickle.dumps(planted))) == ""
    sent = pickle.loads(pickle.dumps(sendable(planted)))
    assert type(sent) is RuntimeError
    assert str(sent) == f"UnicodeDecodeError: {planted}"
