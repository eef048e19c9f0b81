"""What may be a body, told when its kernel is made; and what a user's arguments may be where a kernel has no plan."""

from __future__ import annotations

import argparse
import ast
import difflib
import functools
import inspect
import operator
import re
import tarfile
import types
from pathlib import Path

import numba
import numpy as np
import pytest
import rules

from kernels import Plan, kernel
from kernels.definition import bodies
from kernels.definition.bodies import written_inputs


def returns_an_array(lo, hi, out, x):
    return x[lo:hi] * 2


def returns_out(lo, hi, out, x):
    out[lo:hi] = x[lo:hi]
    return out


def returns_early(lo, hi, out, x):
    if lo == 0:
        return 1
    out[lo:hi] = x[lo:hi]


def rebinds(lo, hi, out, x):
    out = x[lo:hi] * 2  # noqa: F841


def adds_to_all(lo, hi, out, x):
    out += x


def unpacks(lo, hi, out, x):
    out, x = x, out


def loops_over(lo, hi, out, x):
    for out in x:  # noqa: B007
        pass


def rebinds_within(lo, hi, out, x):
    def inner():
        nonlocal out
        out = x

    inner()


def deletes(lo, hi, out, x):
    del out


async def waits(lo, hi, out, x):
    out[lo:hi] = x[lo:hi]


def yields(lo, hi, out, x):
    out[lo:hi] = x[lo:hi]
    yield


async def yields_and_waits(lo, hi, out, x):
    yield


class Model:
    def method(self, lo, hi, out, x):
        out[lo:hi] = x[lo:hi]

    def __call__(self, lo, hi, out, x):
        out[lo:hi] = x[lo:hi]

    @staticmethod
    def static(lo, hi, out, x):
        for i in range(lo, hi):  # a slice that is assigned takes numba two seconds to compile
            out[i] = x[i]


