"""What a kernel is: a plan that covers every index once, an ordinary function, variants, and a name to be found by."""

from __future__ import annotations

import itertools
import pickle
import re

import cloudpickle
import example_kernels
import numpy as np
import pytest
from compiler import needs_compiler
from example_kernels import histogram, ordered, squares, total
from hypothesis import given
from hypothesis import strategies as st

from kernels import REGISTRY, Plan, find, kernel, mandelbrot, matmul, matvec, triad
from kernels.definition import as_index, nearest


@given(indices=st.integers(0, 10**6), grain=st.none() | st.integers(1, 10**4))
def test_the_chunks_cover_every_index_once_and_in_order(indices, grain):
    plan = Plan(indices, grain=grain)
    bounds = [plan.bounds(chunk) for chunk in range(min(plan.chunks, 2000))]
    assert [lo for lo, _ in bounds[:1]] == [0][: plan.chunks]
    assert all(before[1] == after[0] for before, after in itertools.pairwise(bounds))
    assert all(0 < hi - lo <= plan.step for lo, hi in bounds)
    last = plan.bounds(plan.chunks - 1) if plan.chunks else (0, 0)
    assert last[1] == indices
    assert (plan.chunks - 1) * plan.step < max(indices, 1)


@given(indices=st.integers(0, 10**12))
def test_a_plan_without_a_grain_has_at_most_256_chunks(indices):
    assert Plan(indices).chunks <= 256
    assert Plan(indices).chunks == min(indices, Plan(indices).chunks)


@given(
    values=st.lists(st.integers(-(10**6), 10**6), max_size=300), grain=st.integers(1, 40), seed=st.integers(0, 10**6)
)
def test_a_reduction_is_over_the_chunks_in_their_order_whatever_order_they_run_in(values, grain, seed):
    x = np.array(values, float)
    chunks = -(-len(x) // grain)
    order = np.random.default_rng(seed).permutation(chunks)

    def plan(x):
        return Plan(len(x), (x,), grain=grain, order=order)

    def total_of_pairs(lo, hi, out, x):
        out[0] = lo * 1000 + x[lo:hi].sum()

    made = kernel(plan=plan, compiled=False, reduce=lambda rows: rows.tolist())(total_of_pairs)
    assert made(x) == [k * grain * 1000 + x[k * grain : (k + 1) * grain].sum() for k in range(chunks)]


def test_a_kernel_is_an_ordinary_function():
    x = np.random.default_rng(0).random(100)
    np.testing.assert_array_equal(squares(x), x * x)
    np.testing.assert_array_equal(squares.python(x), squares.nogil(x))
    assert type(total(np.arange(10.0))) is float
    assert histogram(x).sum() == 100
    np.testing.assert_array_equal(ordered(100), np.arange(100))
    assert squares([1, 2]).tolist() == [1, 4]
    assert squares(np.ones(3)).dtype == np.float64


def test_a_kernel_keeps_its_documentation_and_its_name():
    assert squares.__doc__ == "Fill out[lo:hi] with the squares of x, by way of a plain helper."
    assert repr(squares) == "<kernel example_kernels:squares>"
    assert repr(squares.python) == "<kernel example_kernels:squares (python)>"
    assert find("example_kernels:squares") is squares


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("example_kernels:square", "example_kernels has no kernel 'square'.*did you mean 'squares'"),
        ("example_kernels", "has no kernel ''"),
        ("no_such_module:f", "cannot import 'no_such_module'"),
        ("example_kernels:np", "has no kernel 'np'"),
        ("", "cannot import ''|no module name"),
        ("example_kernels.py:squares", "is the path of a file, .*; write example_kernels:squares$"),
        ("./example_kernels.py:squares", "is the path of a file, .*; write example_kernels:squares$"),
        ("../a/example_kernels.py:squares", "; write example_kernels:squares in the folder ../a$"),
        (r"..\a\example_kernels.py:squares", "; write example_kernels:squares in the folder ../a$"),
        ("a/example_kernels:squares", "; write example_kernels:squares in the folder a$"),
        (".example_kernels:squares", "is the path of a file, .* write package.module:name$"),
        ("fractions:Fraction", "fractions:Fraction is a class, and a kernel is made of a function"),
        ("string:nope", "string has no kernel 'nope'; it has capwords$"),
        ("textwrap:dedant", "it has dedent, fill, indent, shorten, wrap; did you mean 'dedent'"),
    ],
)
def test_a_kernel_that_is_not_there_is_named(path, says):
    with pytest.raises(ValueError, match=says):
        find(path)


