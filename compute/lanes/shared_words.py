"""Words that others write at the same moment: what Python does to them by machine code.

`calls()` has these operations as Python's functions: atomic adds, loads and stores in an order that others see, and
waits without the GIL. They are made of `make_operations` below, by translation.py (native_words.py), as the lane loop
is, and kept on disk; no numba is imported for them. A call takes 0.1 us.

The array of words that each is given is not looked at: it must be one of int64, and contiguous.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from compute.lanes import interrupts
from compute.lanes.control import DONE, INSIDE, N_CHUNKS, N_LANES, TICKET, WORDS_PER_LINE, line_of
from kernels.compilation import emitted, importing, native_code

SYMBOL = "nfold_words"
FIRST_LINE: int = line_of(0)
# The operations, in the order of their table, and whether Python lets the GIL go for them. The others take
# nanoseconds, and letting it go for every ticket would starve the thread that a Ctrl-C waits for.
OPERATIONS = {"over": True, "rung": True, "added": False, "take": False, "entered": False, "loaded": False,
              "stored": False}  # fmt: skip
# Functions of Python's own that they call. Their addresses are put into the table: no name has to be found.
METHOD = 32  # bytes of a PyMethodDef
PYTHONS = ("PyLong_AsLongLong", "PyLong_FromLongLong", "PyErr_Occurred", "PyEval_SaveThread", "PyEval_RestoreThread")


def make_operations(
    add: Callable[..., Any],
    load: Callable[..., Any],
    store: Callable[..., Any],
    fence: Callable[[], None],
    clock: Callable[[], int],
    pause: Callable[[], None],
) -> tuple[Callable[..., Any], ...]:
    """The operations; like the lane loop, they are written in what translation.py knows."""

    def over(words, limit):  # type: ignore[no-untyped-def]
        """Wait until a run is over (ControlArray.is_over), or for `limit` ns: 1 if it is over, else 0."""
        chunk = words[DONE]
        end = chunk + words[N_CHUNKS]
        until = clock() + limit
        while True:
            while chunk < end and load(words, chunk) != 0:
                chunk += 1
            if chunk == end:
                lane, line, inside = 0, FIRST_LINE, 0
                while lane < words[N_LANES]:
                    inside += load(words, line + INSIDE)
                    lane, line = lane + 1, line + WORDS_PER_LINE
                if inside == 0:
                    return 1
            if clock() > until:
                return 0
            pause()

    def rung(words, heard, limit):  # type: ignore[no-untyped-def]
        """Wait until the first word is another than was heard, or for `limit` ns."""
        until = clock() + limit
        while load(words, 0) == heard and clock() < until:
            pause()
        return 0

    def added(words, index, value):  # type: ignore[no-untyped-def]
        """Add to a word; what was there before."""
        return add(words, index, value)

    def take(words, line):  # type: ignore[no-untyped-def]
        """The next ticket."""
        return add(words, TICKET, 1)

    def entered(words, line):  # type: ignore[no-untyped-def]
        """Set INSIDE of a lane, before everything that it loads from now on."""
        store(words, line + INSIDE, 1)
        fence()
        return 0

    def loaded(words, index):  # type: ignore[no-untyped-def]
        """A word, and all that whoever stored it had stored before."""
        return load(words, index)

    def stored(words, index, value):  # type: ignore[no-untyped-def]
        """Store a word, after all that this thread has stored before."""
        store(words, index, value)
        return 0

    return over, rung, added, take, entered, loaded, stored


@functools.cache
@interrupts.put_off()
def calls() -> Any:
    """The operations by their names, as functions of Python. It takes llvmlite, which numba needs, to make them."""
    methods = _table() + ctypes.sizeof(ctypes.c_void_p) * (len(OPERATIONS) + len(PYTHONS))
    new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)(
        ("PyCFunction_NewEx", ctypes.pythonapi)
    )
    return SimpleNamespace(**{name: new(methods + k * METHOD, None, None) for k, name in enumerate(OPERATIONS)})


@interrupts.put_off()
def address_of(name: str) -> int:
    """An operation as a function of C, of int64s: the address of the words, and its other arguments."""
    return int((ctypes.c_int64 * len(OPERATIONS)).from_address(_table())[list(OPERATIONS).index(name)])


@functools.cache
def _table() -> int:
    """Where the table of the operations lies in this process: see native_words.py."""

    def make() -> bytes:
        from compute.lanes import native_words

        return native_words.image() or native_words.object_code()

    with importing.in_turn:
        address = _loaded(emitted.kept(SYMBOL, numbers(), make))
    pythons = (ctypes.c_void_p * len(PYTHONS)).from_address(address + ctypes.sizeof(ctypes.c_void_p) * len(OPERATIONS))
    for k, name in enumerate(PYTHONS):
        pythons[k] = ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value
    return address


def _loaded(content: bytes) -> int:
    is_image = content.startswith(native_code.IMAGE)
    if is_image:
        with contextlib.suppress(native_code.CannotRun):
            return native_code.entry_of(content)
    from compute.lanes import native_words
    from kernels.compilation import linking

    return linking.loaded(native_words.object_code() if is_image else content, SYMBOL)


def numbers() -> list[tuple[str, int]]:
    """The constants that the operations read, as they are now."""
    return emitted.numbers_of(globals())
