"""Send the items of `each(f)` to lanes that do not share the caller's memory, and bring the results back.

Items are pickled a chunk at a time, so that a worker unpickles only the chunks that it takes. Large arrays in them are
put into memory that workers see, once, however many items share one. Results come back through a spool.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

from compute.memory.arena import Arena
from compute.memory.spool import ROW, Spool, items_of
from kernels.definition.containers import ATOMS
from kernels.definition.each import short
from kernels.definition.plan import Plan

Array = np.ndarray[Any, Any]


class PackedItems:
    """Items as bytes, a block for each chunk: stands for `Items` in workers.

    arrays: the large ones that blocks refer to. is_patching: whether a block is, as carrier.py explains.
    """

    holds_only_arrays = True

    def __init__(
        self, name: str, content: Array, ends: Array, grain: int, arrays: list[Array], is_patching: bool
    ) -> None:
        self._name, self._content, self._ends, self._grain, self._arrays = name, content, ends, grain, arrays
        self.is_patching = is_patching

    def __reduce__(self) -> Any:
        return PackedItems, (self._name, self._content, self._ends, self._grain, self._arrays, self.is_patching)

    def __getitem__(self, part: slice) -> list[Any]:
        chunk = part.start // self._grain
        block = self._content[int(self._ends[chunk]) : int(self._ends[chunk + 1])]
        try:
            items: list[Any] = _ItemsUnpickler(io.BytesIO(block.tobytes()), self._arrays).load()
        except MemoryError:
            raise
        except Exception as error:  # raised by a class of the user's
            raise TypeError(
                f"{items_of(chunk, self._grain)} of {self._name} cannot be unpickled in a worker process"
                f" ({type(error).__name__}: {error}); pass plain values and arrays, or run on threads"
            ) from error
        return items


class _ItemsUnpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, arrays: list[Array]) -> None:
        super().__init__(file)
        self._arrays = arrays

    def persistent_load(self, pid: Any) -> Any:
        shared = self._arrays[pid[0]].view()
        shared.flags.writeable = False  # lanes with other items may be reading it
        return shared


def packed(plan: Plan, arena: Arena, name: str) -> Plan:
    """The plan of a kernel made by `each`, for lanes that see the arena and no other memory of the caller.

    TypeError that names the first item that does not pickle.
    """
    items = packed_items(plan, arena, name)
    spool = arena.spool(plan.chunks, plan.step, name)
    return plan._replace(inputs=(items, spool), shape=(ROW,), dtype=np.int64)


def packed_items(plan: Plan, arena: Arena, name: str) -> PackedItems:
    """The items of such a plan as bytes in the arena. TypeError that names the first one that does not pickle."""
    values, grain = plan.inputs[0].values, plan.step
    arrays: dict[int, tuple[int, Array]] = {}
    blocks: list[bytes] = []
    is_patching = False
    for lo in range(0, len(values), grain):
        block = values[lo : lo + grain]
        if ATOMS.issuperset(map(type, block)):  # then Python's own pickler is enough
            blocks.append(pickle.dumps(block, protocol=5))
        else:
            pickled, is_block_patching = _pickled(block, lo, name, arrays)
            blocks.append(pickled)
            is_patching |= is_block_patching
    ends = np.zeros(len(blocks) + 1, np.int64)
    np.cumsum([len(block) for block in blocks], out=ends[1:])
    content = arena.empty(int(ends[-1]), np.uint8)
    for block, start, end in zip(blocks, ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        content[start:end] = np.frombuffer(block, np.uint8)
    return PackedItems(name, content, ends, grain, [array for _, array in arrays.values()], is_patching)


def _pickled(block: list[Any], lo: int, name: str, arrays: dict[int, tuple[int, Array]]) -> tuple[bytes, bool]:
    from compute.backends import carrier

    def place(array: Array) -> Any:
        """The array's number among the arrays, which stands for it in the pickle."""
        number, _ = arrays.setdefault(id(array), (len(arrays), array))
        return (number,)

    try:
        return carrier.packed(block, carrier.attributes_of(block), place, is_input=True)
    except Exception as error:
        for index, item in enumerate(block, lo):
            try:
                carrier.packed(item, carrier.attributes_of([item]), place, is_input=True)
            except Exception:
                raise TypeError(
                    f"item {index} of {name}, {short(item)}, cannot be sent to worker processes"
                    f" ({type(error).__name__}: {error}); pass plain values and arrays, or run on threads"
                ) from error
        raise


def put_result(inputs: tuple[Any, ...], out: Array, chunk: int, values: list[Any]) -> None:
    """Write a chunk's results, in place of its lane."""
    spool: Spool = inputs[1]
    spool.write(out, chunk, values)


def results(inputs: tuple[Any, ...], out: Array, arena: Arena) -> Array:
    """The lists of results that the lanes wrote, as `keep` gives them where lanes share the caller's memory."""
    spool: Spool = inputs[1]
    lists = spool.results(out)
    arena.keep_spool(spool)
    return lists
