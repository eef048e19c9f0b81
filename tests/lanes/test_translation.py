"""Functions of whole numbers that are translated into LLVM's IR give what Python gives; all others are refused."""

from __future__ import annotations

import ast
import ctypes
import importlib
import inspect
import itertools
import linecache
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("numba")
from llvmlite import ir
from numba.core.codegen import initialize_llvm

from compute.lanes import loop, native_loop
from compute.lanes.translation import WORD, WORDS, inner_functions, translate
from kernels.compilation import linking

LIMIT = 7


def noted(words, at):
    words[at] = words[at] + 1
    return words[at]


def a_bit_of_all(words, n, step):
    """A docstring."""
    begin = former = int(words[0])
    total, seen = 0, 0
    is_long = n > LIMIT
    while True:
        if begin == n:
            break
        begin += step if step > 0 else 1
        words[1] += begin
        if is_long and begin - former >= 2 and words[1] != 9:
            total, former = total + begin * 2, begin
        elif begin <= 3:
            seen -= 1
            continue
        else:
            words[2], words[3] = former, total
        seen += 1
        if noted(words, 4) > 20:
            return 0 - 1
    while n > 0:
        n = n - 1
        if n == LIMIT:
            continue
        words[5] += min(n, 4)
    words[6] = seen < 0
    total += noted(words, 7) if n > 2 and noted(words, 5) > 3 else noted(words, 2)
    return total + 1000 * seen


OPERATIONS = {
    "int": lambda builder, value: value,
    "min": lambda builder, a, b: builder.select(builder.icmp_signed("<", a, b), a, b),
}

numbers = itertools.count()
initialize_llvm()


def machine_code(function):
    """The function of (words, n, step), translated."""
    name = f"translated_{next(numbers)}"
    module = ir.Module(name)
    made = ir.Function(module, ir.FunctionType(WORD, [WORDS, WORD, WORD]), name)

    def noted(builder, words, at):
        place = builder.gep(words, [at])
        builder.store(builder.add(builder.load(place), ir.Constant(WORD, 1)), place)
        return builder.load(place)

    definition = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    given = dict(zip(inspect.signature(function).parameters, made.args, strict=True))
    translate(definition, made, given, globals(), OPERATIONS | {"noted": noted})
    address = linking.loaded(linking.object_code_of(module), name)
    call = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(address)
    return lambda words, n, step: call(words.ctypes.data, n, step)


def writes_to_its_parameter(words, n, step):
    while n > step:
        n -= step
    return n


translated = {function: machine_code(function) for function in (a_bit_of_all, writes_to_its_parameter)}


@given(words=st.lists(st.integers(0, 12), min_size=8, max_size=8), n=st.integers(0, 15))
def test_it_computes_what_python_computes(words, n):
    words[0] = min(words[0], n)
    own, other = np.array(words), np.array(words)
    assert translated[a_bit_of_all](own, n, 1) == a_bit_of_all(other, n, 1)
    assert own.tolist() == other.tolist()


def test_a_parameter_is_a_variable():
    assert translated[writes_to_its_parameter](np.zeros(1), 17, 5) == 2


@pytest.mark.parametrize(
    "statement",
    [
        "for k in n: n = 1", "n = n / step", "n = n ** 2", "n = 'text'", "n = 1.5", "n = other", "n = words.sum()",
        "n = 0 < n < 3", "n = not n", "n = n or step", "return", "a, b = n", "a = b, n", "with n: n = 1",
        "n //= 2", "n = -n", "words.x = 1", "assert n", "n = lambda: 1", "n: int = 1", "n = n is None", "n = (m := 1)",
        "while n: n = 0\nelse: n = 1", "n = words[1:2]", "n = min(*words)", "n = min(a=1)", "raise n", "n = f(n)",
        "n = n if n in words else 1", "del n", "n = [1]", "n = a, b = 1, 2", "a, b = n = 1, 2",
    ],
)  # fmt: skip
def test_what_it_does_not_know_is_refused(statement):
    definition = ast.parse("def f(words, n, step):\n" + textwrap.indent(statement, "    ") + "\n    return n").body[0]
    made = ir.Function(ir.Module("m"), ir.FunctionType(WORD, [WORDS, WORD, WORD]), "f")
    given = dict(zip(("words", "n", "step"), made.args, strict=True))
    with pytest.raises(ValueError, match="cannot be translated"):
        translate(definition, made, given, {}, OPERATIONS)


def test_the_loop_is_found_and_its_absence_is_told(monkeypatch):
    assert [node.name for node in inner_functions(loop.make_lane, "lane")] == ["lane"]
    monkeypatch.setattr(inspect, "getsource", lambda function: (_ for _ in ()).throw(OSError("no source")))
    with pytest.raises(RuntimeError, match=r"make_lane, which compiled code is made of, is not there, or .*; install"):
        inner_functions(loop.make_lane, "lane")


IMPORTED = """
def outer(limit):
    def inner(n):
        return n + 1 if n < limit else 0
    return inner
"""


@pytest.mark.parametrize(
    ("now", "is_taken"),
    [
        (IMPORTED, True),
        (IMPORTED.replace("else 0", "else 0  # as before"), True),
        (IMPORTED.replace("n + 1", "n + 2"), False),
        (IMPORTED.replace("limit", "most"), False),
        (IMPORTED.replace("inner", "other"), False),
        (IMPORTED.removeprefix("\ndef outer(limit):\n"), False),
        ('\n"""A text\n' * 2 + IMPORTED + '"', False),
        ("", False),
    ],
)
def test_a_source_that_is_no_longer_what_was_imported_is_refused(tmp_path, monkeypatch, now, is_taken):
    (tmp_path / "was_imported.py").write_text(IMPORTED)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "was_imported", raising=False)
    outer = importlib.import_module("was_imported").outer
    (tmp_path / "was_imported.py").write_text(now)
    linecache.clearcache()
    if is_taken:
        assert [node.name for node in inner_functions(outer, "inner")] == ["inner"]
    else:
        with pytest.raises(RuntimeError, match=r"was_imported\.outer, .* was changed after it was imported"):
            inner_functions(outer, "inner")


def test_a_lane_is_seen_inside_before_it_looks_whether_to_stop():
    """A fence stands between the two; without it a processor may look first."""
    text = str(native_loop._module())
    before, _, after = text.partition("fence seq_cst")
    assert before.count("store atomic") == 1
    assert "load atomic" not in before
    assert "load atomic" in after
