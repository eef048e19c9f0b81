"""Times that follow a law to the last digit, and points of threads that took them."""

import json

import numpy as np
from example_points import a_point

from compute.scaling import laws
from compute.scaling.laws import fitting
from compute.scaling.laws.prospects import tell_assumption, tell_law

COUNTS = np.array([1.0, 2, 4, 8])
MANY = np.array([1.0, 2, 3, 4, 6, 8, 12, 16])
ONE_WORKER = laws.point_key(a_point("threads", 1))
ROUNDS = 12


def amdahl_times(n, sigma, seconds=0.3):
    return seconds * (sigma + (1 - sigma) / n)


def usl_times(n, alpha, beta, gamma=1 / 0.3):
    return (1 + alpha * (n - 1) + beta * n * (n - 1)) / (gamma * n)


def gustafson_times(n, sigma, seconds=0.3):
    return seconds * n / (n - sigma * (n - 1))


def exactly(times):
    """A law's drawing where every round took these times."""
    return fitting.draw([[t] * 6 for t in times], resamples=5)


def threads(times, serial=None, rounds=ROUNDS, **other):
    """Points of threads with times[N] seconds in every round, after a serial one where that is given."""
    points = [a_point("serial", 1, [serial] * rounds, **other)] if serial else []
    return points + [a_point("threads", n, [t] * rounds, **other) for n, t in times.items()]


def only(points, **options):
    """The figures of the one configuration of these points, with what they say in words."""
    (law,) = laws.fit_laws(points, **options)
    again = json.loads(json.dumps(law, allow_nan=False))
    assert again == law
    return law | {"sentences": tell_law(again), "assumption": tell_assumption(again)}


def even(chunks, seconds=0.3):
    return {ONE_WORKER: [seconds / chunks] * chunks}
