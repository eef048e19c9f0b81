"""Machine code that needs no compiler: an image (linking.py makes it) in this process's memory, and calls of it.

Neither numba nor LLVM is imported for it, which take most of the time of a short program, and most of a worker's
memory. An image is the very object code that numba compiled, so that its answers are the same to the bit.

Its functions are called as C functions whose arguments are laid flat, which is numba's own convention
(`numba.core.callconv`): before them the places of the result and of the error; an array is who owns its memory, its
size, its data's address, its extents and strides; a tuple is its items. Such a call lets the GIL go.
"""

from __future__ import annotations

import ctypes
import functools
import json
import mmap
import pickle
import platform
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray

PAGE = 4096
LEAST, MOST = -(2**63), 2**63 - 1
NOTHING = -2  # the status of a function that returns None; 0 is that of one that returns something
_C = {"P": ctypes.c_void_p, "q": ctypes.c_int64, "i": ctypes.c_int32, "h": ctypes.c_int16, "b": ctypes.c_int8,
      "d": ctypes.c_double, "f": ctypes.c_float}  # fmt: skip
CODES = {"i64": "q", "i32": "i", "i16": "h", "i8": "b", "double": "d", "float": "f"}  # by LLVM's words for the types
RESULTS = {"none": None, "int64": ctypes.c_int64, "boolean": ctypes.c_bool}  # by numba's names of the types


class Image(NamedTuple):
    """Machine code for any address.

    content: the bytes. entry: where in them the function begins. read_only: how many of the first are never written.
    addresses: where words are offsets from the first byte, to which its address is added. outside: functions of C, as
    `address_of` finds them, and where words are offsets from theirs.
    """

    content: bytes
    entry: int
    read_only: int
    addresses: list[int]
    outside: dict[str, list[int]]


@functools.cache
def is_possible() -> bool:
    """Whether machine code can be here without numba: it is laid out for x86-64 on Linux with GNU's C library alone."""
    is_laid_out = sys.platform == "linux" and platform.machine() == "x86_64" and sys.maxsize > 2**32
    return is_laid_out and bool(c_libraries())


class CannotRun(ValueError):
    """Code that this process cannot run: it lacks a function of C, or may not make memory executable."""


IMAGE = b"["  # what a packed image begins with, and object code does not


def packed(image: Image, words: tuple[str, ...], codes: str, returns: str) -> bytes:
    """An image as bytes. words, codes: of its arguments, see `words_of` and `_C`. returns: see RESULTS."""
    described = [image.entry, image.read_only, image.addresses, image.outside, words, codes, returns]
    return json.dumps(described).encode() + b"\n" + image.content


def _unpacked(content: bytes) -> tuple[Image, list[str], str, str]:
    line, _, code = content.partition(b"\n")
    entry, read_only, addresses, outside, words, codes, returns = json.loads(line)
    return Image(code, entry, read_only, addresses, outside), words, codes, returns


def entry_of(content: bytes) -> int:
    """The address of what a packed image begins with: it is loaded here, and stays until the process ends.

    CannotRun where it cannot be here.
    """
    image = _unpacked(content)[0]
    memory, begin = _loaded(image)
    keep_for_good(memory)
    return begin + image.entry


def keep_for_good(memory: Any) -> None:
    """Never free this, not even as Python ends: other objects have addresses in it, and threads may run code there."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(memory))


class NativeCode:
    """A function in machine code that needs no numba, for arguments of the types `words` alone (see `words_of`)."""

    def __init__(self, content: bytes) -> None:
        """Load what `packed` gave. CannotRun where that cannot be here; its bytes are trusted as code is."""
        image, words, codes, returns = _unpacked(content)
        self.content, self.words, self.codes = content, tuple(words), codes
        self._memory, begin = _loaded(image)
        self.address = begin + image.entry
        self._returns = RESULTS[returns]
        takes = (ctypes.c_void_p, ctypes.c_void_p, *(_C[code] for code in codes))
        self._function = ctypes.CFUNCTYPE(ctypes.c_int32, *takes)(self.address)

    def __call__(self, *arguments: Any) -> Any:
        if words_of(arguments) != self.words:
            raise TypeError(f"machine code for {self.words} was called with {words_of(arguments)}")
        return self._run(flat(arguments))

    def but_for(self, k: int, *arguments: Any) -> Callable[[Any], Any]:
        """This function of argument number k alone, an int; the others are as given, and are looked at once.

        It has the addresses of arrays and not the arrays: they must be there for as long as it is called.
        """
        if words_of(arguments) != self.words:
            raise TypeError(f"machine code for {self.words} was called with {words_of(arguments)}")
        before, after, run = flat(arguments[:k]), flat(arguments[k + 1 :]), self._run
        return lambda value: run([*before, value, *after])

    def _run(self, values: list[Any]) -> Any:
        result, error = ctypes.c_int64(), ctypes.c_void_p()
        status = self._function(ctypes.byref(result), ctypes.byref(error), *values)
        if status != 0 and status != NOTHING:
            raise raised(status, error)
        if self._returns is None:
            return None
        return result.value if self._returns is ctypes.c_int64 else self._returns.from_buffer(result).value


def raised(status: int, error: ctypes.c_void_p) -> BaseException:
    """The exception that a function has raised: numba keeps its class and arguments in the code, as a pickle."""
    if status < 1 or not error.value:
        return SystemError(f"compiled code ended with the status {status}")
    address, length, _, _, dynamic = struct.unpack("<QixxxxQQi", ctypes.string_at(error.value, 36))
    if dynamic:
        return RuntimeError("compiled code raised an exception with values of its run")
    kind, arguments, _ = pickle.loads(ctypes.string_at(address, length))
    if kind is None:  # a `raise` of what is being handled, where nothing is
        return RuntimeError("No active exception to reraise")
    error_made: BaseException = kind(*(arguments or ()))
    return error_made


def words_of(arguments: Sequence[Any]) -> tuple[str, ...] | None:
    """The types of arguments, as numba sees them; None where one is more than a number, an array or a tuple."""
    words: list[str] = []
    for value in arguments:
        kind = type(value)
        if kind is ndarray:
            key = value.dtype, value.ndim, value.flags.num & _DECIDE
            word = _array_words.get(key) or _array_word(*key)
        elif (scalar := _SCALARS.get(kind)) is not None:
            word = scalar[0] if kind is not int or LEAST <= value <= MOST else None
        elif kind is tuple:
            inner = words_of(value)
            word = None if inner is None else f"({','.join(inner)})"
        else:
            return None
        if word is None:
            return None
        words.append(word)
    return tuple(words)


def flat(arguments: Sequence[Any], into: list[Any] | None = None) -> list[Any]:
    """Arguments that have `words_of`, as numba's functions take them; behind what is in `into`."""
    values: list[Any] = [] if into is None else into
    for value in arguments:
        kind = type(value)
        if kind is ndarray:
            place = value.__array_interface__["data"][0]
            values += (None, None, value.size, value.itemsize, place, *value.shape, *value.strides)
        elif kind is int:
            values.append(value)
        elif kind is tuple:
            flat(value, values)
        else:
            values += _SCALARS[kind][1](value)
    return values


