"""What Python bodies call and numba has compiled: as it is now, wherever it is held, and never on numba's threads."""

from __future__ import annotations

import os
from contextlib import ExitStack

import numpy as np
import pytest
from test_never_stale import BODY, assert_right_everywhere, module, x
from test_stale_code import BODY as ONE_BODY
from test_stale_code import HEAD, session

from compute import Processes, Serial, Threads, run
from kernels import kernel

pytestmark = pytest.mark.slow

HELPER = "@njit\ndef f(v):\n    return v * RATE\n"
HOLDERS = {
    "vectorize": ("FS = np.vectorize(f)", "FS(x[i])"),
    "slots": ("class Slotted:\n    __slots__ = ('f',)\nFS = Slotted()\nFS.f = f", "FS.f(x[i])"),
    "mapping proxy": ("import types\nFS = types.MappingProxyType({'f': f})", "FS['f'](x[i])"),
    "namespace": ("import types\nFS = types.SimpleNamespace(f=f)", "FS.f(x[i])"),
    "deque": ("import collections\nFS = collections.deque([f])", "FS[0](x[i])"),
    "objects": ("FS = np.array([f, None], dtype=object)", "FS[0](x[i])"),
    "objects in a list": ("FS = [np.array([f, None], dtype=object)]", "FS[0][0](x[i])"),
    "keys": ("FS = {f: 1}", "next(iter(FS))(x[i])"),
    "attribute": ("def FS(v):\n    return FS.f(v)\nFS.f = f", "FS(x[i])"),
    "library's closure": ("import functools\nFS = functools.singledispatch(lambda v: f(v))", "FS(x[i])"),
    "wraps": ("import functools\n@functools.wraps(np.linalg.norm)\ndef FS(v):\n    return f(v)", "FS(x[i])"),
}
PYTHON = BODY.replace("@kernel", "@kernel(compiled=False)")


@pytest.fixture(scope="module")
def pools():
    with ExitStack() as stack:
        yield [stack.enter_context(backend.open()) for backend in (Serial(), Threads(2))]


@pytest.mark.parametrize("name", HOLDERS)
def test_a_helper_that_was_compiled_before_wherever_it_is_held(pools, name):
    held, call = HOLDERS[name]
    m = module(f"held_{name.replace(' ', '_')}", "RATE = 2.0\n" + HELPER + held + PYTHON.format(call))
    assert m.f(1.0) == 2.0
    for rate in (3.0, 4.0):
        m.RATE = rate
        assert_right_everywhere(pools, m.body, x * rate, ("python",))


def test_a_helper_that_was_put_into_a_list_later(pools):
    m = module("put_later", "RATE = 2.0\nFS = [abs]\n" + HELPER + PYTHON.format("FS[-1](x[i])"))
    assert_right_everywhere(pools, m.body, x, ("python",))
    assert m.f(1.0) == 2.0
    m.FS.append(m.f)
    m.RATE = 3.0
    assert_right_everywhere(pools, m.body, x * 3.0, ("python",))


def test_an_attribute_of_a_function_is_seen_by_processes():
    m = module("function_attribute", "def f(v):\n    return v * f.rate\n" + PYTHON.format("f(x[i])"))
    with Processes(1).open() as pool:
        for rate in (2.0, 3.0):
            m.f.rate = rate
            assert_right_everywhere([pool], m.body, x * rate, ("python",))


def test_what_a_parallel_helper_reads(pools):
    text = "RATE = 1.0\nTABLE = np.array([2.0])\n" + HELPER
    text += "@njit(parallel=True)\ndef h(v):\n    return TABLE[0] * f(v)\n"
    m = module("parallel_reads", text + BODY.format("h(x[i])"))
    for change in range(1, 4):
        m.TABLE[0] = change
        assert_right_everywhere(pools, m.body, x * m.RATE * change)
        m.RATE += 1.0
        assert_right_everywhere(pools, m.body, x * m.RATE * change)
    one, m.RATE = m.body, 9.0
    exec(BODY.format("h(x[i])"), vars(m))  # the same again, as a cell that is run a second time
    assert_right_everywhere(pools, m.body, x * 27.0)
    assert_right_everywhere(pools, one, x * 27.0)


