"""The `scaling` fixture, in pytest sessions of their own: with pytest-benchmark, with that switched off, without it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE

from compute import Threads, run
from compute.adapters.pytest_plugin import _scale
from compute.scaling import imported
from kernels import mandelbrot

ROOT = Path(__file__).parents[2]
# Under pytest-xdist, which these sessions know nothing of, pytest-benchmark would switch itself off.
SURROUNDINGS = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST_")}
BENCHMARK = ["-p", "pytest_benchmark.plugin"]

TIMED = "@pytest.mark.benchmark(max_time=0.05, min_rounds=6)\n"
SUITE = f"""
import pytest
from compute import Prange, Serial, Threads
from kernels import kernel, mandelbrot

{TIMED}@pytest.mark.parametrize("backend", [Serial(), Threads(1), Threads(2)], ids=repr)
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


# The sessions follow each other in one process: to start one and to import everything takes longer than they do.
SESSIONS = """
import pytest, sys
for options in eval(sys.argv[1]):
    print("exit code", int(pytest.main(options)), flush=True)
"""
SWITCHES = {
    "disabled": ([*BENCHMARK, "--benchmark-disable"], "3 passed, 1 skipped"),
    "skipped": ([*BENCHMARK, "--benchmark-skip"], "4 skipped"),
    "only": ([*BENCHMARK, "--benchmark-only", "--benchmark-max-time=0.05", "-k", "escape"], "3 passed"),
    "absent": (["-p", "no:benchmark"], "3 passed, 1 skipped"),
}


def in_a_process(folder: Path, *command: str) -> str:
    """What a Python process says that knows this library's plugin and no other."""
    done = subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=folder,
        env=SURROUNDINGS | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""},
    )
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the suites lie, and what their sessions leave."""
    return tmp_path_factory.mktemp("suites")


@pytest.fixture(scope="module")
def sessions(folder):
    """Name -> what the session printed, and its exit code."""
    (folder / "test_timed.py").write_text(SUITE)
    (folder / "test_switched.py").write_text(SUITE.replace(TIMED, ""))
    (folder / "test_wrong.py").write_text(WRONG)
    options = {
        "timed": ["test_timed.py", *BENCHMARK, "--benchmark-json=timed.json"],
        "wrong": ["test_wrong.py", *BENCHMARK, "--benchmark-json=wrong.json"],
        **{name: ["test_switched.py", *given] for name, (given, _) in SWITCHES.items()},
    }
    told = in_a_process(
        folder, "-c", SESSIONS, repr([["-p", "compute.adapters.pytest_plugin", *o] for o in options.values()])
    )
    parts = re.findall(r"(.*?)^exit code (\d+)$", told, re.MULTILINE | re.DOTALL)
    return {name: (text, int(code)) for name, (text, code) in zip(options, parts, strict=True)}


def test_runs_are_timed_and_described(sessions, folder):
    told, code = sessions["timed"]
    assert "3 passed, 1 skipped" in told
    assert code == 0
    infos = [one["extra_info"] for one in json.loads((folder / "timed.json").read_text())["benchmarks"]]
    same = {"kernel": "mandelbrot", "size": 8, "variant": "python"}
    assert infos == [
        same | {"backend": "serial", "workers": 1},
        same | {"backend": "threads", "workers": 1},
        same | {"backend": "threads", "workers": 2},
    ]
    points = imported.read(folder / "timed.json").points
    assert all(p.speedup is not None for p in points)


@pytest.mark.parametrize("switch", SWITCHES)
def test_the_fixture_follows_pytest_benchmark_s_switches(sessions, switch):
    told, code = sessions[switch]
    assert SWITCHES[switch][1] in told
    assert code == 0


def test_a_wrong_answer_is_never_timed(sessions, folder):
    told, code = sessions["wrong"]
    assert "not seven" in told
    assert code == 1
    assert not (folder / "wrong.json").exists()  # nothing to write


def test_a_session_that_does_not_use_it_pays_for_nothing(tmp_path):
    text = "import sys\ndef test_nothing():\n    assert not {'numba', 'joblib', 'matplotlib'} & set(sys.modules)\n"
    (tmp_path / "test_suite.py").write_text(text)
    told = in_a_process(tmp_path, "-m", "pytest", "-p", "compute.adapters.pytest_plugin", "test_suite.py")
    assert "1 passed" in told, told


@pytest.mark.parametrize(
    ("args", "kw"),
    [
        ((len, 3), {}),
        ((mandelbrot, (8, 8)), {"on": Threads}),
        ((mandelbrot, (8, 8)), {"on": 2}),
        ((mandelbrot, (8, 8)), {"on": "thread"}),
        ((mandelbrot, (8, 8)), {"on": Threads(2), "variant": "pyhton"}),
        ((mandelbrot, (-1, 8)), {"on": Threads(2)}),
        ((mandelbrot,), {"on": Threads(2)}),
        ((mandelbrot, (8, 8)), {"on": Threads(2), "max_itre": 3}),
    ],
    ids=repr,
)
def test_wrong_arguments_are_told_as_run_tells_them(args, kw):
    def no_pool(backend):
        raise AssertionError(f"{backend!r} is opened for nothing")

    with pytest.raises((TypeError, ValueError)) as of_run:
        run(*args, **kw)
    with pytest.raises((TypeError, ValueError)) as of_scaling:
        _scale(None, no_pool)(*args, **kw)
    assert (of_scaling.type, str(of_scaling.value)) == (of_run.type, str(of_run.value))


def test_without_a_backend_it_takes_the_one_that_run_takes():
    opened = []

    def pool_of(backend):
        opened.append(backend)
        return backend.open()

    assert _scale(None, pool_of)(mandelbrot, (8, 8), variant="python").shape == (8, 8)
    assert opened == [Threads()]
