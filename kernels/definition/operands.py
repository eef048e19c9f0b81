"""Operands of the matrix kernels: checked against numpy's own rules, of one dtype, and cut into tiles.

The dtype is numpy's own promotion of the arrays, where that is one for which the kernel has code of its own (float32;
complex128 and int64 in the streams). Everything else is computed in float64. A body's arrays and numbers are all of it.

A stack of matrices is passed to a body as one three-dimensional array and an index array that says which of them each
result takes: numpy's broadcasting without a copy of what it repeats.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from kernels.definition import arguments
from kernels.definition.arguments import check_subclass
from kernels.definition.plan import MOST_CHUNKS
from kernels.vectors.memory import check_ever_fits, check_memory

Array = np.ndarray[Any, Any]

FLOAT64, FLOAT32, COMPLEX128, INT64 = (np.dtype(x) for x in (np.float64, np.float32, np.complex128, np.int64))
SEED = 20261122  # for the operands of every example

# Elements to a chunk of the kernels that move memory: a sixteenth of all, but within these limits. Half a megabyte
# takes one core 15 us, and 8 MB take it 240 us. Handing out a chunk from Python costs 4 us, or 12 us (5 % of 8 MB) if
# the data evicted Python from the caches. 16 chunks of 4096 x 4096 are enough for the cores that share one memory.
LEAST_ELEMENTS, MOST_ELEMENTS = 1 << 16, 1 << 20
# Rows and columns of a transposed tile. Rows that are written side by side meet in the same sets of a cache, and each
# tile begins with a wait for memory. On Zen 5, n = 4096:
#   64 x 512   33 GB/s
#   64 x 64    32 GB/s
#   128 x 512  30 GB/s
#   256 x 512  26 GB/s
TALL, WIDE = 64, 512


def chunk_elements(elements: int) -> int:
    """How many of the elements make a chunk."""
    return max(min(max(elements // 16, LEAST_ELEMENTS), MOST_ELEMENTS), elements // MOST_CHUNKS)


def dtype_of(operands: tuple[Any, ...], own: tuple[np.dtype[Any], ...]) -> np.dtype[Any]:
    """The dtype in which a kernel computes that has code of its own for these: numpy's promotion, else float64.

    As in numpy, Python's own numbers go along with the arrays. Lists are float64. complex64 is computed in complex128.
    """
    dtypes = set()
    for value in operands:
        if (type(value) is np.ndarray and value.dtype is FLOAT64) or isinstance(value, list | tuple):
            dtypes.add(FLOAT64)
        elif not isinstance(value, int | float | complex) or isinstance(value, np.generic):
            try:
                dtypes.add(np.asarray(value).dtype)
            except ValueError:  # `as_operand` says what is wrong with it
                return FLOAT64
    if not dtypes or dtypes == {FLOAT64}:
        return FLOAT64
    try:
        common = np.result_type(*dtypes).newbyteorder("=")
    except TypeError:  # dates, texts
        return FLOAT64
    common = COMPLEX128 if common.kind == "c" else common
    return next((dtype for dtype in own if dtype == common), FLOAT64)


def refuse_truth_values(**operands: Any) -> None:
    """ValueError where all operands are bool: numpy joins such products with `and` and `or`, and a kernel here counts.

    Beside numbers they are 0 and 1, as in numpy.
    """
    if all(map(_is_of_truth_values, operands.values())):
        raise ValueError(
            f"{' and '.join(operands)} hold truth values, which numpy joins with and/or, and which would be counted"
            f" here; pass numbers, such as {next(iter(operands))}.astype(float)"
        )


def _is_of_truth_values(value: Any) -> bool:
    if isinstance(value, list | tuple):
        try:
            value = np.asarray(value)
        except ValueError:  # `as_operand` says what is wrong with it
            return False
    return value.dtype.kind == "b" if isinstance(value, np.ndarray | np.generic) else isinstance(value, bool)


def as_float64(value: Any, name: str) -> Array:
    """The operand as a float64 array, as `as_operand` makes it."""
    return as_operand(value, name, FLOAT64)


def as_operand(value: Any, name: str, dtype: np.dtype[Any]) -> Array:
    """The operand as an array of a dtype that `dtype_of` gave; a ValueError where that would lose something.

    An array of that dtype is taken as it is, whatever its strides. Everything else is converted, which is one copy:
    bool, float16, float32, integers as large as the dtype holds each of them (float64: 2**53 in magnitude), longdouble
    values that it holds, lists, other byte orders. A Python float is rounded to float32 as in numpy.
    """
    if type(value) is np.ndarray and value.dtype is dtype and value.flags.aligned:
        return value  # the usual case: every further check costs time when caches are cold
    check_subclass(value, name)
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} must be an array of numbers, with rows of equal length ({error})") from None
    if array.dtype == dtype and array.flags.aligned:  # other byte orders are other dtypes
        return array
    if array.dtype.kind not in ("biufc" if dtype.kind == "c" else "biuf"):
        remedy = {"c": f"pass {name}.real", "O": f"convert it with np.asarray({name}, dtype=float)"}
        advice = remedy.get(array.dtype.kind, "pass an array of a real numeric dtype")
        raise ValueError(f"{name} must hold real numbers, not {array.dtype}; {advice}")
    check_memory(dtype.itemsize * array.size, f"use a smaller {name}, or one of {dtype}, which needs no copy")
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8 and array.size and dtype != INT64:
        bits = np.finfo(dtype).nmant + 1
        for extreme in (int(array.max()), int(array.min())):
            if abs(extreme) > 2**bits:
                raise ValueError(
                    f"{name} holds {extreme}, beyond the integers of {dtype} (2**{bits} in magnitude); "
                    f"round it first with {name}.astype(float)"
                )
    with np.errstate(over="ignore"):
        converted = array.astype(dtype)
    if array.dtype.kind in "fc" and np.finfo(array.dtype).bits > np.finfo(dtype).bits:
        lost = np.isinf(converted) & ~np.isinf(array) if dtype == FLOAT32 else (converted != array) & ~np.isnan(array)
        if lost.any():
            raise ValueError(
                f"{name} holds {array[lost].flat[0]!r}, which {dtype} cannot hold; "
                f"round it first with {name}.astype({'complex' if dtype.kind == 'c' else 'float'})"
            )
    return converted


def as_scalar(value: Any, name: str, dtype: np.dtype[Any] = FLOAT64) -> Any:
    """The number in a dtype, by the same rules as an array of them: a float, a complex, or numpy's float32."""
    array = as_operand(value, name, dtype)
    if array.ndim:
        raise ValueError(f"{name} must be a number, not an array of shape {array.shape}")
    return array[()] if dtype == FLOAT32 else array.item()


