"""What is given to a kernel, and what it reaches, on its way to a process: as threads see it, and large arrays once."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from compute import Joblib, Processes, Threads, shared
from compute.backends import sender
from compute.memory import copies
from compute.memory.arena import Arena
from kernels import Plan, kernel

PROCESSES = [Processes(2), Joblib(2)]


@pytest.fixture(scope="module", params=PROCESSES, ids=repr)
def pool(request):
    with request.param.open() as pool:
        yield pool


# Everything here is defined in __main__, which workers do not have.
IN_MAIN = """
import enum, sys
from collections import namedtuple
from dataclasses import dataclass
from typing import NamedTuple
import numpy as np
from compute import *
from kernels import Plan, kernel

class Color(enum.IntEnum):
    RED = 1
    BLUE = 2

class Mode(enum.Enum):
    UP = "up"

Pair = namedtuple("Pair", "a b")

class Typed(NamedTuple):
    x: float
    rows: np.ndarray

@dataclass
class Box:
    side: float
    table: np.ndarray
    color: Color = Color.RED

    def scaled(self, by):
        return self.side * by * OFFSET

OFFSET = 3.0

def own_plan(*inputs):
    return Plan(5, inputs, grain=1)

@kernel(plan=own_plan)
def pairs(lo, hi, out, pair, factor):
    out[lo] = pair.a * factor + pair.b + lo

@kernel(plan=own_plan)
def colors(lo, hi, out, color):
    out[lo] = lo if color == Color.BLUE else -lo

@kernel(plan=own_plan, compiled=False)
def identity(lo, hi, out, color, mode, pair, box):
    assert color is Color.BLUE and mode is Mode.UP and type(pair) is Pair and isinstance(box, Box)
    assert box.color is Color.RED
    out[lo] = box.scaled(color) + pair.a + box.table[lo]

@kernel(plan=own_plan, compiled=False)
def nested(lo, hi, out, several):
    (color, typed), arrays, f = several
    assert type(typed) is Typed
    for array in (*arrays,):
        try:
            array[0] = 1
            raise SystemExit("written to")
        except ValueError:
            pass
    out[lo] = f(color) + typed.rows[lo] * typed.x + arrays[0][lo] + arrays[1][-1 - lo]

@kernel(plan=own_plan, compiled=False)
def changes(lo, hi, out, box):
    box.side += 1  # its own copy, on each worker
    out[lo] = box.side >= 1

big, small = np.arange(50_000.0), np.arange(7.0)

def answers(on):
    with on.open() as pool:
        found = []
        for k in range(3):
            box = Box(2.0 + k, big)
            found += [
                pool.run(pairs, Pair(2.0, 3 + k), 4.0),
                pool.run(pairs, Pair(2, 3 + k), 4, variant="python"),
                pool.run(colors, Color.BLUE), pool.run(colors, Color.RED),
                pool.run(colors, Color.BLUE, variant="python"),
                pool.run(identity, Color.BLUE, Mode.UP, Pair(k, 2), box),
                pool.run(nested, ((Color.RED, Typed(2.0, big + k)), (big * 2, small), lambda c: c + OFFSET + k)),
                pool.run(changes, Box(1.0, small)),
            ]
            box.table[1] = 17 + k  # in place: the next run sees it
        return [result.value.tolist() for result in found]

