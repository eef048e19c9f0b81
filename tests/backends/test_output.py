"""What bodies print is there when the run has ended, each line once, wherever the output goes."""

from __future__ import annotations

import sys

import pytest
from compiler import needs_compiler

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="scripts run in forks")


PRINTS = """
import ctypes, sys
from pathlib import Path
from compute import *
from kernels import Plan, kernel

@kernel(plan=lambda n: Plan(n, grain=1))
def by_line(lo, hi, out):
    print("line", lo)
    out[lo] = lo

@kernel(plan=lambda n: Plan(n, grain=1), compiled=False)
def by_all_means(lo, hi, out):
    ctypes.CDLL(None).printf(b"c %d\\n", lo)
    print("word", lo, end=";")
    print("error", lo, end=";", file=sys.stderr)
    out[lo] = lo

def said():
    return Path(OUT).read_text()

OUT = sys.argv[2]
print("before")
ctypes.CDLL(None).printf(b"before, from c\\n")
with eval(sys.argv[1]).open() as pool:
    for variant in ("python", "nogil"):
        pool.run(by_line, 4, variant=variant)
        sys.stdout.flush()
        assert all(f"line {k}\\n" in said() for k in range(4)), said()  # as soon as the run has ended
        print("between")
    pool.run(by_all_means, 4)
print("after")
"""
BACKENDS = ["Processes(2)", "Processes(1, start='spawn')", "Joblib(2)"]


@pytest.mark.parametrize("backend", [BACKENDS[0], *(pytest.param(b, marks=pytest.mark.slow) for b in BACKENDS[1:])])
def test_what_bodies_print_into_a_file_is_there_each_once(warm_python, backend):
    check(warm_python, backend)


@pytest.mark.slow
@needs_compiler
def test_forks_do_not_print_again_what_their_parent_had_in_its_buffers(script, tmp_path):
    # The warm Python has threads of numba's, and nobody forks a process with threads.
    out = tmp_path / "out"
    text = f"import os; os.dup2(os.open({str(out)!r}, os.O_CREAT | os.O_WRONLY), 1)\n{PRINTS}"
    done = script(text, "Processes(2, start='fork')", str(out), quiet=False)
    compare(out.read_text(), done.stderr)


def check(warm_python, backend):
    begun = warm_python.start(PRINTS, backend, "out")
    assert begun.ended() == 0, begun.stderr
    compare(begun.stdout, begun.stderr)


def compare(out, err):
    lines = [f"line {k}" for k in range(4)] * 2 + [f"c {k}" for k in range(4)]
    words = [f"word {k}" for k in range(4)]
    expected = ["before", "before, from c", *lines, *words, "between", "between", "after"]
    assert sorted(part for part in out.replace(";", "\n").splitlines() if part) == sorted(expected)
    assert sorted(err.strip(";").split(";")) == [f"error {k}" for k in range(4)]
