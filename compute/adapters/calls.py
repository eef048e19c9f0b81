"""A call `fn(*args, **kwargs)` on its way to a worker process, and its outcome on the way back.

What a body is for a kernel, the function is here: it travels by value, as it is when the task begins, and once for as
long as nothing of it changes. Arguments are put into the message, but for large arrays, which lie in shared memory.
"""

from __future__ import annotations

import functools
import io
import pickle
import types
from collections.abc import Callable
from typing import Any

from compute.adapters.desk import Task
from compute.backends import carrier, output, remote
from compute.backends.sender import Sender
from compute.lanes.errors import sendable
from compute.lanes.loop import Outcome
from compute.memory.segments import ArrayRef
from kernels.compilation import provenance
from kernels.compilation.bounded import MADE, Bounded
from kernels.definition.containers import ATOMS
from kernels.definition.each import name_of, short


class CannotBeSent(TypeError, pickle.PicklingError):
    """What a worker process would need cannot be pickled."""


VALUE, ERROR = b"V", b"E"  # the first byte of an outcome: of what the function has returned, or raised

_bodies: Bounded[int, tuple[Any, Callable[..., Any]]] = Bounded(MADE)


def _as_call(fn: Any, args: tuple[Any, ...], kw: dict[str, Any]) -> tuple[Callable[..., Any], Any, Any]:
    """The same call of a plain function: what it is bound to is an argument, which nobody keeps after the call."""
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
    if known is None:  # an entry keeps its function, so that its id stays its own
        known = _bodies[id(fn)] = fn, _calling(fn)
    return known[1]


def _calling(fn: Callable[..., Any]) -> Callable[..., Any]:
    def body(args: tuple[Any, ...], kw: dict[str, Any]) -> Any:
        return fn(*args, **kw)

    body.__name__ = name_of(fn)
    return body


class Caller:
    """The caller's side: makes messages for workers of one pool."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def message(self, task: Task, gone: list[Any]) -> tuple[bytes, Any]:
        """What `perform` takes, and what is to be held until the task has ended. CannotBeSent says what is not.

        gone: segments that are no more, of which the worker has not been told yet.
        """
        fn, args, kw = task.fn, task.args, task.kw
        by_name = _is_plain(args, kw) and _is_fixed(fn)
        code = None
        if not by_name:
            fn, args, kw = _as_call(fn, args, kw)
            code = self._sender.code_of(_body_of(fn))
        sets = False
        where = None if code is None else (code.digest, code.where)
        if by_name:
            content = pickle.dumps((fn, args, kw), pickle.HIGHEST_PROTOCOL)
        elif _is_plain(args, kw):
            content = pickle.dumps((args, kw), pickle.HIGHEST_PROTOCOL)
        else:
            content, sets = self._packed(args, kw)
        told = where, gone, content, sets, self._sender.moved_to()
        return pickle.dumps(told, pickle.HIGHEST_PROTOCOL), code

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
    """The worker's side: do the call in a message; its outcome as bytes for `settle`."""
    said = _performed(message)
    output.flush()  # what a task has printed is to be seen when its result is there
    return said


def _performed(message: bytes) -> bytes:
    try:
        where, gone, content, sets, place = pickle.loads(message)
        remote.prepare(gone, sets, place)
        if where is None:
            fn, args, kw = pickle.loads(content)
            value = fn(*args, **kw)
        else:
            body = remote.body_of(*where)
            args, kw = _Unpickler(io.BytesIO(content)).load()
            value = body(args, kw)
        return VALUE + _pickled(value)
    except BaseException as error:
        return ERROR + remote.pickled_outcome(Outcome(0, error))


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, pid: Any) -> Any:
        array = remote.opened(ArrayRef(*pid))
        array.flags.writeable = False  # other tasks may look at it at this moment
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


def settle(task: Task, said: bytes) -> None:
    """Give a task's future what a worker has said of it."""
    try:
        if said[:1] == VALUE:
            value = pickle.loads(memoryview(said)[1:])
        else:
            error = pickle.loads(memoryview(said)[1:]).error
    except BaseException as unreadable:
        unreadable.add_note("while the outcome of a task was unpickled")
        task.fail(unreadable)
        return
    if said[:1] == VALUE:
        task.succeed(value)
    else:
        task.fail(error)
