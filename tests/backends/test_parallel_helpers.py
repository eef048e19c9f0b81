"""A body may call a function compiled with parallel=True: in a lane it runs serially, and never ends the process."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import rules
from patience import PATIENCE

from kernels.compilation import jitted_in_lanes

pytestmark = pytest.mark.slow

SCRIPT = """
import sys
import numpy as np
import rules
from compute import Coroutines, Joblib, Prange, Processes, Serial, Threads, run
from kernels import kernel
from rules import calls_parallel, calls_parallel_deeply, closes_over_parallel, variants_on

@kernel(plan=rules._each_alone)
def calls_by_module(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = rules.total(x) + i

x = np.arange(1000.0)
if "used" in sys.argv:
    assert rules.total(x) == x.sum()  # numba's threads run already
for on in eval(sys.argv[1]):
    kernels = [calls_parallel, calls_parallel_deeply, closes_over_parallel, calls_by_module]
    for made in kernels[:1] if isinstance(on, Prange) else kernels:  # which compiles for seconds
        for variant in variants_on(on):
            for _ in range(2):
                value = run(made, 30, x, on=on, variant=variant).value
                assert (value == x.sum() + np.arange(30)).all(), (on, made, variant)
assert rules.total(x) == x.sum()
"""


@pytest.mark.parametrize("layer", ["workqueue", "omp"])
@pytest.mark.parametrize(
    ("backends", "before"),
    [
        ('[Processes(2, start="fork")]', "used"),
        ("[Serial(), Threads(2), Coroutines(2), Joblib(2, kind='threading'), Prange(2)]", "unused"),
        ("[Processes(2), Joblib(2), Threads(3)]", "used"),
    ],
)
def test_lanes_run_parallel_functions_serially(script, layer, backends, before):
    script(SCRIPT, backends, before, timeout=PATIENCE, NUMBA_THREADING_LAYER=layer)


def test_in_a_body_it_launches_nothing_and_elsewhere_it_does():
    x = np.arange(100.0)
    for name in ("total", "total_and_one"):
        helper = getattr(rules, name)
        before = helper(x)
        assert jitted_in_lanes.prepare_body(rules.plainly)(x) == x.sum() + 1
        assert not helper.in_lanes.targetoptions.get("parallel")
        assert helper.in_lanes is not helper
        assert helper(x) == before == helper.in_lanes(x)
        assert pickle.loads(pickle.dumps(helper))(x) == before


def test_a_body_that_names_none_is_itself():
    assert jitted_in_lanes.prepare_body(rules.value_of) is rules.value_of


def test_a_body_sees_its_globals_as_they_are(monkeypatch):
    body = jitted_in_lanes.prepare_body(rules.plainly)
    assert body is not rules.plainly
    assert body is jitted_in_lanes.prepare_body(rules.plainly)
    assert body(np.ones(3)) == 4
    monkeypatch.setattr(rules, "total_and_one", lambda x: "another")
    assert body(np.ones(3)) == "another"
