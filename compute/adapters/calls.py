"""Encode a call `fn(*args, **kwargs)` for a worker process, and its outcome for the way back.

The function is pickled by value when the task starts, as a kernel's body is, and sent again only after it has changed.
Arguments are put into the message, except large arrays, which are put into shared memory.
"""

from __future__ import annotations

import functools
import io
import pickle
import types
from collections.abc import Callable
from typing import Any

from compute.adapters.task_queue import Task
from compute.backends import carrier, output, remote
from compute.backends.sender import Sender
from compute.lanes.errors import sendable
from compute.lanes.loop import Outcome
from compute.memory.segments import ArrayRef
from kernels.compilation import provenance
from kernels.compilation.bounded import MADE, Bounded
from kernels.definition.containers import ATOMS
from kernels.definition.each import name_of, short
from kernels.definition.notes import add_note


class CannotBeSent(TypeError, pickle.PicklingError):
    """What a worker process would need cannot be pickled."""


VALUE, ERROR = b"V", b"E"  # the first byte of an outcome: the function has returned, or raised

_bodies: Bounded[int, tuple[Any, Callable[..., Any]]] = Bounded(MADE)


def _as_call(fn: Any, args: tuple[Any, ...], kw: dict[str, Any]) -> tuple[Callable[..., Any], Any, Any]:
    """The same call of a plain function with more arguments, instead of a bound method or a partial.

    So bound objects are not kept in the tables of code.
    """
    while not isinstance(fn, types.FunctionType):
        if type(fn) is functools.partial:
            fn, args, kw = fn.func, (*fn.args, *args), {**fn.keywords, **kw}
        elif type(fn) is types.MethodType:
            fn, args = fn.__func__, (fn.__self__, *args)
        else:
            return _apply, (fn, *args), kw
    return fn, args, kw


def _apply(fn: Callable[..., Any], /, *args: Any, **kw: Any) -> Any:
    return fn(*args, **kw)


def _body_of(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A body around fn; the same for the same function."""
    known = _bodies.get(id(fn))
    if known is None:  # the entry keeps its function alive, so that the id is not used again
        known = _bodies[id(fn)] = fn, _calling(fn)
    return known[1]


def _calling(fn: Callable[..., Any]) -> Callable[..., Any]:
    def body(args: tuple[Any, ...], kw: dict[str, Any]) -> Any:
        return fn(*args, **kw)

    body.__name__ = name_of(fn)
    return body


class CallEncoder:
    """Makes messages for the workers of one pool."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def message(self, task: Task, gone: list[Any]) -> tuple[bytes, Any]:
        """A message for `perform`, and an object to keep until the task has ended. CannotBeSent names what cannot be.

        gone: segments that no longer exist, if the worker does not know of that yet.
        """
        fn, args, kw = task.fn, task.args, task.kw
        by_name = _is_plain(args, kw) and _is_fixed(fn)
        code = None
        if not by_name:
            fn, args, kw = _as_call(fn, args, kw)
            code = self._sender.code_of(_body_of(fn))
        is_patching = False
        where = None if code is None else (code.digest, code.where)
        if by_name:
            content = pickle.dumps((fn, args, kw), pickle.HIGHEST_PROTOCOL)
        elif _is_plain(args, kw):
            content = pickle.dumps((args, kw), pickle.HIGHEST_PROTOCOL)
        else:
            content, is_patching = self._packed(args, kw)
        parts = where, gone, content, is_patching, self._sender.moved_to()
        return pickle.dumps(parts, pickle.HIGHEST_PROTOCOL), code

    def _packed(self, args: tuple[Any, ...], kw: dict[str, Any]) -> tuple[bytes, bool]:
        try:
            return self._sender.packed((args, kw), carrier.attributes_of((*args, *kw.values())))
        except Exception as error:
            for name, value in [*enumerate(args), *kw.items()]:
                try:
                    self._sender.packed(value, carrier.attributes_of([value]))
                except Exception:
                    raise CannotBeSent(
                        f"argument {name}, {short(value)}, cannot be sent to worker processes ({type(error).__name__}:"
                        f" {error}); pass plain values and arrays, or use an executor on threads"
                    ) from error
            raise


def _is_plain(args: tuple[Any, ...], kw: dict[str, Any]) -> bool:
    """Whether Python's own pickler is enough for all arguments."""
    return ATOMS.issuperset(map(type, args)) and ATOMS.issuperset(map(type, kw.values()))


def _is_fixed(fn: Any) -> bool:
    """Whether a worker finds a function by its name, in a module of Python's or numpy's."""
    return bool(provenance.name_of_numbas(fn))


def perform(message: bytes) -> bytes:
    """In a worker: run the call in a message; its outcome as bytes for `set_outcome`."""
    outcome = _performed(message)
    output.flush()  # so that what a task has printed is visible when its result is there
    return outcome


def _performed(message: bytes) -> bytes:
    try:
        where, gone, content, is_patching, place = pickle.loads(message)
        remote.prepare(gone, is_patching, place)
        if where is None:
            fn, args, kw = pickle.loads(content)
            value = fn(*args, **kw)
        else:
            body = remote.body_of(*where)
            args, kw = _ArgumentsUnpickler(io.BytesIO(content)).load()
            value = body(args, kw)
        return VALUE + _pickled(value)
    except BaseException as error:
        return ERROR + remote.pickled_outcome(Outcome(0, error))


class _ArgumentsUnpickler(pickle.Unpickler):
    def persistent_load(self, pid: Any) -> Any:
        array = remote.opened(ArrayRef(*pid))
        array.flags.writeable = False  # other tasks may be reading it
        return array


def _pickled(value: Any) -> bytes:
    if isinstance(value, BaseException):  # as imap's errors="return" gives them
        value = sendable(value)
    try:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except Exception:  # such as a lambda, or an object of a class that only this process knows
        import cloudpickle

        try:
            pickled: bytes = cloudpickle.dumps(value)
            return pickled
        except Exception as error:
            raise CannotBeSent(
                f"the result, of type {type(value).__name__}, cannot be sent from a worker process"
                f" ({type(error).__name__}: {error}); return plain values and arrays, or use an executor on threads"
            ) from error


def set_outcome(task: Task, outcome: bytes) -> None:
    """Set a task's future to the outcome that a worker sent."""
    try:
        if outcome[:1] == VALUE:
            value = pickle.loads(memoryview(outcome)[1:])
        else:
            error = pickle.loads(memoryview(outcome)[1:]).error
    except BaseException as unreadable:
        add_note(unreadable, "while the outcome of a task was unpickled")
        task.fail(unreadable)
        return
    if outcome[:1] == VALUE:
        task.succeed(value)
    else:
        task.fail(error)
