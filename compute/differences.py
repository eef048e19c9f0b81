"""How two values differ, in one line. Used where answers of variants or backends are compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kernels.definition.arguments import NUMBERS

Array = np.ndarray[Any, Any]
ROUNDING = 64  # units in the last place of the largest value by which variants may differ: sums in another order


def difference(first: Any, second: Any, exactly: bool = False) -> str | None:
    """By how much two values differ, and where first, in one line; None where they do not (NaN equals NaN).

    Floats may differ by some roundings, unless they are to be equal `exactly`.
    """
    if type(first) is type(second) and isinstance(first, list | tuple):
        return _difference_of_items(first, second, exactly)
    if isinstance(first, np.ndarray) != isinstance(second, np.ndarray) or not isinstance(first, NUMBERS):
        return None if type(first) is type(second) and _equal(first, second) else f"{first!r} and {second!r}"
    a, b = np.asarray(first), np.asarray(second)
    if "O" in (a.dtype.kind, b.dtype.kind):  # a whole number beyond any dtype
        return None if _equal(first, second) else f"{first!r} and {second!r}"
    if a.shape != b.shape or (exactly and a.dtype != b.dtype):
        return f"{a.dtype}{list(a.shape)} and {b.dtype}{list(b.shape)}"
    if a.dtype.names is not None or a.dtype.kind not in "biufcmM":
        return None if a.tobytes() == b.tobytes() else "their elements are not the same"
    where = differing(a, b)
    if not exactly and where.any():
        where &= ~_near(a, b)
    if not where.any():
        return None
    index = tuple(np.argwhere(where)[0])
    elements = f"{a[index]} and {b[index]}"
    if not a.ndim:
        return elements
    count, by = np.count_nonzero(where), _by(a, b, where)
    return f"{count} of {a.size} elements{by}, the first at {list(map(int, index))}: {elements}"


def _difference_of_items(first: Sequence[Any], second: Sequence[Any], exactly: bool) -> str | None:
    if len(first) != len(second):
        return f"{len(first)} and {len(second)} items"
    differences = ((k, difference(a, b, exactly)) for k, (a, b) in enumerate(zip(first, second, strict=True)))
    return next((f"item {k}: {text}" for k, text in differences if text), None)


def _equal(first: Any, second: Any) -> bool:
    return bool(first == second or (first != first and second != second))


def differing(a: Array, b: Array) -> Array:
    """Which elements of two arrays are not equal; NaN equals NaN."""
    with np.errstate(all="ignore"):
        return np.asarray(~((a == b) | ((a != a) & (b != b))))


def _near(a: Array, b: Array) -> Array:
    """Which elements differ by rounding only: by that of their own size, or by that of the largest of all."""
    if a.dtype.kind not in "fc" and b.dtype.kind not in "fc":
        return np.zeros(a.shape, bool)
    with np.errstate(all="ignore"):
        size = np.maximum(abs(a), abs(b))
        finite = size[np.isfinite(size)]
        step = np.finfo(np.result_type(a, b)).eps
        allowed = np.maximum(size * np.sqrt(step), ROUNDING * step * (finite.max() if finite.size else 0))
        return np.asarray(np.isfinite(size) & (abs(a - b) <= allowed))


def _by(a: Array, b: Array, where: Array) -> str:
    if a.dtype.kind in "bmM":
        return ""
    with np.errstate(all="ignore"):
        apart = abs(a[where].astype(complex) - b[where].astype(complex))
    finite = apart[np.isfinite(apart)]
    return f", by up to {finite.max():.3g}" if finite.size else ""


def equal_bytes(first: Array, second: Array) -> Array:
    """Which elements of two arrays of the same dtype hold the same bytes."""
    if not first.size or not first.itemsize:
        return np.ones(first.shape, bool)
    a, b = (x.copy(order="C").reshape(-1).view(np.uint8).reshape(*x.shape, x.itemsize) for x in (first, second))
    answer: Array = (a == b).all(axis=-1)
    return answer
