"""What is given in the wrong place, or by another library's word, is named, with where it belongs."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from compute import Processes, Serial, Threads, advise, run, scale
from kernels import Plan, count_primes, each, kernel


def twice(lo, hi, out, x):
    out[lo:hi] = 2 * x[lo:hi]


def negative(v):
    return -v


double, negate = kernel(compiled=False)(twice), each(negative)
X = np.ones(3)
RUN = r"run\(twice, …, on=Threads\(2\)\)"
RUN_EACH = r"run\(each\(negative\), …, on=Threads\(2\)\)"
PLAIN = r"negative is not a kernel; each\(f\) makes one of a function of one item, @kernel of a body\(lo, hi"
CALLS = {
    "on= of a call": (lambda: double(X, on=Threads(2)), rf"on=Threads\(2\) is no input of twice: {RUN}"),
    "on= beside too many": (lambda: double(3, X, on=Threads(2)), rf"on=Threads\(2\) is no input of twice: {RUN}"),
    "a backend's name": (lambda: double(X, on="threads"), r"a word of compute.run: run\(twice, …, on='threads'\)"),
    "check= of a call": (lambda: double(X, check=True), r"a word of compute.run: run\(twice, …, check=True\)"),
    "a backend by another word": (lambda: run(double, X, using=Threads(2)), f"using=.* no input of twice: {RUN}"),
    "a backend as an input": (lambda: double(X, Threads(2)), rf"Threads\(2\) says who .*, and is no input: {RUN}"),
    "a backend's class": (lambda: run(double, X, Serial), r"Serial\(\) says .* no input: run\(twice, …, on=Serial\(\)"),
    "in the place of the input": (lambda: run(double, Serial()), r"Serial\(\) says who computes, and is no input"),
    "workers=": (lambda: run(double, X, workers=2), f"workers= is no input of twice; who .* by on=: {RUN}"),
    "n_jobs=": (lambda: double(X, n_jobs=2), f"n_jobs= is no input of twice; who .* by on=: {RUN}"),
    "of scale": (lambda: scale(double, X, max_workers=2), f"max_workers= is no input of twice; who .* by on=: {RUN}"),
    "an unknown word": (lambda: double(xs=X), r"twice\(x\): got an unexpected .* 'xs'; did you mean 'x'\?"),
    "of each(f)": (lambda: negate([1], on=Threads(2)), rf"no input of each\(negative\): {RUN_EACH}"),
    "too many items": (lambda: run(negate, [1], 2), r"negative\(items\): too many positional arguments"),
    "of ours": (lambda: count_primes(10, strat=3), r"count_primes\(n, start=2\): .* 'strat'; did you mean 'start'\?"),
    "backend first": (lambda: run(Threads(2), double, X), r"Threads\(2\) is not .*: run\(kernel, …, on=Threads\(2\)\)"),
    "backend's class first": (lambda: run(Processes, double), r"Processes\(\) is not .* …, on=Processes\(\)\)"),
    "backend first, to scale": (lambda: scale(Serial(), double), r"Serial\(\) is not a kernel; give it after the"),
    "name first": (lambda: run("threads", double, X), "'threads' is not a kernel; .* name after it: on='threads'"),
    "unknown name first": (lambda: run("thread", double), "'thread' is not a kernel; give the kernel itself, and"),
    "a kernel's name": (lambda: run("count_primes", 9), "but its name; from kernels import count_primes, and write"),
    "a plain function": (lambda: run(negative, [1]), PLAIN),
    "one to advise": (lambda: advise(negative, [1]), PLAIN),
    "array first": (lambda: run(X, double), r"array\(.*\) is not a kernel; give the kernel first, and then its inputs"),
    "none": (lambda: run(None, X), "None is not a kernel; give the kernel first"),
}


@pytest.mark.parametrize(("call", "says"), CALLS.values(), ids=CALLS)
def test_what_is_given_in_the_wrong_place_is_named_with_where_it_belongs(call, says):
    with pytest.raises(TypeError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_pool_in_the_wrong_place():
    with Serial().open() as pool:
        with pytest.raises(TypeError, match=r"<open Serial\(\)> is not a kernel; write pool.run\(kernel, …\)"):
            run(pool, double, X)
        with pytest.raises(TypeError, match=r"<open Serial\(\)> computes, and is no .* write pool.run\(twice, …\)"):
            run(double, X, pool)
        with pytest.raises(TypeError, match=r"on must be a backend .*; write pool.run\(kernel, …\)"):
            run(double, X, on=pool)
        with pytest.raises(TypeError, match=r"on=Serial\(\) is no input of twice"):
            pool.run(double, X, on=Serial())


@pytest.mark.parametrize(("on", "write"), [(Threads, r"on=Threads\(\)"), (3, r"on=Threads\(3\)"), (0, "leave it out")])
def test_what_is_no_backend_is_named_with_what_to_write(on, write):
    with pytest.raises(TypeError, match=rf"on must be a backend such as Threads\(2\), not .*{write}"):
        run(double, X, on=on)


def test_a_planners_own_refusal_stays_its_own():
    def planned(x, **options):
        raise ValueError(f"not with workers={options['workers']}")

    with pytest.raises(ValueError, match="not with workers=2"):
        kernel(compiled=False, plan=planned)(twice)(X, workers=2)
    taking = kernel(compiled=False, plan=lambda x, on: Plan(len(x), (x,)))(twice)
    assert taking(X, on=Threads(2)).tolist() == [2.0] * 3


class Closed:
    """As a closed file of h5py's: every look for an attribute is an error."""

    def __getattr__(self, name):
        raise RuntimeError("closed")


def test_a_planners_refusal_of_an_object_is_not_replaced_by_the_objects_own_error():
    def planned(x):
        raise ValueError("not this one")

    with pytest.raises(ValueError, match="not this one"):
        kernel(compiled=False, plan=planned)(twice)(Closed())


def test_a_variants_own_planner_is_the_one_whose_inputs_are_named():
    made = kernel(compiled=False, plan=lambda x: Plan(len(x), (x,)))(twice)
    made.add_variant("blocked", twice, plan=lambda x, block=3: Plan(len(x), (x,)))
    with pytest.raises(TypeError, match=r"twice\(x, block=3\): got an unexpected keyword argument 'blok'"):
        made.blocked(X, blok=4)


@pytest.mark.parametrize("name", ["time", "elapsed", "result", "speedup"])
def test_a_result_says_what_it_has(name):
    with pytest.raises(AttributeError, match=rf"a Result has no {name}; it has .value, .seconds and .timeline$"):
        getattr(run(double, X, on=Serial()), name)


def test_a_result_is_not_its_value_and_says_so():
    result = run(double, X, on=Serial())
    with pytest.raises(AttributeError, match=r"has no shape; .*: write \.value\.shape"):
        result.shape  # noqa: B018
    for use in (lambda: result[0], lambda: list(result)):
        with pytest.raises(TypeError, match=r"a Result is no value itself, and holds one; write \.value after it"):
            use()
    assert not hasattr(result, "__array__")
    assert pickle.loads(pickle.dumps(result)).value.tolist() == [2.0] * 3


def test_an_error_of_a_timeline_is_its_own():
    def fails():
        raise AttributeError("of the record")

    result = type(run(double, X, on=Serial()))(1.0, 0.1, fails)
    with pytest.raises(AttributeError, match="of the record"):
        result.timeline  # noqa: B018
