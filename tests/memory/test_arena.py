"""Arrays in shared memory: seen by workers without a copy, never left behind, never pulled from under a view."""

from __future__ import annotations

import gc
import os
import sys

import numpy as np
import pytest
from example_kernels import doubled, mark, squares, total
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st

from compute import Joblib, Processes, Threads, shared
from compute.memory.arena import Arena
from compute.memory.segments import reference, segment_of
from kernels.vectors import memory

PROCESSES = [Processes(2), Joblib(2), Joblib(2, arrays="memmap")]
POINT = np.dtype([("x", np.float32), ("tag", "S3"), ("at", np.int64, (2,))])


# What an arena hands out.


@given(
    shape=np_st.array_shapes(min_dims=0, min_side=0, max_side=6),
    dtype=st.sampled_from([np.float64, np.int8, np.complex128, np.bool_, "S5", "U2", "M8[ns]", ">f4", POINT]),
    kind=st.sampled_from(["heap", "shared", "mapped"]),
)
def test_any_array_keeps_its_values(shape, dtype, kind):
    arena = Arena(kind)
    empty = arena.empty(shape, dtype)
    assert (empty.shape, empty.dtype) == (shape, np.dtype(dtype))
    assert empty.flags.c_contiguous
    assert empty.flags.writeable
    values = np.frombuffer(os.urandom(max(empty.nbytes, 1))[: empty.nbytes], np.uint8)
    if np.dtype(dtype).kind not in "bSUV":
        original = values.view(dtype).reshape(shape)
        placed = arena.place(original)
        assert arena.sees(placed)
        assert placed.tobytes() == original.tobytes()


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a,
        lambda a: a[3:9],
        lambda a: a[::-2, 1:4],
        lambda a: a.T,
        lambda a: a[2],
        lambda a: a[2, 3, None],
        lambda a: a[2, 3, ...],
        lambda a: a[:0],
        lambda a: a.reshape(-1)[5:].view(np.int64),
        lambda a: np.asfortranarray(a),
    ],
)
def test_a_view_of_shared_memory_is_sent_without_a_copy(view, segments):
    whole = shared.array(np.arange(60.0).reshape(10, 6))
    seen = view(whole)
    if segment_of(seen) is None:
        pytest.skip("numpy made a copy")
    attached = reference(seen).open({})
    np.testing.assert_array_equal(attached, seen)
    assert attached.strides == seen.strides
    if seen.size:
        attached[...] += 1
        np.testing.assert_array_equal(attached, seen)


def test_the_heap_cannot_be_referred_to():
    with pytest.raises(ValueError, match="heap"):
        reference(np.ones(3))


@pytest.mark.parametrize("bad", [-1, (2, -3), 2.5, "3", None, (1.5,)], ids=repr)
@pytest.mark.parametrize("kind", ["heap", "shared"])
def test_bad_shapes_are_refused(kind, bad):
    with pytest.raises((ValueError, TypeError)):
        Arena(kind).empty(bad)


def test_python_objects_are_refused():
    with pytest.raises(ValueError, match="Python objects"):
        shared.empty(3, object)
    with pytest.raises(ValueError, match="Python objects"):
        shared.array([None])


# Zero copies.


def test_workers_write_into_the_callers_own_shared_memory(pool, segments):
    values = shared.empty(1000)
    values[:] = 1
    pool.run(mark, values)
    segments.clear()
    values[:] = 1
    result = pool.run(mark, values)
    assert result.value[0] != os.getpid()
    assert (values == 7).all()
    assert max(segments, default=0) < values.nbytes


def test_a_heap_array_is_copied_once_and_stays_as_it_was(pool, segments):
    values = np.ones(300_000)
    pool.run(mark, values)
    assert (values == 1).all()
    assert [size for size in segments if size >= values.nbytes] in ([], [values.nbytes])


def test_views_slices_and_read_only_arrays_reach_the_workers(pool):
    base = np.random.default_rng(3).random((40, 30))
    for whole in (base, shared.array(base)):
        for seen in (whole[:, 3], whole[::-3, 7], whole.T[4], whole.ravel()[::7]):
            np.testing.assert_array_equal(pool.run(squares, seen).value, seen**2)
        fixed = whole[:, 0]
        fixed.flags.writeable = False
        np.testing.assert_array_equal(pool.run(squares, fixed).value, fixed**2)
    assert pool.run(total, np.empty(0)).value == 0


