"""The rows of the table: each kernel beside its peer, on one core and on all, with the answers held to each other.

Every function here makes the groups of one part, or raises Missing with the reason why this machine cannot.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import peer_tools
from peer_rounds import Agreement, Comparison, Group, Run
from peer_tools import Missing

from compute import machine
from compute.backends.pool import Pool
from compute.scaling import statistics
from kernels import count_primes, mandelbrot, matmul, matvec, primes, transpose, triad
from kernels.definition import Kernel
from kernels.vectors.caches import empty

SETTLE = 0.15  # s: OpenBLAS's threads spin for 2^28 cycles after their work, on the CPU that the next contender needs
REPEATS = 5  # of a memory kernel in a round: STREAM, too, repeats in one process
USUAL_CACHE = 32 << 20  # the last level's size where the system does not tell it
MOST_ITER = 1000
WHOLE = (-0.75 + 0j, 3.0)
# Views without a pixel that stays; about 100, 160 and 380 iterations a pixel, with pixels for equal work.
VIEWS = (
    (1600, 0.275336142511115 + 0.006759649405327j, 1e-5),
    (1200, -1.302568132 + 0.064658704j, 1e-5),
    (800, -0.160700717245 + 1.037566353265j, 6.25e-8),
)
ODD_SHAPES = ((1021, 1031, 1033), (1537, 513, 2999), (4097, 127, 3001))  # rows of A, the sum's length, columns of B


@dataclass
class Bench:
    """What the parts share: a folder for what they build, an open pool for each core count, and the choices made.

    at_end ends what they started; skipped says what they could not do, and why.
    """

    folder: Path
    pools: dict[int, Pool]
    at_end: ExitStack
    primesieve: str | None = None
    quick: bool = False
    skipped: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(20261122)


# ---------------------------------------------------------------- primes


def prime_groups(bench: Bench) -> Iterator[Group]:
    """count_primes against the library's count; primes against its lists."""
    library = peer_tools.Primesieve(bench.primesieve)
    least = 8 if bench.quick else 9
    window = 10**least
    cases = [(2, 10**least, 0.85), (2, 10 ** (least + 1), 0.9)]
    cases += [(10**k, 10**k + window, goal) for k, goal in ((12, 0.95), (15, 1.0), (18, 1.1))]
    for start, stop, goal in cases:
        title = f"count_primes to 1e{len(str(stop)) - 1}"
        if start > 2:
            title = f"count_primes, 1e{least} numbers from 1e{len(str(start)) - 1}"
        try:
            count_primes.plan(stop, start=start)
        except ValueError as refused:  # the window below its limit is as hard
            bench.skipped.append(f"{title}: {refused}; the window that ends there is measured instead")
            start, stop = start - window, start
            title = f"count_primes, 1e{least} numbers up to 1e{len(str(stop)) - 1}"
        for cores, pool in bench.pools.items():
            yield _counting(title, library, start, stop, goal, cores, pool)
    vectors = None
    try:
        program = peer_tools.build("primesieve_lists.cpp", bench.folder, "-pthread", "-lprimesieve")
        vectors = peer_tools.Generator(program)
        bench.at_end.callback(vectors.close)
    except Missing as reason:
        bench.skipped.append(f"generate_primes into a C++ vector: {reason}")
    for cores, pool in bench.pools.items():
        yield from _listing(library, vectors, 10**least, cores, pool)


def _counting(
    title: str, library: peer_tools.Primesieve, start: int, stop: int, goal: float, cores: int, pool: Pool
) -> Group:
    agreement, numbers, peer = Agreement(title), float(stop - start + 1), f"primesieve {library.version}"

    def ours() -> Run:
        result = pool.run(count_primes, stop, start=start, variant="nogil")
        _check(count_primes, result.value, stop, start)
        agreement.hold(result.value, "nfold")
        return Run(result.seconds, numbers)

    def theirs() -> Run:
        seconds, count = library.count(start, stop, cores)
        agreement.hold(count, peer)
        return Run(seconds, numbers)

    return Group(
        "primes", cores, "numbers", {"nfold": ours, peer: theirs}, [Comparison(title, "nfold", peer, "time", goal)]
    )


