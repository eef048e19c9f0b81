"""What runs in a subinterpreter. Its code is handed in whole: `compute` cannot be imported where numpy cannot.

So is that of compute/lanes/errors.py, before this file's and under the same globals.

`serve` runs one lane of the job in a message. Memory is the process's own: messages, arrays and answers are told by
their addresses, and whoever owns them keeps them until the other side has read them.
"""

from __future__ import annotations

import builtins
import ctypes
import importlib
import marshal
import pickle
import sys
import types

TYPE_CHECKING = False  # `typing` itself takes a quarter of what beginning takes here
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from compute.lanes.errors import packed, traceback_of  # which need no import there

CODES = 64  # bodies that are kept
FAILED = -1  # of a compiled lane that has raised
SIZE = ctypes.c_ssize_t
BY_CODE = {
    "P": ctypes.c_void_p, "q": ctypes.c_int64, "i": ctypes.c_int32, "h": ctypes.c_int16, "b": ctypes.c_int8,
    "d": ctypes.c_double, "f": ctypes.c_float,
}  # fmt: skip


class Buffer(ctypes.Structure):
    """Py_buffer, as Python's stable ABI has it."""

    _fields_ = [
        ("buf", ctypes.c_void_p), ("obj", ctypes.c_void_p), ("len", SIZE), ("itemsize", SIZE),
        ("readonly", ctypes.c_int), ("ndim", ctypes.c_int), ("format", ctypes.c_char_p),
        ("shape", ctypes.POINTER(SIZE)), ("strides", ctypes.POINTER(SIZE)), ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    ]  # fmt: skip


_memoryview = ctypes.pythonapi.PyMemoryView_FromBuffer
_memoryview.restype, _memoryview.argtypes = ctypes.py_object, [ctypes.POINTER(Buffer)]
_formats: dict[bytes, bytes] = {}  # of which memoryviews keep nothing but the address
_loaded: dict[bytes, Any] = {}
_answers: dict[Any, bytes] = {}  # until the next job: the caller reads them where they lie


def serve(line: int, address: int, length: int, reply: int) -> None:
    """Run the lane whose line begins there. reply: the address of three words for its state and its error.

    What Python has raised is told by its pickle's address and length, what compiled code has as `_native` tells it.
    """
    words = (ctypes.c_int64 * 3).from_address(reply)
    words[1] = words[2] = 0
    _answers.clear()
    try:
        kind, *job = pickle.loads(ctypes.string_at(address, length))
        if kind == "compiled":
            words[:] = [*_native(line, *job)]
        else:
            words[0] = _python(line, *job)
    except BaseException as error:
        words[1], words[2] = _kept("error", pickle.dumps(_packed(error)))
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()


def _kept(key: Any, content: bytes) -> tuple[int, int]:
    """Where an answer lies."""
    _answers[key] = content
    return ctypes.cast(ctypes.c_char_p(content), ctypes.c_void_p).value or 0, len(content)


def _packed(error: BaseException) -> tuple[bytes, str, list[str]]:
    """An error with its traceback here, from the first line that is not this file's."""
    trace = traceback_of(error)
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return packed(BaseException.with_traceback(error, trace), "a subinterpreter", pickle.dumps)


# ---------------------------------------------------------------- compiled lanes


def _native(line: int, address: int, codes: str, values: list[Any], place: int) -> tuple[int, int, int]:
    """The lane's state; or FAILED, and the error's address and status, of which the caller makes an exception."""
    values[place] = line
    state, error = ctypes.c_int64(), ctypes.c_void_p()
    status = _function(ctypes.CFUNCTYPE, address, codes)(ctypes.byref(state), ctypes.byref(error), *values)
    return (FAILED, error.value or 0, status) if status else (state.value, 0, 0)


def _function(kind: Any, address: int, codes: str) -> Any:
    """numba's own calling convention: where to put the result and the error, then the arguments; 0 if all is well."""
    return kind(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, *(BY_CODE[code] for code in codes))(address)


def _taker(address: int, words: int) -> Callable[[Any, int], int]:
    """A function that takes a ticket from the counter that all lanes share, which is in these words."""
    # With the GIL held: nobody else waits for it, and the call takes nanoseconds.
    function = ctypes.PYFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)(address)
    given = ctypes.c_void_p(words), ctypes.c_int64(0)

    def take(control: Any, line: int) -> int:
        ticket: int = function(*given)
        return ticket

    return take


# ---------------------------------------------------------------- Python lanes


def _python(
    line: int, loop: Any, body: Any, reduces: bool, taker: Any, arrays: list[Any], inputs: Any, path: list[str]
) -> int:
    """The lane loop, around a body, on memoryviews of the caller's arrays."""
    if sys.path != path:
        sys.path[:] = path
        importlib.invalidate_caches()
    parts = _code(loop)
    take = parts["take"] if taker is None else _taker(*taker)
    lane = parts["make_lane"](_code(body), parts[reduces], take, parts)
    views: list[memoryview] = []
    try:
        control, out = (_view(array, views) for array in arrays)
        given = tuple(_given(described, views) for described in inputs)
        state: int = lane(control, line, out, given, 2**62)
        return state
    finally:
        for view in views:
            view.release()


