"""mandelbrot, compiled, in vector lanes: the same counts as the definition, to the bit.

1. `first_look` follows a vector of neighbours together until few are left in the disk, *without* a test for as long as
   none of the neighbours before them left.
2. The few wait in a queue, and so do neighbours that do not leave. `finish` takes the queue to its end when it is full.
3. `sweep` takes all points of the queue some blocks of iterations further without a test, and packs those that are
   still in the disk to the queue's front.
4. `count_leavers` follows the others from the last stored state in which they were in the disk, with tests.

README.md beside this file explains why the counts are exact. *Lane* means vector lane here.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from kernels.escape_time.counts import escape_count
from kernels.escape_time.iteration import (
    FEW,
    IN_FLIGHT,
    LOWER,
    UPPER,
    compiled_helper,
    counted,
    in_disk,
    iterated,
    iterated_fused,
    needs_definition,
    outside_interior,
    tested_twice,
)
from kernels.vectors.compress import compress_store
from kernels.vectors.operations import (
    all_false,
    all_true,
    count_true,
    first_n,
    if_then_else,
    iota,
    load_u,
    set_,
    store_u,
    truncate_to,
)

# Pixels in a queue: 160 KB, in the L2 cache. With 1024 more lanes were idle at the end, 8192 were no faster.
TILE = 4096
# compress_store writes beyond its end. Besides, fields that are a whole page apart would evict each other.
ROOM = TILE + IN_FLIGHT + FEW + 8
X, Y, CX, CY, AT, AGE = (field * ROOM for field in range(6))  # where a queue's fields begin; AT is the pixel's index

# Of the first look. Neighbours are followed together until no more than so many are left in the disk.
STRAGGLERS = FEW // 4
LOOK = 32  # iterations before points are looked for that never leave
# And for no more than so many iterations: at the beginning of a chunk, and for so many times as many as those before.
REACH, REACH_TIMES = 512, 3
# They go on without a test for a part of the iterations in which none of those before left, and for no less than so
# many. A part in which a point did leave is done again.
STRIDES, LEAST_STRIDE = 4, 24

# States stored in a sweep. A point that left is recomputed from the last stored state before it left.
BLOCKS = 4
YS = BLOCKS * IN_FLIGHT  # where their y begin, behind their x
SWEEP_COST = 25.0  # twice what a sweep costs apart from its iterations, in iterations; half and twice cost 0 to 3 %
CYCLES_FROM = 128  # iterations before states are compared: few cycles close earlier


class Scratch(NamedTuple):
    """A chunk's own arrays, float64 but for the counts."""

    queue: Any  # points that are in the disk: 6 fields of ROOM
    leavers: Any  # points that left it in the present sweep: 6 fields of ROOM
    history: Any  # x, then y, of all lanes in flight at the beginning of each block of a sweep
    counts: Any  # int64, FEW of them: from here a vector of counts is copied to pixels that are not side by side


class FirstLook(NamedTuple):
    """Where a chunk's first look is."""

    waiting: int  # points in the queue
    youngest: int  # the iterations of those that have done the fewest; max_iter or more where none waits
    calm: int  # iterations within which none of the last neighbours left
    reach: int  # iterations that the next may take together


class Points(NamedTuple):
    """Vectors of z = x + iy and of c = cx + i·cy."""

    x: Any
    y: Any
    cx: Any
    cy: Any


