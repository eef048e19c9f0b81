"""A job as a message to subinterpreters, and what they refuse."""

from __future__ import annotations

import ctypes
import functools
import pickle
from typing import Any

import numpy as np

from compute.backends import ambient
from compute.backends.backend import Refused
from compute.backends.interpreters import by_value, elements, native
from compute.backends.interpreters.kinds import FORMATS, LONG, MIXED, REAL, SHORT, TRUTH, UNKNOWN, WHOLE, Kind, kind_of
from compute.backends.interpreters.subinterpreter import search_path
from compute.lanes import loop, shared_words
from compute.lanes.errors import arrived
from compute.lanes.loop import Job, arguments_of
from kernels.compilation.parts import PLAIN_TYPES
from kernels.definition import Kernel, Plan, numba_is_here
from kernels.definition.arguments import name_at
from kernels.definition.containers import ATOMS
from kernels.definition.each import Each, Items, keep, short

Array = np.ndarray[Any, Any]
# Where a lane's line stands among the flat arguments: an array of one axis, the control, goes before it.
LINE_ARGUMENT = 7
ROW = 2  # words of a chunk of items: where its results lie, and how many bytes they are
USUAL = {"warn", "ignore"}  # of numpy's errstate: what is computed is the same


def refused(kernel: Kernel) -> str | None:
    """Why no subinterpreter can run a kernel in its chosen variant, or None, as far as can be told without inputs."""
    variant = kernel.variants[kernel.variant]
    if variant.mode == "awaits":
        return f"{kernel.name} is a coroutine function, and subinterpreters await nothing; run it on Coroutines"
    if variant.compiled:
        return None
    try:
        _body_of(kernel, None)
    except ValueError as error:
        return str(error)
    return None


def _body_of(kernel: Kernel, kinds: tuple[Kind, ...] | None) -> by_value.Code:
    """A Python body's code; ValueError where it cannot be run there. kinds: of out and of the inputs, where known."""
    body: Any = kernel.variants[kernel.variant].source()
    code = by_value.code_of(body, kernel.name)
    if isinstance(kernel, Each):
        return code
    _check_elements(body, code.digest, kinds or (UNKNOWN, *(UNKNOWN for _ in kernel.inputs)))
    return code


@functools.lru_cache(maxsize=256)
def _check_elements(body: Any, digest: bytes, kinds: tuple[Kind, ...]) -> None:
    """digest: of all that the body reads, helpers among them."""
    elements.check(body, kinds)


def message_of(job: Job) -> tuple[Array, by_value.Code | None]:
    """The job, for every lane alike, and the code whose address it has; ValueError where it cannot be run there.

    Whoever holds the message has to hold the code: a lane may come to it when the body has been described anew. What
    else it names, the job keeps.
    """
    kernel: Kernel = job.kernel
    if kernel.variants[kernel.variant].compiled:
        entry = native.entry_of(kernel.name, job.lane, arguments_of(job.control, job.out, job.inputs))
        return _pickled("compiled", *entry, LINE_ARGUMENT), None
    around = ambient.here()
    if around is not None and not (set(around[0].values()) <= USUAL and around[1] is None):
        raise Refused(
            f"{kernel.name} would compute under numpy's errstate or decimal's context of this thread, which no"
            " subinterpreter has; leave them as they are by default, or run it on Threads"
        )
    names, given = kernel.inputs, job.inputs
    code = _body_of(kernel, (kind_of(job.out), *map(_kind_of, given)))
    inputs = [_given(value, kernel.name, name_at(names, k)) for k, value in enumerate(given)]
    arrays = [_place_of(job.control), _place_of(job.out)]
    reduces = kernel.reduce is not None
    parts = _loop().place, code.place, reduces, _taker(job), arrays, inputs, search_path()
    return _pickled("python", *parts), code


def _pickled(*parts: Any) -> Array:
    return np.frombuffer(pickle.dumps(parts, protocol=5), np.uint8)


@functools.cache
def _loop() -> by_value.Code:
    """The parts of the lane loop, as they are here."""
    parts = {
        "make_lane": loop.make_lane,
        "take": loop.take_in_turn,
        False: loop.TARGETS[False],
        True: loop.TARGETS[True],
    }
    return by_value.parts_of(parts | loop.PYTHON_PARTS)


