"""Reports are tested with the results that tests/scaling invents."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "scaling"))


@pytest.fixture(scope="session", autouse=True)
def fonts():
    """matplotlib keeps the files of its fonts open: opened before any test, they are no leak of one."""
    from example_points import a_scaling

    from compute.report import plots

    plots.render(a_scaling(kernels=["primes"]))
