"""matvec: what its compiled body and its plan promise beyond the product itself (tests/matrix/test_matrix.py)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import matvec
from kernels.definition.operands import stacked
from kernels.definition.plan import MOST_CHUNKS


@given(rows=st.integers(1, 11), columns=st.integers(0, 70), gap=st.integers(0, 3), seed=st.integers(0, 9))
def test_a_row_gives_the_same_bits_alone_and_among_others(rows, columns, gap, seed):
    """Rows are summed in groups: where a chunk begins, and who copied the matrix, must not show."""
    rng = np.random.default_rng(seed)
    A, x = rng.standard_normal((rows, columns + gap))[:, :columns], rng.standard_normal(columns)
    together = matvec.nogil(A, x)
    alone = [matvec.nogil(A[i : i + 1], x)[0] for i in range(rows)]
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(together, matvec.nogil(A.copy(), x))
    np.testing.assert_allclose(together, A @ x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("variant", ["python", "nogil"])
def test_what_fills_no_vector_is_added_once(variant):
    """Exact sums of small whole numbers: every column counts, whatever the length."""
    for columns in range(40):
        A = np.arange(7.0 * columns).reshape(7, columns) % 11
        x = 1.0 + np.arange(columns) % 5
        np.testing.assert_array_equal(matvec.held_to(variant)(A, x), (A * x).sum(axis=1))


@given(rows=st.integers(1, 10**6), columns=st.integers(0, 10**6))
def test_chunks_hold_whole_groups_of_rows_unless_rows_are_long(rows, columns):
    plan = matvec.plan(np.broadcast_to(1.0, (rows, columns)), np.empty(columns))
    assert plan.grain % 4 == 0 or plan.grain < 4
    assert plan.chunks <= 2 * MOST_CHUNKS or plan.grain == 1


@given(shape=st.lists(st.integers(0, 4), min_size=1, max_size=3).map(tuple), step=st.sampled_from([-1, 1, 2]))
def test_a_lone_operand_is_seen_as_a_stack_of_one(shape, step):
    array = np.arange(np.prod(shape) * 2.0).reshape(*shape, 2)[..., ::step]
    seen, which = stacked(array, array.ndim, ())
    assert np.shares_memory(seen, array) or not array.size
    np.testing.assert_array_equal(seen, array[None])
    np.testing.assert_array_equal(which, [0])
