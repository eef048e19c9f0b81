"""The caller's side of a job's way to worker processes: a short message, and what it names, put into the arena once."""

from __future__ import annotations

import hashlib
import pickle
import types
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

from compute.backends import ambient, hosts
from compute.lanes.loop import FOREVER, Job
from compute.memory.arena import Arena
from compute.memory.copies import Copies
from compute.memory.segments import Array, ArrayRef, Endings, home_of
from kernels.compilation import provenance
from kernels.compilation.bounded import Bounded
from kernels.compilation.reach import reach_of
from kernels.definition import Kernel
from kernels.definition.arguments import name_at


class Sender:
    """The caller's side: turns jobs into short messages, and remembers what is known there.

    A message names what the lanes are to run. That is put into the arena once: machine code that was compiled here, so
    that no worker compiles and all run the same; or a body by value, for Python to run, or for numba where its machine
    code cannot leave this process.
    """

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._codes: Bounded[Hashable, tuple[Any, Any, _Code]] = Bounded(CODES)
        self._copies = Copies(arena)  # of large arrays that code and inputs reach
        self._known: Endings[tuple[int, int]] = Endings()
        self._place, self._has_moved = hosts.place(), False

    def message(self, job: Job) -> bytes:
        """The job, pickled: the same for every lane."""
        code = self._code(job)
        items: list[Any] = [job.control, job.out, *job.inputs]
        carried = NOTHING if QUICK.issuperset(map(type, items)) else self._carried(items, job.kernel)
        places = [k for k, x in enumerate(items) if isinstance(x, np.ndarray)]
        fixed = [k for k in places if not items[k].flags.writeable]
        for k in places:
            items[k] = tuple(self._found(items[k]))  # a plain tuple pickles five times as fast as an ArrayRef
        gone = self._known.latest()
        place = None if code.is_machine and not carried[0] else self.moved_to()
        around = None if code.is_machine else ambient.here()
        parts = code.digest, code.where, gone, places, fixed, items, carried, place, around
        return pickle.dumps(parts, protocol=pickle.HIGHEST_PROTOCOL)

    def code_of(self, body: Callable[..., Any]) -> _Code:
        """A body by value, put where workers find it for as long as the code is held."""
        return self._source(body, False, None)

    def packed(self, value: Any, attributes: frozenset[str]) -> tuple[bytes, bool]:
        """What is given to a body, as bytes, and whether these set attributes of what others use."""
        from compute.backends import carrier

        return carrier.packed(value, attributes, self._placed, given=True)

    def gone(self) -> list[tuple[int, int]]:
        """Segments that are no more since this was last asked, of those that workers know."""
        return self._known.latest()

    def _carried(self, items: list[Any], kernel: Kernel) -> tuple[tuple[int, ...], bytes, bool]:
        """Take out of the items what only a body's own way leads to a worker, such as a namedtuple of __main__.

        Both ways make the same class of it there, so that `isinstance` and `is` hold. Where they stood; what `packed`
        makes of them.
        """
        places = tuple(k for k, x in enumerate(items) if not _is_plain(x))
        if not places:
            return NOTHING
        from compute.backends import carrier

        given = tuple(items[k] for k in places)
        for k in places:
            items[k] = None
        try:
            if all(getattr(one, "holds_only_arrays", False) for one in given):
                content, sets = carrier.plainly_packed(given, self._placed), False
            else:
                content, sets = carrier.packed(given, carrier.attributes_of(given), self._placed, given=True)
            return places, content, sets or any(getattr(one, "sets_attributes", False) for one in given)
        except Exception as error:
            names = ", ".join(name_at(kernel.inputs, k - 2) for k in places)
            raise TypeError(
                f"what is given for {names} cannot be sent to worker processes ({type(error).__name__}: {error});"
                " run it on threads, or pass plain values and arrays"
            ) from error

    def moved_to(self) -> hosts.Place | None:
        """Where this process looks for modules and files, once that is elsewhere than when the workers were started."""
        place = hosts.place()
        self._has_moved = self._has_moved or place != self._place
        return place if self._has_moved else None

    def forget(self) -> None:
        """Let go of all that was put into the arena."""
        self._codes.clear()
        self._copies.forget()

    def _found(self, array: Array) -> ArrayRef:
        """How the workers find an array; the end of its segment will be told to them."""
        segment = home_of(array)
        self._known.watch(segment.serial, segment)
        return segment.reference(array)

    def _code(self, job: Job) -> _Code:
        """What the lanes are to run, as it is now."""
        kernel: Kernel = job.kernel
        variant = kernel.variants[kernel.variant]
        if variant.compiled:
            others: list[Any] = []
            key: Hashable = id(job.lane), _layouts((job.control, job.out, *job.inputs), others)
            if (known := self._codes.get(key)) and known[0] is job.lane:
                return known[2]
            from kernels.compilation.compiler import settings
            from kernels.compilation.machine_code import exported

            _refuse_object_mode(kernel.name, [variant.source()])
            if any(provenance.is_dispatcher(value) for value in others):  # a type that no other process has
                return self._source(variant.source(), kernel.reduce is not None, settings())
            content = exported(job.lane, (job.control, 0, job.out, job.inputs, FOREVER))
            if content is not None:
                return self._keep(key, job.lane, MACHINE + content, others)
            return self._source(variant.source(), kernel.reduce is not None, settings())
        return self._source(variant.source(), kernel.reduce is not None, None)

    def _source(self, body: Callable[..., Any], reduces: bool, settings: Hashable) -> _Code:
        """A body by value; packed again where something in it may have changed in place, to see whether it has."""
        reach = reach_of(body, compiled=False) if isinstance(body, types.FunctionType) else None
        key = id(body), reduces, settings
        held, known, code = self._codes.get(key, (None, None, None))
        if code is not None and held is body and known is reach and reach is not None and not reach.mutable:
            return code
        from compute.backends import carrier

        if reach is not None:
            _refuse_object_mode(body.__name__, [called.py_func for called in reach.dispatchers])
        attributes = reach.attributes if reach is not None else frozenset()
        imported = [carrier.Imported(module) for module in reach.imported] if reach is not None else []
        try:
            content, sets = carrier.packed((body, reduces, settings, imported), attributes, self._placed_for_code)
        except (TypeError, ValueError, AttributeError, pickle.PicklingError) as error:
            raise TypeError(
                f"{body.__name__} reaches what cannot be sent to worker processes ({type(error).__name__}: {error});"
                " run it on threads, or have it read plain values, arrays and functions"
            ) from error
        content = (SETTING if sets else SOURCE) + content
        if code is not None and code.digest == _digest(content):
            return code
        return self._keep(key, body, content, reach)

    def _keep(self, key: Hashable, of: Any, content: bytes, reach: Any = None) -> _Code:
        array = self._arena.empty(len(content), np.uint8)
        array[:] = np.frombuffer(content, np.uint8)
        code = _Code(_digest(content), array, tuple(self._found(array)), content[:1] == MACHINE)
        self._codes[key] = of, reach, code
        return code

    def _placed_for_code(self, array: Array) -> Any:
        """As `_placed`, with a word on whether it is our copy, which is read-only to code.

        Only an array that its user has shared is memory into which workers may write.
        """
        placed = self._copies.of(array)
        return self._found(placed) if placed is array else (*self._found(placed), True)

    def _placed(self, array: Array) -> ArrayRef:
        """Where workers see a large array that code or inputs reach."""
        return self._found(self._copies.of(array))


