"""What a kernel's inputs may be: numbers, and numpy's own arrays of dtypes that every worker can take.

Every input of every plan goes through `checked`, on every backend alike and before a worker starts. What another kind
of array would lose (a mask, a unit, an index) is named, with the remedy.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from kernels.compilation import importing, provenance
from kernels.compilation.jitted_inputs import as_they_are_now
from kernels.definition.containers import ATOMS, read_only
from kernels.definition.plan import Plan

Array = np.ndarray[Any, Any]

PLAIN_DTYPES = frozenset(np.dtype(code) for code in "?bhilqBHILQfdFD")  # every worker takes them, compiled or not
NUMBERS = (np.ndarray, np.generic, int, float, complex)
LEAST, MOST = -(2**63), 2**63 - 1
# What to pass instead of a dtype that no worker, or no compiled code, can take, by the dtype's kind and size.
REMEDIES = {
    "f2": "{x}.astype(np.float32)",
    "f": "{x}.astype(np.float64)",
    "c": "{x}.astype(np.complex128)",
    "O": "{x}.astype(float), or another numeric dtype",
    "T": '{x}.astype("U")',
    "V": "{x}.view(np.uint8)",
}

# Of random numbers. Where every process draws from a copy of one generator, all of them draw the same numbers.
GENERATORS = frozenset({"Generator", "RandomState", "Random", "SystemRandom"})
DRAW = (
    "draw the numbers before the run and pass the array, or say @kernel(compiled=False) and draw from"
    " np.random.default_rng((seed, lo)) in the body"
)


def checked(plan: Plan, names: Sequence[str], inout: Sequence[int], compiled: bool) -> Plan:
    """The plan, with inputs that every worker can take.

    ValueError, with the input and the remedy, for what a worker cannot take, or would take wrongly.
    """
    if plan.order is not None and not np.array_equal(np.sort(plan.order), np.arange(plan.chunks)):
        raise ValueError(f"a plan's order must hold each of its {plan.chunks} chunks once, not {plan.order!r}")
    for x in plan.inputs:
        kind = type(x)
        if not (
            kind is float or (kind is np.ndarray and x.dtype in PLAIN_DTYPES) or (kind is int and LEAST <= x <= MOST)
        ):
            taken = [_taken(x, name_at(names, k), compiled) for k, x in enumerate(plan.inputs)]
            plan = plan._replace(inputs=as_they_are_now(tuple(taken), compiled))
            break
    if compiled and plan.dtype is not np.float64 and (reason := _refused(np.dtype(plan.dtype))):
        raise ValueError(f"the output's dtype is {np.dtype(plan.dtype)}, {reason[0]}; choose another, or run 'python'")
    if inout:
        _check_inout(plan, names, inout)
    return plan


def guarded(inputs: tuple[Any, ...], inout: Sequence[int]) -> tuple[Any, ...]:
    """The inputs as bodies get them: read-only views of all arrays, in containers too, but of those at `inout`."""
    protected = list(inputs)  # a loop over a list is twice as fast as a generator, and every run waits for it
    for k, x in enumerate(inputs):
        if type(x) is np.ndarray:
            if k not in inout:
                protected[k] = view = x.view()
                view.setflags(False)  # type: ignore[call-arg]  # by name it takes twice as long
        elif type(x) not in ATOMS:
            protected[k] = read_only(x)
    return tuple(protected)


def with_copied_inputs(plan: Plan, inout: Sequence[int]) -> Plan:
    """The plan for a run that is to change nothing of the caller's: with copies of what its bodies may write to."""
    inputs = tuple(x.copy() if k in inout else x for k, x in enumerate(plan.inputs))
    return plan._replace(inputs=guarded(inputs, inout))


def name_at(names: Sequence[str], k: int) -> str:
    """What an input is called: its parameter, or `arrays[2]`."""
    last = len(names) - 1
    if k < len(names) and not names[k].startswith("*"):
        return names[k]
    return f"{names[last][1:]}[{k - last}]" if names and names[last].startswith("*") else f"input {k}"


def as_input(value: Any, name: str) -> Any:
    """A user's own argument as an input: an array, or a number; anything else is an error that names the remedy."""
    if type(value) is np.ndarray and value.dtype in PLAIN_DTYPES:
        return value
    if isinstance(value, list):
        try:
            return np.asarray(value)
        except ValueError as error:
            raise ValueError(f"{name} must be an array of numbers, with rows of equal length ({error})") from None
    value = _taken(value, name, compiled=False)
    if not isinstance(value, NUMBERS):
        raise ValueError(f"{name} must be an array or a number, not {type(value).__name__}; {_instead(value, name)}")
    return value


def _instead(value: Any, name: str) -> str:
    """What to do with an argument that is no input."""
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return f"pass np.asarray({name})"
    if callable(value):
        return "a body calls it by its own name, from outside"
    if value is None or isinstance(value, str | bytes):
        return "a body reads it from outside"
    return "pass the numbers and arrays in it, or say @kernel(compiled=False) and let the body read it from outside"


