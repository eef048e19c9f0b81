"""A fitted law as a curve: through what was fitted, and on to what was projected."""

import pytest
from example_points import a_point

from compute.scaling.derive import compare_points
from compute.scaling.laws import fit_laws
from compute.scaling.laws.curves import name_of, speedups

ROUNDS = [1 + 0.001 * k for k in range(8)]


def fitted(counts, seconds, mode="strong"):
    """The law of threads whose runs take seconds(n), a tenth of a percent apart."""
    about = {"mode": mode, "work": 1.0} if mode == "weak" else {"mode": mode}
    points = [a_point(samples=[seconds(1) * r for r in ROUNDS], **about)]
    for n in counts:
        own = about | ({"work": float(n)} if mode == "weak" else {})
        points.append(a_point("threads", n, [seconds(n) * r for r in ROUNDS], **own))
    (law,) = fit_laws(compare_points(points), cpus=64)
    return law, compare_points(points)[0].seconds


@pytest.mark.parametrize(
    ("name", "law", "baseline", "truth"),
    [
        ("Amdahl's law", *fitted([1, 2, 4], lambda n: 0.1 + 0.9 / n), lambda n: 1 / (0.1 + 0.9 / n)),
        (
            "USL",
            *fitted([1, 2, 4, 8, 16, 32], lambda n: (1 + 0.05 * (n - 1) + 0.001 * n * (n - 1)) / n),
            lambda n: n / (1 + 0.05 * (n - 1) + 0.001 * n * (n - 1)),
        ),
        ("Gustafson's law", *fitted([1, 2, 4], lambda n: 0.2 * n + 0.8, "weak"), None),
    ],
)
def test_the_curve_goes_through_what_was_fitted_and_projected(name, law, baseline, truth):
    assert name_of(law) == name
    if truth:
        counts = [1, 2, 3.5, *law["counts"]]
        assert speedups(law, baseline, counts) == pytest.approx([truth(n) for n in counts], rel=1e-3)
    further = [row["workers"] for row in law["projection"]]
    assert speedups(law, baseline, further) == pytest.approx([row["speedup"] for row in law["projection"]], rel=1e-3)


@pytest.mark.parametrize("law", [{}, {"law": None, "amdahl": None}, {"law": "usl", "usl": "not identifiable"}])
def test_no_law_is_no_curve(law):
    assert speedups(law, 1.0, [1, 2]) == []
