"""Errors on their way to another process: whole, with their traceback as a note, whatever is installed for pickles."""

from __future__ import annotations

import copyreg
import pickle
import subprocess
import sys
import threading
import traceback
import types

import odd_errors
import pytest

from compute.backends.interpreters import subinterpreter
from compute.lanes.errors import arrived, sendable


def there_and_back(error):
    return pickle.loads(pickle.dumps(sendable(error)))


def raised(error):
    try:
        raise error
    except BaseException as caught:
        return caught


@pytest.fixture(params=[False, True], ids=["", "with tblib"])
def tblib(request, monkeypatch):
    """Whether tblib makes the pickles of all errors, as it does in a program that uses dask."""
    if request.param:
        tblib = pytest.importorskip("tblib.pickling_support")
        kinds, more = set(), [BaseException]
        while more:
            kind = more.pop()
            kinds.add(kind)
            more += kind.__subclasses__()
        for kind in kinds:
            monkeypatch.setitem(copyreg.dispatch_table, kind, tblib.pickle_exception)
        monkeypatch.setitem(copyreg.dispatch_table, types.TracebackType, tblib.pickle_traceback)
    return request.param


@pytest.mark.parametrize("name", [name for name in odd_errors.ODD if name not in ("only where made", "of a module")])
@pytest.mark.usefixtures("tblib")
def test_an_odd_error_arrives(name):
    found = there_and_back(raised(odd_errors.ODD[name][0]()))
    odd_errors.check(name, found)
    assert "in raised\n" in odd_errors.notes_of(found)
    odd_errors.check(name, there_and_back(odd_errors.ODD[name][0]()))


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
    sent = there_and_back(caught.value)
    assert type(sent) is ValueError
    assert sent.args == ("deep down",)
    assert "deep(levels - 1)" in sent.__notes__[0]
    assert "KeyError: 'first'" in sent.__notes__[0]


def _frames(error):
    """What tblib adds: the traceback of the error, and of what it was raised from."""
    return {"traceback": error.__traceback__, "cause": error.__cause__ and error.__cause__.__traceback__}


class Own(Exception):
    pass


class Group(ExceptionGroup):
    """Of a class that is not Python's, so that what is registered for it makes its pickle."""

    def derive(self, errors):
        return Group(self.message, errors)


def test_frames_of_grouped_errors_are_not_sent(monkeypatch):
    monkeypatch.setitem(copyreg.dispatch_table, types.TracebackType, refused)
    monkeypatch.setitem(copyreg.dispatch_table, Own, lambda e: (Own, e.args, vars(e) | _frames(e)))
    sent = there_and_back(raised(Group("several", [raised(Own("one"))])))
    assert type(sent) is Group
    assert repr(sent.exceptions) == "(Own('one'),)"


def test_a_class_of_the_users_is_pickled_as_is_registered_for_it(monkeypatch):
    error = odd_errors.HoldsLock("what happened")
    monkeypatch.setitem(copyreg.dispatch_table, odd_errors.HoldsLock, lambda e: (odd_errors.HoldsLock, e.args))
    sent = there_and_back(error)
    assert (type(sent), str(sent)) == (odd_errors.HoldsLock, "what happened")


@pytest.mark.parametrize(
    ("kind", "stands"),
    [(ValueError, ValueError), (RecursionError, RecursionError), (SystemExit, SystemExit), (Own, RuntimeError)],
)
def test_what_has_no_pickle_keeps_a_class_of_pythons(kind, stands):
    planted = kind(threading.Lock())
    sent = there_and_back(planted)
    assert type(sent) is stands
    assert str(sent) == (str(planted) if stands is kind else f"Own: {planted}")


@pytest.mark.parametrize(
    "planted",
    [
        ExceptionGroup("several", [ValueError(threading.Lock())]),
        UnicodeDecodeError("utf-8", b"x", 0, 1, odd_errors.Words("bad")),
    ],
)
def test_what_takes_more_than_a_text_becomes_a_runtime_error(planted):
    sent = there_and_back(planted)
    assert type(sent) is RuntimeError
    assert str(sent) == f"{type(planted).__name__}: {planted}"


def test_an_error_that_was_not_raised_has_its_own_notes_and_no_other():
    assert not hasattr(there_and_back(ValueError("a")), "__notes__")
    planted = ValueError("a")
    planted.add_note("where")
    planted.__notes__.append(3)  # Python shows such a note, and nobody else need send it
    assert there_and_back(planted).__notes__ == ["where"]


@pytest.mark.parametrize("fault", [MemoryError, SystemExit])
def test_an_error_whose_traceback_cannot_be_told_whole_keeps_its_place(monkeypatch, fault):
    def fails(*args):
        raise fault

    error = raised(ValueError("what happened"))
    monkeypatch.setattr(traceback, "format_exception", fails)
    sent = there_and_back(error)
    assert (type(sent), str(sent)) == (ValueError, "what happened")
    assert "in raised\n" in sent.__notes__[0]
    assert sent.__notes__[0].endswith("ValueError: what happened\n")


def test_what_cannot_be_unpickled_where_it_arrives_is_told_by_another():
    error = arrived(b"no pickle", "Own: what happened", ["where"])
    assert (type(error), str(error), error.__notes__) == (RuntimeError, "Own: what happened", ["where"])


@pytest.mark.parametrize("name", ["text exits", "frozen", "own traceback", "KeyError with a lock", "JSONDecodeError"])
def test_a_subinterpreter_sends_errors_without_importing_anything_of_ours(name):
    """What it reads first, read by a fresh Python that has neither nfold nor what it needs."""
    script = f"""
import sys
sys.modules.update(dict.fromkeys(["compute", "kernels", "numpy", "cloudpickle"]))
{subinterpreter._beginning()}
import odd_errors, pickle
try:
    raise odd_errors.ODD[{name!r}][0]()
except BaseException as error:
    print(pickle.dumps(nfold["_packed"](error)).hex())
"""
    done = subprocess.run([sys.executable, "-I", "-"], input=script, capture_output=True, text=True, check=True)
    error = arrived(*pickle.loads(bytes.fromhex(done.stdout)))
    odd_errors.check(name, error)
    assert "in a subinterpreter:\nTraceback" in odd_errors.notes_of(error)
