"""This library's kernels in processes without numba: what they find in the cache, and when they import it after all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path

import numba
import pytest
from _pytest.assertion.rewrite import AssertionRewritingHook
from patience import PATIENCE

from kernels import count_primes
from kernels.compilation import kept_code, our_files, our_values, provenance, ready
from kernels.compilation.compiler import forget
from kernels.compilation.native_code import is_possible, words_of
from kernels.definition.arguments import guarded
from kernels.definition.variant import Variant
from kernels.sieve import windows

pytestmark = pytest.mark.skipif(not is_possible(), reason="laid out for x86-64 on Linux alone")

ROOT = Path(__file__).parents[2]
WORDS = ("int64",)

# All that the processes below run, so that one of them fills the cache.
EVERYTHING = """
import sys
import numpy as np
from compute import Processes, Serial, Threads, run
from kernels import count_primes, triad
def imported(_):
    import sys
    return "numba" in sys.modules, "llvmlite" in sys.modules
if __name__ == "__main__":
    print(count_primes(10**6), run(count_primes, 10**6, on=Threads(2)).value, triad(1.0, 2.0, 3.0))
    with Processes(2).open() as pool:
        print(pool.run(count_primes, 10**6).value, pool.run(triad, np.ones(99), np.ones(99), 2.0).value.sum())
        print(set(pool.map(imported, range(8))), imported(0))
"""
ANSWERS = ["78498 78498 7.0", "78498 297.0"]
NOWHERE, HERE = "{(False, False)} (False, False)", "{(False, False)} (True, True)"


def python(code: str, cache: Path, *words: str, cwd: Path | None = None, **environment: str) -> list[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NFOLD_CACHE_DIR": str(cache)} | environment
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def cache() -> Path:
    """The cache, when programs like those below have filled it."""
    folder = kept_code.cache_folder()
    for _ in range(3):  # what one of them has compiled, the next finds
        lines = python(EVERYTHING, folder)
        assert lines[:2] == ANSWERS
        if lines[2] == NOWHERE:
            break
    return folder


def test_neither_program_nor_workers_import_numba(cache):
    assert python(EVERYTHING, cache) == [*ANSWERS, NOWHERE]


SHORT = """
import sys
from kernels import count_primes
print(count_primes(10**6), "numba" in sys.modules)
"""


def test_a_short_program_imports_neither_numba_nor_llvm(cache):
    assert python(SHORT.replace("numba", "llvmlite"), cache) == ["78498 False"]


def test_the_command_line_does_not_either(cache):
    code = """
