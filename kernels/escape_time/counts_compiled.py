"""mandelbrot, compiled, in vector lanes: the same counts as the definition, to the bit.

1. `first_look` follows a vector of neighbours for LOOK iterations, with a test after each. Points that leave are done.
2. The others wait in a queue. `finish` takes it to its end when it is full.
3. `sweep` takes all points of the queue some blocks of iterations further *without* a test, and packs those that are
   still in the disk to the queue's front. How far, `foreseen` says from the counts of a few points, the *scouts*.
4. `count_leavers` follows the others from the last stored state in which they were in the disk, with a test.

README.md beside this file explains why the counts are exact. *Lane* means vector lane here.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from kernels.escape_time.counts import escape_count
from kernels.escape_time.points import (
    FEW,
    IN_FLIGHT,
    LOWER,
    UPPER,
    compiled_helper,
    follow,
    in_disk,
    iterated,
    iterated_fused,
    needs_definition,
    outside_interior,
    tested,
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

LOOK = 32  # iterations of the first look: with 16 too much was queued, with 64 too many lanes were idle
# States stored in a sweep. A point that left is recomputed from the last stored state before it left.
BLOCKS = 4
YS = BLOCKS * IN_FLIGHT  # where their y begin, behind their x
SWEEP_COST = 25.0  # twice what a sweep costs apart from its iterations, in iterations
# What a point costs that left in a sweep, in iterations: a constant, and for each iteration of the sweep, a quarter of
# which is done again with tests. Half and twice as much are as good.
LEAVER_COST, LEAVER_STEP = 12.0, 0.6
# A queue of so many points sends scouts, and follows them for so many iterations at the most; and for no more than its
# points divided by so many, which takes at most as long as seven iterations of the whole queue.
SCOUTED, SCOUT_STEPS, SCOUT_SHARE = 512, 512, 8
CYCLES_FROM = 128  # iterations before states are compared: few cycles close earlier


class Scratch(NamedTuple):
    """A chunk's own arrays, float64 but for the counts."""

    queue: Any  # points that are in the disk: 5 fields of ROOM
    leavers: Any  # points that left it in the present sweep: 6 fields of ROOM
    history: Any  # x, then y, of all lanes in flight at the beginning of each block of a sweep
    counts: Any  # int64, FEW of them: from here a vector of counts is copied to pixels that are not side by side
    scouts: Any  # the counts of FEW points of the queue, infinite where unknown


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
    scratch = Scratch(np.empty(5 * ROOM), np.empty(6 * ROOM), states, np.empty(FEW, np.int64), np.empty(FEW))
    waiting = calm = 0
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
            c = cx, set_(cy, FEW)
            waiting, calm = first_look(index, stop, out, scratch, waiting, calm, c, max_iter)
            if waiting > TILE:
                finish(scratch, waiting, out, max_iter)
                waiting = 0
    finish(scratch, waiting, out, max_iter)


