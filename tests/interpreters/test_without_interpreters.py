"""Where this Python has no subinterpreters, `Interpreters` can be named, and says why it cannot be opened."""

import pytest

from compute import Interpreters, advise, named, scale
from compute.backends.interpreters.subinterpreter import unavailable
from compute.machine import usable_cpus
from compute.scaling.configurations import Unavailable
from kernels import mandelbrot

pytestmark = pytest.mark.skipif(unavailable() is None, reason="this Python has subinterpreters")


def test_opening_it_says_why_in_one_line():
    backend = named("interpreters", 2)
    assert backend == Interpreters(2)
    with pytest.raises(
        ValueError, match=r"need CPython 3.13 or newer, and this is .*; use Threads or Processes"
    ) as error:
        backend.open()
    assert "\n" not in str(error.value)
    assert backend.lacks() == str(error.value)
    assert backend.refuses(mandelbrot.python) is None  # it is not the kernel's fault


def test_measuring_leaves_it_out_with_the_reason():
    scaling = scale(mandelbrot, (20, 20), on=["interpreters", "threads"], workers=[2], rounds=1)
    assert {point.backend for point in scaling.points} == {"serial", "threads"}
    assert any("CPython 3.13" in warning for warning in scaling.warnings)
    with pytest.raises(Unavailable, match=r"CPython 3.13"):
        scale(mandelbrot, (20, 20), on=["interpreters"], workers=[2], rounds=1)
    advice = advise(mandelbrot, (20, 20), on=["interpreters", "threads"], budget=2)
    alone = usable_cpus() < 2  # where a backend's name stands for none
    assert alone or any("Interpreters" in note and "CPython 3.13" in note for note in advice.notes)
