"""Which backends with how many workers a call asks for, and what its arguments are called."""

import numpy as np
import pytest

from compute import Coroutines, Serial, Threads, machine
from compute.scaling.configurations import configurations, worker_counts
from compute.scaling.rounds import Work
from kernels import triad


def test_configurations(monkeypatch):
    monkeypatch.setattr(machine, "usable_cpus", lambda *_: 8)
    assert configurations([Threads(3), Threads(3), "serial"]) == [Serial(), Threads(3)]
    assert configurations(["threads", Coroutines(5)]) == [
        Serial(), Threads(1), Threads(2), Threads(4), Threads(8), Coroutines(5),
    ]  # fmt: skip
    assert configurations([Threads(9), Serial()], [1, 2]) == [Serial(), Threads(1), Threads(2)]
    assert configurations("threads", [2]) == configurations(Threads(2)) == [Serial(), Threads(2)]


@pytest.mark.parametrize(("cpus", "counts"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])])
def test_worker_counts_double_up_to_the_cpus(monkeypatch, cpus, counts):
    monkeypatch.setattr(machine, "usable_cpus", lambda *_: cpus)
    assert worker_counts() == counts


@pytest.mark.parametrize(
    ("args", "size", "told"),
    [
        ((7,), 7, "7"),
        (((3, 4),), 3, "(3, 4)"),
        ((np.zeros((5, 2)), np.ones(2)), 5, "float64[5, 2], float64[2]"),
        ((np.float64(1.5),), 11, "np.float64(1.5)"),
        (("x" * 50,), 11, "str"),
    ],
)
def test_what_a_report_calls_a_size_and_the_arguments(args, size, told):
    assert Work(triad, args).size_of(11) == size
    assert Work(triad, args).in_words() == told
