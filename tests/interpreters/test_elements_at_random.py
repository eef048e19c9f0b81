"""Bodies made at random: those that pass compute the same from memoryviews as from arrays, to the bit, or say so."""

import importlib.util
import inspect
import math
import random
import warnings

import numpy as np
import pytest
from sampling import quick_first

from compute.backends.interpreters import elements
from compute.backends.interpreters.expressions import DiffersFromNumpy
from compute.backends.interpreters.kinds import kind_of

BODIES = 600
LENGTH = 6
HARD = [
    0.0,
    -0.0,
    1.0,
    -1.5,
    0.1,
    1e308,
    -1e308,
    5e-324,
    2.0**53 + 2,
    math.inf,
    -math.inf,
    math.nan,
    3.0,
    0.3,
    7.25,
    2.675,
]
WHOLE = [0, 1, -1, 2, 7, -3, 2**31, -(2**31), 2**53 + 1, 2**62, -(2**63), 2**63 - 1, 5, 3, 10, 12]


def inputs(rng):
    """a: float64, b: int64, c: float32, d: bool, e: uint8, s: a float, n: an int."""
    floats = rng.sample(HARD, LENGTH)
    with np.errstate(all="ignore"):
        small = np.array(floats).astype(np.float32)
    return (
        np.array(floats), np.array(rng.sample(WHOLE, LENGTH)), small, np.array([x > 1 for x in floats]),
        np.array([abs(x) % 256 for x in rng.sample(WHOLE, LENGTH)], np.uint8), 2.5, 3,
    )  # fmt: skip


class Writer:
    """Text at random, more often than not of the kind that may pass."""

    def __init__(self, rng):
        self.rng = rng

    def index(self):
        return self.rng.choice(
            ["i", "i", "i", "5 - i", "i - 1", "0", "int(a[i]) % 6", "b[i] % 6", "int(b[i]) % 6", "x > 0"]
        )

    def element(self):
        return f"{self.rng.choice('aaabbcde')}[{self.index()}]"

    def number(self, depth):
        """An expression."""
        choose = self.rng.choice
        if depth == 0:
            return choose([self.element(), self.element(), "x", "y", "k", "s", "n", "1", "0.5", "2", "(2**53 + 1)"])
        one, two = self.number(depth - 1), self.number(depth - 1)
        return choose(
            [
                f"({one} {choose(['+', '-', '*', '+', '-', '*', '/', '//', '%', '&'])} {two})",
                f"({one} {choose(['+', '-', '*'])} {two})",
                f"-{one}",
                f"float({one})",
                f"int({one})" if self.rng.random() < 0.5 else f"float({one})",
                f"abs({one})",
                f"min({one}, {two})",
                f"round({one}, 2)",
                f"math.{choose(['sqrt', 'floor', 'fabs', 'copysign', 'sin'])}({one})",
                f"({one} if {self.truth(depth - 1)} else {two})",
                f"sum([{one}, {two}, 0.1])",
                f"helper({one}, {two})",
                f"({one} / 3)",
                f"bool({one})",
                f"({one} or {two})",
            ]
        )

    def truth(self, depth):
        one, two = self.number(depth), self.number(depth)
        operator = self.rng.choice(["<", "<=", ">", "==", "!=", "<", "is", "in"])
        return f"{one} {operator} {'(1, 2.0)' if operator == 'in' else two}"

    def body(self, name):
        """The text of one."""
        pick, over = self.rng.choice, ["range(3)", "a[i:]", "d", "range(e[i] % 3)"]
        steps = [
            f"x = {self.number(1)}",
            f"y = {self.number(1)}",
            f"k {pick(['=', '+=', '-='])} {self.number(1)}",
            f"if {self.truth(1)}:\n            {pick('xyk')} = {self.number(1)}",
            f"for z in {pick(over)}:\n            y = {self.number(0)}",
        ]
        lines = [
            f"def {name}(lo, hi, out, a, b, c, d, e, s, n):",
            "    " + pick(["x, y, k = 0.0, 1.5, 0", "x = a[lo]; y = 2; k = b[lo]", "x = y = 0.5; k = 1"]),
            "    for i in range(lo, hi):",
            *("        " + step for step in self.rng.sample(steps, self.rng.randrange(1, 4))),
            f"        out[i] {pick(['=', '=', '+='])} {self.number(pick([1, 1, 2]))}",
        ]
        return "\n".join(lines) + "\n"


def bodies(folder, seed):
    """A module of them, which has a text."""
    rng = random.Random(seed)
    writer = Writer(rng)
    text = "import math\n\n\ndef helper(p, q):\n    return p - q if p > 1 else p + 0.5\n\n\n"
    text += "\n\n".join(writer.body(f"body_{k}") for k in range(BODIES))
    path = folder / f"at_random_{seed}.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings(action="ignore"):  # "is" with a number
        spec.loader.exec_module(module)
    return [getattr(module, f"body_{k}") for k in range(BODIES)]


def outcome(body, out, given):
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
            body(0, len(out), out, *given)
    except Exception as error:
        return error
    return None


@pytest.mark.parametrize("dtype", quick_first(2, [np.float64, np.int64, np.float32, np.bool_]))
def test_bodies_made_at_random(tmp_path, dtype):
    passed = agreed = 0
    for body in bodies(tmp_path, np.dtype(dtype).num):
        for seed in range(2):
            given = inputs(random.Random(seed))
            from_arrays, from_views = np.zeros(LENGTH, dtype), np.zeros(LENGTH, dtype)
            try:
                elements.check(body, [kind_of(x) for x in (from_arrays, *given)])
            except DiffersFromNumpy:
                break
            passed += 1
            here = outcome(body, from_arrays, given)
            there = outcome(
                body, memoryview(from_views), [memoryview(x) if isinstance(x, np.ndarray) else x for x in given]
            )
            if here is None and there is None:
                agreed += 1
                assert from_arrays.tobytes() == from_views.tobytes(), inspect.getsource(body)
    assert passed > 60
    assert agreed > 20