def is_generator(value: Any) -> bool:
    """Whether it is numpy's or Python's own kind of generator of random numbers."""
    return type(value).__name__ in GENERATORS and f"{type(value).__module__}.".startswith(("numpy.random.", "random."))


def _taken(value: Any, name: str, compiled: bool) -> Any:
    """The value as an input; what is neither an array nor a number is left to the planner."""
    if type(value) is tuple:
        return tuple(_taken(x, f"{name}[{k}]", compiled) for k, x in enumerate(value))
    if is_generator(value):
        raise ValueError(f"{name} is a {type(value).__name__}, and lanes would draw from it in any order; {DRAW}")
    if provenance.is_dispatcher(value):
        return value
    value = _as_array(value, name)
    if isinstance(value, np.ndarray | np.generic) and (reason := _refused(value.dtype, compiled)):
        why, remedy = reason
        also = ", or run the 'python' variant" if compiled and not value.dtype.hasobject else ""
        raise ValueError(f"{name} has dtype {value.dtype}, {why}; pass {remedy.format(x=name)}{also}")
    if compiled and isinstance(value, int) and not LEAST <= value <= MOST:
        wide = f"np.uint64({name}) or " if 0 < value < 2**64 else ""
        raise ValueError(f"{name} is {value}, beyond an int64; pass {wide}float({name}), or run the 'python' variant")
    return value


def _as_array(value: Any, name: str) -> Any:
    """An array, or an object like one, as numpy's own array; a ValueError where that would lose something."""
    kind = type(value)
    if kind is np.ndarray or not (isinstance(value, np.ndarray) or _is_array_like(value)):
        return value
    if kind is np.memmap:
        return value.view(np.ndarray)
    check_subclass(value, name)
    if hasattr(value, "toarray"):
        raise ValueError(f"{name} is a sparse {kind.__name__}; pass {name}.toarray()")
    if not hasattr(value, "to_numpy"):
        stripped = f"{name}.magnitude" if hasattr(value, "magnitude") else f"np.asarray({name})"
        raise ValueError(f"{name} is a {kind.__name__}, not an array; pass {stripped}")
    array = np.asarray(value)  # pandas and the like: the index is not a part of the numbers
    if array.dtype.hasobject:
        raise ValueError(
            f"{name} is a {kind.__name__} that holds Python objects, which no worker can share;"
            f" pass {name}.to_numpy(dtype=float)"
        )
    return array


def _is_masked(value: Any) -> bool:
    """Whether it is a masked array, of which there is none before `numpy.ma` is loaded: `np.ma` would load it now.

    That takes as long as a short kernel, and a process that is forked meanwhile would wait for the import for ever.
    """
    masked = getattr(sys.modules.get("numpy.ma"), "MaskedArray", None)
    return masked is not None and isinstance(value, masked)


def check_subclass(value: Any, name: str) -> None:
    """ValueError for an array of a subclass that is more than the elements: a mask, a unit, another product."""
    if _is_masked(value):
        raise ValueError(f"{name} is a masked array, and its mask would be lost; pass {name}.filled(value)")
    if isinstance(value, np.ndarray) and type(value) not in (np.ndarray, np.memmap):
        own = "its own arithmetic" if isinstance(value, np.matrix) else "what it adds to an array"
        raise ValueError(f"{name} is a {type(value).__name__}, and {own} would be lost; pass np.asarray({name})")


def _is_array_like(value: Any) -> bool:
    return not isinstance(value, np.generic | type) and (hasattr(value, "__array__") or hasattr(value, "toarray"))


@functools.cache
def _refused(dtype: np.dtype[Any], compiled: bool = True) -> tuple[str, str] | None:
    """Why no worker, or no compiled code, can take a dtype, and what to pass instead of an array {x} of it."""
    if dtype in PLAIN_DTYPES:
        return None
    if dtype.hasobject:
        return "which holds Python objects that no worker can share", REMEDIES["T" if dtype.kind == "T" else "O"]
    if not compiled:
        return None
    if not dtype.isnative:
        return "whose byte order is not this machine's", "{x}.astype({x}.dtype.newbyteorder('='))"
    if dtype.kind == "V" and dtype.names:
        for field in dtype.names:
            if reason := _refused(dtype[field].base):
                why, remedy = reason
                return f"whose field {field} is {dtype[field].base}, {why}", remedy.replace("{x}", f"{{x}}[{field!r}]")
    remedy = REMEDIES.get(f"{dtype.kind}{dtype.itemsize}") or REMEDIES.get(dtype.kind, "{x}.astype(float)")
    if dtype.kind == "f" and dtype.itemsize == 2:  # numba knows the type, but none of its operations
        return "which compiled code cannot compute with", remedy
    with importing.whole():
        from numba.core.errors import NumbaError
        from numba.np.numpy_support import from_dtype

    try:
        from_dtype(dtype)
    except (NumbaError, NotImplementedError):
        return "which compiled code cannot take", remedy
    return None


