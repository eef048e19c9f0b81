"""Arrays in the tasks of joblib.Parallel on our workers: shared, once, read-only; files are opened again."""

from __future__ import annotations

import numpy as np
import pytest
from joblib import Parallel, delayed

LARGE = np.arange(100_000.0)  # 800 KB


pytestmark = pytest.mark.usefixtures("nobody_idle", "on_nfold")


def where(array):
    return type(array).__name__, array.flags.writeable, float(array.sum())


def test_a_large_array_is_read_only_and_put_into_shared_memory_once():
    with Parallel() as parallel:
        assert set(parallel(delayed(where)(LARGE) for _ in range(20))) == {("ndarray", False, LARGE.sum())}
        assert len(parallel._backend._workers._copies._copies) == 1


def test_a_small_array_is_the_tasks_own():
    def fill(array):
        array[:] = 7
        return array

    small = np.zeros(5)
    assert [one.tolist() for one in Parallel()(delayed(fill)(small) for _ in range(3))] == 3 * [5 * [7.0]]
    assert not small.any()


def test_a_task_that_writes_to_a_large_array_is_refused():
    def fill(array):
        array[:] = 7

    with pytest.raises(ValueError, match="read-only"):
        Parallel()(delayed(fill)(LARGE) for _ in range(3))


def test_an_array_that_changes_between_calls_is_seen_as_it_is():
    changing = np.zeros(100_000)
    with Parallel() as parallel:
        for i in range(4):
            changing[:] = i
            assert parallel(delayed(np.mean)(changing) for _ in range(5)) == [i] * 5


def test_tasks_write_into_a_memory_mapped_file(tmp_path):
    """joblib's own way to have results in one array: the file itself is opened by the workers."""

    def fill(out, i):
        out[i] = i

    mapped = np.memmap(tmp_path / "out", np.float64, "w+", shape=(1000,))
    Parallel()(delayed(fill)(mapped, i) for i in range(1000))
    assert mapped.tolist() == list(range(1000))
    Parallel()(delayed(fill)(mapped[500:], i) for i in range(500))
    assert mapped[500:].tolist() == list(range(500))
    Parallel()(delayed(lambda held: fill(held["out"], 7))({"out": np.asarray(mapped)}) for _ in range(1))
    assert mapped[7] == 7


def test_large_results_are_the_callers():
    results = Parallel()(delayed(np.full)(100_000, i) for i in range(4))
    results[2][0] = 9
    assert [one.sum() for one in results] == [0, 100_000, 200_007, 300_000]


@pytest.mark.parametrize("option", [{"max_nbytes": 10}, {"temp_folder": "/tmp"}, {"mmap_mode": "c"}])
def test_how_joblib_maps_arrays_means_nothing_and_is_told(option):
    with pytest.warns(UserWarning, match=f"{next(iter(option))} means nothing to nfold"):
        assert Parallel(**option)(delayed(where)(LARGE) for _ in range(2)) == 2 * [("ndarray", False, LARGE.sum())]


def test_arrays_that_tasks_are_to_write_to_are_refused():
    with pytest.raises(ValueError, match=r"mmap_mode must be 'r', not 'w\+'"):
        Parallel(mmap_mode="w+")(delayed(abs)(i) for i in range(2))


def test_an_unknown_option_is_refused():
    with pytest.raises(TypeError, match="the nfold backend has no option 'initialiser'; it has initializer"):
        Parallel(initialiser=print)(delayed(abs)(i) for i in range(2))
