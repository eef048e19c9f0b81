"""Build the message for a job, and keep the code and the arrays that it names in the arena."""

from __future__ import annotations

import pickle
import types
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

from compute.backends import ambient, host_program
from compute.lanes.loop import Job, arguments_of
from compute.memory.arena import Arena
from compute.memory.copies import Copies
from compute.memory.ends import EndWatcher
from compute.memory.segments import Array, ArrayRef, home_of
from kernels.compilation import digests, provenance
from kernels.compilation.bounded import Bounded
from kernels.compilation.native_code import NativeCode
from kernels.compilation.reach import reach_of
from kernels.definition import Kernel
from kernels.definition.arguments import name_at


class ByValue(NamedTuple):
    """Inputs that need carrier.py: their positions among the items, their pickle, and whether that is patching."""

    positions: tuple[int, ...]
    content: bytes
    is_patching: bool


class Message(NamedTuple):
    """What a job's message contains. It is pickled as a plain tuple, which is faster.

    digest, where: of the code that the lanes run. gone: segments that no longer exist. positions: of arrays among the
    items. read_only: positions of arrays that lanes may not write to. items: the control array, the output and the
    inputs; an array is a tuple that `ArrayRef` takes. by_value: inputs that stand for None in the items. place: where
    the caller looks for modules, once that has changed. settings: as of ambient.py.
    """

    digest: bytes
    where: tuple[Any, ...]
    gone: list[tuple[int, int]]
    positions: list[int]
    read_only: list[int]
    items: list[Any]
    by_value: tuple[Any, ...]  # of a ByValue
    place: host_program.Place | None
    settings: ambient.Ambient | None