def fine(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = 2 * x[i]


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(
    ("body", "says"),
    [
        *[(f, "returns a value, which is lost; write it into") for f in (returns_an_array, returns_out, returns_early)],
        (lambda lo, hi, out, x: x * 2, "<lambda> returns a value, which is lost; write it into out[lo:hi]"),
        *[
            (f, f"{f.__name__} binds out to another object, and what that holds is lost; write into it")
            for f in (rebinds, adds_to_all, unpacks, loops_over, rebinds_within, deletes)
        ],
        (yields_and_waits, "yields_and_waits is a generator"),
        (yields, "yields is a generator"),
        (Model().method, "not the bound method Model.method"),
        (Model.method, "must take (lo, hi, out, *inputs), not (self, lo, hi, out, x)"),
        (Model(), "not the Model <"),
        (functools.partial(fine, 1), "not the partial functools.partial("),
        (operator.setitem, "not the builtin_function_or_method setitem"),
        (print, "not the builtin_function_or_method print"),
        (np.add, "not the ufunc add"),
        (Model, "not the type Model"),
        (functools.lru_cache(fine), "not the _lru_cache_wrapper fine"),
        (lambda lo, hi, out, *, k: None, "parameter k is keyword-only"),
        (lambda lo, hi, out, **more: None, "parameter **more cannot be an input"),
        (lambda *args: None, "must take (lo, hi, out, *inputs), not (*args)"),
        (
            lambda lo, hi: None,
            "must take (lo, hi, out, *inputs), not (lo, hi): a body is a loop, for i in range(lo, hi)",
        ),
        (
            lambda x: 2 * x,
            "not (x): a body is a loop, for i in range(lo, hi), that fills out[i]; of a function of one item",
        ),
        (lambda out, lo, hi, x: None, "<lambda> must take (lo, hi, out, *inputs), in this order, not (out, lo, hi, x)"),
        (lambda lo, hi, x, out: None, "in this order, not (lo, hi, x, out)"),
        (numba.njit(fastmath=True)(fine), "fine is compiled with fastmath=True, which a kernel cannot keep"),
        (numba.njit(parallel=True)(fine), "fine is compiled with parallel=True"),
        (numba.njit(boundscheck=True)(fine), "run(…, check=True) checks bounds"),
        (numba.njit(error_model="python")(fine), "fine is compiled with error_model='python'"),
        (numba.njit(locals={"w": numba.float32})(fine), "fine is compiled with locals={'w': float32}"),
    ],
)
def test_what_is_no_body_is_refused_when_its_kernel_is_made(body, says, compiled):
    with pytest.raises(ValueError, match=re.escape(says)) as caught:
        kernel(compiled=compiled)(body)
    assert "\n" not in str(caught.value)
    good = kernel(fine)
    with pytest.raises(ValueError, match=re.escape(says)):
        good.add_variant("mine", body)
    assert list(good.variants) == ["python", "nogil"]


def test_a_body_that_is_compiled_for_some_types_is_refused():
    body = numba.njit("void(int64, int64, float64[:], float64[:])")(fine)  # which takes half a second at once
    with pytest.raises(ValueError, match=r"fine is compiled with signature=\("):
        kernel(body)
    with pytest.raises(ValueError, match=r"fine is compiled with signature=\("):
        kernel(fine).add_variant("mine", body)


def test_an_async_body_awaits_and_is_not_compiled():
    assert list(kernel(waits).variants) == ["awaits"]
    with pytest.raises(ValueError, match="waits is an async function, which numba cannot compile"):
        kernel(compiled=True)(waits)
    both = kernel(compiled=False)(fine)
    both.add_variant("awaits", waits)
    assert [variant.mode for variant in both.variants.values()] == ["python", "awaits"]


@pytest.mark.parametrize(
    "body",
    [
        numba.njit(fine),
        numba.njit(nogil=True, cache=True, error_model="numpy")(fine),
        staticmethod(fine),
        Model.static,
    ],
)
def test_what_hides_a_plain_function_is_unwrapped(body):
    made = kernel(body)
    x = np.arange(5.0)
    assert made.variants["python"].source().__code__ in (fine.__code__, Model.static.__code__)
    np.testing.assert_array_equal(made.python(x), made.nogil(x))


def test_a_decorator_is_kept_where_python_runs_the_body():
    @np.errstate(divide="ignore")
    def inverted(lo, hi, out, x):
        out[lo:hi] = 1 / x[lo:hi]

    made = kernel(compiled=False)(inverted)
    assert made(x=np.zeros(3)).tolist() == [np.inf] * 3
    with pytest.raises(ValueError, match="inverted is wrapped by a decorator, which compiled code cannot call"):
        kernel(inverted)

    @np.errstate(divide="ignore")
    def returns(lo, hi, out, x):
        return 1 / x[lo:hi]

    with pytest.raises(ValueError, match="returns returns a value"):
        kernel(compiled=False)(returns)


def test_bodies_that_delegate_and_return_none_are_fine():
    x = np.arange(5.0)

    @kernel(compiled=False)
    def delegates(lo, hi, out, x):
        if lo == 1:
            return None
        if lo == 2:
            return
        return out.__setitem__(slice(lo, hi), x[lo:hi])

    assert delegates(x)[[0, 3, 4]].tolist() == [0, 3, 4]
    made = kernel(compiled=False)(lambda lo, hi, out, x: out.__setitem__(slice(lo, hi), x[lo:hi]))
    np.testing.assert_array_equal(made(x), x)


def test_the_inputs_that_a_text_writes_to():
    def body(lo, hi, out, a, b, c, d, e, f, g):
        out[lo] = a[lo]
        b[lo] += 1
        c.flat[lo] = 2
        d[lo]["u"] = 3
        e = e.copy()
        e[lo] = 4
        np.copyto(f, a)
        g.sort()
        del a[lo].u

    assert written_inputs(body) == ("a", "b", "c", "d", "f", "g")
    assert written_inputs(eval("lambda lo, hi, out, a: a.sort()")) == ()


@pytest.mark.parametrize(
    ("args", "kw", "says"),
    [
        ((), {}, "spread takes 1 to 3 inputs (x, scale, shift), not 0"),
        ((1, 2, 3, 4), {}, "spread takes 1 to 3 inputs (x, scale, shift), not 4"),
        (([[1.0], [1.0, 2.0]],), {}, "x must be an array of numbers, with rows of equal length"),
        (((1.0, 2.0),), {}, "x must be an array or a number, not tuple; pass np.asarray(x)"),
        ((range(5),), {}, "x must be an array or a number, not range; pass np.asarray(x)"),
        ((3.5,), {}, "x must be a whole number, not 3.5: where no input is an array, the first is how many indices"),
        (
            (np.zeros(3) * 1j,),
            {},
            "x is complex, and spread fills float64, which has no imaginary part; say @kernel(dtype",
        ),
        ((np.zeros(3), 2j), {}, "scale is complex, and spread fills float64"),
        ((np.zeros(3), np.complex64(2j)), {}, "scale is complex, and spread fills float64"),
        ((np.zeros(3), "2"), {}, "scale must be an array or a number, not str"),
        ((np.zeros(3), None), {}, "scale must be an array or a number, not NoneType"),
        ((np.zeros(3), np.zeros(2)), {}, "x has 3 along its first axis and scale has 2; pass arrays of one length"),
        ((np.zeros(3), np.zeros((4, 3))), {}, "x has 3 along its first axis and scale has 4"),
        (
            (np.zeros(3), 2**63),
            {},
            "scale is 9223372036854775808, beyond an int64; pass np.uint64(scale) or float(scale)",
        ),
        ((np.zeros(3), -(2**63) - 1), {}, "beyond an int64; pass float(scale), or run the 'python' variant"),
        ((np.zeros(3), np.float16(2)), {}, "scale has dtype float16"),
        ((np.zeros(3), np.longdouble(2)), {}, "scale has dtype float128"),
        ((np.array(["a"]).astype(object),), {}, "x has dtype object, which holds Python objects"),
        ((np.array(["a"], np.dtypes.StringDType()),), {}, 'pass x.astype("U")'),
        ((np.zeros(3, [("u", ">f8")]),), {}, "x has dtype [('u', '>f8')], whose byte order is not"),
        ((np.zeros(3, [("u", "f2")]),), {}, "whose field u is float16, which compiled code cannot compute with"),
        ((np.zeros(3, "V5"),), {}, "pass x.view(np.uint8)"),
    ],
)
def test_arguments_that_are_no_inputs_are_named(args, kw, says):
    with pytest.raises(ValueError, match=re.escape(says)) as caught:
        rules.spread(*args, **kw)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("args", "kw", "says"),
    [
        ((np.zeros(3),), {"sacle": 2.0}, "got an unexpected keyword argument 'sacle'"),
        ((np.zeros(3),), {"x": 2.0}, "multiple values for argument 'x'"),
        ((), {"scale": 2.0}, "missing a required argument: 'x'"),
    ],
)
def test_keywords_are_refused_as_python_refuses_them(args, kw, says):
    with pytest.raises(TypeError, match=re.escape(f"spread(x, scale=2.0, shift=0): {says}")):
        rules.spread(*args, **kw)