@compiled_helper
def first_look(index: int, stop: int, out: Any, scratch: Any, waiting: int, calm: int, c: Any, max_iter: int) -> Any:
    """Follow neighbours for LOOK iterations, and queue those still in the disk.

    The first `calm` iterations are done without a test, because no point of the previous vectors left within them. If
    one of these points did leave, they are done again with tests. Returns how many points are waiting, and `calm` for
    the next vector.
    """
    queue, counts = scratch.queue, scratch.counts
    cx, cy = c
    here = first_n(stop - index, cx)
    x, y = cx, cy  # which is z after one iteration
    skipped = calm
    for _ in range(skipped // 2):
        for _ in range(2):
            x, y = iterated(x, y, cx, cy)
    if not all_false(here & ~in_disk(x, y)):
        x, y, skipped, calm = cx, cy, 0, max(calm - 16, -8)
    x, y, count = follow(x, y, cx, cy, set_(1 + skipped, cx), LOOK - skipped)
    count = if_then_else(in_disk(x, y) | (count > max_iter), max_iter, count)
    if stop - index == FEW:
        store_u(out, index, truncate_to(out, count))
    else:
        store_u(counts, 0, count)
        for i in range(index, stop):
            out[i] = counts[i - index]
    inside = here & in_disk(x, y)
    if not all_false(inside):
        compress_store(queue, X + waiting, x, inside)
        compress_store(queue, Y + waiting, y, inside)
        compress_store(queue, CX + waiting, cx, inside)
        compress_store(queue, CY + waiting, cy, inside)
        waiting += compress_store(queue, AT + waiting, iota(float(index), FEW), inside)
    if all_false(here & ~inside):
        calm = min(calm + 8, LOOK)
    return waiting, max(calm, 0)


@compiled_helper
def finish(scratch: Any, live: int, out: Any, max_iter: int) -> None:
    """Count the iterations of all points in the queue. `out` has max_iter for them until they leave."""
    n, block, gone = 1 + LOOK, 4, 0
    # Where a scout is of the interior, so are others, and none is sent. Else few are, which are looked for later.
    interior_at, until = 0, 0
    if live >= SCOUTED and pick_scouts(scratch, live):
        interior_at, until = CYCLES_FROM, n + send_scouts(scratch, live, n)
    while live and n < max_iter:
        if n >= interior_at:
            live, interior_at = without_interior(scratch.queue, live), max_iter
        if n < until:
            block = foreseen(scratch.scouts, n, until) or block
        block = min(block, -(-(max_iter - n) // (4 * BLOCKS)) * 4)
        before = live
        live, gone = sweep(scratch, live, n, block, n >= CYCLES_FROM and gone * 8 < live)
        count_leavers(scratch, gone, out, block, max_iter)
        n += BLOCKS * block
        # A longer sweep has more idle lanes, a shorter one more of its own cost: this long they are equal.
        best = math.sqrt(SWEEP_COST * BLOCKS * block * before / (gone + 1)) / BLOCKS
        block = max(4, min(int(best), 2 * block, n // BLOCKS) // 4 * 4)


@compiled_helper
def pick_scouts(scratch: Any, live: int) -> Any:
    """Copy FEW points of the queue, evenly apart, to where its states will be; whether none is of the interior."""
    queue, states = scratch.queue, scratch.history
    for k in range(FEW):
        at = k * live // FEW
        states[k], states[FEW + k] = queue[X + at], queue[Y + at]
        states[2 * FEW + k], states[3 * FEW + k] = queue[CX + at], queue[CY + at]
    return all_true(outside_interior(load_u(states, 2 * FEW, FEW), load_u(states, 3 * FEW, FEW)))


@compiled_helper
def send_scouts(scratch: Any, live: int, n: int) -> int:
    """Follow the scouts until nearly all have left; return for how many iterations."""
    states = scratch.history
    x, y = load_u(states, 0, FEW), load_u(states, FEW, FEW)
    cx, cy = load_u(states, 2 * FEW, FEW), load_u(states, 3 * FEW, FEW)
    count, steps = set_(n, FEW), 0
    while steps < min(SCOUT_STEPS, live // SCOUT_SHARE) and count_true(in_disk(x, y)) > FEW // 16:
        for _ in range(4 * BLOCKS):  # with `follow`, which is unrolled, the kernel takes a tenth longer to compile
            x, y, count = tested(x, y, cx, cy, count)
        steps += 4 * BLOCKS
    store_u(scratch.counts, 0, count)
    store_u(scratch.scouts, 0, if_then_else(in_disk(x, y), np.inf, set_(0.0, FEW)))
    for k in range(FEW):
        scratch.scouts[k] += scratch.counts[k]
    return steps


@compiled_helper
def foreseen(scouts: Any, n: int, until: int) -> int:
    """Iterations for each block of the next sweep, if the queue leaves as its scouts did; 0 if too few of them stay.

    They are those that cost least for each iteration that a point needs.
    """
    counts = load_u(scouts, 0, FEW)
    alive = count_true(counts > float(n))
    if alive < 3:
        return 0
    stay, useful, best, least = 1.0, 0.0, 0, np.inf
    for steps in range(4 * BLOCKS, until - n + 1, 4 * BLOCKS):
        later = count_true(counts > float(n + steps)) / alive
        useful += 2 * BLOCKS * (stay + later)
        stay = later
        cost = (0.5 * SWEEP_COST + steps + (1.0 - stay) * (LEAVER_COST + LEAVER_STEP * steps)) / useful
        if cost < least:
            best, least = steps, cost
        if stay == 0.0:
            break
    return best // BLOCKS


@compiled_helper
def without_interior(queue: Any, live: int) -> int:
    """Drop the points of the main cardioid and of the disk of period 2 from the queue; return how many are left."""
    kept = 0
    for g in range(0, live, FEW):
        cx, cy = load_u(queue, CX + g, FEW), load_u(queue, CY + g, FEW)
        stay = outside_interior(cx, cy) & first_n(live - g, FEW)
        points = Points(load_u(queue, X + g, FEW), load_u(queue, Y + g, FEW), cx, cy)
        kept = keep(queue, g, kept, stay, points)
    return kept


@compiled_helper
def keep(queue: Any, g: int, kept: int, stay: Any, points: Any) -> Any:
    """Put the lanes that stay, loaded from g, at the queue's front; return its new end."""
    x, y, cx, cy = points
    at = load_u(queue, AT + g, x)
    if all_true(stay):
        store_u(queue, X + kept, x)
        store_u(queue, Y + kept, y)
        store_u(queue, CX + kept, cx)
        store_u(queue, CY + kept, cy)
        store_u(queue, AT + kept, at)
        return kept + count_true(stay)
    compress_store(queue, X + kept, x, stay)
    compress_store(queue, Y + kept, y, stay)
    compress_store(queue, CX + kept, cx, stay)
    compress_store(queue, CY + kept, cy, stay)
    return kept + compress_store(queue, AT + kept, at, stay)


@compiled_helper
def sweep(scratch: Any, live: int, n: int, block: int, watch: bool) -> Any:
    """Take the whole queue BLOCKS · block iterations on; return how many stay, and how many left."""
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
        ends = part_ways(scratch, g, live, ends, 0, (n, block), Points(x, y, cx, cy), moved)
        if h < live:
            ends = part_ways(scratch, h, live, ends, LOWER, (n, block), Points(u, v, cu, cv), shifted)
    return ends


@compiled_helper
def part_ways(scratch: Any, g: int, live: int, ends: Any, first: int, ages: Any, points: Any, moved: Any) -> Any:
    """Keep the lanes that are in the disk and whose state did not repeat; put those that left among the leavers.

    ends: of the queue and of the leavers, before and (returned) after. first: the lanes' place in the history.
    ages: iterations at the sweep's beginning, and in a block.
    """
    kept, gone = ends
    here, inside = first_n(live - g, points.x), in_disk(points.x, points.y)
    leaving = here & ~inside
    if not all_false(leaving):
        at = load_u(scratch.queue, AT + g, points.x)
        gone = put_leavers(scratch, gone, leaving, first, ages, points.cx, points.cy, at)
    kept = keep(scratch.queue, g, kept, here & inside & (moved != 0.0), points)
    return kept, gone


@compiled_helper
def put_leavers(scratch: Any, gone: int, leaving: Any, first: int, ages: Any, cx: Any, cy: Any, at: Any) -> Any:
    """Queue those that left the disk, in the last stored state in which they were inside."""
    leavers, history = scratch.leavers, scratch.history
    n, block = ages
    x, y, age = load_u(history, first, cx), load_u(history, YS + first, cx), set_(float(n), cx)
    for b in range(1, BLOCKS):
        later_x, later_y = load_u(history, b * IN_FLIGHT + first, cx), load_u(history, YS + b * IN_FLIGHT + first, cx)
        inside = in_disk(later_x, later_y)
        x, y = if_then_else(inside, later_x, x), if_then_else(inside, later_y, y)
        age = if_then_else(inside, float(n + b * block), age)
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
        _, _, count = follow(x, y, load_u(leavers, CX + g, FEW), load_u(leavers, CY + g, FEW), set_(0, FEW), block)
        store_u(counts, 0, count)
        for i in range(min(FEW, gone - g)):
            out[int(leavers[AT + g + i])] = min(int(leavers[AGE + g + i]) + counts[i], max_iter)