def body(lo: int, hi: int, out: Any, *view: Any) -> None:
    """Fill the pixels lo .. hi of the flat image; touch nothing else. The view is as in counts.py."""
    real, imag, step, height, width, max_iter = view
    states = np.empty(2 * BLOCKS * IN_FLIGHT)
    scratch = Scratch(np.empty(6 * ROOM), np.empty(6 * ROOM), states, np.empty(FEW, np.int64))
    course = FirstLook(0, max_iter, 0, REACH)
    for row in range(lo // width, -(-hi // width)):
        begin = row * width
        cy = imag - (row - (height - 1) / 2) * step
        for index in range(max(lo, begin), min(hi, begin + width), FEW):
            stop = min(index + FEW, hi, begin + width)
            cx = (iota(float(index - begin), FEW) - (width - 1) / 2) * step + real
            if needs_definition(cx, cy):
                for i in range(index, stop):
                    out[i] = escape_count(real + ((i - begin) - (width - 1) / 2) * step, cy, max_iter)
                continue
            course = first_look(index, stop, out, scratch, course, cx, cy, max_iter)
            if course.waiting > TILE:
                finish(scratch, course, out, max_iter)
                course = FirstLook(0, max_iter, course.calm, course.reach)
    finish(scratch, course, out, max_iter)


@compiled_helper
def first_look(index: int, stop: int, out: Any, scratch: Any, course: Any, cx: Any, row: float, max_iter: int) -> Any:
    """Follow neighbours until few of them are in the disk, and queue these. row: cy of them all.

    Returns the course for the next vector.
    """
    waiting, youngest, calm, reach = course
    queue, counts = scratch.queue, scratch.counts
    cy, here = set_(row, cx), first_n(stop - index, cx)
    x, y, n = cx, cy, 1  # which is z after one iteration
    stride = max(calm // STRIDES, LEAST_STRIDE) // 2 * 2
    while n + stride <= calm:
        u, v = x, y
        for _ in range(stride // 2):
            u, v = iterated_fused(u, v, cx, cy)
            u, v = iterated(u, v, cx, cy)
        if not all_false(here & ~in_disk(u, v)):
            break
        x, y, n = u, v, n + stride
    first, calm, alive = n, n, FEW
    pairs, between = set_(0, cx), set_(0.0, cx)
    for limit in (LOOK, min(reach, max_iter)):
        while n < limit and alive > STRAGGLERS:
            # Written twice: with a loop of two passes around it the whole kernel is 3 % slower.
            x, y, pairs, between, inside = tested_twice(x, y, cx, cy, pairs, between)
            x, y, pairs, between, inside = tested_twice(x, y, cx, cy, pairs, between)
            n += 4
            alive = count_true(here & inside)
            if all_false(here & ~inside):
                calm = n - 2
        if alive <= STRAGGLERS:
            break
        here = here & outside_interior(cx, cy)
    inside = in_disk(x, y)
    count = counted(pairs, between) + first
    count = if_then_else(inside | (count > max_iter), max_iter, count)
    if stop - index == FEW:
        store_u(out, index, truncate_to(out, count))
    else:
        store_u(counts, 0, count)
        for i in range(index, stop):
            out[i] = counts[i - index]
    waits = here & inside
    if n < max_iter and not all_false(waits):
        youngest = min(youngest, n)
        compress_store(queue, X + waiting, x, waits)
        compress_store(queue, Y + waiting, y, waits)
        compress_store(queue, CX + waiting, cx, waits)
        compress_store(queue, CY + waiting, cy, waits)
        compress_store(queue, AGE + waiting, set_(float(n), cx), waits)
        waiting += compress_store(queue, AT + waiting, iota(float(index), FEW), waits)
    # Where neighbours do not leave, the queue finds those that never will.
    together = alive <= STRAGGLERS or n >= max_iter
    reach = max(LOOK, min(REACH_TIMES * n, REACH)) if together else LOOK
    return FirstLook(waiting, youngest, calm, reach)


@compiled_helper
def finish(scratch: Any, course: Any, out: Any, max_iter: int) -> None:
    """Count the iterations of all points in the queue. `out` has max_iter for them until they leave."""
    live, n, block, gone = course.waiting, course.youngest, 4, 0
    while live and n < max_iter:
        block = min(block, -(-(max_iter - n) // (4 * BLOCKS)) * 4)
        before = live
        live, gone = sweep(scratch, live, n - course.youngest, block, n >= CYCLES_FROM and gone * 8 < live)
        count_leavers(scratch, gone, out, block, max_iter)
        n += BLOCKS * block
        # A longer sweep has more idle lanes, a shorter one more of its own cost: this long they are equal.
        best = math.sqrt(SWEEP_COST * BLOCKS * block * before / (gone + 1)) / BLOCKS
        block = max(4, min(int(best), 2 * block, n // BLOCKS) // 4 * 4)


@compiled_helper
def keep(queue: Any, g: int, kept: int, stay: Any, points: Any) -> Any:
    """Put the lanes that stay, loaded from g, at the queue's front; return its new end."""
    x, y, cx, cy = points
    at, age = load_u(queue, AT + g, x), load_u(queue, AGE + g, x)
    if all_true(stay):
        store_u(queue, X + kept, x)
        store_u(queue, Y + kept, y)
        if kept < g:  # else they are there already
            store_u(queue, CX + kept, cx)
            store_u(queue, CY + kept, cy)
            store_u(queue, AT + kept, at)
            store_u(queue, AGE + kept, age)
        return kept + count_true(stay)
    compress_store(queue, X + kept, x, stay)
    compress_store(queue, Y + kept, y, stay)
    compress_store(queue, CX + kept, cx, stay)
    compress_store(queue, CY + kept, cy, stay)
    compress_store(queue, AGE + kept, age, stay)
    return kept + compress_store(queue, AT + kept, at, stay)


@compiled_helper
def sweep(scratch: Any, live: int, done: int, block: int, watch: bool) -> Any:
    """Take the whole queue BLOCKS · block iterations on; return how many stay, and how many left.

    done: iterations of earlier sweeps, for every point.
    """
    queue, history = scratch.queue, scratch.history
    ends = 0, 0
    for g in range(0, live, IN_FLIGHT):
        h = g + LOWER
        x, y = load_u(queue, X + g, LOWER), load_u(queue, Y + g, LOWER)
        cx, cy = load_u(queue, CX + g, LOWER), load_u(queue, CY + g, LOWER)
        u, v = load_u(queue, X + h, UPPER), load_u(queue, Y + h, UPPER)
        cu, cv = load_u(queue, CX + h, UPPER), load_u(queue, CY + h, UPPER)
        moved, shifted = set_(1.0, LOWER), set_(1.0, UPPER)
        for b in range(BLOCKS):
            store_u(history, b * IN_FLIGHT, x)
            store_u(history, b * IN_FLIGHT + LOWER, u)
            store_u(history, YS + b * IN_FLIGHT, y)
            store_u(history, YS + b * IN_FLIGHT + LOWER, v)
            # Two iterations in each pass of the loop: LLVM's own unrolling of a plain loop gave 5.0 G iterations/s with
            # AVX2, this gives 6.3.
            if h < live:
                for _ in range(block // 2):
                    for _ in range(2):
                        x, y = iterated(x, y, cx, cy)
                        u, v = iterated_fused(u, v, cu, cv)
            else:  # the upper lanes are empty, and the lower ones faster without them
                for _ in range(block // 2):
                    for _ in range(2):
                        x, y = iterated(x, y, cx, cy)
            if watch:
                moved = if_then_else((x == load_u(history, 0, x)) & (y == load_u(history, YS, y)), 0.0, moved)
                shifted = if_then_else(
                    (u == load_u(history, LOWER, u)) & (v == load_u(history, YS + LOWER, v)), 0.0, shifted
                )
        ends = part_ways(scratch, g, live, ends, 0, (done, block), Points(x, y, cx, cy), moved)
        if h < live:
            ends = part_ways(scratch, h, live, ends, LOWER, (done, block), Points(u, v, cu, cv), shifted)
    return ends


@compiled_helper
def part_ways(scratch: Any, g: int, live: int, ends: Any, first: int, ages: Any, points: Any, moved: Any) -> Any:
    """Keep the lanes that are in the disk and whose state did not repeat; put those that left among the leavers.

    ends: of the queue and of the leavers, before and (returned) after. first: the lanes' place in the history.
    ages: iterations of earlier sweeps, and in a block.
    """
    kept, gone = ends
    here, inside = first_n(live - g, points.x), in_disk(points.x, points.y)
    leaving = here & ~inside
    if not all_false(leaving):
        at = load_u(scratch.queue, AT + g, points.x)
        begun = load_u(scratch.queue, AGE + g, points.x) + float(ages[0])
        gone = put_leavers(scratch, gone, leaving, first, (begun, ages[1]), points.cx, points.cy, at)
    kept = keep(scratch.queue, g, kept, here & inside & (moved != 0.0), points)
    return kept, gone


@compiled_helper
def put_leavers(scratch: Any, gone: int, leaving: Any, first: int, ages: Any, cx: Any, cy: Any, at: Any) -> Any:
    """Queue those that left the disk, in the last stored state in which they were inside."""
    leavers, history = scratch.leavers, scratch.history
    begun, block = ages
    x, y, age = load_u(history, first, cx), load_u(history, YS + first, cx), begun
    for b in range(1, BLOCKS):
        later_x, later_y = load_u(history, b * IN_FLIGHT + first, cx), load_u(history, YS + b * IN_FLIGHT + first, cx)
        inside = in_disk(later_x, later_y)
        x, y = if_then_else(inside, later_x, x), if_then_else(inside, later_y, y)
        age = if_then_else(inside, begun + float(b * block), age)
    compress_store(leavers, X + gone, x, leaving)
    compress_store(leavers, Y + gone, y, leaving)
    compress_store(leavers, CX + gone, cx, leaving)
    compress_store(leavers, CY + gone, cy, leaving)
    compress_store(leavers, AGE + gone, age, leaving)
    return gone + compress_store(leavers, AT + gone, at, leaving)


@compiled_helper
def count_leavers(scratch: Any, gone: int, out: Any, block: int, max_iter: int) -> None:
    """Follow the leavers through the block in which they left, and put their counts in `out`."""
    leavers, counts = scratch.leavers, scratch.counts
    for g in range(0, gone, FEW):
        x, y = load_u(leavers, X + g, FEW), load_u(leavers, Y + g, FEW)
        cx, cy = load_u(leavers, CX + g, FEW), load_u(leavers, CY + g, FEW)
        pairs, between = set_(0, FEW), set_(0.0, FEW)
        for _ in range(0, block, 4):
            for _ in range(2):
                x, y, pairs, between, inside = tested_twice(x, y, cx, cy, pairs, between)
            if all_false(inside):
                break
        store_u(counts, 0, counted(pairs, between))
        for i in range(min(FEW, gone - g)):
            out[int(leavers[AT + g + i])] = min(int(leavers[AGE + g + i]) + counts[i], max_iter)