@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps])
def test_a_module_s_kernel_travels_by_name(dumps):
    sent = dumps(squares.python)
    assert len(sent) < 200
    assert pickle.loads(sent).variants is squares.variants
    assert pickle.loads(sent).variant == "python"


def test_a_closure_travels_by_value():
    offset = 5

    @kernel
    def shifted(lo, hi, out, x):
        for i in range(lo, hi):
            out[i] = x[i] + offset

    twin = cloudpickle.loads(cloudpickle.dumps(shifted))
    assert twin is not shifted
    assert twin(np.zeros(3)).tolist() == [5, 5, 5]


def test_two_kernels_of_one_name_are_not_mistaken_for_each_other():
    @kernel
    def squares(lo, hi, out, x):  # the module has another of this name
        for i in range(lo, hi):
            out[i] = -1

    squares.__dict__["module"] = "example_kernels"
    assert cloudpickle.loads(cloudpickle.dumps(squares))(np.ones(2)).tolist() == [-1, -1]
    assert example_kernels.squares(np.ones(2)).tolist() == [1, 1]


@needs_compiler
@pytest.mark.parametrize("shipped", [mandelbrot, matmul, matvec, triad], ids=repr)
def test_a_small_work_has_chunks_enough_for_lanes_that_run_python(shipped):
    small, large = shipped.example(40), shipped.example(700)
    assert shipped.plan(*small).chunks < shipped.python.plan(*small).chunks in range(10, 300)
    assert shipped.python.plan(*large).chunks in range(10, 300)


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, "3"], ids=repr)
def test_a_bad_grain_is_named(bad):
    with pytest.raises(ValueError, match="grain"):
        kernel(grain=bad)(lambda lo, hi, out, x: None)


@pytest.mark.parametrize(
    ("args", "error", "says"),
    [
        ((), ValueError, "squares takes 1 input (x), not 0"),
        ((1, 2), ValueError, "squares takes 1 input (x), not 2"),
        (("text",), ValueError, "x must be an array or a number, not str"),
        ((np.array([None]),), ValueError, "Python objects"),
        ((-1,), ValueError, "at least 0, not -1"),
        ((1.5,), ValueError, "whole number, not 1.5"),
    ],
)
def test_bad_arguments_of_a_kernel_without_a_plan(args, error, says):
    with pytest.raises(error, match=re.escape(says)):
        squares(*args)


def test_a_body_of_too_few_parameters_is_refused():
    with pytest.raises(ValueError, match="must take"):
        kernel(lambda lo, hi: None)


def test_an_unknown_variant_is_named():
    with pytest.raises(ValueError, match=r"no variant 'pyhton'.*did you mean 'python'"):
        squares.held_to("pyhton")
    with pytest.raises(AttributeError, match=r"nogill.*did you mean 'nogil'"):
        squares.nogill  # noqa: B018


@pytest.mark.parametrize("bad", [1.0, "1", None, True, np.bool_(True), [1]], ids=repr)
def test_as_index_takes_whole_numbers_only(bad):
    with pytest.raises(ValueError, match="n must be a whole number"):
        as_index(bad, "n")
    assert as_index(np.uint8(7), "n") == 7


def test_nearest_says_nothing_about_what_is_far():
    assert nearest("threds", ["threads", "prange"]) == "; did you mean 'threads'?"
    assert nearest("zzz", ["threads"]) == ""


def test_numba_is_not_imported_with_the_kernels(script):
    script("import sys, kernels, compute; assert 'numba' not in sys.modules, 'numba'")
    script("import sys, kernels, compute; assert not {'asyncio', 'subprocess', 'socket'} & set(sys.modules)")


