"""count_primes and primes against known values, an independent test of primality, and a naive sieve; python == nogil.

Slow rows: pi(10^11) takes 10 core-seconds, pi(10^12) 120.
"""

import itertools
import math
import pickle

import numpy as np
import pytest
from compiler import needs_compiler
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kernels.definition.arguments import guarded
from kernels.sieve import windows
from kernels.sieve.bounds_and_checks import (
    PRIMES_UP_TO_POWER_OF_TEN,
    check_count,
    check_list,
    count_up_to,
    is_prime,
    li_excess,
    logarithmic_integral,
    most_primes,
)
from kernels.sieve.wheel import MARGIN, RESIDUES, SEVENS_EARLY, SEVENS_TO, divide, small_distances
from kernels.sieve.windows import LARGEST, count_primes, primes, sieving_primes

slow = pytest.mark.slow
VARIANTS = ["python", "nogil"]
every_variant = pytest.mark.parametrize("variant", VARIANTS)

# Ends of windows in which 32-bit, float64 or signed 64-bit arithmetic would go wrong.
# Behind 10^13, millions of sieving primes are too many for a loop in Python.
EDGES = [2**31, 2**32, 2**53, 10**12, 65_537**2, 999_999_937**2, 10**18, LARGEST - 1_500]


def naive(start: int, n: int) -> list[int]:
    """By trial division with every smaller number: shares nothing with the sieve."""
    return [m for m in range(max(start, 2), n + 1) if all(m % d for d in range(2, math.isqrt(m) + 1))]


def run_chunks(kernel, order, *args, **kw):
    """The kernel's value, its chunks run in a given order (and, where it names one twice, twice)."""
    plan = kernel.plan(*args, **kw)
    out = kernel.allocate(plan)
    body, inputs = kernel.variants[kernel.variant].load(), guarded(plan.inputs, ())
    for chunk in order(plan.chunks):
        body(*plan.bounds(chunk), out[chunk : chunk + 1] if kernel.reduce else out, *inputs)
    return kernel.finish(out, plan)


# ---------------------------------------------------------------- known values


@every_variant
@pytest.mark.parametrize("k", range(8))
def test_powers_of_ten(variant, k):
    right = PRIMES_UP_TO_POWER_OF_TEN[k]
    assert count_primes.held_to(variant)(10**k) == right
    assert len(primes.held_to(variant)(10**k)) == right


@pytest.mark.parametrize(
    "k",
    [
        8,
        pytest.param(9, marks=needs_compiler),
        pytest.param(10, marks=slow),
        pytest.param(11, marks=slow),
        pytest.param(12, marks=slow),
    ],
)
def test_larger_powers_of_ten(k):
    assert count_primes(10**k) == PRIMES_UP_TO_POWER_OF_TEN[k]


@pytest.mark.parametrize("k", [9, 12, pytest.param(15, marks=slow), pytest.param(18, marks=slow)])
def test_a_wide_window_behind_a_power_of_ten(k):
    """Every size of sieving prime, several segments and chunks; the counts are primesieve's."""
    right = {9: 4_814_936, 12: 3_618_282, 15: 2_893_937, 18: 2_414_886}[k]
    assert count_primes(10**k + 10**8, start=10**k) == right


# ---------------------------------------------------------------- windows


@pytest.mark.parametrize(
    "edge", [edge if edge < 10**13 else pytest.param(edge, marks=needs_compiler) for edge in EDGES]
)
def test_windows_where_arithmetic_could_overflow(edge):
    start, n = edge - 1_500, edge + 1_500
    right = [m for m in range(start, n + 1) if is_prime(m)]
    found = primes(n, start=start)
    assert found.tolist() == right
    assert found.dtype == np.int64
    assert count_primes(n, start=start) == len(right)


