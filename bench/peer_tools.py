"""Other people's programs and libraries, built, run and timed: primesieve, C compilers, STREAM, OpenBLAS's threads."""

from __future__ import annotations

import ctypes
import ctypes.util
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from peer_rounds import Run

from compute.scaling import statistics

SOURCES = Path(__file__).parent / "peers"
INT64_PRIMES = 12  # primesieve.h's number for lists of int64_t
CHUNK = 1 << 20
NAMES = {"openblas": "OpenBLAS", "mkl": "MKL", "blis": "BLIS"}
PATIENCE = 600  # s for any program


class Missing(Exception):
    """A peer that this machine does not have; the message is the reason to print."""


def compiler(names: tuple[str, ...]) -> str:
    """The first of these that is here (the environment's CC or CXX first); Missing where none is."""
    asked = os.environ.get("CXX" if "g++" in names else "CC")
    for name in (asked, *names):
        if name and shutil.which(name):
            return name
    raise Missing(f"no compiler ({', '.join(names)})")


def build(source: str, folder: Path, *flags: str) -> Path:
    """Compile a file of bench/peers into the folder; Missing, with the compiler's first error, where it will not."""
    cc = compiler(("c++", "g++", "clang++") if source.endswith("cpp") else ("cc", "gcc", "clang"))
    program = folder / Path(source).stem
    command = [cc, "-O3", "-march=native", str(SOURCES / source), "-o", str(program), *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    if done.returncode:
        told = done.stderr.replace(f"{SOURCES}{os.sep}", "")
        errors = [line for line in told.splitlines() if "error" in line or "cannot find" in line]
        raise Missing(f"{cc} does not build {source}: {(errors or ['no reason given'])[0]}")
    return program


def host_has(feature: str) -> bool:
    """Whether this CPU has an instruction set, by LLVM's name for it."""
    from llvmlite import binding

    return bool(binding.get_host_cpu_features().get(feature))


def output_of(command: list[Any], threads: int) -> str:
    """What a program prints with so many OpenMP threads; Missing where it fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, env=environment)
    if done.returncode:
        raise Missing(f"{Path(words[0]).name} ended with {done.returncode}: {done.stderr.strip()[-200:]}")
    return done.stdout


# ---------------------------------------------------------------- primesieve


class Primesieve:
    """The library, by its C interface, in this process: no start-up, and its own threads."""

    def __init__(self, path: str | None = None) -> None:
        found = path or ctypes.util.find_library("primesieve")
        if not found:
            raise Missing("no libprimesieve (Debian: primesieve, libprimesieve-dev)")
        try:
            self._library = ctypes.CDLL(found)
        except OSError as error:
            raise Missing(f"libprimesieve: {error}") from None
        self._library.primesieve_version.restype = ctypes.c_char_p
        self._count = self._library.primesieve_count_primes
        self._count.argtypes, self._count.restype = [ctypes.c_uint64] * 2, ctypes.c_uint64
        self._generate = self._library.primesieve_generate_primes
        self._generate.argtypes = [ctypes.c_uint64, ctypes.c_uint64, ctypes.POINTER(ctypes.c_size_t), ctypes.c_int]
        self._generate.restype = ctypes.c_void_p
        self._library.primesieve_free.argtypes = [ctypes.c_void_p]
        self.version = self._library.primesieve_version().decode()

    def count(self, start: int, stop: int, threads: int) -> tuple[float, int]:
        """Seconds, and how many primes there are in start .. stop."""
        self._library.primesieve_set_num_threads(threads)
        began = time.perf_counter()
        found = self._count(start, stop)
        return time.perf_counter() - began, int(found)

    def generate(self, start: int, stop: int) -> tuple[float, tuple[int, int, int]]:
        """Seconds, and the signature of the primes in start .. stop; it has no threads for this."""
        length = ctypes.c_size_t()
        began = time.perf_counter()
        place = self._generate(start, stop, ctypes.byref(length), INT64_PRIMES)
        seconds = time.perf_counter() - began
        numbers = (ctypes.c_int64 * length.value).from_address(place)
        told = signature(np.frombuffer(numbers, np.int64))
        self._library.primesieve_free(place)
        return seconds, told


def signature(numbers: Any) -> tuple[int, int, int]:
    """How many there are, their sum, and the sum of each times its place (from 1), both modulo 2^64."""
    total = placed = 0
    for first in range(0, len(numbers), CHUNK):
        part = numbers[first : first + CHUNK].astype(np.uint64)
        total += int(part.sum())
        placed += int(np.dot(part, np.arange(first + 1, first + 1 + len(part), dtype=np.uint64)))
    return len(numbers), total % 2**64, placed % 2**64


class Generator:
    """bench/peers/primesieve_lists.cpp: one process for all rounds, which tells its own seconds."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.version = self._ask(0, 100, 1)["version"]

    def _ask(self, start: int, stop: int, threads: int) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{start} {stop} {threads}\n")
        self._process.stdin.flush()
        told: dict[str, Any] = json.loads(self._process.stdout.readline())
        return told

    def generate(self, start: int, stop: int, threads: int) -> tuple[float, tuple[int, int, int]]:
        """Seconds, and the signature of the primes in start .. stop."""
        told = self._ask(start, stop, threads)
        return told["seconds"], (told["count"], told["sum"], told["placed"])

    def close(self) -> None:
        self._process.communicate(timeout=PATIENCE)


# ---------------------------------------------------------------- the others


def mandelbrot_run(program: Path, view: tuple[Any, ...], threads: int, image: Path) -> tuple[Run, bytes]:
    """One image by the C peer: its own wall time, without its start, and the image as bytes."""
    (height, width), center, span, limit = view
    command = [program, height, width, repr(center.real), repr(center.imag), repr(span), limit, 1, image]
    told = json.loads(output_of(command, threads))
    return Run(told["wall"], told["iterations"]), image.read_bytes()


def stream_run(program: Path, elements: int, repeats: int, threads: int, *words: str) -> Run:
    """One run of STREAM's triad, or of `reads`: its own clock, the median of the repeats. It checks its own answer."""
    rates = [float(line) for line in output_of([program, elements, repeats, *words], threads).split()]
    counted = (8.0 if "reads" in words else 24.0) * (elements // 8 * 8)
    return Run(counted / (statistics.median(rates) * 1e9), counted)


@contextmanager
def blas_threads(count: int) -> Iterator[None]:
    """numpy's BLAS held to so many threads of its own."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=count, user_api="blas"):
        yield


def blas_name() -> str:
    """The BLAS behind numpy and whose kernels it chose, for a table; Missing where threadpoolctl sees none."""
    from threadpoolctl import threadpool_info

    for library in threadpool_info():
        if library["user_api"] == "blas":
            name = NAMES.get(library["internal_api"], library["internal_api"])
            kind = library.get("architecture")
            return f"{name} {library['version'] or ''}".strip() + (f" ({kind})" if kind else "")
    raise Missing("threadpoolctl sees no BLAS behind numpy whose threads it can set")
