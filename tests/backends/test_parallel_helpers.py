"""A body may call a function compiled with parallel=True: in a lane it runs serially, and never ends the process."""

from __future__ import annotations

import numpy as np
import pytest
import rules
from patience import PATIENCE

from kernels.compilation import serially

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


def test_a_twin_does_what_its_original_does_without_threads():
    x = np.arange(100.0)
    twin = serially.without_parallel(rules.total)
    assert twin is serially.without_parallel(rules.total)
    assert not twin.targetoptions.get("parallel")
    assert twin(x) == rules.total.py_func(x)
    deep = serially.without_parallel(rules.total_and_one)
    assert deep is not rules.total_and_one
    assert deep(x) == x.sum() + 1
    assert serially.without_parallel(rules.value_of) is rules.value_of
    assert serially.without_parallel(np) is np


def test_a_twin_in_python_sees_its_globals_as_they_are(monkeypatch):
    twin = serially.interpreted(rules.plainly)
    assert twin is not rules.plainly
    assert twin(np.ones(3)) == 4
    monkeypatch.setattr(rules, "total_and_one", lambda x: "another")
    assert twin(np.ones(3)) == "another"
