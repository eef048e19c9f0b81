"""Every kernel with arguments and an answer from elsewhere: what the table of backends runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import example_kernels
import numpy as np

from compute import Coroutines, Interpreters, Joblib, Prange, Processes, Serial, Threads
from compute.backends.backend import Refused
from compute.backends.interpreters.subinterpreter import unavailable
from kernels import REGISTRY, Kernel

IN_PROCESS = [Serial(), Threads(1), Threads(2), Threads(3), Prange(1), Prange(2), Coroutines(2)]
OUT_OF_PROCESS = [
    Processes(2, start="forkserver"),
    Processes(1, start="forkserver"),
    Processes(3, start="forkserver"),
    Processes(2, start="spawn"),
    Joblib(2, kind="loky", arrays="shared"),
    Joblib(2, kind="loky", arrays="memmap"),
]
INTERPRETERS = [Interpreters(2)] if unavailable() is None else []
BACKENDS = [*IN_PROCESS, *INTERPRETERS, Joblib(2, kind="threading"), *OUT_OF_PROCESS]
FORK = Processes(2, start="fork")  # refused where there are threads, so only in a process of its own


def integers(*shape: int, seed: int = 5) -> np.ndarray:
    """Whole numbers as float64: sums and products of them are exact, so every order gives the same bits."""
    return np.random.default_rng(seed).integers(-9, 10, shape).astype(float)


def primes_to(n: int, start: int = 2) -> np.ndarray:
    return np.array([p for p in range(max(start, 2), n + 1) if all(p % d for d in range(2, math.isqrt(p) + 1))])


def escape_times(shape, center=-0.75 + 0j, width=3.0, max_iter=1000) -> np.ndarray:
    """The design's definition in complex arithmetic's own formula, pixel by pixel."""
    h, w = shape
    d = width / w
    image = np.empty(shape, np.int32)
    for r in range(h):
        for c in range(w):
            cx, cy = center.real + (c - (w - 1) / 2) * d, center.imag - (r - (h - 1) / 2) * d
            x = y = 0.0
            n = 0
            while n < max_iter and not x * x + y * y > 4:
                x, y = (x * x - y * y) + cx, 2 * x * y + cy
                n += 1
            image[r, c] = n
    return image


x = np.random.default_rng(9).random(1000)
y = np.random.default_rng(9).random((150, 150))  # its products are rounded: equal bits mean an equal order of sums

# name -> [(args, keywords, the answer)]
ANSWERS: dict[str, list[tuple[tuple, dict, Any]]] = {
    "count_primes": [
        ((10**4,), {}, 1229),
        ((10**5,), {}, 9592),
        ((10**4,), {"start": 9000}, 1229 - 1117),
        ((1,), {}, 0),
    ],
    "primes": [((3000,), {}, primes_to(3000)), ((10**6 + 300,), {"start": 10**6}, primes_to(10**6 + 300, 10**6))],
    "mandelbrot": [
        (((31, 47),), {"max_iter": 60}, escape_times((31, 47), max_iter=60)),
        (((1, 1),), {}, escape_times((1, 1))),
    ],
    "matmul": [
        ((integers(65, 40), integers(40, 70, seed=6)), {}, integers(65, 40) @ integers(40, 70, seed=6)),
        ((integers(3, 9, 8), integers(8, 5)), {}, integers(3, 9, 8) @ integers(8, 5)),
        ((y[:50, :50][::-1, ::2], np.asfortranarray(y[:50, :50])[1::2]), {}, None),
        ((np.asfortranarray(y[:50, :50]), y[:50, :50].T), {}, None),
    ],
    "matvec": [
        ((integers(300, 200), integers(200)), {}, integers(300, 200) @ integers(200)),
        ((np.asfortranarray(y), y[0]), {}, None),
        ((y.T[::2], y[:, 1]), {}, None),
        ((np.asfortranarray(y)[:99], y[0]), {}, None),
        ((y[:, :99], y[0, :99]), {}, None),
    ],
    "transpose": [((integers(130, 70),), {}, integers(130, 70).T)],
    "triad": [((integers(90, 91), integers(90, 91, seed=7), 3.0), {}, integers(90, 91) + 3 * integers(90, 91, seed=7))],
    "squares": [((x,), {}, x * x), ((x[:0],), {}, x[:0])],
    "total": [((integers(1000),), {}, integers(1000).sum())],
    "histogram": [((x,), {}, np.bincount((x * 4).astype(int), minlength=4))],
    "nothing": [((0,), {}, np.empty(0)), ((1,), {}, np.zeros(1)), ((300,), {}, np.arange(300.0))],
    "ordered": [((100,), {}, np.arange(100))],
}


@dataclass(frozen=True, eq=False)
class Case:
    """One kernel in one variant with one set of arguments."""

    kernel: Kernel
    args: tuple
    kw: dict
    answer: Any
    number: int

    def __repr__(self) -> str:
        return f"{self.kernel.name}-{self.kernel.chosen}-{self.number}"

    @property
    def is_contiguous(self) -> bool:
        """Whether every array among the arguments lies in memory as numpy makes them."""
        return all(x.flags.c_contiguous for x in self.args if isinstance(x, np.ndarray))

    def check(self, pool: Any) -> None:
        """The value on this pool: the answer, and the same to the bit as on one core; or a refusal in one line."""
        # Alone first: what that compiles, the lanes use.
        alone = None if pool.backend.refuses(self.kernel) else self.kernel(*self.args, **self.kw)
        if reason := self.refusal(pool):
            assert "compiled" in reason or (isinstance(pool.backend, Interpreters) and "run it on" in reason)
            assert "\n" not in reason
            return
        found = pool.run(self.kernel, *self.args, **self.kw).value
        assert type(found) is type(alone)
        found, alone = np.asarray(found), np.asarray(alone)
        assert (found.dtype, found.shape) == (alone.dtype, alone.shape)
        assert found.tobytes() == alone.tobytes()
        if self.answer is None:
            self.kernel.check(found, *self.args, **self.kw)
        else:
            np.testing.assert_array_equal(found, self.answer)

    def refusal(self, pool: Any) -> str | None:
        """Why that pool does not run it, or None."""
        if reason := pool.backend.refuses(self.kernel):
            return reason
        try:
            pool.warm(self.kernel, *self.args, **self.kw)
        except Refused as refusal:
            return str(refusal)
        return None


def cases() -> list[Case]:
    """Every exported kernel × variant × arguments; a kernel without an answer here is held to its own check."""
    found = [k for k in [*REGISTRY.values(), *vars(example_kernels).values()] if isinstance(k, Kernel)]
    made = []
    for kernel in found:
        if kernel.name not in ANSWERS and kernel.module.startswith("example"):
            continue  # those serve other tests
        for args, kw, answer in ANSWERS.get(kernel.name, [(kernel.example(40), {}, None)]):
            made += [Case(kernel.held_to(v), args, kw, answer, len(made)) for v in kernel.variants]
    return made


def quick(cases: list[Case]) -> list[Case]:
    """But for layouts of the operands, each of which is compiled for anew: numpy's own, and the first other one."""
    first = {case.kernel: case for case in reversed(cases) if not case.is_contiguous}
    return [case for case in cases if case.is_contiguous or case is first[case.kernel]]


def table(backends: list) -> list[tuple]:
    """Every (backend, case) to be run on these.

    Prange compiles the whole lane loop anew for every layout of the inputs, seconds each; what a layout does to a body
    shows on the others.
    """
    made = cases()
    return [
        (backend, case)
        for backend in backends
        for case in made
        if case.is_contiguous or not isinstance(backend, Prange)
    ]


def main() -> None:
    """Run the whole table, or what is quick of it, on fork's workers; print each case that fails."""
    import sys
    import traceback

    failed, chosen = 0, quick(cases()) if sys.argv[1:] == ["quick"] else cases()
    with FORK.open() as pool:
        for case in chosen:
            try:
                case.check(pool)
            except Exception:
                failed += 1
                print(case, traceback.format_exc())
    print("ran", len(chosen), "failed", failed)


if __name__ == "__main__":
    main()
