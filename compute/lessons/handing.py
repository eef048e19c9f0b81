"""The ways in which lesson 8 hands arrays to a thread, a coroutine, a process. What arrives is checked each time."""

from __future__ import annotations

import asyncio
import itertools
import queue
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import numpy as np

from compute import machine
from compute.backends.host_program import check_semaphores, own_folder
from compute.backends.processes import Processes
from compute.lessons import child
from compute.memory.arena import shared
from compute.memory.named import named_memory
from compute.scaling.formatting import in_bytes
from compute.scaling.verify import WrongAnswer
from kernels import Plan, kernel

COPIES = 8  # of an array are in memory at once, at most: those of the ways, and those that are being sent

THREAD, COROUTINE, PIPE, QUEUE, MANAGER = "thread", "coroutine", "pipe", "Queue", "Manager"
SHM, FILE, ARENA, COPIED = "shared_memory", "memory map", "nfold, shared array", "nfold, any array"
WAYS = (
    THREAD,
    COROUTINE,
    SHM,
    FILE,
    ARENA,
    PIPE,
    COPIED,
    QUEUE,
    MANAGER,
)  # in the order in which they are measured while there is time
IN_SHM = SHM, ARENA, COPIED
COPYING = COPIED, PIPE, QUEUE, MANAGER

Array = np.ndarray[Any, Any]
Places = tuple[int, ...]


def hand_over(put, get, what):
    put(what)
    return get()


