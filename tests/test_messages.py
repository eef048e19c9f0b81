"""What names a path, an address or a value of the environment goes through one escape, in errors and in warnings."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import private_mounts
import pytest
from patience import PATIENCE

import compute
import kernels
from compute.backends import host_program
from compute.memory import segments
from compute.scaling import imported, results
from kernels.compilation import kept_code

ROOT = Path(compute.__file__).parent.parent
HOSTILE = "a\x1b[31m\x9b2J\u202eb\nc"
OUTSIDE = re.compile(
    r"\b(path|folder|gettempdir|environ|getenv|fsdecode|prefix|executable|getcwd|configured|home|cwd)\b"
    r"|(?<!\.)\baddress\b(?!\.)"
)
# Readers of files: whatever they are given, what they raise is held to this below, and by tests/fuzz.
READERS = {"schema.py", "imported.py", "results.py"}


def raw(source: str) -> list[str]:
    """What an error or a warning in a source shows of the outside, and neither by repr nor by `visible`."""
    tree = ast.parse(source)
    said = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise) or (isinstance(node, ast.Call) and ast.unparse(node.func).endswith("warn"))
    ]
    shown = [part for node in said for part in ast.walk(node) if isinstance(part, ast.FormattedValue)]
    texts = [ast.unparse(part.value) for part in shown if part.conversion != ord("r")]
    return [text for text in texts if OUTSIDE.search(text) and not re.match(r"(texts\.)?visible\(|len\(", text)]


def test_a_raw_path_is_found():
    assert raw("warnings.warn(f'{folder} is {gone!r}')") == ["folder"]
    assert raw("raise ValueError(f'no {os.environ[name]}')") == ["os.environ[name]"]
    assert raw("raise ValueError(f'no {visible(path)} {path!r}')") == []


def test_no_message_shows_a_path_or_the_environment_raw():
    sources = [*Path(compute.__file__).parent.rglob("*.py"), *Path(kernels.__file__).parent.rglob("*.py")]
    found = {path.name: texts for path in sources if path.name not in READERS if (texts := raw(path.read_text()))}
    assert not found


def is_plain(text: str) -> bool:
    return text.isprintable()


@pytest.mark.parametrize("data", [{}, {"schema": "x"}, {"benchmarks": 1}, {"benchmarks": [{"name": HOSTILE}]}])
def test_readers_show_what_they_are_given(data):
    read = imported.from_benchmarks if "benchmarks" in data else results.from_data
    with pytest.raises(ValueError) as refused:
        read(data, f"{HOSTILE}.json")
    assert is_plain(str(refused.value))
    assert r"\x1b[31m" in str(refused.value)


def test_a_benchmark_s_name_is_shown():
    named = {"name": HOSTILE, "extra_info": {"kernel": 1}}
    with pytest.raises(ValueError, match="must be") as refused:
        imported.from_benchmarks({"benchmarks": [named]}, "b.json")
    assert is_plain(str(refused.value))


def test_a_folder_for_compiled_code_that_others_can_write(tmp_path, monkeypatch):
    folder = tmp_path / HOSTILE
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    monkeypatch.setattr(kept_code, "_is_silent", False)
    with pytest.warns(RuntimeWarning, match="can be written by others") as told:
        assert kept_code.read(folder / "x.nbc") is None
    assert is_plain(str(told[0].message))


def test_a_folder_for_temporary_files_that_is_full_or_too_long(tmp_path, monkeypatch):
    folder = tmp_path / HOSTILE
    monkeypatch.setattr(segments, "open_nameless", full)
    with pytest.raises(MemoryError) as refused:
        segments._create_mapped(4096, str(folder))
    assert is_plain(str(refused.value))
    monkeypatch.setattr(host_program.tempfile, "gettempdir", lambda: str(folder) * 9)
    monkeypatch.setattr(host_program, "ROOTS", ())
    monkeypatch.setattr(host_program.processes.current_process(), "_config", {})
    with pytest.raises(OSError, match="too long a path") as refused:
        host_program.socket_folder()
    assert is_plain(str(refused.value))


def full(folder):
    raise OSError(28, "No space left on device")


SMALL = ["mount -t tmpfs -o size=64k tmpfs /dev/shm"]
RUNS = """
import numpy as np
from compute import Processes, run
from kernels import triad
a = np.ones(200_000)
assert run(triad, a, a, 3.0, on=Processes(1)).value[-1] == 4.0
"""


@pytest.mark.skipif(bool(private_mounts.refused()), reason=str(private_mounts.refused()))
def test_a_script_s_warning_about_its_folder_is_one_line(tmp_path, no_leaks):
    folder = tmp_path / HOSTILE
    folder.mkdir()
    done = subprocess.run(
        private_mounts.in_private(SMALL, sys.executable, "-c", RUNS), capture_output=True, timeout=PATIENCE,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder)},
    )  # fmt: skip
    said = done.stderr.decode()
    assert done.returncode == 0, said
    assert "RuntimeWarning: shared memory has" in said
    assert is_plain(said.replace("\n", "")), said
    assert r"using a memory-mapped file in " in said
    assert r"a\x1b[31m\x9b2J\u202eb\nc instead" in said