def test_a_parallel_helper_keeps_its_signature_and_its_locals(pools):
    text = "import numba\n@njit('int64(int64)', parallel=True)\ndef f(v):\n    return v * 2\n"
    text += "@njit(parallel=True, locals={'w': numba.float32})\ndef g(v):\n    w = v / 3\n    return w\n"
    m = module("parallel_signature", text + BODY.format("f(x[i] * 2.7) + g(x[i])"))
    right = (x * 2.7).astype(int) * 2 + (x / 3).astype(np.float32).astype(float)
    assert_right_everywhere(pools, m.body, right)


def test_a_global_that_a_body_sets_beside_a_parallel_helper():
    text = "COUNT = 0\n@njit(parallel=True)\ndef h(v):\n    return v\n"
    made = PYTHON.format("h(x[i])").replace("    for", "    global COUNT\n    COUNT += 1\n    for")
    m = module("counts", text + made)
    plan = m.body.plan(x)
    run(m.body, x, on=Serial())
    assert plan.chunks == m.COUNT


def test_a_closure_of_which_a_cell_is_not_bound(pools):
    m = module("unbound_cell", "@njit(parallel=True)\ndef h(v):\n    return v * 2\n")

    def make():
        def body(lo, hi, out, x):
            if lo < 0:
                never()
            for i in range(lo, hi):
                out[i] = h(x[i])

        h = m.h
        made = kernel(compiled=False)(body)
        yield made
        never = None

    assert_right_everywhere(pools, next(make()), 2 * x, ("python",))


LAUNCHES = """
@njit(parallel=True)
def par(n):
    s = 0.0
    for i in prange(n):
        s += i
    return s
"""
PLACES = {
    "wraps": ("@functools.wraps(np.linalg.norm)\ndef h(n):\n    return par(n)", "h(1000)", True),
    "tuple": ("FS = (par,)", "FS[0](1000)", True),
    "default": ("def h(n, f=par):\n    return f(n)", "h(1000)", True),
    "method": ("class A:\n    def f(self, n):\n        return par(n)\na = A()", "a.f(1000)", False),
    "partial": ("f = functools.partial(par, 1000)", "f()", False),
    "dictionary": ("FS = {1: [par]}", "FS[1][0](1000)", False),
    "vectorize": ("f = np.vectorize(par)", "f(1000)", False),
}


@pytest.mark.parametrize("name", PLACES)
def test_a_parallel_helper_launches_nothing_in_a_lane_wherever_it_is_held(tmp_path, monkeypatch, name):
    held, call, compiles = PLACES[name]
    monkeypatch.setenv("NUMBA_THREADING_LAYER", "workqueue")
    program = HEAD + LAUNCHES + held + ONE_BODY.format(call)
    if not compiles:
        program = program.replace("@kernel\n", "@kernel(compiled=False)\n")
    program += f"""
x = np.zeros(64)
for variant in {("nogil", "python") if compiles else ("python",)}:
    for _ in range(3):
        print(run(body, x, on=Threads(2), variant=variant).value[0])
"""
    assert session(tmp_path, program) == ["499500.0"] * (6 if compiles else 3)


def test_numbas_own_cache_is_not_believed(tmp_path):
    text = "from numba import njit\nimport other\n@njit(cache=True)\ndef h(v):\n    return other.g(v)\n"
    (tmp_path / "lib.py").write_text(text)
    program = HEAD + "import lib\n" + ONE_BODY.format("lib.h(x[i])") + "print(value(body, sys.argv[1]))\n"
    for factor in (2.0, 3.0):
        path = tmp_path / "other.py"
        path.write_text(f"from numba import njit\n@njit\ndef g(v):\n    return v * {factor}\n")
        os.utime(path, (factor, factor))
        assert session(tmp_path, program, "python") == [str(factor)]
        assert session(tmp_path, program, "nogil") == [str(factor)]