def look(array):
    return array.item(0), array.item(array.size // 2), array.item(-1)


def look_into_shared_memory(name):
    with closing(SharedMemory(name)) as memory:
        return look(np.asarray(memory.buf).view(np.int64))


def look_into_a_file(path):
    return look(np.memmap(path, np.int64, "r"))


def hand_over_by_nfold(pool, array):
    return pool.run(places, array).value


@kernel(plan=lambda array: Plan(3, (array,), dtype=np.int64, grain=3), compiled=False)
def places(lo: int, hi: int, out: Array, array: Array) -> None:
    out[lo:hi] = look(array)[lo:hi]


# ---------------------------------------------------------------- who takes


def _serve_thread(inbox: queue.SimpleQueue[Any], outbox: queue.SimpleQueue[Any]) -> None:
    while (what := inbox.get()) is not None:
        outbox.put(look(what))
        del what


def _serve_process(pipe: Any, queued: Any, managed: Any) -> None:
    ways = {
        PIPE: (pipe.recv, look),
        QUEUE: (queued.get, look),
        MANAGER: (managed.get, look),
        SHM: (pipe.recv, look_into_shared_memory),
        FILE: (pipe.recv, look_into_a_file),
    }
    try:
        for way, count in iter(pipe.recv, None):
            get, looks = ways[way]
            for _ in range(count):
                pipe.send(looks(get()))
    except (EOFError, OSError):  # the other side was cut off
        return


# ---------------------------------------------------------------- who gives

# (array, what, count): hand `what` over `count` times. It is the array, or the address of one.
Batch = Callable[[Array, Any, int], object]


def _mark(array: Array, marks: Iterator[int] = itertools.count(1)) -> Places:  # noqa: B008, one count for all
    """Write new numbers where the taker looks; returns what it must see."""
    first = next(marks)
    array[0], array[array.size // 2], array[-1] = first, first + 1, first + 2
    return first, first + 1, first + 2


def _check(seen: Any, expected: Places) -> None:
    if tuple(seen) != expected:
        raise WrongAnswer(f"{tuple(seen)} arrived where {expected} was handed over: the time would say nothing")


def _checked(give: Callable[[], Any], array: Array, count: int) -> None:
    for _ in range(count):
        expected = _mark(array)
        _check(give(), expected)


@contextmanager
def _to_a_thread() -> Iterator[Batch]:
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    thread = threading.Thread(target=_serve_thread, args=(inbox, outbox), daemon=True)
    thread.start()
    try:
        yield lambda array, what, count: _checked(lambda: hand_over(inbox.put, outbox.get, what), array, count)
    finally:
        inbox.put(None)
        thread.join()


@contextmanager
def _to_a_coroutine() -> Iterator[Batch]:
    async def batch(array: Array, what: Array, count: int) -> None:
        inbox: asyncio.Queue[Array] = asyncio.Queue()
        outbox: asyncio.Queue[Places] = asyncio.Queue()

        async def take() -> None:
            for _ in range(count):
                outbox.put_nowait(look(await inbox.get()))

        taker = asyncio.create_task(take())
        for _ in range(count):
            expected = _mark(array)
            _check(await hand_over(inbox.put_nowait, outbox.get, what), expected)
        await taker

    runner = asyncio.Runner()
    with ThreadPoolExecutor(1) as thread:  # a notebook's own thread has a loop already
        try:
            yield lambda array, what, count: thread.submit(runner.run, batch(array, what, count)).result()
        finally:
            thread.submit(runner.close).result()


@contextmanager
def _to_a_process() -> Iterator[dict[str, Batch]]:
    context = child.context()
    here, there = context.Pipe()
    queued = context.Queue()
    with closing(here), child.manager() as manager:
        managed = manager.Queue()
        puts = {PIPE: here.send, QUEUE: queued.put, MANAGER: managed.put, SHM: here.send, FILE: here.send}

        def batch(way: str, array: Array, what: Any, count: int) -> None:
            here.send((way, count))
            _checked(lambda: hand_over(puts[way], here.recv, what), array, count)

        try:
            with child.started(_serve_process, there, queued, managed):
                there.close()
                with closing(here):  # the other side has its own copy of this end
                    yield {way: partial(batch, way) for way in puts}
        finally:
            queued.close()
            queued.cancel_join_thread()


@contextmanager
def _to_nfold() -> Iterator[Batch]:
    with Processes(1).open() as pool:
        yield lambda array, what, count: _checked(lambda: hand_over_by_nfold(pool, what), array, count)


@contextmanager
def opened() -> Iterator[dict[str, Batch]]:
    """Takers of every way. All of them have ended when the block is left."""
    check_semaphores(f"multiprocessing.{QUEUE}'s", "make it writable, or hold the other lessons")
    with _to_nfold() as nfold, _to_a_process() as process, _to_a_thread() as thread, _to_a_coroutine() as coroutine:
        yield {ARENA: nfold, COPIED: nfold, THREAD: thread, COROUTINE: coroutine, **process}


# ---------------------------------------------------------------- where data lies


def home(way: str, heap: Array, stack: ExitStack) -> tuple[Array, Any]:
    """The array of the giver, and what is handed over. OSError or MemoryError where there is no room."""
    if way == ARENA:
        array = shared.array(heap)
        return array, array
    if way == SHM:
        memory = named_memory(heap.nbytes)
        stack.callback(memory.unlink)
        stack.callback(memory.close)
        array = np.asarray(memory.buf)[: heap.nbytes].view(np.int64)  # some systems round the size up to whole pages
        array[:] = heap
        return array, memory.name
    if way == FILE:
        path = Path(stack.enter_context(own_folder("mapped")), "array")
        mapped = np.memmap(path, np.int64, "w+", shape=heap.shape)
        mapped[:] = heap
        return mapped, str(path)
    return heap, heap


def obstacle(way: str, size: int) -> str | None:
    """What of this machine is too small for it."""
    rooms = [("memory", COPIES * size, machine.memory_available())]
    if way in IN_SHM:
        rooms.append(("/dev/shm", len(IN_SHM) * size, machine.shared_memory_free()))  # type: ignore[arg-type]
    if way == FILE:
        rooms.append((tempfile.gettempdir(), 2 * size, shutil.disk_usage(tempfile.gettempdir()).free))
    for room, needed, free in rooms:
        if free is not None and free < needed:
            return f"{room} has {in_bytes(free)} free and {in_bytes(needed)} are needed"
    return None
