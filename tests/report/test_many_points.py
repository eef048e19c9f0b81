"""A file of many kernels takes as much longer as there are more of them, in every form: calls are counted."""

from __future__ import annotations

import cProfile
import pstats

import pytest
from example_points import a_point
from sampling import quick_first

from compute import report
from compute.scaling.derive import compare_points
from compute.scaling.results import Scaling

FEW, TIMES = 60, 4


def calls(form: str, kernels: int) -> int:
    """How many functions are called to render it."""
    points = [a_point(*who, kernel=f"k{n}") for n in range(kernels) for who in (("serial", 1), ("threads", 2))]
    scaling = Scaling(compare_points(points))
    profile = cProfile.Profile()
    profile.runcall(report.render, scaling, form)
    return pstats.Stats(profile).total_calls


@pytest.mark.parametrize("form", quick_first(2, (form for form in report.FORMATS if form != "png")))
def test_many_kernels_take_no_more_than_their_number(form):
    calls(form, 1)  # what is imported
    assert calls(form, TIMES * FEW) < 1.5 * TIMES * calls(form, FEW)
