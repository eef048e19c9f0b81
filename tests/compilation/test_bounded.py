"""Tables of what was made are bounded, and forgetting never makes an answer old."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from test_never_stale import BODY, module, x

from compute import Serial, run
from kernels import kernel
from kernels.compilation.bounded import MADE, Bounded


def test_the_oldest_goes_and_what_is_set_again_is_new():
    table = Bounded(2)
    table["a"], table["b"] = 1, 2
    table["a"] = 3
    table["c"] = 4
    assert list(table.items()) == [("a", 3), ("c", 4)]


def test_kernels_that_are_made_in_a_loop_do_not_hold_their_data_for_ever():
    class Big(np.ndarray):
        pass

    def make(value):
        data = np.full(6, value).view(Big)

        @kernel(compiled=False)
        def body(lo, hi, out, x):
            for i in range(lo, hi):
                out[i] = x[i] * data[i]

        return body, weakref.ref(data)

    held = []
    for number in range(2 * MADE + 50):
        made, data = make(float(number))
        held.append(data)
        np.testing.assert_array_equal(run(made, x, on=Serial()).value, x * number)
    gc.collect()
    assert sum(one() is not None for one in held) < 2 * MADE + 20
    assert held[0]() is None


@pytest.mark.parametrize("variant", [pytest.param("nogil", marks=pytest.mark.slow), "python"])
def test_what_was_forgotten_is_made_again_as_it_is_now(variant, monkeypatch):
    from kernels.compilation import compiler, jitted_in_lanes, reach

    tables = [(compiler, "_made"), (compiler, "_latest"), (reach, "_latest"), (jitted_in_lanes, "_bodies")]
    for home, name in tables:
        monkeypatch.setattr(home, name, Bounded(1))
    text = "RATE = 2.0\n@njit\ndef f(v):\n    return v * RATE\n"
    made = [module(f"forgotten_{k}", text + BODY.format(f"f(x[i]) + {k}")) for k in range(2)]
    for rate in (2.0, 3.0):
        for k, m in enumerate(made):
            m.RATE = rate
            np.testing.assert_array_equal(run(m.body, x, on=Serial(), variant=variant).value, x * rate + k)
    for home, name in tables:
        assert len(getattr(home, name)) <= 1