def test_structured_arrays_reach_python_bodies(pool):
    points = np.zeros(20, POINT)
    points["at"] = np.arange(40).reshape(20, 2)
    value = pool.run(squares, points["at"][:, 1], variant="python").value
    np.testing.assert_array_equal(value, (np.arange(20) * 2 + 1) ** 2)


# out=


@pytest.mark.parametrize("make", [np.empty, shared.empty])
def test_a_given_out_is_filled_and_returned(pool, make):
    check_out(pool, make)


@pytest.mark.parametrize("make", [np.empty, shared.empty])
def test_threads_fill_a_given_out_too(make):
    with Threads(2).open() as pool:
        check_out(pool, make)


def check_out(pool, make):
    values = np.random.default_rng(1).random((50, 3))
    out = make((50, 3))
    for factor in (1.0, 3.0):
        result = pool.run(doubled, values * factor, out=out)
        assert result.value is out
        np.testing.assert_array_equal(out, 2 * factor * values)
    strided = make((100, 6))[::2, ::2]
    assert pool.run(doubled, values, out=strided).value is strided
    np.testing.assert_array_equal(strided, 2 * values)
    single = make((50, 3), np.float32)
    assert pool.run(doubled, values, out=single).value is single
    np.testing.assert_array_equal(single, (2 * values).astype(np.float32))
    onto = make((50, 3))
    onto[...] = values
    assert pool.run(doubled, onto, out=onto).value is onto
    np.testing.assert_array_equal(onto, 2 * values)


def test_a_shared_out_is_filled_by_the_workers_themselves(pool, segments):
    values, out = shared.array(np.ones(100_000)), shared.empty(100_000)
    segments.clear()
    pool.run(doubled, values, out=out)
    assert (out == 2).all()
    assert max(segments, default=0) < out.nbytes


# Lifetimes.