def _view(array: tuple[Any, ...], views: list[memoryview]) -> memoryview:
    address, shape, strides, itemsize, format_, is_read_only = array
    length, axes = itemsize, len(shape)
    for extent in shape:
        length *= extent
    extents, steps = (SIZE * axes)(*shape), (SIZE * axes)(*strides)
    buffer = Buffer(
        address, None, length, itemsize, is_read_only, axes, _formats.setdefault(format_, format_), extents, steps
    )
    views.append(_memoryview(ctypes.byref(buffer)))
    return views[-1]


def _given(described: Any, views: list[memoryview]) -> Any:
    """An input of a body: an array's view, a tuple, items and what keeps their results, a plain value."""
    kind, value = described
    if kind == "array":
        return _view(value, views)
    if kind == "tuple":
        return tuple(_given(item, views) for item in value)
    if kind == "items":
        name, grain, *arrays = value
        return Items(name, grain, *(_view(array, views) for array in arrays))
    return (lambda out, lo, values: _keep(value, out, lo, values)) if kind == "keep" else value


class Items:
    """The items of a call, a block of bytes for each chunk; a slice of them is a list."""

    def __init__(self, name: str, grain: int, content: memoryview, ends: memoryview) -> None:
        self._name, self._grain, self._content, self._ends = name, grain, content, ends

    def __getitem__(self, part: slice) -> list[Any]:
        chunk = part.start // self._grain
        items: list[Any] = pickle.loads(self._content[self._ends[chunk] : self._ends[chunk + 1]])
        return items


def _keep(name: str, out: Any, lo: int, values: list[Any]) -> None:
    """Note in a chunk's row where its results lie. They are pickled as a list, and errors among them beside it."""
    errors = {index: _packed(value) for index, value in enumerate(values) if isinstance(value, BaseException)}
    if errors:
        values = [None if index in errors else value for index, value in enumerate(values)]
    try:
        content = pickle.dumps((values, errors) if errors else values, protocol=5)
    except Exception as error:
        raise TypeError(
            f"a result of {name}, of items {lo} to {lo + len(values) - 1}, does not pickle"
            f" ({type(error).__name__}: {error}); return plain values, or run it on Threads"
        ) from error
    out[0, 0], out[0, 1] = _kept(lo, content)


# ---------------------------------------------------------------- what was described in by_value.py, made again


def _code(code: tuple[bytes, int, int]) -> Any:
    """What a code describes, made once."""
    digest, address, length = code
    if digest not in _loaded:
        if len(_loaded) >= CODES:
            del _loaded[next(iter(_loaded))]
        _loaded[digest] = _made(pickle.loads(ctypes.string_at(address, length)), {}, {})
    return _loaded[digest]


def _made(described: tuple[Any, ...], spaces: dict[int, dict[str, Any]], known: dict[int, Any]) -> Any:
    """An object as it is described. spaces: globals, by number; known: functions and modules by number."""
    kind, *rest = described
    if kind == "value":
        return rest[0]
    if kind in ("tuple", "frozenset"):
        return getattr(builtins, kind)([_made(item, spaces, known) for item in rest[0]])
    if kind in ("list", "set", "dict"):
        empty = known[rest[1]] = getattr(builtins, kind)()  # which may hold itself
        fill = empty.extend if kind == "list" else empty.update
        fill([_made(item, spaces, known) for item in rest[0]])
        return empty
    if kind == "pickle":
        return pickle.loads(rest[0])
    if kind == "again":
        return known[rest[0]]
    if kind == "module":
        return _module(*rest)
    if kind == "part":
        number, name, attributes = rest
        part = known[number] = types.ModuleType(name)
        for attribute, value in attributes.items():
            setattr(part, attribute, _made(value, spaces, known))
        return part
    return _made_function(rest, spaces, known)


def _module(name: str, values: dict[str, Any]) -> Any:
    """A module that is imported here; values: its numbers and texts that the code reads, as they are in the caller."""
    module = importlib.import_module(name)
    for attribute, value in values.items():
        if repr(getattr(module, attribute, None)) != repr(value):
            raise ValueError(
                f"{name}.{attribute} has been set to {value!r} in this program, and a subinterpreter has its own; pass"
                " it as an input, or run it on Threads or Processes"
            )
    return module


def _made_function(rest: list[Any], spaces: dict[int, dict[str, Any]], known: dict[int, Any]) -> Any:
    number, code, (module, globals_), names, defaults, keywords, cells, (name, qualname) = rest
    space = spaces.setdefault(globals_, {"__name__": module, "__builtins__": builtins})
    closure = tuple(types.CellType() for _ in cells)
    function = known[number] = types.FunctionType(marshal.loads(code), space, name, None, closure)
    function.__qualname__, function.__module__ = qualname, module
    for name, value in names.items():
        space[name] = _made(value, spaces, known)
    for cell, value in zip(closure, cells, strict=True):
        cell.cell_contents = _made(value, spaces, known)
    function.__defaults__ = _made(defaults, spaces, known)  # last, as they were described: what was met before is known
    function.__kwdefaults__ = _made(keywords, spaces, known)
    return function
