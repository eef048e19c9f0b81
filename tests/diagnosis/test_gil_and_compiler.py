"""A line, wherever it matters, on a GIL that a Python could do without and on a compiler that is not here."""

from __future__ import annotations

import sys

import pytest

from compute import Prange, Threads, machine, scale
from compute.advice import remarks, waiting
from compute.backends import prange
from compute.diagnosis import interpreter
from compute.machine import ROOT
from compute.scaling import collecting
from kernels import mandelbrot

IMPORT = "an import, of a module that does not say that it needs none (Python's RuntimeWarning names it)"
VARIABLE = "PYTHON_GIL=1 or -X gil=1"


@pytest.fixture
def python(monkeypatch):
    """python(free_threaded, gil): an interpreter that can do without a GIL or not, and has one on or not."""

    def python(free_threaded, gil, environment=""):
        monkeypatch.setattr(machine.sysconfig, "get_config_var", {"Py_GIL_DISABLED": int(free_threaded)}.get)
        monkeypatch.setattr(sys, "_is_gil_enabled", lambda: gil, raising=False)
        monkeypatch.setattr(sys, "_xoptions", {})
        monkeypatch.setenv("PYTHON_GIL", environment)

    return python


@pytest.mark.parametrize(
    ("free_threaded", "gil", "environment", "who"),
    [
        (False, True, "", None),
        (False, True, "1", None),
        (True, False, "", None),
        (True, False, "0", None),
        (True, True, "", IMPORT),
        (True, True, "1", VARIABLE),
    ],
)
def test_who_has_the_gil_on(python, free_threaded, gil, environment, who):
    python(free_threaded, gil, environment)
    assert machine.who_has_the_gil_on() == who
    lines = [line for line in collecting.about_interpreter() if "GIL" in line]
    assert lines == (
        [f"this Python can do without a GIL, and has one on: {who} switched it on; PYTHON_GIL=0 keeps it off"]
        if who
        else []
    )
    assert [line for line in remarks.about_the_machine() if "GIL" in line] == lines


def test_an_option_of_the_command_line_counts_as_the_variable_does(python, monkeypatch):
    python(True, True)
    monkeypatch.setattr(sys, "_xoptions", {"gil": "1"})
    assert machine.who_has_the_gil_on() == VARIABLE


@pytest.mark.parametrize(
    ("free_threaded", "gil", "level", "value"),
    [
        (False, True, "note", "on (CPython"),
        (True, True, "warn", "on (CPython"),
        (True, False, "ok", "off (CPython"),
    ],
)
def test_doctor_says_whether_there_is_a_gil(python, free_threaded, gil, level, value):
    python(free_threaded, gil)
    found = interpreter.gil(ROOT)
    assert found.level == level
    assert found.value.startswith(value)
    assert ("free-threaded" in found.value) is (level == "warn")
    assert (IMPORT in found.meaning) is (level == "warn")


@pytest.mark.parametrize("gil", [True, False])
def test_the_kind_of_a_task_names_no_gil_where_there_is_none(gil):
    assert ("in Python the GIL" in waiting.sentence(0.7, None, gil)) is gil


@pytest.fixture
def no_compiler(monkeypatch):
    for module in (collecting, interpreter, prange):
        monkeypatch.setattr(module, "numba_is_here", lambda: False)
        monkeypatch.setattr(module, "where_numba_is", lambda: "not installed", raising=False)


def test_a_compiler_that_is_not_here_is_one_line_of_a_report(no_compiler):
    line = (
        "numba's compiler is not installed: what Python runs is measured, and neither compiled variants nor what this"
        " machine allows"
    )
    assert line in list(remarks.about_the_machine())
    scaling = scale(mandelbrot.python, (4, 4), on=[Threads(1)], rounds=1)
    assert [warning for warning in scaling.warnings if "numba" in warning] == [line]


def test_prange_without_it_is_refused_in_a_line(no_compiler):
    with pytest.raises(ValueError, match=r"^Prange\(2\) has numba's threads, and numba is not installed; use Threads$"):
        Prange(2).open()


@pytest.mark.parametrize(
    ("free_threaded", "gil", "version", "meaning", "remedy"),
    [
        (False, True, (3, 13), "only variant python runs, and threads take turns at it", "pip install numba"),
        (True, False, (3, 14), "only variant python runs, on threads side by side, without ceilings", "pip install"),
        (True, False, (3, 13), "on threads side by side", "Python 3.14t: for a free-threaded 3.13 there is no numba"),
    ],
)
def test_doctor_says_what_is_missing(no_compiler, python, monkeypatch, free_threaded, gil, version, meaning, remedy):
    python(free_threaded, gil)
    monkeypatch.setattr(interpreter.sys, "version_info", version)
    found = interpreter.numba(ROOT)
    assert (found.level, found.value) == ("warn", "not installed")
    assert meaning in found.meaning
    assert found.remedy.startswith(remedy)