@given(st.integers(0, LARGEST // 30), st.integers(167, 2**32 - 1), st.booleans())
@example(LARGEST // 30, 167, True)
def test_floats_divide_wheel_turns_exactly(turn, p, at_a_multiple):
    for number in (turn // p * p, max(turn // p * p - 1, 0)) if at_a_multiple else (turn,):
        assert divide(number, p) == divmod(number, p)


def test_small_primes_find_their_multiples_at_fixed_distances():
    """One on each bit; right behind a multiple of 7, where those are left out."""
    small = sieving_primes(MARGIN - 1)[3:].astype(np.int64)
    distances = small_distances(small.astype(np.uint32)).astype(np.int64).reshape(-1, 8)
    p, sevens = small[:, None], small <= SEVENS_TO
    first = 30 * distances + RESIDUES.astype(np.int64)  # where a block begins with 0
    assert (first % p == 0).all()
    assert (distances[~sevens] < p[~sevens]).all()
    assert ((first - 30 * p)[sevens] % 7 == 0).all()
    assert (distances[sevens] < 7 * p[sevens]).all()
    assert (distances - 2 * p < SEVENS_EARLY * p)[sevens].all()  # begun so early, they miss none
    assert (distances + 5 * p < MARGIN)[sevens].all()
    assert (SEVENS_EARLY + 7) * SEVENS_TO <= MARGIN


@pytest.mark.parametrize("edge", EDGES[:4])
def test_the_definition_agrees_in_such_windows(edge):
    if edge > 10**13:
        edge = 10**13
    start, n = edge - 1_500, edge + 1_500
    assert primes.python(n, start=start).tolist() == primes.nogil(n, start=start).tolist()


@every_variant
@given(st.integers(0, 20_000), st.integers(0, 600))
@example(0, 0)
@example(0, 1)
@example(0, 2)
@example(2, 0)
@example(5, 0)
@example(7, 0)
@example(29, 2)
@example(163, 4)
@example(26_560, 9)  # about 163², where the patterns end and the first prime is crossed off
def test_small_windows(variant, start, width):
    right = naive(start, start + width)
    assert primes.held_to(variant)(start + width, start=start).tolist() == right
    assert count_primes.held_to(variant)(start + width, start=start) == len(right)


@given(st.integers(0, 10**10), st.integers(0, 40_000))
def test_both_variants_and_both_kernels_agree(start, width):
    listed = primes.nogil(start + width, start=start)
    assert listed.tolist() == primes.python(start + width, start=start).tolist()
    assert count_primes.nogil(start + width, start=start) == len(listed)
    assert count_primes.python(start + width, start=start) == len(listed)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, LARGEST // 10**6), st.integers(0, 3 * 10**6), st.data())
def test_windows_join(start, width, data):
    middle = data.draw(st.integers(start, start + width))
    n = start + width
    assert count_primes(n, start=start) == count_primes(middle, start=start) + count_primes(n, start=middle + 1)


@pytest.mark.parametrize("start", [10**6, 10**12 - 10**6, 10**14])
def test_segments_and_chunks_meet(start):
    """Around every boundary that a sieve could get wrong: of chunks, segments and blocks."""
    plan = primes.plan(start + 4 * 10**7, start=start)
    found = primes(start + 4 * 10**7, start=start)
    for turn in sorted({plan.step, 2 * plan.step, 1 << 16, 1 << 18, 1 << 19, 1 << 20}):
        edge = start // 30 * 30 + 30 * turn
        near = found[(found >= edge - 600) & (found < edge + 600)]
        right = [m for m in range(edge - 600, edge + 600) if is_prime(m) and m <= start + 4 * 10**7]
        assert near.tolist() == right


def test_sieve_sizes_do_not_change_the_answer():
    """A machine with small caches cuts chunks into other blocks and segments."""
    args = {"n": 10**12 + 6 * 10**6, "start": 10**12}
    plan = count_primes.plan(**args)
    body = count_primes.nogil.variants["nogil"].load()
    counts = []
    for l1, segment in ((1 << 7, 1 << 16), (1 << 14, 1 << 16), (48 << 10, 1 << 17), (1 << 20, 1 << 20)):
        out = np.zeros(1, np.int64)
        body(0, plan.indices, out, *guarded(plan.inputs[:-2], ()), l1, segment)
        counts.append(int(out[0]))
    assert counts == [count_primes(**args)] * 4


@pytest.mark.parametrize(
    ("cache", "cpus", "few", "many"),
    [
        (1 << 20, 1, 1 << 19, 1 << 20),
        (1 << 20, 2, 1 << 19, 1 << 19),  # two hardware threads of a core
        (1 << 19, 1, 1 << 18, 1 << 19),
        (1280 << 10, 1, 1 << 19, 1 << 20),
        (2 << 20, 1, 1 << 20, 1 << 20),
        (4 << 20, 4, 1 << 20, 1 << 20),
        (64 << 10, 1, 1 << 16, 1 << 16),
        (0, 1, 1 << 16, 1 << 16),
    ],
)
def test_a_segment_takes_more_of_the_cache_where_primes_are_many(monkeypatch, cache, cpus, few, many):
    monkeypatch.setattr(windows, "cache_bytes", lambda level: cache if level == 2 else 32 << 10)
    monkeypatch.setattr(windows, "cache_cpus", lambda level: cpus)
    assert windows._sizes(10**5) == (32 << 10, few)
    assert windows._sizes(10**8) == (32 << 10, many)


@pytest.mark.parametrize("told", [0, 1, 128])
def test_a_cache_that_is_told_to_be_tiny_is_not_believed(monkeypatch, told):
    monkeypatch.setattr(windows, "cache_bytes", lambda level: told)
    assert count_primes(10**6) == 78_498
    assert primes(10**6)[-1] == 999_983


# ---------------------------------------------------------------- chunks


@every_variant
@pytest.mark.parametrize("kernel", [count_primes, primes], ids=["count", "list"])
@pytest.mark.parametrize(
    "order",
    [
        lambda n: reversed(range(n)),
        lambda n: [*range(n), *range(n)],
        lambda n: itertools.chain(range(0, n, 2), range(n)),
    ],
    ids=["backwards", "twice", "some twice"],
)
def test_chunks_are_pure(variant, kernel, order):
    held = kernel.held_to(variant)
    n = 3_000_000
    assert np.array_equal(run_chunks(held, order, n), held(n))


def test_there_are_chunks_for_many_lanes():
    for n, start in ((10**9, 0), (10**10, 0), (10**12 + 10**9, 10**12)):
        assert count_primes.plan(n, start=start).chunks >= 32
    assert count_primes.plan(10**18 + 10**9, start=10**18).chunks >= 8
    assert count_primes.plan(10**7).chunks >= 16


def test_the_room_for_primes_is_tight():
    plan = primes.plan(10**9)
    assert plan.shape[0] < 1.02 * PRIMES_UP_TO_POWER_OF_TEN[9]


def test_kernels_pickle_by_name():
    assert pickle.loads(pickle.dumps(count_primes)).variants is count_primes.variants
    assert pickle.loads(pickle.dumps(primes.python)).variant == "python"


def test_sieving_primes_by_compiled_code_are_the_plain_ones():
    limit = 5_000_000
    found = sieving_primes(limit)
    assert found.dtype == np.uint32
    assert found.tolist() == primes.python(limit).tolist()


# ---------------------------------------------------------------- what they take


@pytest.mark.parametrize("kernel", [count_primes, primes], ids=["count", "list"])
class TestArguments:
    def test_numpy_integers_count(self, kernel):
        for kind in (np.int8, np.uint8, np.int64, np.uint64):
            assert np.array_equal(kernel(kind(100), start=kind(20)), kernel(100, start=20))

    @pytest.mark.parametrize(
        ("n", "start"),
        [(0, 2), (1, 2), (1, 0), (10, 11), (100, 10**18), pytest.param(10**18, 10**18, marks=needs_compiler)],
    )
    def test_windows_without_primes(self, kernel, n, start):
        value = kernel(n, start=start)
        assert (value if kernel is count_primes else len(value)) == 0
        if kernel is primes:
            assert value.dtype == np.int64

    @pytest.mark.parametrize("bad", [-1, 2.0, 1e9, "7", None, True, np.float64(3), float("nan"), LARGEST + 1, 10**30])
    def test_bad_values_are_named(self, kernel, bad):
        with pytest.raises(ValueError, match=r"^n must be") as told:
            kernel(bad)
        assert str(bad) in str(told.value) or repr(bad) in str(told.value)
        with pytest.raises(ValueError, match=r"^start must be"):
            kernel(10, start=bad)

    def test_a_missing_or_strange_argument(self, kernel):
        with pytest.raises(TypeError, match="n"):
            kernel()
        with pytest.raises(TypeError, match="stop"):
            kernel(10, stop=3)


# ---------------------------------------------------------------- what the checks know


def test_lucy_counts():
    assert [count_up_to(10**k) for k in range(9)] == list(PRIMES_UP_TO_POWER_OF_TEN[:9])


@given(st.integers(0, 5_000))
def test_lucy_counts_small_numbers(n):
    assert count_up_to(n) == len(naive(2, n))


def test_is_prime_by_trial_division():
    assert [m for m in range(3_000) if is_prime(m)] == naive(0, 2_999)
    assert not is_prime(3_215_031_751)  # passes bases 2, 3, 5 and 7
    assert is_prime(10**18 - 11)


@pytest.mark.parametrize("k", range(1, 19))
def test_bounds_hold_at_powers_of_ten(k):
    right, li = PRIMES_UP_TO_POWER_OF_TEN[k], logarithmic_integral(10.0**k)
    assert li - li_excess(10.0**k) <= right <= li + 1
    assert right <= most_primes(0, 10**k) <= right * 1.3 + 10


@given(st.integers(0, 10**7), st.integers(0, 10**6))
def test_bounds_hold_in_windows(low, width):
    assert count_primes(low + width, start=low) <= most_primes(low, low + width)


@pytest.mark.parametrize(("n", "start"), [(10**6, 2), (12_345, 2), (10**9 + 50, 10**9), (10**13, 10**13 - 10**7)])
def test_checks_accept_the_right_and_refuse_the_wrong(n, start):
    value, listed = count_primes(n, start=start), primes(n, start=start)
    check_count(value, n, start)
    check_list(listed, n, start=start)
    wrong = value + 1 if n <= 10**10 else 2 * value
    with pytest.raises(AssertionError, match=str(wrong)):
        check_count(wrong, n, start)
    with pytest.raises(AssertionError):
        check_list(listed[::-1], n, start=start)
    with pytest.raises(AssertionError):
        check_list(np.arange(len(listed)) + start, n, start=start)
    if n <= 10**10:
        with pytest.raises(AssertionError):
            check_list(listed[1:], n, start=start)


@pytest.mark.parametrize("kernel", [count_primes, primes], ids=["count", "list"])
def test_the_example_is_the_size_itself(kernel):
    assert kernel.example(1000) == (1000,)
    kernel.check(kernel(1000), *kernel.example(1000))
