"""Plans that cannot fit into this machine: what is needed and what there is, before anything costly is begun."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from patience import PATIENCE

from compute import Processes, Threads, run, shared
from compute.backends.backend import Backend
from compute.cli import main
from compute.lanes.control import ControlArray
from compute.memory.arena import Arena
from compute.traits import PROCESSES
from kernels import count_primes, each, kernel, mandelbrot, matmul, matvec, primes, transpose, triad
from kernels.definition.plan import Plan
from kernels.sieve import windows
from kernels.vectors import memory

BOTH = r"[\d.e+]+ [A-Z]B are needed and [\d.]+ [a-zA-Z]+ are free; "


def of(value, *shape):
    """An array of that shape in eight bytes."""
    return np.broadcast_to(np.asarray(value), shape)


@kernel(plan=lambda n: Plan(n, (), shape=(n, n, n)), compiled=False)
def cube(lo, hi, out):
    out[lo:hi] = 1


@kernel(plan=lambda n: Plan(n, (), grain=1), compiled=False)
def a_chunk_an_index(lo, hi, out):
    out[lo:hi] = 1


@kernel(plan=lambda n: Plan(n, (np.zeros(n),)), compiled=False)
def zeros(lo, hi, out, x):
    out[lo:hi] = x[lo:hi]


@kernel
def doubled(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = 2 * x[i]


# Each took seconds, or said something else, or nothing, or would have filled the machine.
TOO_LARGE = {
    "primes": (primes, 10**15),
    "primes of a window": (primes, 2**63 - 1, 2**62),
    "count_primes": (count_primes, 2**63 - 1),
    "mandelbrot": (mandelbrot, (10**10, 10**10)),
    "mandelbrot in a line": (mandelbrot, (1, 10**13)),
    "more than numpy counts": (cube, 10**7),
    "many chunks": (a_chunk_an_index, 10**13),
    "an input that a plan makes": (zeros, 10**13),
    "an array that is shown often": (doubled, of(1.0, 10**13)),
    "matmul's product": (matmul, of(1.0, 10**7, 1), of(1.0, 1, 10**7)),
    "matmul's converted operand": (matmul, of(np.int8(1), 10**7, 10**6), np.ones((10**6, 1))),
    "matmul's stack": (matmul, of(1.0, 10**9, 10**5, 1), of(1.0, 1, 10**5)),
    "matmul's empty stack": (matmul, of(1.0, 10**13, 0, 1), of(1.0, 1, 1)),
    "matvec's copy of x": (matvec, of(1.0, 1, 10**13), of(1.0, 10**13)),
    "transpose": (transpose, of(1.0, 10**6, 10**7)),
    "transpose's middle axes": (transpose, of(1.0, 2, 10**13, 0)),
    "triad": (triad, of(1.0, 10**7, 1), of(1.0, 1, 10**7), 2.0),
    "triad beyond an int64": (triad, of(1.0, 10**10, 1), of(1.0, 1, 10**10), 2.0),
    "triad's converted operand": (triad, of(1, 10**13), of(1.0, 10**13), 2.0),
    "each": (each(abs), range(10**13)),
    "each beyond an int64": (each(abs), range(-(10**30), 0, 7)),
    "each of what tells its length": (each(abs), itertools.repeat(1, 10**13)),
}


@dataclass(frozen=True, repr=False)
class Unopened(Backend):
    """Workers with memory of their own, which are never to be started."""

    name = "unopened"
    traits = PROCESSES

    def open(self):
        raise AssertionError("its workers were started")


@pytest.mark.parametrize("on", [None, Unopened(2)], ids=["called", "run"])
@pytest.mark.parametrize("case", TOO_LARGE)
def test_what_is_needed_and_what_there_is_are_told_before_anything_begins(case, on):
    of_kernel, *args = TOO_LARGE[case]
    with pytest.raises(MemoryError, match=BOTH):
        run(of_kernel, *args, on=on) if on else of_kernel(*args)


@pytest.mark.parametrize("variant", ["python", "nogil"])
def test_the_sieving_primes_are_not_sieved_for_a_count_that_never_fits(monkeypatch, variant):
    monkeypatch.setattr(windows, "sieving_primes", lambda limit: pytest.fail(f"the primes to {limit} are sieved"))
    for of_kernel in count_primes, primes:
        with pytest.raises(MemoryError, match="use a smaller n, or a later start"):
            of_kernel.held_to(variant).plan(10**18)


def test_items_without_a_length_end_where_memory_does(monkeypatch):
    monkeypatch.setattr(memory, "memory_available", lambda: 40_000_000)
    with pytest.raises(MemoryError, match="more than 1048576 items"):
        each(abs)(itertools.count())
    with pytest.raises(MemoryError, match="48 MB are needed and 40 MB are free; these are 1000000 items"):
        each(abs)(range(1_000_000))
    assert each(abs)(range(-3, 0)) == [3, 2, 1]


@pytest.mark.parametrize("kind", ["heap", "shared"])
def test_arrays_that_fit_alone_and_not_together_are_refused_before_the_first(monkeypatch, kind):
    made = []
    monkeypatch.setattr(memory, "memory_available", lambda: 50_000_000)
    monkeypatch.setattr(Arena, "_new", lambda self, size: made.append(size))
    backend = Threads(2) if kind == "heap" else Processes(2)
    with pytest.raises(MemoryError, match="are needed and 50 MB are free; use a smaller size, or a larger grain"):
        run(a_chunk_an_index, 2_500_000, on=backend)  # 20 MB of output, and 40 MB for the chunks
    assert made == []


def test_memory_that_a_pool_keeps_counts_as_free_to_it(monkeypatch):
    arena = Arena("shared")
    size = 2**25
    del_me = arena.empty(size, np.uint8)
    del del_me
    monkeypatch.setattr(memory, "memory_available", lambda: 2**22)
    arena.check_room(size, "")
    with pytest.raises(MemoryError):
        arena.check_room(2 * size, "")
    arena.close()


def test_an_output_of_the_caller_s_needs_no_memory(monkeypatch):
    a, out = np.ones(3_000_000), np.empty(3_000_000)
    there, target = shared.array(a), shared.empty(3_000_000)
    monkeypatch.setattr(memory, "memory_available", lambda: 2**20)
    with Threads(1).open() as pool:
        pool.run(triad, a, a, 1.0, out=out)
    with Processes(1).open() as pool:
        pool.run(triad, there, there, 1.0, out=target)
    assert (out == 2).all()
    assert (target == 2).all()


def test_a_chunk_takes_what_the_sieve_reckons_with():
    chunks = 10**9  # no spans are kept of so many
    assert ControlArray.length(2, chunks) * 8 + 8 * chunks == pytest.approx(windows.CHUNK_BYTES * chunks, rel=1e-3)


@pytest.mark.parametrize(
    "words",
    [
        "run primes 1e15", "run mandelbrot 1e10", "run count_primes 9e18", "run builtins:abs 1e12",
        "scale primes 1e15", "scale mandelbrot 1e10", "scale count_primes 9e18 --on serial",
        "scale matmul 1e9 --mode weak",
        "advise primes 1e15", "advise count_primes 9e18", "advise transpose 1e9",
    ],
)  # fmt: skip
def test_the_command_line_says_it_in_a_line(words, capsys):
    assert main(words.split()) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "are free; use a smaller" in said.err


LIMITED = """
import resource, sys
from kernels import mandelbrot
from kernels.vectors import memory

before = memory.memory_available()
resource.setrlimit(resource.RLIMIT_{kind}, (2**32, 2**32))
assert 0 < memory.memory_available() < min(before, 2**32), memory.memory_available()
assert memory.memory_limit() <= 2**32
try:
    mandelbrot((40_000, 40_000))
except MemoryError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how much of a limit is used")
@pytest.mark.parametrize("kind", ["AS", "DATA"])
def test_the_process_s_own_limit_is_one(kind):
    done = subprocess.run(
        [sys.executable, "-c", LIMITED.format(kind=kind)],
        capture_output=True, text=True, timeout=PATIENCE, env=os.environ,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("6.4 GB are needed and ")


@pytest.mark.parametrize(
    ("size", "told"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1 kB"), (999_600, "1 MB"), (8 * 10**400, "more than 10^15 YB")],
)
def test_bytes_of_any_number_have_words(size, told):
    assert memory.in_bytes(size) == told
