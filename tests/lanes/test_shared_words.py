"""What Python does to words that others write, in machine code: what it gives, and where it is made and found."""

from __future__ import annotations

import ctypes
import itertools
import os
import threading
import time

import numpy as np
import pytest
from patience import PATIENCE
from sampling import quick_first

pytest.importorskip("numba")

from compute.lanes import native_words, shared_words
from compute.lanes.control import INSIDE, TICKET, ControlArray, line_of
from kernels import Plan
from kernels.compilation import emitted, kept_code, native_code

FOREVER = int(10**9 * PATIENCE)


@pytest.fixture(params=["as found", "by LLVM", "not executable"])
def calls(request, monkeypatch):
    """The operations, however they come into this process."""
    if request.param == "as found":
        return shared_words.calls()

    def cannot(content):
        raise native_code.CannotRun("no executable memory")

    monkeypatch.setattr(native_code, "entry_of", cannot)
    if request.param == "by LLVM":
        monkeypatch.setattr(emitted, "kept", lambda *_: native_words.object_code())
    shared_words._table.cache_clear()
    made = shared_words.calls.__wrapped__()
    shared_words._table.cache_clear()
    return made


def test_each_does_to_its_word_what_it_says(calls):
    words = np.arange(200)
    assert [calls.added(words, 3, 5), calls.added(words, 3, -9), words[3]] == [3, 8, -1]
    assert [calls.take(words, 64), calls.take(words, 96), words[TICKET]] == [0, 1, 2]
    assert calls.loaded(words, np.int64(7)) == 7
    calls.stored(words, 7, -(2**63))
    assert words[7] == -(2**63)
    calls.entered(words, 64)
    assert words[64 + INSIDE] == 1
    words[:] = np.where(np.isin(np.arange(200), [3, 7, TICKET, 64 + INSIDE]), np.arange(200), words)
    assert words.tolist() == list(range(200))


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 1.5, "text", None])
def test_what_is_no_such_number_changes_nothing(calls, value):
    words = np.zeros(4, np.int64)
    with pytest.raises((OverflowError, TypeError)):
        calls.added(words, 1, value)
    with pytest.raises((OverflowError, TypeError)):
        calls.rung(words, 1, value)
    assert not words.any()


def test_a_wait_ends_when_it_is_rung_and_another_thread_can_do_so(calls):
    bell, reached = np.zeros(8, np.int64), threading.Event()

    def waits():
        reached.set()
        calls.rung(bell, 0, FOREVER)

    thread = threading.Thread(target=waits)
    thread.start()
    reached.wait()
    time.sleep(0.01)
    bell[0] += 1  # a wait that held the GIL would keep this thread from it
    thread.join()
    began = time.perf_counter_ns()
    calls.rung(bell, 1, 10**6)
    assert time.perf_counter_ns() - began >= 10**6


def test_a_run_is_over_when_all_is_done_and_no_lane_is_inside(calls):
    lanes, chunks = 3, 5
    run = ControlArray(np.zeros(ControlArray.length(lanes, chunks), np.int64))
    run.lay_out(Plan(chunks), lanes)
    assert calls.over(run.words, 1000) == run.is_over() == 0
    run.done[:] = 1
    assert calls.over(run.words, 1000) == run.is_over() == 1
    for lane in range(lanes):
        run.words[line_of(lane) + INSIDE] = 1
        assert calls.over(run.words, 1000) == run.is_over() == 0
        run.left(lane)
    run.done[4] = 0
    assert calls.over(run.words, 1000) == run.is_over() == 0


def test_no_two_threads_get_the_same_ticket(calls):
    words, taken = np.zeros(99, np.int64), [[] for _ in range(4)]

    def lane(mine):
        for _ in range(5000):
            mine.append(calls.take(words, 0))

    threads = [threading.Thread(target=lane, args=(mine,)) for mine in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(itertools.chain.from_iterable(taken)) == list(range(20_000))


def test_the_data_of_an_array_stands_where_they_look_for_it():
    words = np.arange(3)
    assert ctypes.c_void_p.from_address(id(words) + object.__basicsize__).value == words.ctypes.data


SHARED = """
import os, sys
import numpy as np
from compute.lanes import shared_words
words = np.zeros(99, np.int64)
assert shared_words.calls().added(words, 1, 7) == 0 and words[1] == 7
if hasattr(os, "fork"):
    child = os.fork()
    if not child:
        os._exit(shared_words.calls().added(words, 1, 1))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print("numba" in sys.modules, "llvmlite" in sys.modules)
"""


def test_they_are_made_without_numba_and_found_without_llvm(script, tmp_path):
    said = [script(SHARED, NFOLD_CACHE_DIR=str(tmp_path / "cache")).stdout.split("\n") for _ in range(2)]
    assert [lines[-2] for lines in said] == ["False True", f"False {not native_code.is_possible()}"]
    if hasattr(os, "fork"):
        assert [lines[0] for lines in said] == ["7", "7"]


def test_the_key_holds_the_numbers_that_they_read(monkeypatch):
    paths = {emitted._path("a", repr(shared_words.numbers()))}
    for name in ("INSIDE", "TICKET", "FIRST_LINE"):
        monkeypatch.setattr(shared_words, name, 99)
        paths.add(emitted._path("a", repr(shared_words.numbers())))
        monkeypatch.undo()
    assert len(paths) == 4
    assert emitted._path("a", repr(shared_words.numbers())) in paths
    assert all(path.match(kept_code.ENTRY) for path in paths)


AT_THE_END = """
import sys, threading
import numpy as np
from compute.lanes import shared_words
if sys.argv[1] == "by LLVM":
    from compute.lanes import native_words
    native_words.image = lambda: None
words = np.zeros(99, np.int64)
rung = shared_words.calls().rung
threading.Thread(target=rung, args=(words, 0, 10**15), daemon=True).start()
class Late:
    def __del__(self, calls=shared_words.calls()):
        self.late = calls.added(words, 1, 1)
sys.late = Late()
sys.calls = shared_words.calls()
"""


@pytest.mark.parametrize("way", quick_first(1, ["as found", "by LLVM"]))
def test_a_program_may_end_while_they_are_called(script, tmp_path, way):
    """Their memory outlasts the modules of this library, which Python takes apart first."""
    for _ in range(2):
        assert script(AT_THE_END, way, NFOLD_CACHE_DIR=str(tmp_path / "cache")).returncode == 0
