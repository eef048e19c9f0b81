"""What lanes without a chunk waited for: messages that were packed, or carried, or the scheduler. For the ledger.

Three sources say when it was, and all are turned into this machine's clock. The caller times what it packs, sends and
unpacks. A worker times its group from its arrival to its reply. And dask itself notes for each task when its inputs
came from another worker, or from a disk: the `startstops` of which its dashboard's task stream is drawn.
"""

from __future__ import annotations

import bisect
import contextlib
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from compute.backends.dask.travels import Reply
from compute.lanes.control import CARRYING, LULL, PACKING, START, STOPPED, Words, line_of

Times = list[tuple[int, int]]  # from, to: ns of this machine's clock


class Journal:
    """Notes of one run, over all its passes."""

    def __init__(self) -> None:
        self._began = time.perf_counter_ns()
        self._packing: Times = []  # by the caller, for whom every worker waits
        self._carrying: Times = []
        self._packing_at: defaultdict[str, Times] = defaultdict(list)  # by a worker, and its address
        self._carrying_to: defaultdict[str, Times] = defaultdict(list)
        self._addresses: defaultdict[int, set[str]] = defaultdict(set)  # of the workers that a lane was on
        self._loops: defaultdict[int, Times] = defaultdict(list)  # of each lane
        self._lulls: defaultdict[int, Times] = defaultdict(list)

    @contextlib.contextmanager
    def packing(self) -> Iterator[None]:
        """Within the block the caller packs or unpacks."""
        with _timed(self._packing):
            yield

    @contextlib.contextmanager
    def carrying(self, address: str | None = None) -> Iterator[None]:
        """Within the block something is on its way to this worker, or all of them wait for it."""
        with _timed(self._carrying if address is None else self._carrying_to[address]):
            yield

    def carried(self, address: str, began: int, ended: int) -> None:
        """Something was on its way from this worker."""
        self._carrying_to[address].append((began, ended))

    def add(self, address: str, lanes: Sequence[int], reply: Reply, shift: int) -> None:
        """Note what a worker has noted of its group. shift: ns to add to its clock."""
        assert reply.part is not None
        rows = [(lane, int(row[START]), int(row[STOPPED])) for lane, row in zip(lanes, reply.part.lines, strict=True)]
        rows = [(lane, shift + start, shift + stop) for lane, start, stop in rows if start and stop]
        _, began, ended = (shift + at for at in reply.clock)
        first = min((start for _, start, _ in rows), default=ended)
        last = max((stop for _, _, stop in rows), default=ended)
        self._packing_at[address] += [(began, first), (last, ended)]
        self._carrying_to[address] += [(shift + start, shift + stop) for start, stop in reply.carried]
        for lane in lanes:
            self._addresses[lane].add(address)
        for lane, start, stop in rows:
            self._loops[lane].append((start, stop))
            self._lulls[lane].append((stop, last))

    def write(self, words: Words) -> None:
        """Write into the lanes' lines of a control array what each waited for until now."""
        over = time.perf_counter_ns()
        last = max((stop for loops in self._loops.values() for _, stop in loops), default=over)
        packing, carrying = _united(self._packing), _united(self._carrying)
        packing_at = {address: _united(times) for address, times in self._packing_at.items()}
        carrying_to = {address: _united(times) for address, times in self._carrying_to.items()}
        # Once all lanes are done, each waits for the messages of all.
        late = _parts([(last, over)], [packing, *packing_at.values()], [carrying, *carrying_to.values()])
        for lane, loops in self._loops.items():
            # What lies between its last chunk and the last one of all is idle, whatever its messages did.
            gaps = _without([(self._began, max(stop for _, stop in loops))], _united(loops))
            at = self._addresses[lane]
            lull, packed, carried = _parts(
                gaps,
                [_united(self._lulls[lane])],
                [packing, *(packing_at[address] for address in at)],
                [carrying, *(carrying_to[address] for address in at)],
            )
            line = line_of(lane)
            words[line + LULL] = lull
            words[line + PACKING], words[line + CARRYING] = 1 + packed + late[0], carried + late[1]


@contextlib.contextmanager
def _timed(times: Times) -> Iterator[None]:
    began = time.perf_counter_ns()
    try:
        yield
    finally:
        times.append((began, time.perf_counter_ns()))


def _united(times: Iterable[tuple[int, int]]) -> Times:
    """The same moments, in order, as times that do not touch each other."""
    united: Times = []
    for start, stop in sorted(times):
        if united and start <= united[-1][1]:
            united[-1] = united[-1][0], max(united[-1][1], stop)
        elif start < stop:
            united.append((start, stop))
    return united


def _parts(gaps: Times, *causes: Iterable[Times]) -> list[int]:
    """How much of the gaps falls to each cause, in ns. Of what is one's, the next ones have no part."""
    parts = []
    for cause in causes:
        before = _length(gaps)
        for times in cause:
            gaps = _without(gaps, times)
        parts.append(before - _length(gaps))
    return parts


def _without(times: Times, others: Times) -> Times:
    """The moments of `times` that are in none of `others`, which are united."""
    left: Times = []
    for start, stop in times:
        for k in range(max(0, bisect.bisect(others, (start,)) - 1), len(others)):
            begin, end = others[k]
            if begin >= stop:
                break
            if begin > start:
                left.append((start, begin))
            start = max(start, end)
        if start < stop:
            left.append((start, stop))
    return left


def _length(times: Times) -> int:
    return sum(stop - start for start, stop in times)
