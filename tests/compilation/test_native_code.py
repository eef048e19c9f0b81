"""Machine code that runs without numba: numba's own, laid out for any address, gives what numba's gives."""

from __future__ import annotations

import json
import math
import threading

import numpy as np
import pytest

from kernels import REGISTRY
from kernels.compilation import linking, machine_code
from kernels.compilation.compiler import compiled
from kernels.compilation.native_code import CannotRun, NativeCode, address_of, is_possible, words_of
from kernels.definition.arguments import guarded
from kernels.vectors import atomics

pytestmark = pytest.mark.skipif(not is_possible(), reason="laid out for x86-64 on Linux alone")

DTYPES = {
    "matmul": (np.float64, np.float32),
    "matvec": (np.float64, np.float32),
    "triad": (np.float64, np.float32, np.complex128),
    "transpose": (np.float64, np.float32, np.int64, np.complex128),
}


def numbers(shape, dtype, seed=0):
    drawn = np.random.default_rng(seed).integers(-99, 99, (*shape, 2)) / 8
    return (drawn[..., 0] + 1j * drawn[..., 1] if dtype is np.complex128 else drawn[..., 0]).astype(dtype)


def calls():
    """Quick: of each kernel the first dtype as numpy lays it out, and what others compile as well.

    That is matmul's last dtype, too, and its first one strided.
    """
    yield "count_primes", (10**6,), ()
    yield "count_primes", (10**12 + 10**6, 10**12), ()
    yield "primes", (10**6, 999), ()
    yield "mandelbrot", ((61, 43),), ()
    for name, dtypes in DTYPES.items():
        for dtype in dtypes:
            square, other = numbers((67, 67), dtype), numbers((67, 67), dtype, 1)
            last = {"matmul": (other,), "matvec": (other[0],), "triad": (other, 2.5), "transpose": ()}[name]
            quick = dtype is dtypes[0] or (name == "matmul" and dtype is dtypes[-1])
            yield name, (square, *last), () if quick else pytest.mark.slow
            strided = (x[::2, ::2] if np.ndim(x) == 2 else x[::2] if np.ndim(x) else x for x in last)
            quick = name == "matmul" and dtype is dtypes[0]  # as others compile it, too
            yield name, (square[::2, ::2], *strided), () if quick else pytest.mark.slow


def without_numba(function, *arguments) -> NativeCode | None:
    content = machine_code.exported_without_numba(function, arguments)
    return None if content is None else NativeCode(content)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [pytest.param(name, args, id=f"{k}-{name}", marks=marks) for k, (name, args, marks) in enumerate(calls())],
)
def test_every_kernel_gives_the_same_bits(name, arguments):
    kernel = REGISTRY[name].nogil
    plan = kernel.plan(*arguments)
    plan = plan._replace(inputs=guarded(plan.inputs, ()))
    body, outs = kernel.body(), []
    native = without_numba(body, *kernel._chunk_arguments(0, kernel.allocate(plan), plan))
    for function in (body, native):
        out = kernel.allocate(plan)
        out[...] = 0
        for chunk in range(plan.chunks):
            kernel.run_chunk(function, chunk, out, plan)
        outs.append(out.tobytes())
    assert outs[0] == outs[1]


@pytest.mark.parametrize(
    "dtype",
    ["int8", "bool", *(pytest.param(d, marks=pytest.mark.slow) for d in ("uint16", "int32", "uint64", "float32"))],
)
def test_arguments_of_every_kind_arrive(dtype):
    out, a = np.zeros(1), np.array([0, 1, 1], dtype)
    number = a.dtype.type(1)
    arguments = out, a[::2], number, np.float32(0.5), 3 - 4j, True, (7, (a[:1],))
    expected = 1 + int(number) + 0.5 + 3 - 4 + 7 + 0 + 1000

    def body(out, a, n, x, z, yes, pair):
        out[0] = a.sum() + int(n) + x + z.real + z.imag + pair[0] + pair[1][0][0] + (1000 if yes else 0)

    assert without_numba(compiled(body), *arguments)(*arguments) is None
    assert out[0] == expected


def test_results_and_numbers_beyond_the_usual():
    def least(x, y):
        return min(x, y)

    def is_less(x, y):
        return x < y

    extremes = -(2**63), 2**63 - 1
    assert without_numba(compiled(least), *extremes)(*extremes) == -(2**63)
    assert without_numba(compiled(is_less), *extremes)(*extremes) is True
    assert without_numba(compiled(is_less), *extremes)(*extremes[::-1]) is False
    assert words_of((2**63,)) is None


def test_all_arguments_but_one_can_be_laid_out_before():
    def shifted(out, k, a):
        out[0] = k + a[0]

    out, a = np.zeros(1), np.array([10, 20])
    native = without_numba(compiled(shifted), out, 0, a)
    call = native.but_for(1, out, 0, a)
    for k, first in ((1, 10), (-3, 20)):
        a[0] = first
        call(k)
        assert out[0] == k + first
    with pytest.raises(TypeError, match="was called with"):
        native.but_for(1, out, 0, a[::-1])


