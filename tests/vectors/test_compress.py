"""compress_store: the wanted lanes stand side by side, in order."""

import numpy as np
import pytest

pytest.importorskip("numba")

from kernels.compilation.compiler import compiled
from kernels.vectors.compress import compress_store
from kernels.vectors.operations import load_u


def packing(lanes):
    def body(out, a, threshold):
        end = 1
        for i in range(0, len(a), lanes):
            x = load_u(a, i, lanes)
            end += compress_store(out, end, x, x > threshold)
        return end

    return body


@pytest.mark.parametrize("dtype", [np.float64, np.int64])
@pytest.mark.parametrize("lanes", [1, 4, 8, *(pytest.param(lanes, marks=pytest.mark.slow) for lanes in (2, 16, 32))])
def test_wanted_lanes_stand_one_behind_the_other(lanes, dtype):
    a = np.random.default_rng(lanes).permutation(96).astype(dtype)
    for threshold in (-1, 10, 48, 90, 96):
        out = np.zeros(1 + 96 + lanes, dtype)
        end = compiled(packing(lanes))(out, a, dtype(threshold))
        assert out[1:end].tolist() == a[a > threshold].tolist()
        assert out[0] == 0


def test_every_mask_of_eight_lanes():
    def body(out, mask, a):
        return compress_store(out, 0, load_u(a, 0, 8), load_u(mask, 0, 8) != 0.0)

    run, a = compiled(body), np.arange(1.0, 9.0)
    for number in range(256):
        mask = np.array([number >> lane & 1 for lane in range(8)], float)
        out = np.zeros(16)
        assert run(out, mask, a) == mask.sum()
        assert out[: int(mask.sum())].tolist() == a[mask == 1].tolist()