@pytest.mark.parametrize("hold", [lambda v: v, lambda v: v[5:], lambda v: v[::2].T, memoryview, lambda v: [v[1:]]])
def test_a_value_that_is_held_is_never_lent_again(pool, hold):
    values = np.arange(3000.0)
    held = [hold(pool.run(squares, values + k).value) for k in range(4)]
    expected = [hold((values + k) ** 2) for k in range(4)]
    for one, other in zip(held, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize("backend", [Processes(2), Joblib(1, arrays="memmap")], ids=repr)
def test_values_stay_valid_after_the_pool_is_closed(backend):
    values = np.arange(5000.0)
    with backend.open() as pool:
        value = pool.run(squares, values).value
        part = pool.run(squares, values).value[7:9]
    gc.collect()
    with PROCESSES[0].open() as pool:
        pool.run(squares, values + 1)
    np.testing.assert_array_equal(value, values**2)
    np.testing.assert_array_equal(part, [49, 64])
    value[:] = 0


def test_a_pool_keeps_no_more_than_the_last_run_needed(pool, segments):
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(30):
        pool.run(squares, np.ones(20_000))
    # Small ones are kept for some runs, and a lane that comes late holds its own a run longer; but 30 runs take 90.
    assert len(os.listdir("/proc/self/fd")) <= descriptors + 20
    assert len(segments) <= 20


def test_segments_have_no_name_while_they_are_in_use():
    before = set(os.listdir("/dev/shm"))
    held = [shared.empty(1000) for _ in range(5)]
    mine = [name for name in set(os.listdir("/dev/shm")) - before if name.startswith(f"nfold-{os.getpid()}-")]
    assert not [name for name in mine if os.stat(f"/dev/shm/{name}").st_size == held[0].nbytes]


def test_an_array_outlives_everything_that_made_it():
    array = Arena("shared").empty(10)
    array[:] = 3
    view = array.reshape(2, 5)[1]
    del array
    gc.collect()
    assert view.tolist() == [3] * 5


# Too little of everything.


@pytest.mark.parametrize("kind", ["heap", "shared", "mapped"])
@pytest.mark.parametrize("shape", [10**15, (2**31, 2**31), 2**62], ids=repr)
def test_more_memory_than_there_is_is_refused_with_both_figures(kind, shape):
    with pytest.raises(MemoryError, match=r"[\d.e+]+ [A-Z]+ are needed and [\d.]+ [A-Z]+ are free"):
        Arena(kind).empty(shape)


def test_a_run_that_needs_too_much_is_refused(pool, monkeypatch):
    check_refusal(pool, monkeypatch)


def test_threads_refuse_it_too(monkeypatch):
    with Threads(1).open() as pool:
        check_refusal(pool, monkeypatch)


def check_refusal(pool, monkeypatch):
    pool.arena.redraw()  # what it keeps of the tests before would count as free
    monkeypatch.setattr(memory, "memory_available", lambda: 10_000_000)
    with pytest.raises(MemoryError, match=r"24 MB are needed and 10(\.\d)? MB are free"):
        pool.run(doubled, np.broadcast_to(np.ones(1), 3_000_000))
    monkeypatch.undo()
    assert pool.run(squares, np.ones(3)).value.tolist() == [1, 1, 1]


NO_DESCRIPTORS = """
import resource
import numpy as np
from compute import Processes, Threads, shared
from example_kernels import squares

values = np.ones(1000)
with Processes(2).open() as pool:
    pool.run(squares, values)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    import os
    used = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 16, used + 16))
    held = []
    try:
        for _ in range(50):
            held.append(shared.empty(1000))
    except OSError as error:
        print(type(error).__name__, error)
    held.clear()
    print(pool.run(squares, values).value.sum())
try:
    resource.setrlimit(resource.RLIMIT_NOFILE, (used, used))
    Processes(8).open()
except OSError as error:
    print(type(error).__name__, error)
"""


def test_running_out_of_descriptors_is_one_clear_error(warm_python):
    first, second, third = warm_python.run(NO_DESCRIPTORS).splitlines()
    assert "Too many open files" in first
    assert second == "1000.0"
    assert "Too many open files" in third


QUIET_EXIT = """

import numpy as np
from compute import Joblib, Processes, run, shared
from example_kernels import squares

kept = [shared.empty(1000)]
# A second worker of a kind is there where it costs little, and where a second tracker could speak.
for backend in (Processes(2), Processes(1, start="spawn"), Joblib(2), Joblib(1, arrays="memmap")):
    kept.append(run(squares, shared.array(np.ones(1000)), on=backend).value)
pool = Processes(2).open()  # not closed: neither is that a reason for noise
kept.append(pool.run(squares, np.ones(10)).value)
"""
FAILING_EXIT = """
import numpy as np
from compute import Processes, shared
from example_kernels import squares

kept = shared.empty(1000)
pool = Processes(2).open()
value = pool.run(squares, np.ones(10)).value
raise SystemExit("so there")
"""


NAMED = "import compute.memory.segments\ncompute.memory.segments.NAMELESS = False  # as where there is no /proc"


@pytest.mark.parametrize(
    "system", [pytest.param("", id="nameless"), pytest.param(NAMED, id="named", marks=pytest.mark.slow)]
)
def test_nothing_is_said_at_exit(warm_python, no_leaks, system):
    assert warm_python.run(system + QUIET_EXIT, to_the_end=True) == ""


def test_nothing_is_added_to_what_a_failing_script_says(warm_python, no_leaks):
    failed = warm_python.start(FAILING_EXIT, to_the_end=True)
    assert (failed.ended(), failed.stderr) == (1, "so there\n")


@pytest.mark.skipif(sys.platform != "linux", reason="a mounted /dev/shm is Linux's")
def test_a_full_shared_memory_falls_back_to_a_file_and_says_so(monkeypatch, tmp_path):
    import errno

    import compute.memory.segments

    def full(size):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(compute.memory.segments, "_create_shared", full)
    arena = Arena("shared", str(tmp_path))
    with pytest.warns(RuntimeWarning, match="shared memory has .* free and .* are needed.*--shm-size"):
        array = arena.empty(1000)
    arena.empty(2000)  # a warning would be an error here: once is enough
    array[:] = 2
    assert reference(array).open({}).sum() == 2000
    assert list(tmp_path.iterdir()) == []
