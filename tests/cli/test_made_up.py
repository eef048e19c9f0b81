"""A kernel without example= that cannot take made-up arguments: one line names them, and what to say."""

from __future__ import annotations

import re

import pytest
from compiler import needs_compiler

from compute.cli.commands import main

MODULE = """
import numpy as np
from kernels import Plan, kernel

@kernel
def repeated(lo, hi, out, x, steps):
    for i in range(lo, hi):
        for k in range(steps):
            out[i] = x[i] + k

@kernel(compiled=False)
def looked_up(lo, hi, out, x, table):
    for i in range(lo, hi):
        out[i] = x[int(table)]

@kernel
def of_rows(lo, hi, out, A):
    for i in range(lo, hi):
        out[i] = A[i, 0]

@kernel(compiled=False)
def refuses(lo, hi, out, x):
    raise ValueError("never")

@kernel(plan=lambda A, b: Plan(len(A), (A, b)))
def planned(lo, hi, out, A, b):
    for i in range(lo, hi):
        out[i] = A[i] * b

@kernel(example=lambda size: (np.ones(size), 3))
def said(lo, hi, out, x, steps):
    for i in range(lo, hi):
        for k in range(steps):
            out[i] = x[i] + k
"""
SMALL = ["--budget", "500ms"]
COMMANDS = {
    "run": ["run", "{}", "100", "--variant", "python"],
    "run on processes": ["run", "{}", "100", "--on", "processes", "--workers", "2", "--variant", "python"],
    "scale": ["scale", "{}", "100", "--variant", "python", *SMALL],
    "scale without a size": ["scale", "{}", "--variant", "python", *SMALL],
    "advise": ["advise", "{}", "100", *SMALL],
}


@pytest.fixture
def told(tmp_path, monkeypatch, capsys):
    """The exit code and what is told of a command about a kernel of MODULE, which is another module each time."""
    monkeypatch.chdir(tmp_path)
    name = f"mine_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(MODULE)

    def run(words, kernel):
        code = main([word.format(f"{name}:{kernel}") for word in words])
        return code, capsys.readouterr().err

    return run


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize(("kernel", "names"), [("repeated", "x, steps"), ("looked_up", "x, table")])
def test_a_number_that_was_made_up_as_an_array_is_named(told, words, kernel, names):
    code, err = told(words, kernel)
    assert code == 2
    assert re.fullmatch(
        rf"nfold: {kernel} has no example=, so it was given random arrays for {names}; where it takes something else,"
        rf" say @kernel\(example=lambda size: \({names}\)\)\. It failed: TypeError: .*\n",
        err,
    )
    assert re.search(r"mine_\d+\.py:\d+\)$", err) or "processes" in words


@needs_compiler
def test_it_is_told_of_compiled_code_too(told):
    for words in (["run", "{}", "100"], ["scale", "{}", "100", *SMALL], ["scale", "{}", *SMALL]):
        code, err = told(words, "repeated")
        assert code == 2
        assert re.search(r"size: \(x, steps\)\)\. It failed: repeated is not compiled: .*mine_\d+\.py:\d+\)\n$", err)


def test_an_array_of_two_axes(told):
    code, err = told(COMMANDS["scale"], "of_rows")
    assert code == 2
    assert re.search(r"@kernel\(example=lambda size: \(A,\)\)\. It failed: IndexError: too many indices", err)


@pytest.mark.parametrize("words", [COMMANDS["run"], COMMANDS["scale"], COMMANDS["advise"]], ids=["run", "scale", "ad"])
def test_a_plan_that_takes_more_than_the_size(told, words):
    code, err = told(words, "planned")
    assert code == 2
    assert re.fullmatch(
        r"nfold: planned has no example=, so its plan was given SIZE alone; .* @kernel\(example=lambda size: \(A, b\)\)"
        r"\. It failed: TypeError: .*missing a required argument: 'b'\n",
        err,
    )


def test_what_a_body_raises_itself_is_its_own(told):
    code, err = told(COMMANDS["run"], "refuses")
    assert code == 1
    assert "Traceback" in err
    assert "example=" not in err


def test_what_the_line_says_to_write_works(told):
    assert told(COMMANDS["run"], "said") == (0, "")
