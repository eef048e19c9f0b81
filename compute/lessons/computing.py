"""The work of lessons that compare Python with machine code: one loop, a kernel in both variants."""

from __future__ import annotations

from kernels import kernel


@kernel(dtype=int)
def collatz(lo, hi, out, n):
    for i in range(lo, hi):
        number, steps = i + 1, 0
        while number != 1:
            number = number // 2 if number % 2 == 0 else 3 * number + 1
            steps += 1
        out[i] = steps