expected = answers(Threads(2))
big[1] = 1
got = answers(eval(sys.argv[1]))
assert got == expected, (got, expected)
print("same")
"""


@pytest.mark.parametrize("backend", [PROCESSES[0], pytest.param(PROCESSES[1], marks=pytest.mark.slow)], ids=repr)
def test_what_is_defined_in_the_script_is_given_as_to_threads(warm_python, no_leaks, backend):
    assert warm_python.run(IN_MAIN, repr(backend)) == "same\n"


@kernel(plan=lambda x: Plan(2, (x,)), compiled=False)
def takes_anything(lo, hi, out, x):
    out[lo:hi] = 1


def test_what_cannot_be_sent_is_named(pool):
    with pytest.raises(TypeError, match=r"what is given for x cannot be sent to worker processes .*lock.*threads"):
        pool.run(takes_anything, threading.Lock())
    assert pool.run(takes_anything, 3).value.tolist() == [1, 1]


# What a body reaches.

TABLE = np.arange(2_000_000.0)


@kernel(plan=lambda n: Plan(n))
def looked_up(lo, hi, out, n=0):
    for i in range(lo, hi):
        out[i] = TABLE[i * 1000]


@pytest.fixture
def placed(monkeypatch):
    """The sizes of the arrays that are copied into an arena while a test runs."""
    sizes, copy = [], Arena.copy
    monkeypatch.setattr(
        Arena, "copy", lambda arena, array, *how: sizes.append(array.nbytes) or copy(arena, array, *how)
    )
    return sizes


@pytest.fixture
def sent(monkeypatch):
    """The lengths of the messages that are sent while a test runs."""
    lengths, message = [], sender.Sender.message
    monkeypatch.setattr(
        sender.Sender, "message", lambda self, job: lengths.append(len(made := message(self, job))) or made
    )
    return lengths


@pytest.fixture
def compared(monkeypatch):
    """The sizes of the arrays that are compared with what workers have while a test runs."""
    sizes, same = [], copies.same_bytes
    monkeypatch.setattr(copies, "same_bytes", lambda one, other: sizes.append(one.nbytes) or same(one, other))
    return sizes


@pytest.mark.parametrize("variant", ["python", "nogil"])
def test_a_large_array_that_a_body_reaches_is_placed_once(pool, placed, sent, variant):
    for _ in range(4):
        assert pool.run(looked_up, 5, variant=variant).value.tolist() == [0, 1000, 2000, 3000, 4000]
    assert placed == [TABLE.nbytes] * (len(placed) > 0)
    assert max(sent) < 2000


def test_what_has_changed_in_it_is_seen(pool, placed, monkeypatch):
    own = TABLE.copy()
    monkeypatch.setitem(globals(), "TABLE", own)
    for k in range(3):
        own[1000] = np.nan if k == 1 else k
        for _ in range(2):
            np.testing.assert_array_equal(pool.run(looked_up, 2, variant="python").value, own[:2000:1000])
    assert placed == [own.nbytes] * 3


def test_an_array_that_nobody_can_write_to_is_not_looked_through_again(pool, placed, compared, monkeypatch):
    fixed = np.frombuffer(TABLE.tobytes())
    monkeypatch.setitem(globals(), "TABLE", fixed)
    for _ in range(3):
        pool.run(looked_up, 2, variant="python")
    assert (placed, compared) == ([fixed.nbytes], [])


def test_a_read_only_view_of_what_is_written_to_is_looked_at(pool, monkeypatch):
    own = TABLE.copy()
    view = own[:]
    view.flags.writeable = False
    monkeypatch.setitem(globals(), "TABLE", view)
    for k in range(3):
        own[1000] = k
        assert pool.run(looked_up, 2, variant="python").value.tolist() == [0, k]


def test_a_shared_array_is_reached_where_it_lies(pool, placed, compared, monkeypatch):
    own = shared.array(TABLE)
    monkeypatch.setitem(globals(), "TABLE", own)
    placed.clear()
    for k in range(3):
        own[1000] = k
        assert pool.run(looked_up, 2, variant="python").value.tolist() == [0, k]
    assert (placed, compared) == ([], [])


def test_arrays_that_are_gone_are_let_go_of(pool, monkeypatch):
    monkeypatch.setitem(globals(), "TABLE", TABLE)
    for _ in range(5):
        globals()["TABLE"] = TABLE + 1
        pool.run(looked_up, 2, variant="python")
    assert len(pool._caller._sender._copies._copies) <= 3  # the first, this one, and one that is found gone next


# What only the caller runs.

ONLY_HERE = threading.Lock()
WEIGHTS = np.ones(500_000)


def _weighed(parts):
    with ONLY_HERE:
        return float(parts.sum() * WEIGHTS[:3].sum())


def _locked(out, plan):
    with ONLY_HERE:
        return out


@pytest.mark.parametrize("variant", ["python", pytest.param("nogil", marks=pytest.mark.slow)])
def test_what_only_the_caller_runs_stays_there(pool, placed, sent, variant):
    @kernel(reduce=_weighed, check=lambda value, *_: ONLY_HERE.locked(), example=lambda size: (WEIGHTS,))
    def summed(lo, hi, out, x):
        out[0] = x[lo:hi].sum()

    @kernel(finish=_locked)
    def same(lo, hi, out, x):
        out[lo:hi] = x[lo:hi]

    for _ in range(2):
        assert pool.run(summed, np.ones(8), variant=variant).value == 24
        assert pool.run(same, np.ones(8), variant=variant).value.tolist() == [1] * 8
    assert max(placed) < WEIGHTS.nbytes
    assert max(sent) < 2000


@pytest.mark.slow
def test_threads_agree_on_what_a_lock_in_a_body_is():
    with Threads(2).open() as pool:
        assert pool.run(takes_anything, threading.Lock()).value.tolist() == [1, 1]