class _Code(NamedTuple):
    """What workers load once: its digest, and where it is, which is where it stays."""

    digest: bytes
    content: Array
    where: tuple[Any, ...]
    is_machine: bool


# The first byte of a code: of machine code; of a body by value; of one that sets attributes of what others use, too.
MACHINE, SOURCE, SETTING = b"M", b"S", b"A"
CODES = 64  # that are kept: a session that edits its kernels would fill the arena. A forgotten one is sent again


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def _layouts(values: Sequence[Any], others: list[Any]) -> tuple[Any, ...]:
    """What decides numba's types of these values, told in a microsecond.

    A function that numba has compiled is a type of its own, as may be what else is no number: such a value is told by
    its id, and put among the others, to be held.
    """
    layouts: list[Any] = []
    for value in values:
        if isinstance(value, np.ndarray):
            layouts.append((value.dtype, value.ndim, value.flags.num))
        elif type(value) is int:
            layouts.append((int, -(2**63) <= value < 2**63))
        elif isinstance(value, tuple):
            layouts.append((type(value), _layouts(value, others)))
        elif type(value) is list:
            layouts.append((list, _layouts(value[:1], others)))  # numba's lists have items of one type
        elif isinstance(value, np.generic):
            layouts.append((type(value), value.dtype))
        elif type(value) in PLAIN:
            layouts.append(type(value))
        else:
            layouts.append((type(value), id(value)))
            others.append(value)
    return tuple(layouts)


def _refuse_object_mode(name: str, compiled: list[Any]) -> None:
    """TypeError where compiled code returns to Python: it looks its names up in the modules of the process it is in."""
    reached = (reach_of(function, compiled=True) for function in compiled if isinstance(function, types.FunctionType))
    if any(type(value).__module__ == "numba.core.withcontexts" for reach in reached for value in reach.kept_alive):
        raise TypeError(
            f"{name} uses numba's objmode, whose Python code finds no names in worker processes; run it on threads, or"
            " a 'python' variant that calls no such function"
        )


QUICK = frozenset((np.ndarray, int, float))  # types of inputs that need no second look
NOTHING: tuple[tuple[int, ...], bytes, bool] = (), b"", False
PLAIN = frozenset((complex, bool, str, bytes, type(None))) | QUICK


def _is_plain(value: Any) -> bool:
    """Whether a plain pickle of it is short, and means the same in a worker."""
    kind = type(value)
    if kind is tuple:
        return all(type(item) is not np.ndarray and _is_plain(item) for item in value)
    return kind in PLAIN or (isinstance(value, np.generic) and kind.__module__ == "numpy")
