"""What numba cannot compile is said in one line: what, where in the user's own file, and the remedy."""

from __future__ import annotations

import re

import numpy as np
import pytest
from compiler import needs_compiler

from compute import Prange, Processes, Serial, Threads, run
from kernels import Plan, kernel
from kernels.definition.compile_errors import NotCompiled, not_compiled
from kernels.definition.refusals import WritesToInput

pytestmark = needs_compiler

SOME, NAMED, COUNTS = [1.0, 2.0], {"a": 1.0}, np.zeros(3)


class Config:
    RATE = 2.0


def misspelt(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = y[i]  # noqa: F821  # here


def helper(v):
    return v + missing  # noqa: F821  # here


def misspelt_in_a_helper(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = helper(x[i])


def reads_a_list(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = SOME[1] * x[i]


def reads_a_dictionary(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = NAMED["a"] * x[i]


def reads_a_class(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = Config.RATE * x[i]


def two_indices(lo, hi, out, x):
    for i in range(lo, hi):
        out[i, 0] = x[i]  # here


def copies(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = x[i]  # here


def no_attribute(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = x[i].foo  # here


def a_text(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = f"{x[i]}"  # here


def counts(lo, hi, out, x):
    for i in range(lo, hi):
        COUNTS[0] += x[i]
        out[i] = 0


PLAN = r"@kernel\(plan=lambda A: Plan\(len\(A\), \(A,\), shape=A.shape\)\)"
CASES = [
    (misspelt, np.ones(5), "the name y is not defined"),
    (misspelt_in_a_helper, np.ones(5), "the name missing is not defined"),
    (reads_a_list, np.ones(5), "it reads SOME, a list outside it.*; pass it as an input, make it a number"),
    (reads_a_dictionary, np.ones(5), "it reads NAMED, a dict outside it.* or run the 'python' variant"),
    (reads_a_class, np.ones(5), "it reads Config, a class outside it"),
    (two_indices, np.ones(5), f"an array of 1 axis is given 2 indices; .*{PLAN}"),
    (copies, np.ones((5, 3)), f"it writes an array of 1 axis into one element; .*{PLAN}"),
    (copies, np.ones((5, 3, 2)), f"it writes an array of 2 axes into one element; .*{PLAN}"),
    (no_attribute, np.ones(5), "Unknown attribute 'foo' of type float64"),
    (a_text, np.ones(5), "No implementation of function.*setitem.* found for signature: setitem"),
]


@pytest.mark.parametrize(("body", "x", "says"), CASES, ids=lambda one: getattr(one, "__name__", None))
def test_it_is_one_line_with_the_place(body, x, says):
    made = kernel(body)
    with pytest.raises(NotCompiled, match=rf"^{body.__name__} is not compiled: {says}") as caught:
        run(made, x, on=Serial())
    assert "\n" not in str(caught.value)
    path, line = re.search(r" \(at (.+):(\d+)\)$", str(caught.value)).groups()
    assert path == __file__
    with open(path) as file:
        text = file.readlines()[int(line) - 1]
    assert "# here" in text or f"def {body.__name__}" in text or "out[i]" in text
    assert "nopython" in caught.value.numba
    with pytest.raises(NotCompiled, match=says):
        made(x)


def reading(outside):
    def reads_outside(lo, hi, out, x):
        for i in range(lo, hi):
            out[i] = outside[0] == outside[1]

    return kernel(reads_outside)


OUTSIDE = [
    ([1.0, 2.0], "it reads outside outside it, of a type that compiled code cannot read there; pass it as an input"),
    (np.ones(3, np.float16), r"Cannot lower constant of type '.*float16"),  # for which numba raises Python's own errors
    (np.ones(3).astype("m8[s]"), "cannot include dtype 'm' in a buffer"),
]


@pytest.mark.parametrize(("outside", "says"), OUTSIDE, ids=["list", "float16", "times"])
def test_what_numba_cannot_write_into_code_is_told_as_such(outside, says):
    with pytest.raises(NotCompiled, match=f"^reads_outside is not compiled: {says}") as caught:
        reading(outside)(np.ones(3))
    assert "\n" not in str(caught.value)


def test_an_error_that_a_body_raises_is_its_own():
    def raises(lo, hi, out, x):
        raise NotImplementedError("not yet")

    with pytest.raises(NotImplementedError, match="not yet"):
        kernel(raises)(np.ones(3))


def test_an_input_that_numba_has_no_type_for():
    def takes(lo, hi, out, x, named):
        for i in range(lo, hi):
            out[i] = x[i] * len(named)

    made = kernel(takes, plan=lambda x, named: Plan(len(x), (x, named)))
    with pytest.raises(NotCompiled, match="takes is not compiled: one of its inputs is of a kind that compiled code"):
        run(made, np.ones(3), {"a": 1}, on=Serial())
    assert run(made.python, np.ones(3), {"a": 1}, on=Serial()).value.tolist() == [1, 1, 1]


def test_the_steps_of_numba_that_lead_to_it_are_left_out():
    steps = [f"Failed in {mode} mode pipeline (step: frontend)" for mode in ("nopython", "full_parfor_gufunc")]
    error = not_compiled("\n".join([*steps, "No way to index a number.", "During: lowering"]), kernel(misspelt))
    assert str(error) == "misspelt is not compiled: No way to index a number"


RECORD = np.array([(0.0,), (2.0,)], [("a", float)])[1]


@pytest.mark.parametrize(
    ("named", "read", "value"),
    [
        ((1, (2.0, np.ones(3))), lambda named: named[1][0] * named[1][1][1], 2.0),
        (RECORD, lambda named: named.a, 2.0),
        (b"ab", lambda named: named[1], 98.0),
        (np.array(2.0), lambda named: named[()], 2.0),
    ],
    ids=["tuple", "record", "bytes", "no axes"],
)
def test_prange_takes_inputs_that_numbas_own_regions_do_not(named, read, value):
    def takes(lo, hi, out, x, named):
        for i in range(lo, hi):
            out[i] = x[i] * read(named)

    made = kernel(takes, plan=lambda x, named: Plan(len(x), (x, named)))
    for backend in (Prange(2), Serial()):
        assert run(made.nogil, np.ones(3), named, on=backend).value.tolist() == [value] * 3


@pytest.mark.parametrize(
    "backend", [Threads(2), pytest.param(Prange(2), marks=pytest.mark.slow), Processes(2)], ids=repr
)
def test_it_is_the_same_on_every_backend(backend):
    with pytest.raises(NotCompiled, match="misspelt is not compiled: the name y is not defined"):
        run(kernel(misspelt), np.ones(5), on=backend)
    with pytest.raises(NotCompiled, match="copies is not compiled"):
        run(kernel(copies), np.ones((5, 3)), on=backend, check=True)


def test_a_complex_element_says_the_dtype():
    made = kernel(copies, plan=lambda x: Plan(len(x), (x,)))
    with pytest.raises(NotCompiled, match=r"it writes complex numbers into an array of float64; say @kernel\(dtype"):
        made(np.ones(3) * 1j)


def test_a_global_array_is_not_taken_for_an_input():
    with pytest.raises(WritesToInput, match=r"counts writes to COUNTS, a global array, .* with reduce="):
        run(kernel(counts), np.ones(5), on=Serial())