class Sender:
    """Turns jobs into short messages, and remembers what the workers already have.

    A message names what the lanes are to run. That is put into the arena once. It is machine code that was compiled
    here, so that no worker compiles and all run the same; or a body by value, for Python to run, or for numba where its
    machine code cannot leave this process.
    """

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._codes: Bounded[Hashable, tuple[Any, Any, _Code]] = Bounded(CODES)
        self._copies = Copies(arena)  # of large arrays that code and inputs reach
        self._messages: Bounded[Hashable, tuple[Any, Any, bytes]] = Bounded(MESSAGES)  # and what keeps their code
        self._known: EndWatcher[tuple[int, int]] = EndWatcher()
        self._place, self._has_moved = host_program.current_place(), False

    def message(self, job: Job) -> bytes:
        """The job, pickled: the same for every lane."""
        items: list[Any] = [job.control, job.out, *job.inputs]
        is_quick = QUICK.issuperset(map(type, items))
        key = (id(job.lane), *map(_identity, items)) if is_quick else None
        lane, _, message = self._messages.get(key, NEVER_SENT)
        if lane is job.lane and not self._known.has_news():
            return message
        code = self._code(job)
        others = NOTHING if is_quick else by_value(items, job.kernel, self._placed)
        positions = [k for k, x in enumerate(items) if isinstance(x, np.ndarray)]
        read_only = [k for k in positions if not items[k].flags.writeable]
        for k in positions:
            items[k] = tuple(self._found(items[k]))  # a plain tuple pickles five times as fast as an ArrayRef
        gone = self._known.latest()
        place = None if code.is_machine and not others.positions else self.moved_to()
        settings = None if code.is_machine else ambient.here()
        parts = code.digest, code.where, gone, positions, read_only, items, tuple(others), place, settings
        message = pickle.dumps(parts, protocol=pickle.HIGHEST_PROTOCOL)
        if key is not None and code.is_machine and not gone:
            self._messages[key] = job.lane, code, message
        return message

    def code_of(self, body: Callable[..., Any]) -> _Code:
        """A body by value, in the arena for as long as the returned code is referenced."""
        return self._source(body, False, None)

    def packed(self, value: Any, attributes: frozenset[str]) -> tuple[bytes, bool]:
        """Arguments of a body as bytes, and whether they are patching (see carrier.py)."""
        from compute.backends import carrier

        return carrier.packed(value, attributes, self._placed, is_input=True)

    def gone(self) -> list[tuple[int, int]]:
        """The segments known to workers that are gone since the last call."""
        return self._known.latest()

    def moved_to(self) -> host_program.Place | None:
        """Where this process looks for modules and files, once that has changed since the workers were started."""
        place = host_program.current_place()
        self._has_moved = self._has_moved or place != self._place
        return place if self._has_moved else None

    def forget(self) -> None:
        """Release all that was put into the arena."""
        self._codes.clear()
        self._messages.clear()
        self._copies.forget()

    def _found(self, array: Array) -> ArrayRef:
        """How the workers find an array. They will be told when its segment is gone."""
        segment = home_of(array)
        self._known.watch(segment.serial, segment)
        return segment.reference(array)

    def _code(self, job: Job) -> _Code:
        """What the lanes are to run, as it is now."""
        kernel: Kernel = job.kernel
        variant = kernel.variants[kernel.variant]
        if variant.compiled:
            by_identity: list[Any] = []
            key: Hashable = id(job.lane), _layouts((job.control, job.out, *job.inputs), by_identity)
            if (known := self._codes.get(key)) and known[0] is job.lane:
                return known[2]
            if isinstance(job.lane, NativeCode):
                return self._keep(key, job.lane, NATIVE + job.lane.content, by_identity)
            from kernels.compilation.compiler import settings
            from kernels.compilation.machine_code import exported, exported_without_numba

            _refuse_object_mode(kernel.name, [variant.source()])
            if any(provenance.is_dispatcher(value) for value in by_identity):  # a type that no other process has
                return self._source(variant.source(), kernel.reduce is not None, settings())
            arguments = arguments_of(job.control, job.out, job.inputs)
            if (content := exported_without_numba(job.lane, arguments)) is not None:
                return self._keep(key, job.lane, NATIVE + content, by_identity)
            if (content := exported(job.lane, arguments)) is not None:
                return self._keep(key, job.lane, MACHINE + content, by_identity)
            return self._source(variant.source(), kernel.reduce is not None, settings())
        return self._source(variant.source(), kernel.reduce is not None, None)

    def _source(self, body: Callable[..., Any], reduces: bool, settings: Hashable) -> _Code:
        """A body by value. It is pickled again if something in it may have changed in place, to see whether it has."""
        reach = reach_of(body, compiled=False) if isinstance(body, types.FunctionType) else None
        key = id(body), reduces, settings
        held, known, code = self._codes.get(key, (None, None, None))
        if code is not None and held is body and known is reach and reach is not None and not reach.mutable:
            return code
        content = packed_source(body, reduces, settings, self._placed_for_code)
        if code is not None and code.digest == _digest(content):
            return code
        return self._keep(key, body, content, reach)

    def _keep(self, key: Hashable, function: Any, content: bytes, reach: Any = None) -> _Code:
        array = self._arena.empty(len(content), np.uint8)
        array[:] = np.frombuffer(content, np.uint8)
        code = _Code(_digest(content), array, tuple(self._found(array)), content[:1] in (MACHINE, NATIVE))
        self._codes[key] = function, reach, code
        return code

    def _placed_for_code(self, array: Array) -> Any:
        """As `_placed`, plus a flag: whether it is our copy, which is read-only to code.

        Workers may write only to arrays that the user has shared.
        """
        placed = self._copies.copy_of(array)
        return self._found(placed) if placed is array else (*self._found(placed), True)

    def _placed(self, array: Array) -> ArrayRef:
        """Where workers find a large array that code or inputs reach."""
        return self._found(self._copies.copy_of(array))


def by_value(items: list[Any], kernel: Kernel, place: Callable[[Array], Any]) -> ByValue:
    """Remove from `items` the inputs that need the by-value pickler, such as a namedtuple of __main__.

    Bodies are pickled by the same pickler. So a class is one object in the worker for both, and `isinstance` and `is`
    hold. place: as for carrier.py. TypeError that names the inputs which cannot be sent.
    """
    positions = tuple(k for k, x in enumerate(items) if not _is_plain(x))
    if not positions:
        return NOTHING
    from compute.backends import carrier

    values = tuple(items[k] for k in positions)
    for k in positions:
        items[k] = None
    try:
        if all(getattr(value, "holds_only_arrays", False) for value in values):
            content, is_patching = carrier.plainly_packed(values, place), False
        else:
            attributes = carrier.attributes_of(values)
            content, is_patching = carrier.packed(values, attributes, place, is_input=True)
        is_patching = is_patching or any(getattr(value, "is_patching", False) for value in values)
        return ByValue(positions, content, is_patching)
    except Exception as error:
        names = ", ".join(name_at(kernel.inputs, k - 2) for k in positions)
        raise TypeError(
            f"what is given for {names} cannot be sent to worker processes ({type(error).__name__}: {error});"
            " run it on threads, or pass plain values and arrays"
        ) from error


