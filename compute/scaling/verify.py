"""Whether an answer is right: `check` by the kernel's own check, `compare` with the serial value, to the bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels.compilation.parts import same_bytes
from kernels.definition import Kernel


class WrongAnswer(AssertionError):
    """A configuration's value is not the serial one, or the kernel's own check refuses it. Nothing was timed."""


def check(kernel: Kernel, value: Any, args: Sequence[Any], kw: Mapping[str, Any]) -> None:
    """WrongAnswer where the kernel has a check of its own and it refuses the value."""
    if kernel.check is None:
        return
    try:
        kernel.check(value, *args, **kw)
    except AssertionError as error:
        raise WrongAnswer(
            f"{kernel.name} ({kernel.variant}) on Serial() fails its own check: {error or 'wrong'}"
        ) from error


def compare(kernel: Kernel, backend: Any, value: Any, reference: Any) -> None:
    """WrongAnswer where the value is not the serial one of the same variant to the bit (NaN equals NaN)."""
    if same(value, reference):
        return
    message = f"{kernel.name} ({kernel.variant}) on {backend!r} does not give what Serial() gives"
    if isinstance(value, np.ndarray) and isinstance(reference, np.ndarray):
        if (value.shape, value.dtype) != (reference.shape, reference.dtype):
            message += f": {value.dtype}{list(value.shape)}, not {reference.dtype}{list(reference.shape)}"
        elif value.dtype.names is None:
            wrong = np.argwhere(~((value == reference) | ((value != value) & (reference != reference))))
            message += f": {len(wrong)} of {value.size} elements differ, the first at {tuple(map(int, wrong[0]))}"
    elif isinstance(value, int | float | complex):
        message += f": {value!r}, not {reference!r}"
    raise WrongAnswer(f"{message}; a body must fill only what belongs to lo..hi, and be pure")


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal: type, shape, dtype and every element, NaN where the other has NaN."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        if not (isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and (a.shape, a.dtype) == (b.shape, b.dtype)):
            return False
        if not a.dtype.hasobject and same_bytes(a, b):  # seventy times as fast as what follows, which compares NaNs
            return True
        if a.dtype.names is not None or a.dtype.kind in "OSUV":
            return bool(np.array_equal(a, b))
        return bool(np.array_equal(a, b, equal_nan=a.dtype.kind in "fc"))
    if type(a) is not type(b):
        return False
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return bool(a == b or (a != a and b != b))