def _listing(
    library: peer_tools.Primesieve, vectors: peer_tools.Generator | None, stop: int, cores: int, pool: Pool
) -> Iterator[Group]:
    """Our array beside the C++ vector; beside the C interface's array on one core, where it is not the same library."""
    title = f"primes to 1e{len(str(stop)) - 1}"
    agreement, numbers = Agreement(title), float(stop - 1)

    def held(name: str, run: Callable[[], tuple[float, Any]]) -> Callable[[], Run]:
        def contender() -> Run:
            seconds, told = run()
            agreement.hold(told, name)
            return Run(seconds, numbers)

        return contender

    def ours() -> tuple[float, Any]:
        result = pool.run(primes, stop, variant="nogil")
        return result.seconds, peer_tools.signature(result.value)

    contenders = {"nfold": held("nfold", ours)}
    if vectors:
        name = f"C++ vector, {vectors.version}" if cores == 1 else f"{cores} C++ vectors, {vectors.version}"
        contenders[name] = held(name, lambda: vectors.generate(2, stop, cores))
    if cores == 1 and (vectors is None or library.version != vectors.version):
        name = f"C array, {library.version}"
        contenders[name] = held(name, lambda: library.generate(2, stop))
    if peers := [name for name in contenders if name != "nfold"]:
        compared = [Comparison(title, "nfold", peer, "time", 1.2) for peer in peers]
        yield Group("primes", cores, "numbers", contenders, compared)


# ---------------------------------------------------------------- mandelbrot


