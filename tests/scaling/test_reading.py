"""Whoever reads a results file and shows it does not load what measures."""

import subprocess
import sys

import pytest
from invented import explained
from patience import PATIENCE

MEASURES = [
    "numba",
    "compute.backends",
    "compute.dispatch",
    "compute.lanes",
    "compute.memory",
    *(f"compute.scaling.{name}" for name in ("rounds", "measure", "harness", "probe", "ceiling", "noise", "workload")),
]
READ = "import sys; from compute import Scaling; scaling = Scaling.from_json(sys.argv[1]); "
READ_ANY = "import sys; from compute.scaling.imported import read; scaling = read(sys.argv[1]); "
REPORT = "from compute import report; "


@pytest.mark.parametrize(
    "program",
    [
        READ + "shown = str(scaling)",
        READ + "shown = scaling.as_json()",
        READ_ANY + "shown = str(scaling)",
        READ_ANY + REPORT + "shown = report.render(scaling, 'text')",
        READ_ANY + REPORT + "shown = report.render(scaling, 'markdown')",
        READ_ANY + REPORT + "shown = report.render(scaling, 'csv')",
    ],
)
def test_a_results_file_is_read_and_shown_without_what_measures(tmp_path, program):
    explained().to_json(tmp_path / "a.json")
    ask = f"{program}; assert 'mandelbrot' in shown; print(*(name for name in {MEASURES} if name in sys.modules))"
    told = subprocess.run(
        [sys.executable, "-c", ask, tmp_path / "a.json"], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (told.stdout.strip(), told.stderr) == ("", "")
