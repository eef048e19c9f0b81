"""The `scaling` fixture, in pytest sessions of their own: with pytest-benchmark, with that switched off, without it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from compute.scaling import imported

ROOT = Path(__file__).parent.parent
# Under pytest-xdist, which these sessions know nothing of, pytest-benchmark would switch itself off.
SURROUNDINGS = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST_")}
BENCHMARK = ["-p", "pytest_benchmark.plugin"]

SUITE = """
import pytest
from compute import Prange, Serial, Threads
from kernels import kernel, mandelbrot

@pytest.mark.benchmark(max_time=0.05, min_rounds=6)
@pytest.mark.parametrize("backend", [Serial(), Threads(1), Threads(2)], ids=repr)
def test_escape(scaling, backend):
    assert scaling(mandelbrot, (8, 8), on=backend, variant="python").shape == (8, 8)

def test_refused(scaling):
    scaling(mandelbrot, (8, 8), on=Prange(1), variant="python")
"""

WRONG = """
from compute import Threads
from kernels import kernel

def check(value, x):
    assert value[0] == 7, "not seven"

@kernel(compiled=False, check=check)
def zero(lo, hi, out, x):
    out[lo:hi] = 0

def test_wrong(scaling):
    scaling(zero, [1.0, 2.0], on=Threads(1))
"""


@pytest.fixture
def suite(tmp_path):
    """suite(text, *options) -> the finished pytest session."""

    def run(text: str, *options: str) -> subprocess.CompletedProcess:
        (tmp_path / "test_suite.py").write_text(text)
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "compute.pytest_plugin", *options, "test_suite.py"],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
            env=SURROUNDINGS | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""},
        )

    return run


def test_runs_are_timed_and_described(suite, tmp_path):
    done = suite(SUITE, *BENCHMARK, "--benchmark-json=bench.json")
    assert "3 passed, 1 skipped" in done.stdout, done.stdout + done.stderr
    infos = [one["extra_info"] for one in json.loads((tmp_path / "bench.json").read_text())["benchmarks"]]
    same = {"kernel": "mandelbrot", "size": 8, "variant": "python"}
    assert infos == [
        same | {"backend": "serial", "workers": 1},
        same | {"backend": "threads", "workers": 1},
        same | {"backend": "threads", "workers": 2},
    ]
    points = imported.read(tmp_path / "bench.json").points
    assert all(p.speedup is not None for p in points)


@pytest.mark.parametrize(
    ("options", "outcome"),
    [
        ([*BENCHMARK, "--benchmark-disable"], "3 passed, 1 skipped"),
        ([*BENCHMARK, "--benchmark-skip"], "4 skipped"),
        ([*BENCHMARK, "--benchmark-only", "-k", "escape"], "3 passed"),
        (["-p", "no:benchmark"], "3 passed, 1 skipped"),
    ],
    ids=["disabled", "skipped", "only", "absent"],
)
def test_the_fixture_follows_pytest_benchmark_s_switches(suite, options, outcome):
    text = SUITE.replace("@pytest.mark.benchmark(max_time=0.05, min_rounds=6)\n", "")
    done = suite(text, *options)
    assert outcome in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0


def test_a_wrong_answer_is_never_timed(suite, tmp_path):
    done = suite(WRONG, *BENCHMARK, "--benchmark-json=bench.json")
    assert "not seven" in done.stdout
    assert done.returncode == 1
    assert not (tmp_path / "bench.json").exists()  # nothing to write


def test_a_session_that_does_not_use_it_pays_for_nothing(suite):
    text = "import sys\ndef test_nothing():\n    assert not {'numba', 'joblib', 'matplotlib'} & set(sys.modules)\n"
    done = suite(text)
    assert "1 passed" in done.stdout, done.stdout