def mandelbrot_groups(bench: Bench) -> Iterator[Group]:
    """Views without interior and the whole set against C with AVX2 intrinsics; images equal byte by byte."""
    if not peer_tools.host_has("avx2"):
        raise Missing("this CPU has no AVX2, in which the peer is written")
    program = peer_tools.build("mandelbrot_avx2.c", bench.folder, "-mavx2", "-ffp-contract=off", "-fopenmp")
    shrunk = 4 if bench.quick else 1
    for cores, pool in bench.pools.items():
        for height, center, width in VIEWS:
            view = (height // shrunk, height // shrunk * 3 // 2), center, width, MOST_ITER
            yield _image(program, view, "view", 2.5, cores, pool)
        yield _image(program, ((1600 // shrunk, 2400 // shrunk), *WHOLE, MOST_ITER), "whole set", 1 / 12, cores, pool)


def _image(program: Path, view: tuple[Any, ...], kind: str, goal: float, cores: int, pool: Pool) -> Group:
    (height, width), center, _, limit = view
    title = f"mandelbrot {kind}, {height} x {width}" + (f" at {center:.2f}" if kind == "view" else "")
    agreement, out = Agreement(title), np.empty((height, width), np.int32)
    peer, raw = "C, AVX2", program.with_suffix(".raw")

    def ours() -> Run:
        out.fill(-1)
        result = pool.run(mandelbrot, *view, out=out, variant="nogil")
        agreement.hold(hashlib.blake2b(out.tobytes()).hexdigest(), "nfold")
        if kind == "view":
            assert out.max() < limit, f"{title} has pixels that stay"
        return Run(result.seconds, float(out.sum(dtype=np.int64)))

    def theirs() -> Run:
        run, image = peer_tools.mandelbrot_run(program, view, cores, raw)
        agreement.hold(hashlib.blake2b(image).hexdigest(), peer)
        return run

    by = "rate" if kind == "view" else "time"
    return Group(
        "mandelbrot", cores, "iterations", {"nfold": ours, peer: theirs}, [Comparison(title, "nfold", peer, by, goal)]
    )


# ---------------------------------------------------------------- matmul


def matmul_groups(bench: Bench) -> Iterator[Group]:
    """Our own micro-kernel, and BLAS in bands over lanes, against BLAS with as many threads of its own."""
    blas = peer_tools.blas_name()
    sides = (512, 1024) if bench.quick else (1024, 2048, 4096)
    for shape in [*((side, side, side) for side in sides), *ODD_SHAPES[: 1 if bench.quick else None]]:
        n, k, m = shape
        A, B, C = bench.rng.random((n, k)) - 0.5, bench.rng.random((k, m)) - 0.5, np.empty((n, m))
        for cores, pool in bench.pools.items():
            yield _product(A, B, C, blas, cores, pool)


def _product(A: Any, B: Any, C: Any, blas: str, cores: int, pool: Pool) -> Group:
    flops = 2.0 * A.shape[0] * A.shape[1] * B.shape[1]
    side = {*A.shape, *B.shape}
    told = f"n = {A.shape[0]}" if len(side) == 1 else f"{A.shape[0]} x {A.shape[1]} x {B.shape[1]}"

    def ours(variant: str) -> Callable[[], Run]:
        def run() -> Run:
            C.fill(np.nan)
            seconds = pool.run(matmul, A, B, out=C, variant=variant).seconds
            _check(matmul, C, A, B)
            return Run(seconds, flops)

        return run

    def theirs() -> Run:
        C.fill(np.nan)
        with peer_tools.blas_threads(cores):
            began = time.perf_counter()
            np.matmul(A, B, out=C)
            seconds = time.perf_counter() - began
        _check(matmul, C, A, B)
        return Run(seconds, flops)

    return Group(
        "matmul",
        cores,
        "flop",
        {"nogil": ours("nogil"), "blas": ours("blas"), blas: theirs},
        [
            Comparison(f"matmul nogil, {told}", "nogil", blas, "rate", 1.0),
            Comparison(f"matmul blas in bands, {told}", "blas", blas, "rate", 0.98),
        ],
        settle=SETTLE,
    )


# ---------------------------------------------------------------- what memory limits


def stream_groups(bench: Bench) -> Iterator[Group]:
    """matvec, transpose and triad against STREAM's triad, all in bytes/s; arrays of four times the last cache."""
    program = peer_tools.build("streams.c", bench.folder, "-fopenmp")
    cache = last_cache()
    elements = 4 * cache // 8 // (16 if bench.quick else 1)
    if 8 * elements * 10 > machine.memory_available():
        raise Missing(f"arrays of four times the last-level cache ({cache >> 20} MB) do not fit this machine's memory")
    side = math.isqrt(elements - 1) + 1
    operands = Streams(bench, elements, side)
    for cores, pool in bench.pools.items():
        yield _streaming(program, operands, elements, cores, pool)


class Streams:
    """The arrays of the memory kernels, aligned as the peer's are, touched once, and used by every core count."""

    def __init__(self, bench: Bench, elements: int, side: int) -> None:
        def drawn(*shape: int) -> Any:
            return bench.rng.random(out=empty(shape))

        self.a, self.b, self.sums = drawn(elements), drawn(elements), drawn(elements)
        self.squares = {n: drawn(n, n) for n in (side, side + 104)}  # a power of two is the hardest
        self.turned = {n: drawn(n, n) for n in self.squares}
        self.x, self.y = drawn(side), drawn(side)


def _streaming(program: Path, arrays: Streams, elements: int, cores: int, pool: Pool) -> Group:
    def ours(kernel: Kernel, out: Any, bytes_moved: float, *args: Any) -> Callable[[], Run]:
        def run() -> Run:
            out.fill(np.nan)
            seconds = [pool.run(kernel, *args, out=out, variant="nogil").seconds for _ in range(REPEATS)]
            _check(kernel, out, *args)
            return Run(statistics.median(seconds), bytes_moved)

        return run

    side, odd = arrays.squares
    plain, past, reads = "STREAM in C", "STREAM past the caches", "reading alone in C"
    contenders = {
        "triad": ours(triad, arrays.sums, 24.0 * elements, arrays.a, arrays.b, 3.0),
        "matvec": ours(matvec, arrays.y, 8.0 * (side * side + 2 * side), arrays.squares[side], arrays.x),
        **{f"transpose {n}": ours(transpose, arrays.turned[n], 16.0 * n * n, arrays.squares[n]) for n in (side, odd)},
        plain: lambda: peer_tools.stream_run(program, elements, REPEATS, cores),
        past: lambda: peer_tools.stream_run(program, elements, REPEATS, cores, "nontemporal"),
        reads: lambda: peer_tools.stream_run(program, elements, REPEATS, cores, "reads"),
    }
    told = f"{elements * 8 / 1e6:.0f} MB an array"
    comparisons = [
        Comparison(f"triad, {told}", "triad", plain, "rate", 0.95),
        Comparison(f"matvec, n = {side}", "matvec", plain, "rate", 0.95),
        *(Comparison(f"transpose, n = {n}", f"transpose {n}", plain, "rate", 0.8) for n in (side, odd)),
        Comparison(f"triad, {told}", "triad", past, "rate", None),
        Comparison(f"matvec, n = {side}", "matvec", reads, "rate", None),
    ]
    return Group("streams", cores, "B", contenders, comparisons)


def last_cache() -> int:
    """Bytes of the largest cache of the first CPU."""
    return max((machine.describe()["caches"] or {"": USUAL_CACHE}).values())


def _check(kernel: Kernel, value: Any, *args: Any) -> None:
    """The kernel's own check of an answer."""
    assert kernel.check is not None
    kernel.check(value, *args)


PARTS: dict[str, Callable[[Bench], Iterator[Group]]] = {
    "primes": prime_groups,
    "mandelbrot": mandelbrot_groups,
    "matmul": matmul_groups,
    "streams": stream_groups,
}
