"""What numba cannot compile is said in one line: what, where in the user's own file, and the remedy."""

from __future__ import annotations

import random
import re
import time

import numpy as np
import pytest
from compiler import needs_compiler
from numpy.random import default_rng

from compute import Prange, Processes, Serial, Threads, run
from kernels import Plan, kernel
from kernels.definition.compile_errors import NotCompiled, not_compiled
from kernels.definition.refusals import WritesToInput

pytestmark = needs_compiler

SOME, NAMED, COUNTS = [1.0, 2.0], {"a": 1.0}, np.zeros(3)
RNG, OLD_RNG = default_rng(1), np.random.RandomState(1)
gamma = np.frompyfunc(abs, 1, 1)


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


def takes_a_ufunc(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = gamma(x[i])


def takes_from_a_module(lo, hi, out, x):
    for i in range(lo, hi):
        time.sleep(0)  # here
        out[i] = x[i]


def imports(lo, hi, out, x):
    import math  # here

    for i in range(lo, hi):
        out[i] = math.sin(x[i])


def draws(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = x[i] + RNG.random()


def draws_from_an_old_one(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = x[i] + OLD_RNG.rand()


def makes_a_generator(lo, hi, out, x):
    rng = np.random.default_rng((7, lo))  # here
    out[lo:hi] = x[lo:hi] + rng.random(hi - lo)


def makes_one_by_name(lo, hi, out, x):
    rng = default_rng((7, lo))  # here
    out[lo:hi] = x[lo:hi] + rng.random(hi - lo)


def makes_pythons_own(lo, hi, out, x):
    rng = random.Random(lo)  # here
    for i in range(lo, hi):
        out[i] = x[i] + rng.random()


def adds_in_a_generator(lo, hi, out, x):
    out[lo:hi] = x[lo:hi] / sum(abs(v) for v in x[lo:hi])  # here


def sets_a_global(lo, hi, out, x):
    global latest
    latest = lo  # here
    out[lo:hi] = x[lo:hi]


PYTHON = r"say @kernel\(compiled=False\), for Python to run it"
WHERE_PYTHON_CAN = r"where Python can, say @kernel\(compiled=False\)"
DRAW = (
    r"draw the numbers before the run and pass the array, or say @kernel\(compiled=False\) and draw from"
    r" np\.random\.default_rng\(\(seed, lo\)\) in the body"
)
PLAN = r"@kernel\(plan=lambda A: Plan\(len\(A\), \(A,\), shape=A.shape\)\)"
CASES = [
    (misspelt, np.ones(5), "the name y is not defined"),
    (misspelt_in_a_helper, np.ones(5), "the name missing is not defined"),
    (reads_a_list, np.ones(5), f"it reads SOME, a list outside it.*; make SOME a tuple or an array, or {PYTHON}"),
    (reads_a_dictionary, np.ones(5), f"it reads NAMED, a dict outside .*; pass what it needs of NAMED .*, or {PYTHON}"),
    (
        reads_a_class,
        np.ones(5),
        f"it reads Config, a class outside it, .*; pass what it needs .*, or {PYTHON}",
    ),
    (takes_a_ufunc, np.ones(5), f"it takes gamma, .*; call it before the run and pass what it gives, or {PYTHON}"),
    (takes_from_a_module, np.ones(5), f"it takes time.sleep, which compiled code cannot; .* or {PYTHON}"),
    (imports, np.ones(5), f"it imports a module, .*; import it at the head of the file, or {PYTHON}"),
    (draws, np.ones(5), f"it reads RNG, a Generator outside it, which compiled code cannot; {DRAW}"),
    (draws_from_an_old_one, np.ones(5), f"it reads OLD_RNG, a RandomState outside it, .*; {DRAW}"),
    (makes_a_generator, np.ones(5), f"it makes a generator of random numbers by numpy.random.default_rng, .*; {DRAW}"),
    (makes_one_by_name, np.ones(5), f"it makes a generator of random numbers by default_rng, .*; {DRAW}"),
    (makes_pythons_own, np.ones(5), f"it makes a generator of random numbers by random.Random, .*; {DRAW}"),
    (adds_in_a_generator, np.ones(5), f"The use of yield in a closure is unsupported; {WHERE_PYTHON_CAN}"),
    (sets_a_global, np.ones(5), rf"Use of unsupported opcode \(STORE_GLOBAL\) found; {WHERE_PYTHON_CAN}"),
    (two_indices, np.ones(5), f"an array of 1 axis is given 2 indices; .*{PLAN}"),
    (copies, np.ones((5, 3)), f"it writes an array of 1 axis into one element; .*{PLAN}"),
    (copies, np.ones((5, 3, 2)), f"it writes an array of 2 axes into one element; .*{PLAN}"),
    (no_attribute, np.ones(5), f"Unknown attribute 'foo' of type float64; {WHERE_PYTHON_CAN}"),
    (
        a_text,
        np.ones(5),
        f"No implementation of .*setitem.* found for signature: setitem.*; {WHERE_PYTHON_CAN}",
    ),
]


@pytest.mark.filterwarnings("ignore:Assigning a code object of non-matching type")  # numba's own, on Python 3.13
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
    assert "nopython" in caught.value.numba or "opcode" in caught.value.numba
    with pytest.raises(NotCompiled, match=says):
        made(x)


def reading(outside):
    def reads_outside(lo, hi, out, x):
        for i in range(lo, hi):
            out[i] = outside[0] == outside[1]

    return kernel(reads_outside)


OUTSIDE = [
    ([1.0, 2.0], f"it reads outside, a value outside it, .*; pass what it needs of outside .*, or {PYTHON}"),
    (np.ones(3, np.float16), r"Cannot lower constant of type '.*float16"),  # for which numba raises Python's own errors
    (np.ones(3).astype("m8[s]"), "cannot include dtype 'm' in a buffer"),
]


@pytest.mark.parametrize(("outside", "says"), OUTSIDE, ids=["list", "float16", "times"])
def test_what_numba_cannot_write_into_code_is_told_as_such(outside, says):
    with pytest.raises(NotCompiled, match=f"^reads_outside is not compiled: {says}") as caught:
        reading(outside)(np.ones(3))
    assert "\n" not in str(caught.value)


REMEDIED = [reads_a_list, reads_a_dictionary, reads_a_class, takes_from_a_module, imports, makes_a_generator]
REMEDIED += [makes_one_by_name, makes_pythons_own, adds_in_a_generator, sets_a_global, a_text]


@pytest.mark.parametrize("body", REMEDIED, ids=lambda body: body.__name__)
def test_python_runs_what_compiled_code_cannot_as_the_message_says(body):
    made = kernel(compiled=False)(body)
    one_core = made(np.ones(5))
    for backend in (Threads(2), Processes(2)):
        assert run(made, np.ones(5), on=backend).value.tolist() == one_core.tolist()


def test_what_is_needed_of_something_outside_can_be_passed():
    def takes(lo, hi, out, x, a, drawn):
        for i in range(lo, hi):
            out[i] = x[i] * a + drawn[i]

    drawn = RNG.random(3)
    assert run(kernel(takes), np.ones(3), NAMED["a"], drawn, on=Threads(2)).value.tolist() == (1 + drawn).tolist()
    instead = (
        r"pass the numbers and arrays in it, or say @kernel\(compiled=False\) and let the body read it from outside"
    )
    with pytest.raises(ValueError, match=f"a must be an array or a number, not dict; {instead}"):
        run(kernel(takes), np.ones(3), NAMED, drawn)


@pytest.mark.parametrize("rng", [RNG, OLD_RNG, random.Random(1)], ids=lambda rng: type(rng).__name__)
@pytest.mark.parametrize("options", [{}, {"plan": lambda x, rng: Plan(len(x), (x, rng))}], ids=["no plan", "a plan"])
def test_a_generator_is_no_input(rng, options):
    def draws_from(lo, hi, out, x, rng):
        for i in range(lo, hi):
            out[i] = x[i] + rng.random()

    made = kernel(draws_from, **options)
    for variant in (made, made.python):  # each process would draw the same numbers from its copy
        with pytest.raises(ValueError, match=f"rng is a {type(rng).__name__}, and lanes would draw .* order; {DRAW}"):
            run(variant, np.ones(3), rng)


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
    with pytest.raises(NotCompiled, match=r"takes is not compiled: one of its inputs is of a kind .*compiled=False"):
        run(made, np.ones(3), {"a": 1}, on=Serial())
    assert run(made.python, np.ones(3), {"a": 1}, on=Serial()).value.tolist() == [1, 1, 1]


def test_the_steps_of_numba_that_lead_to_it_are_left_out():
    steps = [f"Failed in {mode} mode pipeline (step: frontend)" for mode in ("nopython", "full_parfor_gufunc")]
    error = not_compiled("\n".join([*steps, "No way to index a number.", "During: lowering"]), kernel(misspelt))
    assert str(error) == (
        "misspelt is not compiled: No way to index a number; where Python can, say @kernel(compiled=False)"
    )


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


def falling(v):
    return -v


def test_a_function_that_is_written_in_a_body_and_handed_on_is_told_where_to_write_it():
    def hands_on_a_lambda(lo, hi, out, x):
        out[lo:hi] = np.array(sorted(x[lo:hi], key=lambda v: -v))

    def hands_on_one_from_outside(lo, hi, out, x):
        out[lo:hi] = np.array(sorted(x[lo:hi], key=falling))

    with pytest.raises(RuntimeError, match=r"written in its body \(<lambda>\), .*; write that function outside it"):
        kernel(hands_on_a_lambda)(np.arange(3.0))
    assert kernel(grain=3)(hands_on_one_from_outside)(np.arange(3.0)).tolist() == [2.0, 1.0, 0.0]


def test_a_global_array_is_not_taken_for_an_input():
    with pytest.raises(WritesToInput, match=r"counts writes to COUNTS, a global array, .* with reduce="):
        run(kernel(counts), np.ones(5), on=Serial())