def test_python_variants_run_where_there_is_no_numba(script):
    script(
        "import sys\n"
        "sys.modules['numba'] = None\n"
        "import importlib.util\n"
        "real = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *a: None if name == 'numba' else real(name, *a)\n"
        "import numpy as np\n"
        "from compute import Serial, Threads, run\n"
        "from example_kernels import squares\n"
        "for on in (Serial(), Threads(3)):\n"
        "    assert run(squares, np.arange(500.0), on=on).value[22] == 484\n"
        "assert squares.variant == 'python'\n"
        "try:\n"
        "    squares.nogil\n"
        "except ValueError as error:\n"
        "    assert 'needs numba' in str(error)\n"
    )


def test_the_work_of_a_run_is_its_plans_or_what_its_result_tells():
    x = np.arange(1.0, 6.0)
    assert squares.work(squares.plan(x), squares(x)) == 5
    planned = kernel(plan=lambda n: Plan(n, work=2.5), compiled=False)(lambda lo, hi, out: None)
    assert planned.work(planned.plan(4), None) == 2.5
    told = kernel(plan=lambda n: Plan(n, work=2.5), compiled=False, work=np.sum)(lambda lo, hi, out: None)
    assert told.work(told.plan(4), x) == 15


def test_what_bounds_a_kernel_is_unknown_unless_it_says_so():
    assert squares.bound is None
    assert {k.name for k in REGISTRY.values() if k.bound == "memory"} == {"matvec", "transpose", "triad"}
    assert all(k.bound for k in REGISTRY.values())
    with pytest.raises(ValueError, match="bound must be 'compute', 'memory' or 'wait', not 'cpu'; leave it out"):
        kernel(bound="cpu")(lambda lo, hi, out: None)


@pytest.mark.parametrize("finish", [None, lambda value, plan: value, lambda value, plan: -value[::-1]])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_value_is_in_the_callers_array_whoever_filled_it(finish, dtype):
    def body(lo, hi, out, x):
        out[lo:hi] = 2 * x[lo:hi]

    made = kernel(plan=lambda x, out: Plan(len(x), (x,), out=out), finish=finish, compiled=False)(body)
    x, out = np.arange(5.0), np.full(5, np.nan, dtype)
    assert made(x, out) is out
    np.testing.assert_array_equal(out, finish(2 * x, None) if finish else 2 * x)


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (lambda A: 3, "returns 3, and must return a Plan"),
        (lambda A: None, "returns None, and must return a Plan"),
        (lambda A: Plan(len(A), A), "gives a ndarray as its inputs; write a tuple"),
        (lambda A: Plan(len(A), [A]), "gives a list as its inputs; write a tuple"),
        (lambda A: Plan(2.5, (A,)), "cannot be run: indices must be a whole number, not 2.5"),
        (lambda A: Plan(-1, (A,)), "cannot be run: indices must be at least 0, not -1"),
        (lambda A: Plan(3, (A,), grain=0), "cannot be run: grain must be at least 1, not 0"),
        (
            lambda A: Plan(3, (A,), shape=(2.5,)),
            "cannot be run: each extent of its shape must be a whole number, not 2.5",
        ),
        (lambda A: Plan(3, (A,), shape=5), "cannot be run: shape must be a tuple, not 5"),
    ],
)
def test_a_plan_that_cannot_be_run_is_named_with_its_kernel(plan, says):
    def body(lo, hi, out, A):
        raise AssertionError("begun")

    with pytest.raises(ValueError, match=re.escape(f"body's plan {says}")) as caught:
        kernel(body, plan=plan)(np.ones(3))
    assert "\n" not in str(caught.value)


def test_numpy_s_integers_are_good_enough_for_a_plan():
    made = kernel(plan=lambda A: Plan(np.int64(3), (A,), shape=(np.int64(3),), grain=np.int32(2)), compiled=False)
    np.testing.assert_array_equal(made(lambda lo, hi, out, A: out.__setitem__(slice(lo, hi), A[lo:hi]))(np.ones(3)), 1)
