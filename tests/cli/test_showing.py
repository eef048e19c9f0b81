"""`nfold show KERNEL`: the text that runs, with its place, or a line that says why there is none."""

from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE

import kernels
from compute.cli.commands import main
from kernels.definition import numba_is_here

ROOT = Path(__file__).parents[2]
needs_numba = pytest.mark.skipif(not numba_is_here(), reason="needs numba's compiler")

MODULE = """
import asyncio
import functools

import numpy as np
from kernels import kernel

def helper(x):
    return x + 1

@kernel
def adds(lo, hi, out, x):
\tfor i in range(lo, hi):
\t\tout[i] = helper(x[i])

def shout(text):
    return text + "!"  # as written

def loud(f):
    @functools.wraps(f)
    def louder(text):
        return f(text).upper()
    return louder

@loud
def whisper(text):
    return text

async def waits(text):
    await asyncio.sleep(0.001)
    return text

class Adds:
    def __init__(self, n):
        self.n = n
    def __call__(self, x):
        return x + self.n

adds_two = Adds(2)
part = functools.partial(shout)
short = lambda x: 2 * x
namespace = {"__name__": "bodies"}
exec("def made(x):\\n    return x", namespace)
made = namespace["made"]
"""

NUMBA = """
from numba import njit

from kernels import kernel

@njit
def body(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = x[i]

copy = kernel(body)

@njit
def square(x):
    return x * x
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "bodies.py").write_text(MODULE)
    (tmp_path / "compiled_bodies.py").write_text(NUMBA)
    yield
    sys.modules.pop("bodies", None)
    sys.modules.pop("compiled_bodies", None)


def shown(capsys, *words: str) -> str:
    assert main(["show", *words]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    return printed.out


@pytest.mark.parametrize("name", list(kernels.REGISTRY))
def test_a_kernel_of_ours_is_shown_by_variant_as_its_file_has_it(capsys, name):
    kernel = kernels.REGISTRY[name]
    variants = [variant for variant in kernel.variants if numba_is_here() or not kernel.variants[variant].compiled]
    for variant in variants:
        out = shown(capsys, name, "--variant", variant)
        head, mode, *body = out.splitlines()
        source = inspect.getsource(kernel.variants[variant].source()).rstrip()
        assert source in out
        path, _, line = head.rpartition(" · ")[2].rpartition(":")
        assert head.startswith(f"# {name} · {variant} · ")
        assert Path(path).read_text().splitlines()[int(line) - 1] == body[0]
        assert ("what runs where no variant is named" in mode) == (
            variant == kernel.variant and len(kernel.variants) > 1
        )
        ast.parse(out)  # so it can be saved


@needs_numba
def test_all_variants_are_shown_where_none_is_named(capsys):
    heads = [line for line in shown(capsys, "matmul").splitlines() if line.startswith("# matmul ·")]
    assert [head.split(" · ")[1] for head in heads] == list(kernels.matmul.variants)


def test_a_kernel_of_the_users_with_what_it_calls(capsys):
    out = shown(capsys, "bodies:adds", "--variant", "python")
    assert out.startswith("# adds · python · bodies.py:11\n")
    assert "@kernel\ndef adds(lo, hi, out, x):\n        for i in range(lo, hi):\n" in out
    assert out.endswith("# it calls\n#   helper  bodies.py:8\n")


@pytest.mark.parametrize(
    ("name", "line", "text"),
    [
        ("shout", 16, 'def shout(text):\n    return text + "!"  # as written\n'),
        ("whisper", 25, "@loud\ndef whisper(text):\n    return text\n"),
        ("waits", 29, "async def waits(text):\n    await asyncio.sleep(0.001)\n    return text\n"),
        ("adds_two", 36, "def __call__(self, x):\n    return x + self.n\n"),
        ("part", 16, 'def shout(text):\n    return text + "!"  # as written\n'),
        ("short", 41, "short = lambda x: 2 * x\n"),
    ],
)
def test_a_plain_function_is_its_own_body(capsys, name, line, text):
    out = shown(capsys, f"bodies:{name}")
    head, mode, body = out.split("\n", 2)
    assert head.endswith(f" · bodies.py:{line}")
    assert mode == (
        "# a coroutine function: it hands over while it waits" if name == "waits" else "# the interpreter runs it"
    )
    assert body.startswith(text)


@needs_numba
@pytest.mark.parametrize("name", ["copy", "square"])
def test_what_numba_has_compiled_is_shown_as_it_is_written(capsys, name):
    out = shown(capsys, f"compiled_bodies:{name}")
    assert "@njit\ndef body(" in out if name == "copy" else "@njit\ndef square(x):\n    return x * x\n" in out


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["nosuch"], "no kernel is called 'nosuch'"),
        (["count_prime"], "did you mean 'count_primes'?"),
        (["matmul", "--variant", "fast"], "matmul has no variant 'fast'; choose from python"),
        (["matmul", "--variant", "python,"], "--variant must be a comma list"),
        (
            ["math:sqrt"],
            "math.sqrt has no text to show: it is a builtin_function_or_method, which is not written in Python",
        ),
        (["numpy:sqrt"], "no text to show: it is a ufunc, which is not written in Python"),
        (["bodies:made"], "bodies.made has no text to show: it was made by a program"),
        (["nosuch.module:f"], "cannot import 'nosuch.module'"),
        ([], "Missing argument 'KERNEL'"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_a_line(capsys, words, why):
    assert main(["show", *words]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert why in printed.err


def nfold(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "compute", *words],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | env,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


@pytest.mark.slow
def test_without_a_compiler_what_python_runs_is_shown():
    done = nfold("show", "triad", NUMBA_DISABLE_JIT="1")  # as good as none, and there may be none
    assert done.returncode == 0
    assert "# triad · python · " in done.stdout
    assert "; what runs where no variant is named" in done.stdout.split("def triad(")[0]
    refused = nfold("show", "triad", "--variant", "nogil", NUMBA_DISABLE_JIT="1")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "variant 'nogil' needs numba's compiler, which is " in refused.stderr


def test_a_reader_that_leaves_is_no_error():
    command = f"'{sys.executable}' -m compute show mandelbrot --variant python | head -1"
    done = subprocess.run(
        ["sh", "-c", command],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.stderr == ""
    assert done.stdout.startswith("# mandelbrot · python · ")
    assert done.stdout.count("\n") == 1