def _taker(job: Job) -> Any:
    """The function of C that takes a ticket of this run, and its words; None where lanes take them in turn."""
    if job.lanes == 1 or not numba_is_here():
        return None
    return shared_words.address_of("take"), job.control.ctypes.data


def _kind_of(value: Any) -> Kind:
    """As `kinds.kind_of`; of numpy's numbers, which are Python's there."""
    if type(value) is tuple:
        return tuple(_kind_of(item) for item in value)
    if not isinstance(value, np.generic):
        return kind_of(value)
    is_real = value.dtype == np.float64
    return {
        "f": REAL if is_real else SHORT,
        "i": LONG if value.dtype == np.int64 else WHOLE,
        "u": WHOLE,
        "b": TRUTH,
    }.get(value.dtype.kind, MIXED)


def _place_of(array: Array) -> tuple[Any, ...]:
    """Where an array lies, for a memoryview of it."""
    char = b"B" if array.dtype.char not in FORMATS else array.dtype.char.encode()
    return array.ctypes.data, array.shape, array.strides, array.itemsize, char, not array.flags.writeable


def _given(value: Any, kernel: str, name: str) -> tuple[str, Any]:
    """An input as a message tells it; ValueError for what no subinterpreter takes."""
    if isinstance(value, np.ndarray):
        return "array", _place_of(value)
    if type(value) is tuple:
        return "tuple", [_given(item, kernel, name) for item in value]
    if isinstance(value, _Parcel):
        return "items", (value.name, value.grain, _place_of(value.content), _place_of(value.ends))
    if value is keep:
        return "keep", kernel
    if isinstance(value, np.generic):
        value = value.item()
    if type(value) not in PLAIN_TYPES:
        raise Refused(
            f"{kernel} is given a {type(value).__name__} for {name}, and a subinterpreter takes numbers, text, arrays"
            " and tuples of them; run it on Threads or Processes"
        )
    return "value", value


# ---------------------------------------------------------------- items


class _Parcel:
    """Items as bytes, a block for each chunk; stands for `Items`."""

    def __init__(self, name: str, grain: int, content: Array, ends: Array) -> None:
        self.name, self.grain, self.content, self.ends = name, grain, content, ends

    def __copy__(self) -> _Parcel:
        return self


def packed(kernel: Kernel, plan: Plan) -> Plan:
    """The plan of a kernel over items, for lanes that take them as bytes; TypeError names the first that cannot be."""
    items: Items = plan.inputs[0]
    values, grain = items.values, plan.step
    blocks = [_block(values[lo : lo + grain], lo, kernel.name) for lo in range(0, len(values), grain)]
    ends = np.zeros(len(blocks) + 1, np.int64)
    np.cumsum([len(block) for block in blocks], out=ends[1:])
    parcel = _Parcel(kernel.name, grain, np.frombuffer(b"".join(blocks), np.uint8), ends)
    return plan._replace(inputs=(parcel, keep), shape=(ROW,), dtype=np.int64)


def _block(block: list[Any], lo: int, name: str) -> bytes:
    if ATOMS.issuperset(map(type, block)):
        return pickle.dumps(block, protocol=5)
    try:
        return by_value.plainly_pickled(block)
    except Exception as error:
        for index, item in enumerate(block, lo):
            try:
                by_value.plainly_pickled(item)
            except Exception:
                raise TypeError(
                    f"item {index} of {name}, {short(item)}, cannot be sent to a subinterpreter"
                    f" ({type(error).__name__}: {error}); pass plain values, or run it on Threads or Processes"
                ) from error
        raise


def unpacked(job: Job) -> Array:
    """The lists of results that the lanes wrote, while their interpreters still keep them."""
    lists = np.empty(len(job.out), object)
    for chunk, (address, length) in enumerate(job.out.tolist()):
        content = pickle.loads(ctypes.string_at(address, length))
        lists[chunk], errors = content if type(content) is tuple else (content, {})
        for index, parts in errors.items():
            lists[chunk][index] = arrived(*parts)
    return lists
