"""Small programs in three files, and small edits to them: what a cache of compiled code must never be wrong about.

A program is a function `f(x)` in `mine`, which reads constants, closure cells, defaults, attributes of `settings` and
helpers of its own and of `other`, some of them compiled by numba with options, some inner functions and lambdas. An
edit changes one of these. The truth is what Python computes.
"""

from __future__ import annotations

import itertools
import math
import random
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numba import njit

INPUTS = (0.5, 1.0, -2.25, 3.0)
OPERATORS = "+", "-", "*"
OPTIONS = "", "fastmath=True", "error_model='numpy'", "boundscheck=True", "inline='always'", "nogil=True"
_serial = itertools.count()


@dataclass
class Program:
    """The choices that make a program. Every one of them can be edited."""

    numbers: dict[str, Any] = field(default_factory=dict)
    operators: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)

    @classmethod
    def drawn(cls, rng: random.Random) -> Program:
        made = cls()
        for name in NUMBERS:
            made.numbers[name] = number(rng)
        for name in SPOTS:
            made.operators[name] = rng.choice(OPERATORS)
        for name in ("own", "others"):
            made.options[name] = rng.choice(OPTIONS)
        return made

    def edited(self, rng: random.Random) -> Program:
        """The same program after one small edit."""
        made = Program(dict(self.numbers), dict(self.operators), dict(self.options))
        kind = rng.random()
        if kind < 0.6:
            made.numbers[rng.choice(NUMBERS)] = number(rng)
        elif kind < 0.7:
            one, other = rng.sample(NUMBERS, 2)
            made.numbers[one], made.numbers[other] = made.numbers[other], made.numbers[one]
        elif kind < 0.9:
            made.operators[rng.choice(SPOTS)] = rng.choice(OPERATORS)
        else:
            made.options[rng.choice(("own", "others"))] = rng.choice(OPTIONS)
        return made

    def files(self) -> dict[str, str]:
        """The text of each file."""
        return {name: text.format(**self.numbers, **self.operators, **self.options) for name, text in FILES.items()}

    def load(self) -> Callable[[float], float]:
        """Its function, in new modules."""
        loaded: dict[str, types.ModuleType] = {}
        for name, text in self.files().items():
            module = loaded[name] = types.ModuleType(f"edited_{name}")
            vars(module).update(loaded, njit=njit, np=np, math=math)
            sys.modules[module.__name__] = module
            exec(compile(text, f"<{name} {next(_serial)}>", "exec"), vars(module))
        function: Callable[[float], float] = loaded["mine"].f
        return function


def number(rng: random.Random) -> Any:
    """A number that is easily taken for another: small, of either type, shared or not."""
    return rng.choice([1, 2, 3, 11, 1.0, 2.0, 3.0, 0.5, -1, -1.0, 257, 300.25, 11.0, True])


FILES = {
    "settings": "CE = {ce}\nUNUSED = {unused}\nTABLE = ({table_a}, {table_b})\n",
    "other": """
BASE = {base}
WEIGHTS = np.array([{weight_a}, {weight_b}])
def deep(x):
    return x {deep_op} {deep}
def step(x, by={by}):
    return deep(x) {step_op} by
@njit({others})
def fast(x):
    return x {fast_op} {fast} + BASE
""",
    "mine": """
import math
from edited_other import step, fast
import edited_other as other
import edited_settings as settings
RATE = {rate}
PAIR = ({pair_a}, {pair_b})
@njit({own})
def near(x):
    def scaled(y):
        return y * RATE
    return scaled(x) {near_op} {near}
def make(cell):
    def g(x, plus={plus}):
        inner = lambda y: y {inner_op} cell
        return inner(x) + plus
    return g
closed = make({cell})
def f(x):
    a = near(x) {mine_op} {mine}
    b = step(a) {b_op} fast(a)
    c = closed(b) + settings.CE {c_op} settings.TABLE[1]
    total = 0.0
    for k in range({loops_a} < {loops_b} and 2 or 3):
        total += PAIR[0] * k + PAIR[1]
    d = other.WEIGHTS[0] * x {d_op} other.WEIGHTS[1] + other.BASE
    return a*1 {e_op} 11 + b - c + total + d + math.floor(x) * {floor}
""",
}
NUMBERS = [
    "ce", "unused", "table_a", "table_b", "base", "weight_a", "weight_b", "deep", "by", "fast", "rate", "pair_a",
    "pair_b", "near", "plus", "cell", "mine", "loops_a", "loops_b", "floor",
]  # fmt: skip
SPOTS = ["deep_op", "step_op", "fast_op", "near_op", "inner_op", "mine_op", "b_op", "c_op", "d_op", "e_op"]


def python_of(function: Callable[[float], float]) -> Callable[[float], float]:
    """The function as Python runs it, its compiled helpers taken back."""
    names = function.__globals__
    for module in (names, vars(names["other"])):
        module.update({k: getattr(v, "py_func", v) for k, v in module.items() if not k.startswith("__")})
    return function


def truth(program: Program) -> tuple[float, ...]:
    """What Python computes."""
    function = python_of(program.load())
    return tuple(float(function(x)) for x in INPUTS)


def chain(seed: int, length: int) -> list[Program]:
    """A program and its edits, one after the other; every now and then an earlier one again, as an undo gives it."""
    rng = random.Random(seed)
    programs = [Program.drawn(rng)]
    while len(programs) < length:
        undone = rng.random() < 0.2
        programs.append(rng.choice(programs) if undone else programs[-1].edited(rng))
    return programs