def packed_source(body: Callable[..., Any], reduces: bool, settings: Hashable, place: Callable[[Array], Any]) -> bytes:
    """A body by value, with what it reaches: SOURCE or PATCHING, then what `carrier.unpacked` takes.

    settings: numba's, for a body that the worker compiles; None for Python. TypeError for what cannot be sent.
    """
    from compute.backends import carrier

    reach = reach_of(body, compiled=False) if isinstance(body, types.FunctionType) else None
    if reach is not None:
        _refuse_object_mode(body.__name__, [called.py_func for called in reach.dispatchers])
    attributes = reach.attributes if reach is not None else frozenset()
    imported = [carrier.Imported(module) for module in reach.imported] if reach is not None else []
    try:
        source = body, reduces, settings, imported
        content, is_patching = carrier.packed(source, attributes, place)
    except (TypeError, ValueError, AttributeError, pickle.PicklingError) as error:
        raise TypeError(
            f"{body.__name__} reaches what cannot be sent to worker processes ({type(error).__name__}: {error});"
            " run it on threads, or have it read plain values, arrays and functions"
        ) from error
    return (PATCHING if is_patching else SOURCE) + content


class _Code(NamedTuple):
    """Code that workers load once: its digest, and where it is in the arena. It is not moved."""

    digest: bytes
    content: Array
    where: tuple[Any, ...]
    is_machine: bool


# The first byte of a code: machine code that needs no numba, or that does; a body by value, or one that is patching
# (see carrier.py).
NATIVE, MACHINE, SOURCE, PATCHING = b"N", b"M", b"S", b"A"
# Codes that are kept: a session that edits its kernels would otherwise fill the arena. A forgotten one is sent again.
CODES = 64
# Messages that are kept: runs of one kernel alternate between a few control arrays and outputs.
MESSAGES = 32
NEVER_SENT: tuple[Any, Any, bytes] = None, None, b""


def _identity(value: Any) -> Hashable:
    """What decides how a message has a value of one of the QUICK types."""
    if type(value) is np.ndarray:
        place = value.__array_interface__["data"][0]
        return home_of(value).serial, place, value.shape, value.strides, value.dtype, value.flags.writeable
    return pickle.dumps(value)  # 0.0 and -0.0 are equal, so are 1 and 1.0; and NaNs of both signs have one text


def _digest(content: bytes) -> bytes:
    return digests.sha256(content).digest()


def _layouts(values: Sequence[Any], by_identity: list[Any]) -> tuple[Any, ...]:
    """What decides numba's types of these values, found in a microsecond.

    A function that numba has compiled is a type of its own, and so may be other values that are not numbers. Such a
    value is identified by its id and appended to `by_identity`, so that it stays alive.
    """
    layouts: list[Any] = []
    for value in values:
        if isinstance(value, np.ndarray):
            layouts.append((value.dtype, value.ndim, value.flags.num))
        elif type(value) is int:
            layouts.append((int, -(2**63) <= value < 2**63))
        elif isinstance(value, tuple):
            layouts.append((type(value), _layouts(value, by_identity)))
        elif type(value) is list:
            layouts.append((list, _layouts(value[:1], by_identity)))  # numba's lists have items of one type
        elif isinstance(value, np.generic):
            layouts.append((type(value), value.dtype))
        elif type(value) in PLAIN_TYPES:
            layouts.append(type(value))
        else:
            layouts.append((type(value), id(value)))
            by_identity.append(value)
    return tuple(layouts)


def _refuse_object_mode(name: str, compiled: list[Any]) -> None:
    """TypeError where compiled code returns to Python: it looks names up in the modules of its process."""
    reaches = (reach_of(function, compiled=True) for function in compiled if isinstance(function, types.FunctionType))
    if any(type(value).__module__ == "numba.core.withcontexts" for reach in reaches for value in reach.kept_alive):
        raise TypeError(
            f"{name} uses numba's objmode, whose Python code finds no names in worker processes; run it on threads, or"
            " a 'python' variant that calls no such function"
        )


QUICK = frozenset((np.ndarray, int, float))  # types of inputs that need no further check
NOTHING = ByValue((), b"", False)
PLAIN_TYPES = frozenset((complex, bool, str, bytes, type(None))) | QUICK


def _is_plain(value: Any) -> bool:
    """Whether a plain pickle of it is short, and means the same in a worker."""
    kind = type(value)
    if kind is tuple:
        return all(type(item) is not np.ndarray and _is_plain(item) for item in value)
    return kind in PLAIN_TYPES or (isinstance(value, np.generic) and kind.__module__ == "numpy")
