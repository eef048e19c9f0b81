"""Send the items of `each(f)` to lanes that do not share the caller's memory, and bring the results back.

Items are pickled a chunk at a time, so that a worker unpickles only the chunks that it takes. Large arrays in them are
put into memory that workers see, once, however many items share one. Results come back through a spool.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from compute.memory.arena import Arena
from compute.memory.spool import ROW, Spool, items_of
from kernels.definition.containers import ATOMS
from kernels.definition.each import short
from kernels.definition.plan import Plan

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Blocks:
    """The items of some chunks, as bytes.

    chunks: which, in ascending order; None for all. content: their blocks, one after the other. ends: where each begins
    and ends in it. arrays: the large ones that no other chunk's block refers to, by number.
    """

    chunks: Array | None
    content: Array
    ends: Array
    arrays: Mapping[int, Any]

    @property
    def nbytes(self) -> int:
        return int(self.content.nbytes + self.ends.nbytes + sum(array.nbytes for array in self.arrays.values()))

    def __sizeof__(self) -> int:
        return self.nbytes


class PackedItems:
    """Items as bytes, a block for each chunk: stands for `Items` in workers.

    arrays: the large ones that blocks refer to, by number. is_patching: whether a block is, as carrier.py explains.
    users: for each of the arrays, the chunk whose block refers to it, or None for several; for the caller alone.
    """

    holds_only_arrays = True

    def __init__(
        self, name: str, blocks: Blocks | None, grain: int, arrays: Mapping[int, Array], is_patching: bool,
        users: Mapping[int, int | None] | None = None,
    ) -> None:  # fmt: skip
        self._name, self._blocks, self._grain, self._arrays = name, blocks, grain, arrays
        self.is_patching, self._users = is_patching, users or {}

    def __reduce__(self) -> Any:
        return PackedItems, (self._name, self._blocks, self._grain, self._arrays, self.is_patching)

    def without_blocks(self) -> PackedItems:
        """What all chunks need: for a worker that gets blocks later."""
        shared = {number: array for number, array in self._arrays.items() if self._users[number] is None}
        return PackedItems(self._name, None, self._grain, shared, self.is_patching)

    def blocks_of(self, chunks: Array) -> Blocks:
        """What these chunks need beyond `without_blocks`."""
        assert self._blocks is not None
        chunks = np.sort(chunks)
        starts, stops = self._blocks.ends[chunks], self._blocks.ends[chunks + 1]
        content = self._blocks.content
        if int(chunks[-1]) - int(chunks[0]) == len(chunks) - 1:
            content = content[int(starts[0]) : int(stops[-1])]
        else:
            content = np.concatenate([content[a:b] for a, b in zip(starts.tolist(), stops.tolist(), strict=True)])
        ends = np.concatenate([[0], np.cumsum(stops - starts)])
        wanted = set(chunks.tolist())
        own = {number: self._arrays[number] for number, user in self._users.items() if user in wanted}
        return Blocks(chunks, content, ends, own)

    def with_blocks(self, blocks: Blocks) -> PackedItems:
        """The items of these blocks' chunks, in a worker."""
        return PackedItems(self._name, blocks, self._grain, {**self._arrays, **blocks.arrays}, self.is_patching)

    def __getitem__(self, part: slice) -> list[Any]:
        blocks, chunk = self._blocks, part.start // self._grain
        assert blocks is not None
        k = chunk if blocks.chunks is None else int(np.searchsorted(blocks.chunks, chunk))
        block = blocks.content[int(blocks.ends[k]) : int(blocks.ends[k + 1])]
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
    def __init__(self, file: io.BytesIO, arrays: Mapping[int, Array]) -> None:
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
    users: dict[int, int | None] = {}
    blocks: list[bytes] = []
    is_patching = False
    for lo in range(0, len(values), grain):
        block = values[lo : lo + grain]
        if ATOMS.issuperset(map(type, block)):  # then Python's own pickler is enough
            blocks.append(pickle.dumps(block, protocol=5))
        else:
            pickled, is_block_patching = _pickled(block, lo, name, arrays, users, lo // grain)
            blocks.append(pickled)
            is_patching |= is_block_patching
    ends = np.zeros(len(blocks) + 1, np.int64)
    np.cumsum([len(block) for block in blocks], out=ends[1:])
    content = arena.empty(int(ends[-1]), np.uint8)
    for block, start, end in zip(blocks, ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        content[start:end] = np.frombuffer(block, np.uint8)
    return PackedItems(name, Blocks(None, content, ends, {}), grain, dict(arrays.values()), is_patching, users)


def _pickled(
    block: list[Any], lo: int, name: str, arrays: dict[int, tuple[int, Array]], users: dict[int, int | None], chunk: int
) -> tuple[bytes, bool]:
    from compute.backends import carrier

    def place(array: Array) -> Any:
        """The array's number among the arrays, which stands for it in the pickle."""
        number, _ = arrays.setdefault(id(array), (len(arrays), array))
        users[number] = chunk if users.setdefault(number, chunk) == chunk else None
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