def as_out(out: Any, dtype: np.dtype[Any] = FLOAT64) -> Array | None:
    """The caller's `out=`, as numpy takes it. `Kernel.plan` sees to its shape, and what it can hold of other dtypes.

    What can hold int64 is int64 alone: a narrower dtype would wrap around, and a wider one round, without a word.
    """
    array: Array | None = arguments.as_out(out)
    if array is not None and dtype == INT64 and array.dtype != INT64:
        raise ValueError(f"out has dtype {array.dtype}, which cannot hold {dtype}; use np.empty(shape, np.{dtype})")
    return array


def broadcast(shapes: dict[str, tuple[int, ...]], out: tuple[int, ...] | None = None) -> tuple[int, ...]:
    """The shape to which the named shapes broadcast, `out` included where it is given; a ValueError that names them."""
    if not (out or any(shapes.values())):
        return ()  # the usual case, without numpy's function, which is slow when caches are cold
    named_shapes = " and ".join(f"{name}'s {shape}" for name, shape in shapes.items())
    try:
        common = np.broadcast_shapes(*shapes.values())
        if out is None:
            check_ever_fits(8 * math.prod(common))
            return common
        if np.broadcast_shapes(common, out) == out:
            return out
    except ValueError as error:
        if "too large" in str(error):  # they match, and numpy cannot count the elements
            axes = itertools.zip_longest(*(shape[::-1] for shape in shapes.values()), fillvalue=1)
            check_ever_fits(8 * math.prod(map(max, axes)))
        if out is None:
            raise ValueError(f"shapes do not match: {named_shapes} do not broadcast together") from None
    raise ValueError(f"out has the wrong shape: {named_shapes} do not broadcast to out's {out}")


def stacked(array: Array, core: int, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """The array with its leading axes as one, and for each of the results that `shape` has, which entry it takes.

    The last `core` axes stay. A copy is made only where the leading axes cannot be seen as one.
    """
    leading = array.shape[: array.ndim - core]
    if not (leading or shape):
        return array.reshape(1, *array.shape), np.zeros(1, np.intp)  # the usual case, in a tenth of the time
    count = math.prod(leading)
    check_memory(8 * (count + math.prod(shape)), "use fewer matrices or rows")
    which = np.broadcast_to(np.arange(count).reshape(leading), shape).ravel()
    return array.reshape(count, *array.shape[array.ndim - core :]), which


def tiles(rows: int, columns: int, tall: int, wide: int) -> int:
    """How many tiles of tall x wide cover a matrix of rows x columns."""
    return -(-rows // tall) * -(-columns // wide)


def tile_at(tile: int, rows: int, columns: int, tall: int, wide: int) -> tuple[int, int, int, int, int]:
    """The matrix of a stack in which a tile lies, its first row and the one behind its last, its columns likewise."""
    across = -(-columns // wide)
    matrix, place = divmod(tile, across * -(-rows // tall))
    top, left = place // across * tall, place % across * wide
    return matrix, top, min(top + tall, rows), left, min(left + wide, columns)


def square(size: int, seed: int = SEED) -> Array:
    """A size x size matrix of numbers in [-1, 1), the same in every run."""
    return np.random.default_rng(seed).random((size, size)) * 2 - 1


def vector(size: int, seed: int = SEED) -> Array:
    """The first row of that matrix, alone."""
    return np.random.default_rng(seed).random(size) * 2 - 1


def outer_axes(leading: dict[str, tuple[int, ...]], core: tuple[int, ...], out: Array | None) -> tuple[int, ...]:
    """The leading axes of a product: those of the operands broadcast, and out's."""
    if out is None:
        outer = broadcast(leading)
        check_ever_fits(8 * math.prod(outer + core))
        return outer
    if out.shape[out.ndim - len(core) :] != core or out.ndim < len(core):
        expected = (*broadcast(leading), *core)
        raise ValueError(f"out has shape {out.shape}, and the product has {expected}; use np.empty({expected})")
    return broadcast(leading, out.shape[: out.ndim - len(core)])


def for_blas(matrix: Array) -> Array:
    """The operand, copied where none of its strides is one element: a BLAS would sum it in another, slower way."""
    return matrix if matrix.itemsize in matrix.strides else np.ascontiguousarray(matrix)
