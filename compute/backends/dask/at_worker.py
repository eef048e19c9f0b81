"""What a worker of the cluster runs: `run_group` for each group of chunks, `stop_run` to end a run early.

dask's threads may call `run_group` for several groups at once. They take turns: each group has all threads of the
worker to itself, as lanes of one loop, so that a worker of 64 cores gets one message where it has 64 tickets to give.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import pickle
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from compute.backends import ambient, output
from compute.backends.blas import limited_blas
from compute.backends.dask.travels import (
    FIRST_INPUT,
    Array,
    Group,
    Parcel,
    Reply,
    Returned,
    fuses,
    pieces_of,
    zeros,
)
from compute.backends.items import Blocks, PackedItems
from compute.backends.remote import pickled_outcome
from compute.backends.sender import PATCHING
from compute.lanes import usage
from compute.lanes.control import LOADING, ControlArray, Part, line_of
from compute.lanes.loop import Job, Outcome, compiled_source, python_lane, run_lane
from compute.memory.segments import ArrayRef, Segment
from kernels.compilation import importing, kept_code
from kernels.compilation.bounded import Bounded
from kernels.compilation.jitted_in_lanes import prepare_body
from kernels.definition.arguments import guarded
from kernels.definition.variant import checks

OF_THE_CPU = "CPU_NAME", "CPU_FEATURES"  # numba's settings: of what a worker's own CPU can do, the caller knows nothing
PATIENCE = 0.005  # s between two looks whether a run's group has left the worker

LIFE = secrets.token_hex(8)  # of this process
_turn = threading.Lock()  # held by the group that has this worker's threads
_state = threading.Lock()  # around the two tables below
_entered: dict[str, list[list[ControlArray]]] = {}  # run -> its groups here, each empty until it has its turn
_stopped: Bounded[str, bool] = Bounded(256)
_parcels: Bounded[str, Parcel] = Bounded(8)  # of small ones, which each message contains, by run
_lanes: Bounded[tuple[bytes, bool], Callable[..., int]] = Bounded(64)  # code that reaches no arrays, by its digest


def run_group(parcel: Parcel | bytes, group: Group, blocks: Blocks | bytes | None) -> Reply | None:
    """Run the chunks of a group on this worker's threads. None, and nothing is run, where it was for another process.

    blocks: the items of these chunks, where the parcel does not have them.

    The reply is complete whatever happens in the bodies: an error in one of them is in it, with its chunk.
    """
    arrived = time.perf_counter_ns()
    if group.life != LIFE:
        return None
    try:
        with _entering(group.run) as enter, _turn:
            began = time.perf_counter_ns()
            if isinstance(parcel, bytes):
                known = _parcels.get(group.run)
                if known is None:
                    known = _parcels[group.run] = pickle.loads(parcel)
                parcel = known
            items = pickle.loads(blocks) if isinstance(blocks, bytes) else blocks
            return _run(parcel, group, items, (arrived, began), enter)
    except BaseException as error:
        return Reply(pickled_outcome(Outcome(0, error)), None, (), None, (arrived, arrived, time.perf_counter_ns()))


async def stop_run(run: str) -> None:
    """Make the lanes of a run leave after their chunks, and return when none is left on this worker."""
    with _state:
        _stopped[run] = True
        for group in _entered.get(run, ()):
            for control in group:
                control.stop()
    while run in _entered:
        await asyncio.sleep(PATIENCE)


@contextlib.contextmanager
def _entering(run: str) -> Iterator[Callable[[ControlArray], None]]:
    """Within the block a group of the run is here, for `stop_run`. Yields what makes its control array known."""
    own: list[ControlArray] = []
    with _state:
        _entered.setdefault(run, []).append(own)

    def enter(control: ControlArray) -> None:
        with _state:
            own.append(control)
            if run in _stopped:
                control.stop()

    try:
        yield enter
    finally:
        with _state:
            groups = _entered[run]
            groups[:] = [group for group in groups if group is not own]
            if not groups:
                del _entered[run]


@dataclass
class _Opened:
    """What is made of a parcel once: its arrays, the inputs, the lane functions."""

    arrays: list[Array]
    inputs: tuple[Any, ...]
    lanes: dict[bool, Callable[..., int]]  # by whether there is one lane
    segments: dict[tuple[int, int], Segment]


def _run(
    parcel: Parcel,
    group: Group,
    blocks: Blocks | None,
    clock: tuple[int, int],
    enter: Callable[[ControlArray], None],
) -> Reply:
    chunks = group.listed()
    control = Part.laid_out(chunks, group.lanes, parcel.shape, records=parcel.records, detailed=parcel.detailed)
    enter(control)
    opened = parcel.opened = parcel.opened or _opened(parcel)
    inputs, returned = _inputs(parcel, opened, blocks)
    out = zeros(*parcel.out) if parcel.room is None else ArrayRef(*parcel.room).open(opened.segments)
    job = Job(None, _lane(parcel, opened, group.lanes), control.words, out, inputs)
    control.words[line_of(0) + LOADING] = time.perf_counter_ns() - clock[1]
    outcomes = _run_lanes(job, parcel.is_compiled)
    output.flush()
    failed = next((outcome for outcome in outcomes if outcome.error is not None), None)
    part = Part.of(control)
    pieces: tuple[tuple[int, Array], ...] = ()
    if failed is None and parcel.room is None and returned is None:
        pieces = ((0, out[part.chunks[part.marks > 0]]),) if parcel.reduces else tuple(pieces_of(out))
    marks = part.marks.astype(np.min_scalar_type(group.lanes))
    return Reply(
        b"" if failed is None else pickled_outcome(failed),
        part._replace(chunks=marks[:0], marks=marks),  # the caller knows the chunks
        pieces,
        None if returned is None else returned.results,
        (*clock, time.perf_counter_ns()),
        _carried() if parcel.detailed else (),
    )


def _carried() -> tuple[tuple[int, int], ...]:
    """When dask had the inputs of the task on this thread brought, by the clock of perf_counter_ns: as it notes it."""
    from distributed import get_worker
    from distributed.metrics import time as clock

    worker = get_worker()
    noted = worker.state.tasks[worker.get_current_task()].startstops
    # Of what it had brought by another worker, it notes the scheduler's time.
    ahead = {"transfer": worker.scheduler_delay, "disk-read": 0.0}
    now, here = clock(), time.perf_counter_ns()

    def ago(action: str, at: float) -> int:
        return here - int(1e9 * (now + ahead[action] - at))

    return tuple(
        (ago(action, transfer["start"]), ago(action, transfer["stop"]))
        for transfer in noted
        if (action := transfer["action"]) in ahead
    )


def _run_lanes(job: Job, is_compiled: bool) -> list[Outcome]:
    """Run every lane once, the first on this thread."""
    outcomes: list[Outcome] = []
    threads = [
        threading.Thread(target=lambda me=me: outcomes.append(run_lane(job, me)), name=f"nfold-lane-{me}", daemon=True)
        for me in range(1, job.lanes)
    ]
    with contextlib.nullcontext() if is_compiled else limited_blas():
        for thread in threads:
            thread.start()
        outcomes.append(run_lane(job, 0))
        for thread in threads:
            thread.join()
    usage.forget()  # this thread is dask's, and may live long
    return outcomes


def _opened(parcel: Parcel) -> _Opened:
    """Open the arrays of a parcel; an error that says what to do, where this worker would compute something else."""
    kept_code.say_nothing()  # the caller has warned already
    if parcel.fuses is not None and parcel.fuses != fuses():
        has_it, has_not = ("caller", "worker") if parcel.fuses else ("worker", "caller")
        raise ValueError(
            f"{parcel.name} multiplies and adds with one rounding on the {has_it}'s CPU, which has FMA, and with two on"
            f" the {has_not}'s: the result would differ in its last bits; use workers of one kind of CPU, or a body of"
            " your own"
        )
    segments: dict[tuple[int, int], Segment] = {}
    arrays = [sent.open(segments) for sent in parcel.arrays]
    inputs = [arrays[parcel.positions[k]] if k in parcel.positions else x for k, x in enumerate(parcel.items)]
    return _Opened(arrays, tuple(inputs), {}, segments)


def _inputs(parcel: Parcel, opened: _Opened, blocks: Blocks | None) -> tuple[tuple[Any, ...], Returned | None]:
    """The inputs for a group, and the one that collects results. What a body may change is made anew for each group."""
    inputs = list(opened.inputs)
    if parcel.by_value.positions:
        values = guarded(_unpacked(parcel.by_value.content, opened.arrays, parcel.name), ())
        for k, value in zip(parcel.by_value.positions, values, strict=True):
            if blocks is not None and isinstance(value, PackedItems):
                own = {number: sent.open({}) for number, sent in blocks.arrays.items()}
                value = value.with_blocks(replace(blocks, arrays=own))
            inputs[k - FIRST_INPUT] = value
    return tuple(inputs), next((x for x in inputs if type(x) is Returned), None)


def _lane(parcel: Parcel, opened: _Opened, lanes: int) -> Callable[..., int]:
    """The lane function of the parcel's code. Code that sets attributes of modules (see carrier.py) is loaded anew."""
    is_patching = parcel.code[:1] == PATCHING
    alone = lanes == 1
    lane = None if is_patching else opened.lanes.get(alone)
    key = hashlib.sha256(parcel.code).digest(), alone
    if lane is None and parcel.is_alone and not is_patching:
        lane = _lanes.get(key)
    if lane is None:
        if is_patching:
            _lanes.clear()  # its code may read what is set now
        body, reduces, settings, _ = _unpacked(parcel.code[1:], opened.arrays, parcel.name)
        if settings is None:
            lane = python_lane(prepare_body(body), reduces, alone)
        else:
            compiler = importing.compiler()
            compiler.have_settings(settings, own=OF_THE_CPU)
            lane = compiler.compiled(compiled_source(body, reduces), **checks(body, reduces))
        opened.lanes[alone] = lane
        if parcel.is_alone and not is_patching:
            _lanes[key] = lane
    return lane if parcel.settings is None else ambient.within(parcel.settings, lane)


class _Unpickler(pickle.Unpickler):
    def __init__(self, content: bytes, arrays: list[Array]) -> None:
        super().__init__(io.BytesIO(content))
        self._arrays = arrays

    def persistent_load(self, pid: Any) -> Any:
        return self._arrays[pid[0]]


def _unpacked(content: bytes, arrays: list[Array], name: str) -> Any:
    """What carrier.packed has made, where `place` gave the numbers of these arrays."""
    try:
        return _Unpickler(content, arrays).load()
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"the cluster's workers cannot import {error.name}, which {name} or its inputs need: {error}; install it"
            " there, or send it: Client.upload_file",
            name=error.name,
        ) from error