import sys
from compute.cli import main
main(["run", "count_primes", "1e6", "--workers", "2"])
print("numba" in sys.modules)
"""
    *report, imported = python(code, cache)
    assert any("78498" in line.replace(",", "").replace(" ", "") for line in report), report
    assert imported == "False"


def entry_of_count_primes() -> Path:
    plan = count_primes.nogil.plan(10**6)
    plan = plan._replace(inputs=guarded(plan.inputs, ()))
    words = words_of(count_primes._chunk_arguments(0, count_primes.allocate(plan), plan))
    return ready._path("body kernels.sieve.segments:count_in_chunk reduces", words)


@pytest.mark.parametrize(
    "damage",
    [
        "bit",
        *(
            pytest.param(one, marks=pytest.mark.slow)
            for one in ("open to others", "short", "empty", "exchanged", "sealed")
        ),
    ],
)
def test_a_damaged_entry_is_made_again(cache, tmp_path, damage):
    for path in cache.glob("count_in_chunk*.nbc"):  # what numba reads, so that nothing is compiled here
        os.link(path, tmp_path / path.name)
    entry = entry_of_count_primes()
    whole, other = entry.read_bytes(), next(cache.glob("body_*triad*")).read_bytes()
    contents = {
        "bit": whole[:-99] + bytes([whole[-99] ^ 4]) + whole[-98:],
        "short": whole[:-1],
        "empty": b"",
        "exchanged": other,
        "sealed": kept_code.sealed(entry.name, b"{}\nno image"),
    }
    (tmp_path / entry.name).write_bytes(contents.get(damage, whole))
    (tmp_path / entry.name).chmod(0o666 if damage == "open to others" else 0o600)
    assert python("import warnings; warnings.simplefilter('ignore')" + SHORT, tmp_path) == ["78498 True"]
    assert python(SHORT, tmp_path) == ["78498 False"]


SUMMED = """
import sys
from kernels import triad
print(triad(1.0, 2.0, 3.0), "numba" in sys.modules)
"""


@pytest.mark.slow
def test_settings_of_numba_count(tmp_path):
    """An entry that was made under others is not for it. In a cache of its own, where nothing is but what it leaves."""
    cache = tmp_path / "cache"
    assert python(SUMMED, cache) == ["7.0 True"]
    assert python(SUMMED, cache) == ["7.0 False"]
    assert python(SUMMED, cache, NUMBA_BOUNDSCHECK="1") == ["7.0 True"]
    (tmp_path / ".numba_config.yaml").write_text("boundscheck: 1\n")
    assert python(SUMMED, cache, cwd=tmp_path) == ["7.0 True"]


def test_where_compiling_is_switched_off_python_runs_it(cache):
    assert python(SHORT, cache, NUMBA_DISABLE_JIT="1") == ["78498 False"]


AFTERWARDS = """
import os, sys, threading
import numpy as np
from kernels import count_primes, triad
rng = np.random.default_rng(1)
a, b = rng.random((2, 50, 50))
answers = []
threads = [threading.Thread(target=lambda: answers.append((count_primes(10**6), triad(a, b, 3.0).tobytes())))
           for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert len(set(answers)) == 1 and len(answers) == 8
before = "numba" in sys.modules
if (child := os.fork()) == 0:
    assert (count_primes(10**6), triad(a, b, 3.0).tobytes()) == answers[0]
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
import numba
assert numba.njit(lambda x: x + 1)(1) == 2
assert (count_primes(10**6), triad(a, b, 3.0).tobytes()) == answers[0]
print(before)
"""


@pytest.mark.slow
def test_threads_forks_and_numba_itself_come_after_it(cache):
    python(AFTERWARDS, cache)
    assert python(AFTERWARDS, cache) == ["False"]


def test_ctrl_c_in_the_midst_ends_it(cache):
    code = """
import sys
from kernels import count_primes
assert count_primes(10**6) == 78498 and "numba" not in sys.modules
print("begun", flush=True)
count_primes(10**13)
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NFOLD_CACHE_DIR": str(cache)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
    assert "KeyboardInterrupt" in errors
    assert process.returncode == -signal.SIGINT


# ---------------------------------------------------------------- the key


def test_the_key_holds_all_that_decides_the_code(tmp_path, monkeypatch):
    """In place of what numba would say: the same, where it says it from."""
    monkeypatch.chdir(tmp_path)
    paths = {ready._path("body a", WORDS)}

    def is_new() -> bool:
        known = len(paths)
        paths.add(ready._path("body a", WORDS))
        return len(paths) > known

    assert not is_new()
    for name, value in (("NUMBA_OPT", "1"), ("NUMBA_BOUNDSCHECK", "1"), ("NUMBA_CPU_NAME", "generic")):
        monkeypatch.setenv(name, value)
        assert is_new(), name
        monkeypatch.delenv(name)
    Path(".numba_config.yaml").write_text("opt: 1\n")
    assert is_new()
    Path(".numba_config.yaml").write_text("opt: 2\n")
    assert is_new()
    Path(".numba_config.yaml").unlink()
    assert not is_new()
    monkeypatch.setattr(our_files, "digest", lambda: "other files")
    assert is_new()
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    for package in ("numba", "llvmlite"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "_version.py").write_text("version = 1")
        (tmp_path / package / "__init__.py").touch()
        where = ready._place_of
        with monkeypatch.context() as patch:
            patch.setattr(
                ready,
                "_place_of",
                lambda name, other=package, where=where: (
                    str(tmp_path / other / "__init__.py") if name == other else where(name)
                ),
            )
            assert is_new(), package
    for about in ("_about_machine", "about_compiler"):
        with monkeypatch.context() as patch:
            patch.setattr(ready, about, lambda *_: "another")
            assert is_new(), about
            patch.setattr(ready, about, lambda *_: "")
            assert ready._path("body a", WORDS) is None, about
    assert ready._path("body b", WORDS) not in paths
    assert ready._path("body a", ("float64",)) not in paths


def test_nothing_is_kept_where_numba_is_not_as_it_was_imported(monkeypatch):
    assert ready._is_as_imported() == (not provenance.foreign())
    monkeypatch.setattr(provenance, "foreign", lambda: "")
    assert ready._is_as_imported()
    with monkeypatch.context() as patch:
        patch.setattr(numba.config, "BOUNDSCHECK", 1)
        assert not ready._is_as_imported()
    with monkeypatch.context() as patch:
        patch.setenv("NUMBA_OPT", "1")  # which numba has not read
        assert not ready._is_as_imported()
    with monkeypatch.context() as patch:
        patch.setattr(provenance, "foreign", lambda: "a_package")
        assert not ready._is_as_imported()


def test_where_numba_is_imported_it_is_asked():
    assert ready.function("anything", lambda: "numba's", (1,)) == "numba's"


def of_another(lo, hi, out, *inputs):
    out[0] = -1


@pytest.mark.parametrize("other", [of_another, "list_in_chunk"])
def test_a_body_that_was_put_in_the_place_of_ours_is_not_ours(other, monkeypatch, tmp_path):
    import kernels.sieve.segments as home

    variant: Variant = count_primes.variants["nogil"]
    assert variant.is_ours
    monkeypatch.setattr(home, "count_in_chunk", getattr(home, other) if isinstance(other, str) else other)
    assert not variant.is_ours
    if other is of_another:
        monkeypatch.setenv("NFOLD_CACHE_DIR", str(tmp_path))
        forget()
        assert count_primes.nogil(100) == -1
        assert not list(tmp_path.glob("body_*"))


def test_only_our_own_bodies_are_looked_for():
    assert not Variant(of_another, "compiled").is_ours
    assert not Variant("test_ready:of_another", "compiled").is_ours


def test_entries_of_both_kinds_are_pruned_alike(cache):
    assert all(path.match(kept_code.ENTRY) for path in cache.glob("*.nbc"))
    # Whatever else is in the user's own cache, of images it has a plain call's body, a lane and what lanes wait by.
    assert {"body_", "lane_", "nfold_"} <= {path.name.partition("_")[0] + "_" for path in cache.glob("*_*.nbc")}


# ---------------------------------------------------------------- values of this library that somebody has set

TRIAD = """
import sys
import numpy as np
from kernels import triad
from kernels.vectors import caches
{before}
a = np.arange(999.0)
assert (triad(a, a, 2.0) == 3 * a).all()
first = "numba" in sys.modules
{then}
assert (triad(a, a, 2.0) == 3 * a).all()
print(first, "numba" in sys.modules)
"""


def triads(cache: Path, before: str = "", then: str = "") -> str:
    return python(TRIAD.format(before=before, then=then), cache)[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "constant",
    [
        pytest.param("caches.LARGE_BYTES = 1", id="of a module without numba"),
        pytest.param(
            "import kernels.streams.scaled_sum_compiled as home; home.LARGE_BYTES = 1",
            id="of one that needs it",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "import kernels.streams.scaled_sum_compiled as home; home.flush_stream = lambda: None",
            id="a helper",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_code_with_a_constant_that_was_set_is_for_nobody_else(tmp_path, constant):
    """That process compiles with it. The next one, which has not set it, must not find this code."""
    triads(tmp_path, constant)
    assert triads(tmp_path) == "True True"
    assert triads(tmp_path, then=constant) == "False True"


def test_a_module_that_pytest_has_rewritten_names_what_its_source_names(monkeypatch, pytestconfig):
    monkeypatch.setattr(windows, "__loader__", SourceFileLoader(windows.__name__, windows.__file__))
    plain = list(our_values._taken_on_import(windows.__name__))
    assert plain
    monkeypatch.setattr(windows, "__loader__", AssertionRewritingHook(pytestconfig))
    assert not hasattr(windows.__loader__, "get_code")
    rewritten = list(our_values._taken_on_import(windows.__name__))
    assert [(id(names), name) for names, name in rewritten] == [(id(names), name) for names, name in plain]
