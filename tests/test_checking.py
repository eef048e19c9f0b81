"""run(…, check=True) finds what a body may not do, and names the chunk; what is right it gives as run does."""

from __future__ import annotations

import re

import numpy as np
import pytest
import rules
from rules import EVERYWHERE, variants_on

from compute import CheckFailed, Coroutines, Prange, Processes, Serial, Threads, run, scale
from compute.differences import difference
from kernels import REGISTRY, Plan, kernel


@kernel
def never(lo, hi, out, x):
    s = 0.0
    for i in range(lo, hi):
        s += x[i]


@kernel
def skips(lo, hi, out, x):
    for i in range(lo, hi):
        if x[i] != 37:
            out[i] = x[i]


@kernel
def accumulates(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] += x[i] + 1e300


@kernel
def beyond(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = x[i + 1]


def neighbour(x, i):
    return x[i + 1]


@kernel
def beyond_in_a_helper(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = neighbour(x, i)


@kernel
def overlaps(lo, hi, out, x):
    for i in range(max(lo - 1, 0), hi):
        out[i] = lo


@kernel
def through_contiguous(lo, hi, out, x):
    y = np.ascontiguousarray(x)
    for i in range(lo, hi):
        out[i] = 1.0
        y[i] = 0.0


@kernel(reduce=np.sum)
def half(lo, hi, out, x):
    if lo < 50:
        out[0] = 1.0


@kernel(plan=lambda n: Plan(n, dtype=np.int64))
def factorials(lo, hi, out):
    for i in range(lo, hi):
        product = 1
        for k in range(2, i + 1):
            product *= k
        out[i] = product


@kernel(plan=lambda n: Plan(n))
def inverses(lo, hi, out):
    for i in range(lo, hi):
        out[i] = 1 / (i - 1)


@kernel(plan=lambda x: Plan(len(x), (x,), dtype=np.int64))
def squared(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = int(x[i]) ** 2 % 1000003


squared.add_variant("nogil", rules.copied.variants["python"].source(), compiled=True)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (
            never,
            r"never \(nogil\) leaves 100 of 100 elements of out unwritten, the first at \[0\] in chunk 0 \(indices",
        ),
        (skips, r"leaves 1 of 100 elements of out unwritten, the first at \[37\] in chunk 37 \(indices 37..38\)"),
        (accumulates, r"accumulates \(nogil\) gives .* at \[0\] in chunk 0 .* where out held something else before"),
        (beyond, r"beyond \(nogil\) raises IndexError: index is out of bounds, in chunk 99 \(indices 99..100\)"),
        (beyond_in_a_helper, r"raises IndexError: index is out of bounds, in chunk 99"),
        (overlaps, r"overlaps \(nogil\) gives 1.0 and 0.0 at \[0\] .* ran in another order or twice"),
        (through_contiguous, r"changes its input x: 99 of 100 elements.*say @kernel\(inout=\('x',\)\)"),
        (half, r"leaves 50 of 100 elements of out unwritten, the first at \[50\] of chunk 50"),
        (squared, r"squared's variants nogil and python differ: 98 of 100 elements, by up to .* at \[2\]: 2 and 4"),
    ],
    ids=repr,
)
def test_what_a_body_may_not_do_is_named(made, says):
    x = np.arange(100.0)
    with pytest.raises(CheckFailed, match=says) as caught:
        run(made, x, on=Threads(2), check=True)
    assert "\n" not in str(caught.value)
    np.testing.assert_array_equal(x, np.arange(100.0))


@pytest.mark.parametrize("made", [never, skips, overlaps, half], ids=repr)
def test_the_same_of_a_body_in_python(made):
    with pytest.raises(CheckFailed, match=r"\(python\) (leaves|gives)"):
        run(made, np.arange(100.0), on=Serial(), variant="python", check=True)


def test_variants_that_differ_are_named():
    with pytest.raises(
        CheckFailed, match=r"factorials \(python\) raises OverflowError: .*, in chunk 21 .* nogil does not"
    ):
        run(factorials, 30, on=Serial(), check=True)
    with pytest.raises(
        CheckFailed, match=r"inverses \(python\) raises ZeroDivisionError: division by zero, in chunk 1"
    ):
        run(inverses, 30, on=Serial(), check=True)
    assert run(factorials, 20, on=Serial(), check=True).value[19] == 121645100408832000


@pytest.mark.parametrize(
    "backend",
    [pytest.param(b, marks=pytest.mark.slow if b in (Prange(2), Coroutines(2)) else ()) for b in EVERYWHERE],
    ids=repr,
)
def test_what_is_right_passes_on_every_backend(backend):
    x = np.arange(60.0)
    with backend.open() as pool:
        for variant in variants_on(backend):
            np.testing.assert_array_equal(pool.run(rules.doubled, x, variant=variant, check=True).value, 2 * x)
            a = x.copy()
            pool.run(rules.counted, a, 2.0, variant=variant, check=True)
            np.testing.assert_array_equal(a, x + 2)


# With bounds checked, each of these is compiled once more, for seconds; other tests show that they are right.
LARGE = "count_primes", "primes", "mandelbrot", "matmul", "matvec", "transpose"


@pytest.mark.parametrize(
    "shipped",
    [pytest.param(one, marks=pytest.mark.slow if name in LARGE else ()) for name, one in REGISTRY.items()],
    ids=repr,
)
def test_shipped_kernels_pass(shipped):
    args = shipped.example(8 if shipped.bound == "wait" else 40)  # so many requests, or pixels of a side
    for variant in shipped.variants:
        checked = run(shipped, *args, on=Threads(2), variant=variant, check=True)
        assert difference(checked.value, shipped.held_to(variant)(*args), exactly=True) is None
        assert all("differ by rounding" in event for event in checked.timeline.events)


@pytest.mark.parametrize(
    ("one", "other", "exactly", "says"),
    [
        (np.array([1.0, np.nan]), np.array([1.0, np.nan]), True, None),
        (np.array([1.0, 2.0]), np.array([1.0, 2.0 + 1e-12]), False, None),
        (np.array([1.0, 2.0]), np.array([1.0, 2.0 + 1e-12]), True, "1 of 2 elements, by up to 1e-12, the first at [1]"),
        (np.array([1.0, np.inf]), np.array([1.0, 5.0]), False, "1 of 2 elements, the first at [1]: inf and 5.0"),
        (np.array([1, 2]), np.array([1, 3]), False, "1 of 2 elements, by up to 1, the first at [1]: 2 and 3"),
        (np.zeros(2), np.zeros(3), False, "float64[2] and float64[3]"),
        (2**70, 5, False, f"{2**70} and 5"),
        (7, 7, True, None),
        (1.5, 1.75, False, "1.5 and 1.75"),
        ((1, np.zeros(2)), (1, np.ones(2)), False, "item 1: 2 of 2 elements"),
        ([1.0, 2.0], [1.0, 2.0 + 1e-12], False, None),
        ([1.0], [1.0, 2.0], False, "1 and 2 items"),
        ("a", "a", False, None),
    ],
)
def test_how_values_differ(one, other, exactly, says):
    told = difference(one, other, exactly)
    assert (told is None) if says is None else (told or "").startswith(says)


def test_scale_says_where_variants_differ():
    told = scale(squared, np.arange(40.0), on=["threads"], workers=[1], budget=1.0, rounds=1).warnings
    assert any("squared's variants nogil and python do not give the same: 38 of 40 elements" in line for line in told)
    told = scale(inverses, 30, on=["threads"], workers=[1], budget=1.0, rounds=1)
    assert any(re.match("left out inverses's python variant: it raises ZeroDivisionError", w) for w in told.warnings)
    assert {point.variant for point in told.points} == {"nogil"}
    with pytest.raises(ZeroDivisionError):
        scale(inverses, 30, on=["threads"], workers=[1], budget=1.0, rounds=1, variants=["python"])


def test_scale_refuses_what_changes_its_inputs():
    with pytest.raises(ValueError, match="counted writes to its input a, so"):
        scale(rules.counted, np.zeros(9), 1.0, on=["threads"], workers=[1], budget=1.0)


def test_run_without_a_backend_takes_threads_on_all_cpus():
    from compute import machine

    result = run(rules.doubled, np.arange(3000.0))
    np.testing.assert_array_equal(result.value, 2 * np.arange(3000.0))
    assert {lane.lane for lane in result.timeline.lanes} <= set(range(machine.usable_cpus()))
    assert {lane.process for lane in result.timeline.lanes} == {
        lane.process for lane in run(never, np.zeros(9)).timeline.lanes
    }
    with pytest.raises(TypeError, match=r"on must be a backend such as Threads\(2\), not 2; write on=Threads\(2\)"):
        run(rules.doubled, np.zeros(3), on=2)
    with pytest.raises(TypeError, match=r"not <class 'compute.backends.processes.Processes'>"):
        run(rules.doubled, np.zeros(3), on=Processes)


def test_run_takes_a_backend_s_name_and_a_backend_says_how_to_run():
    assert len(run(rules.doubled, np.zeros(3), on="serial").timeline.lanes) == 1
    with pytest.raises(ValueError, match=r"there is no backend 'thread'; .*did you mean 'threads'"):
        run(rules.doubled, np.zeros(3), on="thread")
    with pytest.raises(AttributeError, match=r"Threads\(2\) says who computes, and its pool does it: run\(kernel"):
        Threads(2).run(rules.doubled, np.zeros(3))
    with pytest.raises(AttributeError, match="'Serial' object has no attribute 'runs'"):
        Serial().runs  # noqa: B018