def _whole(value: Any) -> tuple[int]:
    return (int(value),)


def _real(value: Any) -> tuple[float]:
    return (float(value),)


def _two(value: Any) -> tuple[float, float]:
    return float(value.real), float(value.imag)


ARRAY_CODES = "PPqqP"  # and two words for each axis
SCALAR_CODES = {"int8": "b", "int16": "h", "int32": "i", "int64": "q", "uint8": "b", "uint16": "h", "uint32": "i",
                "uint64": "q", "bool": "b", "float32": "f", "float64": "d", "complex64": "ff",
                "complex128": "dd"}  # fmt: skip
_BY_KIND = {"i": _whole, "u": _whole, "b": _whole, "f": _real, "c": _two}  # numpy's kinds, but float16 and the longest
# numba's word for a number's type, and how it is laid flat.
_SCALARS: dict[type, tuple[str, Callable[[Any], tuple[Any, ...]]]] = {
    int: ("int64", _whole),
    float: ("float64", _real),
    complex: ("complex128", _two),
    bool: ("bool", _whole),
} | {np.dtype(name).type: (name, _BY_KIND[np.dtype(name).kind]) for name in SCALAR_CODES}

# Of numpy's flags: C order, Fortran's order, aligned, writeable.
_C_ORDER, _F_ORDER, _ALIGNED, _WRITEABLE = 0x1, 0x2, 0x100, 0x400
_DECIDE = _C_ORDER | _F_ORDER | _ALIGNED | _WRITEABLE


def _array_word(dtype: np.dtype[Any], ndim: int, flags: int) -> str | None:
    if dtype.name not in SCALAR_CODES or not dtype.isnative:
        return None
    layout = "C" if flags & _C_ORDER else "F" if flags & _F_ORDER else "A"
    word = f"array({dtype.name},{ndim},{layout},{bool(flags & _WRITEABLE)},{bool(flags & _ALIGNED)})"
    _array_words[dtype, ndim, flags] = word
    return word


_array_words: dict[tuple[np.dtype[Any], int, int], str] = {}  # of the few kinds of arrays that there are


def _loaded(image: Image) -> tuple[Any, int]:
    """The image in memory that may be executed, which is there for as long as the first is; and its address."""
    if not is_possible():
        raise CannotRun("it is for x86-64 on Linux, with GNU's C library")
    size = -(-max(len(image.content), 1) // PAGE) * PAGE
    try:
        memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ | mmap.PROT_WRITE)
    except OSError as error:
        raise CannotRun(str(error)) from error
    held = (ctypes.c_char * size).from_buffer(memory)
    begin = ctypes.addressof(held)
    memory[: len(image.content)] = image.content
    _add(memory, image.addresses, begin)
    for name, places in image.outside.items():
        address = address_of(name)
        if not address:
            raise CannotRun(f"there is no function {name} on this system")
        _add(memory, places, address)
    executable = mmap.PROT_READ | mmap.PROT_EXEC
    if image.read_only and c_libraries()[0].mprotect(
        ctypes.c_void_p(begin), ctypes.c_size_t(image.read_only), executable
    ):
        raise CannotRun("this system makes no memory executable")
    return held, begin


def _add(memory: mmap.mmap, places: list[int], address: int) -> None:
    word = struct.Struct("<q")
    for place in places:
        word.pack_into(memory, place, word.unpack_from(memory, place)[0] + address)


@functools.cache
def address_of(name: str) -> int:
    """Where a function of the C library is, by its name or by name@version; 0 where there is none.

    In these two libraries alone, which every process has: another could have been loaded into this one.
    """
    name, _, version = name.partition("@")
    for library in c_libraries():
        if version:
            find = library.dlvsym  # of any library, by the handle
            find.restype, find.argtypes = ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p)
            address = find(library._handle, name.encode(), version.encode())
        else:
            function = getattr(library, name, None)
            address = function and ctypes.cast(function, ctypes.c_void_p).value
        if address:
            return int(address)
    return 0


@functools.cache
def c_libraries() -> list[Any]:
    """The C library, and its mathematical part; nothing where it is another one than GNU's."""
    try:
        return [ctypes.CDLL("libc.so.6"), ctypes.CDLL("libm.so.6")]
    except OSError:
        return []