@pytest.mark.parametrize("wrong", [(np.zeros(3, np.float32),), (np.zeros((3, 1)),), (np.zeros(6)[::2],), (1.0,), ()])
def test_arguments_of_other_types_are_refused(wrong):
    def first(x):
        x[0] = 1.0

    native = without_numba(compiled(first), np.zeros(3))
    with pytest.raises(TypeError, match="was called with"):
        native(*wrong)


def test_a_read_only_array_is_another_type():
    def first(x):
        x[0] = 1.0

    kept = np.zeros(3)
    kept.flags.writeable = False
    with pytest.raises(TypeError, match="was called with"):
        without_numba(compiled(first), np.zeros(3))(kept)
    assert kept[0] == 0.0


def test_exceptions_are_those_that_numba_raises():
    def raises(n):
        if n == 1:
            raise ValueError("one", 1)
        if n == 2:
            raise KeyError
        if n == 3:
            raise  # while nothing is handled
        return np.empty(n, np.int64).size

    numbas = compiled(raises)
    native = without_numba(numbas, 0)
    assert native(5) == 5
    for n in (1, 2, 3, -1, 2**60):
        with pytest.raises(Exception) as expected:
            numbas(n)
        with pytest.raises(Exception) as found:
            native(n)
        assert (type(found.value), found.value.args) == (type(expected.value), expected.value.args), n


def test_arrays_made_inside_are_given_back():
    def makes(n, times):
        total = 0
        for k in range(times):
            made = np.empty((n, 3), np.float32)
            made[k % n, 1] = k
            total += int(made[k % n, 1]) + made.ctypes.data % 32
        return total

    native = without_numba(compiled(makes), 1, 1)
    before = resident()
    assert native(100_000, 1) == compiled(makes)(100_000, 1)
    for _ in range(50):
        native(100_000, 100)  # 6 GB in all
    assert resident() - before < 100 << 20


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def test_code_that_needs_python_or_numba_is_not_laid_out():
    def prints(x):
        print(x)

    assert without_numba(compiled(prints), 3) is None


def test_cs_functions_are_the_very_ones_that_numba_calls():
    """numba's lead to other versions of them than a name does; a NaN's sign tells."""

    def computes(x, out):
        for i in range(len(x)):
            out[0, i], out[1, i], out[2, i] = math.log(x[i]), x[i] ** 1.7, math.sin(x[i])
            out[3, i], out[4, i] = math.exp(x[i]), math.tanh(x[i])

    x = np.array([-np.inf, -1.0, -0.0, 0.0, 1e-320, 0.1, 1.0, 7.7, 710.0, 1e300, np.inf, np.nan, -np.nan])
    outs = np.zeros((2, 5, len(x)))
    native = without_numba(compiled(computes), x, outs[0])
    native(x, outs[0])
    compiled(computes)(x, outs[1])
    assert outs[0].tobytes() == outs[1].tobytes()
    assert any("@" in name for name in json.loads(native.content.partition(b"\n")[0])[3])


def test_another_function_under_the_name_of_cs_is_not_cs():
    """Somebody may give LLVM one at any time (`llvmlite.binding.add_symbol`)."""
    assert linking._found_by("labs", address_of("labs")) == "labs"
    with pytest.raises(linking._Unknown):
        linking._found_by("labs", address_of("abs"))


def test_what_is_not_laid_flat_is_left_to_numba():
    def length(x):
        return len(x)

    assert machine_code.exported_without_numba(compiled(length), ("text",)) is None
    assert machine_code.exported_without_numba(compiled(length), (range(3),)) is None


def test_the_gil_is_let_go():
    def waits(words):
        for _ in range(1 << 40):
            if atomics.load(words, 0) != 0:
                return 1
        return 0

    words = np.zeros(2, np.int64)
    native, answers = without_numba(compiled(waits), words), []
    thread = threading.Thread(target=lambda: answers.append(native(words)))
    thread.start()
    words[0] = 1  # a call that held the GIL would keep this thread from it
    thread.join()
    assert answers == [1]


def test_many_threads_may_load_and_call_it_at_once():
    def doubled(x):
        return 2 * x

    content = machine_code.exported_without_numba(compiled(doubled), (1,))
    answers = []
    threads = [threading.Thread(target=lambda k=k: answers.append(NativeCode(content)(k) - 2 * k)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [0] * 8


def test_a_function_that_this_system_has_not_is_told():
    def zeros(n):
        return np.zeros(n, np.uint8).size

    content = machine_code.exported_without_numba(compiled(zeros), (9,))
    assert NativeCode(content)(9) == 9
    with pytest.raises(CannotRun, match="no function mmset on"):
        NativeCode(content.replace(b'"memset"', b'"mmset"'))


def test_what_numba_puts_around_a_function_stays_behind():
    def plain(x):
        return x + 1

    line, _, code = without_numba(compiled(plain), 1).content.partition(b"\n")
    assert b"Py" not in line
    assert code.count(b"\xcc") > 200  # int3, in the place of what calls Python