def test_what_only_looks_like_an_array_is_named():
    class Sparse:
        def toarray(self):
            raise AssertionError("not asked for")

    class Quantity:
        magnitude = np.zeros(3)

        def __array__(self, dtype=None, copy=None):
            raise AssertionError("not asked for")

    for bad, says in ((Sparse(), "x is a sparse Sparse; pass x.toarray()"), (Quantity(), "pass x.magnitude")):
        for made in (rules.doubled, rules.copied):
            with pytest.raises(ValueError, match=re.escape(says)):
                kernel(plan=lambda x: Plan(3, (x,)))(fine)(bad) if made is rules.copied else made(bad)


def test_numbers_of_every_kind_are_inputs():
    x = np.arange(3.0)
    for scale in (2, 2.0, True, np.int8(2), np.uint64(2), np.float32(2), np.bool_(True), np.array(2.0)):
        for variant in ("python", "nogil"):
            np.testing.assert_array_equal(rules.spread.held_to(variant)(x, scale), x * scale)
    assert rules.spread.python(x, 2**70).tolist() == (x * float(2**70)).tolist()


def test_complex_inputs_are_taken_where_the_output_s_dtype_is_said():
    z = np.arange(3) + 1j
    np.testing.assert_array_equal(kernel(fine, dtype=np.complex128)(z), 2 * z)

    @kernel(dtype=np.float64)
    def size(lo, hi, out, z):
        for i in range(lo, hi):
            out[i] = abs(z[i])

    np.testing.assert_allclose(size(z), abs(z))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"reduce": "sum"}, "reduce must be a function, not 'sum'; write reduce=sum"),
        ({"reduce": True}, "reduce must be a function, not True"),
        ({"plan": 5}, "plan must be a function, not 5"),
        ({"finish": "list"}, "finish must be a function, not 'list'"),
    ],
)
def test_an_option_that_is_no_function_is_refused_when_the_kernel_is_made(options, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        kernel(fine, **options)


def test_an_output_of_a_dtype_that_compiled_code_cannot_fill_is_named():
    made = kernel(dtype=np.float16)(fine)
    with pytest.raises(ValueError, match="the output's dtype is float16, which compiled code cannot compute with"):
        made(np.zeros(3))
    assert made.python(np.ones(3)).dtype == np.float16


def test_without_the_compiler_everything_is_python(script):
    script(
        "import numpy as np\n"
        "from numba import njit\n"
        "from compute import Coroutines, Joblib, Prange, Processes, Serial, Threads, run\n"
        "from kernels import REGISTRY, count_primes, kernel\n"
        "@njit\n"
        "def twice(v):\n"
        "    return 2 * v\n"
        "@kernel\n"
        "def doubled(lo, hi, out, x):\n"
        "    for i in range(lo, hi):\n"
        "        out[i] = twice(x[i])\n"
        "x = np.arange(50.0)\n"
        "for on in (None, Serial(), Coroutines(2), Processes(2), Joblib(2)):\n"
        "    assert (run(doubled, x, on=on).value == 2 * x).all()\n"
        "    assert run(count_primes, 10**4, on=on).value == 1229\n"
        "for shipped in REGISTRY.values():\n"
        "    shipped(*shipped.example(20))\n"
        "try:\n"
        "    doubled.nogil\n"
        "except ValueError as error:\n"
        "    assert 'switched off by NUMBA_DISABLE_JIT' in str(error)\n"
        "else:\n"
        "    raise AssertionError\n",
        NUMBA_DISABLE_JIT="1",
    )


def functions_of(module):
    """Every function of three parameters or more that a module's file defines, compiled from its text."""
    waiting = [compile(Path(module.__file__).read_text("utf-8"), module.__file__, "exec")]
    for code in waiting:
        waiting += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
        if code.co_argcount >= 3:
            yield code


def binds_or_returns(code):
    try:
        bodies._look_closely(code.co_name, code)
    except ValueError:
        return True
    return False


def test_a_quick_look_accepts_nothing_that_a_close_one_refuses():
    codes = [code for module in (argparse, ast, difflib, inspect, tarfile, rules) for code in functions_of(module)]
    accepted = [code for code in codes if bodies._is_plainly_right(code)]
    assert [code for code in accepted if binds_or_returns(code)] == []
    assert len(accepted) > 50
    assert sum(map(binds_or_returns, codes)) > 50


@pytest.mark.parametrize(
    "text",
    [
        "out = lo", "for out in (): pass", "for i, out in (): pass", "del out", "import os as out", "(out := lo)",
        "with lo as out: pass", "a, *out = lo", "out += lo", "[out for out in ()]; out = 1", "return lo", "return 0",
        "try:\n        pass\n    except ValueError as out:\n        pass", "if lo:\n        return out",
        "match lo:\n        case out:\n            pass", "def inner():\n        nonlocal out\n        out = 1",
        "\n    ".join(f"x{k} = lo" for k in range(300)) + "\n    out = lo",
        "\n    ".join(f"x{k} = {k + 1000}" for k in range(300)) + "\n    return 1299",
    ],
)  # fmt: skip
def test_a_quick_look_does_not_accept(text):
    names = {}
    exec(f"def body(lo, hi, out):\n    {text}\n", names)
    code = names["body"].__code__
    assert not bodies._is_plainly_right(code) or not binds_or_returns(code)
    if "[out for" not in text:
        assert binds_or_returns(code)