def _check_inout(plan: Plan, names: Sequence[str], inout: Sequence[int]) -> None:
    """A ValueError where what a body writes into an input would be lost, or would differ between backends."""
    others = [*enumerate(plan.inputs), (-1, plan.out)]
    for k in inout:
        if k >= len(plan.inputs):
            continue
        x, name = plan.inputs[k], name_at(names, k)
        if not isinstance(x, np.ndarray):
            raise ValueError(f"{name} is written to, so it must be an array, not {type(x).__name__}")
        if not x.flags.writeable:
            raise ValueError(f"{name} is written to, and this one is read-only; pass {name}.copy()")
        if any(stride == 0 < extent - 1 for stride, extent in zip(x.strides, x.shape, strict=True)):
            raise ValueError(f"{name} is written to, and its elements share memory; pass {name}.copy()")
        for other, y in others:
            if other != k and isinstance(y, np.ndarray) and np.may_share_memory(x, y):
                shared = "out" if other < 0 else name_at(names, other)
                raise ValueError(f"{name} is written to, and {shared} shares its memory; pass {name}.copy()")


def as_out(out: Any) -> Array | None:
    """The caller's `out=`, as numpy takes it: an array, alone or in a tuple of one. `checked_out` sees to the rest."""
    if isinstance(out, tuple) and len(out) == 1:
        out = out[0]
    if out is not None and not isinstance(out, np.ndarray):
        raise TypeError(f"out must be an array, not {type(out).__name__}; leave it out to get a new one")
    return out


def checked_out(plan: Plan, shape: tuple[int, ...] | None) -> Array:
    """The plan's `out`; ValueError or TypeError where it cannot take the result, or something of it would be passed by.

    shape: the result's; None where only the value tells its shape and dtype.
    """
    out: Any = as_out(plan.out)
    if _is_masked(out):
        raise ValueError("out is a masked array, and its mask would not be set; pass out.data, and set out.mask")
    if type(out).__array_ufunc__ is not np.ndarray.__array_ufunc__:
        raise ValueError(
            f"out is a {type(out).__name__}, whose own arithmetic would be passed by; pass np.asarray(out)"
        )
    if not out.flags.writeable:
        raise ValueError("out is read-only; pass a writeable array, such as out.copy()")
    if shape is not None:
        if out.shape != shape:
            raise ValueError(f"out has shape {out.shape}, and the result has {shape}; use np.empty({shape})")
        check_holds(out.dtype, np.dtype(plan.dtype), shape)
    if _shares_elements(out):
        raise ValueError("out's elements share memory, so that one would overwrite another; pass out.copy()")
    return out  # type: ignore[no-any-return]


def check_holds(out: np.dtype[Any], dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """ValueError where an `out` of a dtype cannot hold a result of another one and this shape, by numpy's rule.

    To numpy a number also goes into text or raw bytes, cut off where these are short. Here it does not.
    """
    is_number_as_text = out.kind in TEXTS and dtype.kind not in TEXTS
    if is_number_as_text or not np.can_cast(dtype, out, "same_kind"):
        raise ValueError(f"out has dtype {out}, which cannot hold {dtype}; use np.empty({shape}, np.{dtype})")


def check_holds_value(out: np.dtype[Any], value: Any) -> None:
    """The same for a value that only the run has told.

    Whole numbers are looked at: those that are not negative also go into an unsigned `out`. What numpy makes elements
    of itself (texts, dates, fields in tuples, objects) is left to it.
    """
    made = np.asarray(value)
    is_made_by_numpy = made.dtype.kind not in "biufc" or (out.names is not None and isinstance(value, tuple | list))
    says_what_is_too_large = type(value) is int and out.kind in "iufc"  # numpy does, of Python's own
    if is_made_by_numpy or says_what_is_too_large or not made.size:
        return
    if made.dtype.kind in "iu" and out.kind in "iu":
        fits = np.iinfo(out)
        if fits.min <= made.min() and made.max() <= fits.max:
            return
    check_holds(out, made.dtype, made.shape)


TEXTS = "SUTV"  # numpy's kinds of dtypes: bytes, texts of a fixed and of any length, raw bytes and records


def _shares_elements(array: Array) -> bool:
    """Whether two elements of one array lie in the same bytes, as in np.broadcast_to or overlapping windows."""
    steps = sorted((abs(step), extent) for step, extent in zip(array.strides, array.shape, strict=True) if extent > 1)
    reach = array.itemsize
    for step, extent in steps:
        if step < reach:
            break
        reach += step * (extent - 1)
    else:
        return False  # each axis steps over all that the ones before it span
    if not array.size or any(step == 0 for step, _ in steps):
        return bool(array.size)
    places = np.zeros(1, np.int64)
    for step, extent in steps:
        places = np.add.outer(places, step * np.arange(extent)).ravel()
    return bool((np.diff(np.sort(places)) < array.itemsize).any())
