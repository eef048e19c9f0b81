"""Machine code of the user's own is never linked into a kernel: alone in a session, and in a later one, from disk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE

pytestmark = pytest.mark.slow

HEAD = """
import sys, types, functools, collections
import numpy as np
from numba import njit, prange
from kernels import kernel
from compute import Serial, Threads, run

Pair = collections.namedtuple("Pair", "f g")

def value(made, variant="nogil", on=None):
    return float(run(made, np.ones(2), on=on or Serial(), variant=variant).value[0])
"""
BODY = """
@kernel
def body(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = {}
"""
# Where a function that numba has compiled may be held, and how a body calls it there.
HELD = {
    "its name": ("", "f(x[i])"),
    "a tuple": ("FS = (f,)", "FS[0](x[i])"),
    "a tuple in a tuple": ("FS = ((1.0, f), f)", "FS[0][1](x[i])"),
    "a namedtuple": ("FS = Pair(f, f)", "FS.f(x[i])"),
    "a namedtuple in a tuple": ("FS = (Pair(f, 1),)", "FS[0].f(x[i])"),
    "a default": ("def h(x, g=f):\n    return g(x)", "h(x[i])"),
    "a default's tuple": ("def h(x, g=(f,)):\n    return g[0](x)", "h(x[i])"),
    "a compiled helper's default": ("@njit\ndef h(x, g=f):\n    return g(x)", "h(x[i])"),
    "a closure's tuple": ("def make(fs):\n    return lambda x: fs[0](x)\nh = make((f,))", "h(x[i])"),
    "a module": ("m = types.ModuleType('m')\nm.f = f", "m.f(x[i])"),
    "a module's tuple": ("m = types.ModuleType('m')\nm.fs = (f,)", "m.fs[0](x[i])"),
    "another's tuple": ("FS = (f,)\n@njit\ndef h(x):\n    return FS[0](x)\nGS = (h,)", "GS[0](x[i])"),
}  # fmt: skip
HELPER = "@njit\ndef f(x):\n    return K * x\n"


def session(folder: Path, program: str, *arguments: str) -> list[str]:
    """What a program prints in a process of its own, which keeps its code in this folder."""
    path = folder / "program.py"
    path.write_text(program)
    home = Path(__file__).parents[2]
    found = os.pathsep.join((str(home), str(folder)))
    env = os.environ | {"NFOLD_CACHE_DIR": str(folder / "cache"), "PYTHONPATH": found}
    done = subprocess.run(
        [sys.executable, str(path), *arguments], env=env, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.split("\n")[:-1]


def test_nothing_that_the_user_has_compiled_is_linked(tmp_path):
    """In compiled code alone: a `python` run would have numba compile the helpers anew, and hide what is old."""
    # Each has names of its own, for none of which a later one may stand.
    program = HEAD + "K = 2.0\nMADE = {}\n"
    for name, (held, call) in HELD.items():
        text = HELPER + held + BODY.format(call)
        program += f"names = dict(globals(), __name__='one')\nexec({text!r}, names)\nMADE[{name!r}] = names\n"
    program += """
for K in map(float, sys.argv[1:]):
    for name, names in MADE.items():
        names["K"] = K
        print(name, value(names["body"]))
"""
    told = session(tmp_path, program, "2", "3")
    assert told == [f"{name} {k}" for k in (2.0, 3.0) for name in HELD]
    assert session(tmp_path, program, "3") == [f"{name} 3.0" for name in HELD]  # what is kept on disk is no other


def test_a_place_that_is_not_known_is_refused_and_never_old(tmp_path):
    program = HEAD + "K = 2.0\n" + HELPER
    program += "Named = collections.namedtuple('Named', 'a g', defaults=(f,))\n" + BODY.format("Named(1.0).g(x[i])")
    program += """
for K in (2.0, 3.0):
    try:
        print(value(body))
    except Exception as error:
        print("old machine code of f" in str(error) or K)
"""
    first, second = session(tmp_path, program)
    assert first in ("2.0", "True")
    assert second in ("3.0", "True")


def test_a_variant_named_by_text_whose_module_was_reloaded(tmp_path):
    text = "def body(lo, hi, out, x):\n    for i in range(lo, hi):\n        out[i] = x[i] * {}\n"
    program = f"""
import importlib, pathlib
sys.dont_write_bytecode = True
path = pathlib.Path(__file__).with_name("named.py")
text = {text!r}
for factor in (2.0, 3.0):
    path.write_text(text.format(factor))
    if "named" in sys.modules:
        importlib.reload(sys.modules["named"])
    else:
        import named
        made = kernel(named.body)
        made.add_variant("fast", "named:body", compiled=True)
        made.add_variant("slow", "named:body")
    print(value(made, "fast"), value(made, "slow"))
"""
    assert session(tmp_path, HEAD + program) == ["2.0 2.0", "3.0 3.0"]


def test_every_setting_of_numba_that_changes_code(tmp_path):
    program = (
        HEAD
        + BODY.format("x[i] * 2")
        + """
import numba
from kernels.compilation.compiler import compiled, settings
first, before = compiled(body.variants["nogil"].function), settings()
numba.config.LOOP_VECTORIZE = 1 - numba.config.LOOP_VECTORIZE
print(compiled(body.variants["nogil"].function) is first, settings() == before)
numba.config.LOOP_VECTORIZE = 1 - numba.config.LOOP_VECTORIZE
print(compiled(body.variants["nogil"].function) is first, settings() == before)
"""
    )
    assert session(tmp_path, program) == ["False False", "True True"]
