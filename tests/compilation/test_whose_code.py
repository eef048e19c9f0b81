"""Whose code it is: a user's file that is named like a module of Python's is the user's."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cloudpickle
import numpy as np
import pytest
from patience import PATIENCE

from compute import Processes, Serial, run
from kernels import kernel
from kernels.compilation import provenance
from kernels.compilation.reach import reach_of


@pytest.fixture
def wave(tmp_path, monkeypatch):
    """Writes a module `wave` of the user's, which hides Python's, and imports it."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def written(text: str):
        (tmp_path / "wave.py").write_text(text)
        sys.modules.pop("wave", None)
        importlib.invalidate_caches()
        return importlib.import_module("wave")

    yield written
    sys.modules.pop("wave", None)


def test_an_edited_module_that_is_named_like_one_of_pythons(wave):
    keys = set()
    for factor in (2, 3):
        step = wave(f"def step(v):\n    return v * {factor}\n").step
        reach = reach_of(step, compiled=True)
        assert not reach.unkeyed
        keys.add(reach.key)
    assert len(keys) == 2


@pytest.mark.slow
def test_a_helper_that_is_called_through_such_a_module(wave):
    module = wave("def step(v):\n    return v * 2\n")

    @kernel
    def body(lo, hi, out, x):
        for i in range(lo, hi):
            out[i] = module.step(x[i])

    x = np.arange(4.0)
    assert list(run(body, x, on=Serial()).value) == [0, 2, 4, 6]
    module.step = lambda v: v * 7
    for variant in ("python", "nogil"):
        for backend in (Serial(), Processes(1)):
            assert list(run(body, x, on=backend, variant=variant).value) == [0, 7, 14, 21]


def test_what_is_pythons_is_known_by_its_name():
    assert provenance.is_trusted("math")
    assert provenance.is_trusted("json.decoder")
    assert provenance.is_trusted("numpy.linalg")
    assert provenance.name_of_numbas(sys.modules["functools"].lru_cache) == "functools.lru_cache"


@pytest.mark.parametrize("name", ["nt", "winreg", "msilib"])
def test_a_folder_that_is_named_like_a_module_of_another_system(tmp_path, monkeypatch, name):
    """Without an `__init__.py` it has no file, as what is built into Python has none."""
    if name in sys.builtin_module_names:
        pytest.skip(f"{name} is Python's own here")
    (tmp_path / name).mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    keys = set()
    for factor in (2, 3):
        (tmp_path / name / "steps.py").write_text(f"def step(v):\n    return v * {factor}\n")
        for known in (name, f"{name}.steps"):
            sys.modules.pop(known, None)  # not by monkeypatch, which puts it back: matplotlib looks for it
        importlib.invalidate_caches()
        step = importlib.import_module(f"{name}.steps").step
        assert not provenance.is_trusted(step.__module__)
        keys.add(reach_of(step, compiled=True).key)
    assert len(keys) == 2
    for known in (name, f"{name}.steps"):
        sys.modules.pop(known, None)


@pytest.mark.parametrize("module", ["math", "sys", "builtins", "zipimport", "statistics", "_thread", "random"])
def test_what_python_has_without_a_file_is_pythons(module):
    importlib.import_module(module)
    assert provenance.is_trusted(module)


ELSEWHERE = """
import cloudpickle, numpy as np, tool
from compute import Processes, run
from kernels import kernel
from kernels.compilation import provenance

@kernel
def body(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = tool.twice(x[i])

value = run(body, np.arange(4.0), on=Processes(1), variant="python").value
print(cloudpickle.__file__, value.tolist(), provenance.is_installed(tool))
"""


@pytest.mark.parametrize(
    ("name", "installed"),
    [("site-packages", True), pytest.param("dist-packages", True, marks=pytest.mark.slow), ("mine", False)],
)
def test_packages_that_lie_elsewhere(tmp_path, name, installed):
    """As `pip install --user` or `--target` and Debian put them; Python bodies could not be sent to processes there."""
    folder = tmp_path / name
    shutil.copytree(Path(cloudpickle.__file__).parent, folder / "cloudpickle")
    (folder / "tool.py").write_text("def twice(v):\n    return 2 * v\n")
    path = os.pathsep.join([str(folder), str(Path(__file__).parents[2])])
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split(maxsplit=1) == [
        str(folder / "cloudpickle/__init__.py"),
        f"[0.0, 2.0, 4.0, 6.0] {installed}\n",
    ]
