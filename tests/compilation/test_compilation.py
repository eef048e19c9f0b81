"""The compile cache: keyed by content, right or absent, whoever writes to it and whatever has become of its folder."""

from __future__ import annotations

import ast
import os
import stat
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

from kernels import REGISTRY
from kernels.compilation import compiler
from kernels.compilation import kept_code as entry_files
from kernels.compilation.compiler import compiled
from kernels.compilation.reach import reach_of

ROOT = Path(__file__).parents[2]

MAIN = """
import sys
sys.dont_write_bytecode = True  # it goes by a file's second
import numpy as np
import mine
print(f"{mine.shifted.nogil(np.zeros(3))[0]}\\n", end="")  # in one write: eight processes share the pipe
"""
MINE = """
import other
from kernels import kernel
from other import step as renamed

OFFSET = 0
TABLE = (0, 0)

def near(x):
    return x + OFFSET + TABLE[1]

@kernel
def shifted(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = near(renamed(x[i])) + other.BASE
"""
OTHER = """
BASE = 0

def inner(x):
    return x + 1

def step(x):
    return inner(x)
"""


EIGHT = (
    """
import os
children = []
for _ in range(8):
    if not (pid := os.fork()):
        break
    children.append(pid)
else:
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 8
    os._exit(0)
"""
    + MAIN
)


def fingerprint(function) -> str:
    """What the function's machine code is kept under."""
    return reach_of(function, compiled=True).key


def entries(cache: Path) -> list[Path]:
    return sorted(cache.glob("*.nbc"))


@pytest.fixture
def user(tmp_path, warm_python):
    """A user's two modules in a folder, an empty cache folder, and what a new process of the user says."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code/mine.py").write_text(MINE)
    (tmp_path / "code/other.py").write_text(OTHER)

    def run_user(folder, cache, text=MAIN):
        return warm_python.run(text, cwd=folder, NFOLD_CACHE_DIR=str(cache)).strip()

    return tmp_path / "code", tmp_path / "cache", run_user


def test_whatever_a_result_depends_on_is_compiled_anew_when_it_changes(user):
    folder, cache, run_user = user
    assert run_user(folder, cache) == "1.0"
    made = len(entries(cache))
    assert made >= 1
    assert run_user(folder, cache) == "1.0"
    assert len(entries(cache)) == made  # the second time nothing was compiled
    for file, old, new, expected in [
        ("other.py", "x + 1", "x + 10", "10.0"),  # a callee's callee, in another module
        ("mine.py", "TABLE = (0, 0)", "TABLE = (0, 5)", "15.0"),  # a constant
    ]:
        path = folder / file
        path.write_text(path.read_text().replace(old, new))
        assert run_user(folder, cache) == expected, f"after {old} became {new}"
    (folder / "other.py").write_text(OTHER)
    (folder / "mine.py").write_text(MINE)
    made = len(entries(cache))
    assert run_user(folder, cache) == "1.0"
    assert len(entries(cache)) == made  # and the first entry is still the right one


@pytest.mark.slow
def test_eight_cold_processes_on_one_empty_cache(user):
    folder, cache, run_user = user
    assert run_user(folder, cache, EIGHT).splitlines() == ["1.0"] * 8
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700, "the folder is the user's own"
    assert [path.name for path in cache.iterdir() if path.name.startswith(".")] == []
    assert all(path.stat().st_size > 1000 for path in entries(cache))
    assert run_user(folder, cache) == "1.0"


def half(whole: bytes) -> bytes:
    return whole[: len(whole) // 2]


def flipped(whole: bytes) -> bytes:
    return whole[:-1000] + bytes([whole[-1000] ^ 1]) + whole[-999:]


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: b"no code",
        half,
        lambda whole: half(whole) + whole,
        lambda whole: flipped(whole),
    ],
    ids=["empty", "text", "half", "twice", "one bit"],
)
def test_a_damaged_entry_costs_a_compilation(tmp_path, monkeypatch, damage):
    monkeypatch.setenv("NFOLD_CACHE_DIR", str(tmp_path))

    def make():
        def add(x):
            return x + 12345

        return add

    compiler.forget()  # as in another process
    compiled(make())(1)
    (path,) = entries(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    compiler.forget()
    again = compiled(make())
    assert again(1) == 12346
    assert again.stats.cache_misses or again.stats.cache_hits == {}
    assert entries(tmp_path) == [path]
    compiler.forget()
    third = compiled(make())  # mended on the way: the entry can be read again
    assert third(1) == 12346
    assert third._cache.load_overload(third.signatures[0], third.targetctx) is not None


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions of this kind are POSIX's")
def test_a_folder_that_cannot_be_written_is_done_without(user, tmp_path):
    folder, cache, run_user = user
    (tmp_path / "file").write_text("in the way")
    assert run_user(folder, tmp_path / "file" / "below") == "1.0"  # even root cannot make that one
    if os.geteuid():
        cache.mkdir()
        cache.chmod(stat.S_IRUSR | stat.S_IXUSR)
        assert run_user(folder, cache) == "1.0"
        assert list(cache.iterdir()) == []


def test_closures_of_one_source_have_entries_of_their_own():
    def make(step):
        def add(x):
            return x + step

        return add

    one, two, again = make(1), make(2), make(1)
    assert fingerprint(one) != fingerprint(two)
    assert fingerprint(one) == fingerprint(again)
    assert [compiled(f)(10) for f in (one, two, again)] == [11, 12, 11]


def test_arrays_in_a_closure_count_by_their_values():
    def make(table):
        def look(i):
            return table[i]

        return look

    big = np.arange(5000.0)
    other = big.copy()
    other[2500] = -1  # where a printed form has an ellipsis
    assert fingerprint(make(big)) != fingerprint(make(other))
    assert compiled(make(other))(2500) == -1
    assert fingerprint(make(np.zeros(4))) != fingerprint(make(np.zeros((2, 2))))  # the same bytes in another shape


def test_what_cannot_be_told_by_value_is_not_kept_for_other_processes():
    def of(value):
        def body(lo, hi, out):
            return value

        return reach_of(body, compiled=True)

    one, other = object(), object()
    assert of(one).unkeyed
    assert of(one).key == of(one).key != of(other).key
    assert not of((1, "a", 2.0, None, np.float32(1))).unkeyed


def test_every_kernel_has_the_same_fingerprint_in_every_process():
    code = (
        "from kernels import REGISTRY; from kernels.compilation.reach import reach_of\n"
        "print({name: reach_of(made.variants['nogil'].source(), True).key for name, made in REGISTRY.items()"
        " if 'nogil' in made.variants})"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    there = ast.literal_eval(done.stdout)
    assert len(there) > 5
    assert there == {name: fingerprint(REGISTRY[name].variants["nogil"].source()) for name in there}


def test_functions_that_name_each_other_compile():
    assert compiled(is_even)(10) == 1
    assert compiled(is_even)(7) == 0


def test_a_helper_can_be_called_from_python_too():
    def helper(x):
        return x + 1.0

    def outer(x):
        return helper(x) * 2.0

    assert compiled(outer)(1.0) == 4.0
    assert compiled(helper)(1.0) == 2.0

    def other(x):
        return helper(x) * 3.0

    assert compiled(other)(1.0) == 6.0


def is_even(n):
    return 1 if n == 0 else is_odd(n - 1)


def is_odd(n):
    return 0 if n == 0 else is_even(n - 1)


def test_nothing_is_fused_and_nothing_is_reordered():
    def fused(a, b, c):
        return a * b + c

    a = 1.0 + 2.0**-30
    assert compiled(fused)(a, a, -1.0) == a * a - 1.0  # a fused multiply-add would keep the bits below

    def sum_of(x):
        total = 0.0
        for value in x:
            total += value
        return total

    x = np.random.default_rng(0).random(1000) * 10.0 ** np.arange(-10, 0).repeat(100)
    assert compiled(sum_of)(x) == sum(x.tolist(), 0.0)


def test_division_by_zero_is_numpys():
    def divide(a, b):
        return a / b

    assert compiled(divide)(1.0, 0.0) == np.inf


def test_a_helper_with_defaults_and_keywords():
    def scaled(x, by=3.0, plus=1.0):
        return x * by + plus

    def outer(x):
        return scaled(x) + scaled(x, 2.0) + scaled(x, plus=0.5)

    assert compiled(outer)(2.0) == outer(2.0)


@pytest.mark.parametrize("first", [0, 1])
def test_bounds_checks_are_in_the_key(tmp_path, monkeypatch, first):
    monkeypatch.setenv("NFOLD_CACHE_DIR", str(tmp_path))

    def look(a, i):
        return a[i]

    a = np.arange(4.0)[:2]
    for checked in (first, 1 - first, first, 1 - first):
        compiler.forget()
        monkeypatch.setattr(numba.config, "BOUNDSCHECK", checked)
        if checked:
            with pytest.raises(IndexError):
                compiled(look)(a, 3)
        else:
            assert compiled(look)(a, 3) == 3.0
    assert len(entries(tmp_path)) == 2


@pytest.mark.parametrize("setting", ["OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "ENABLE_AVX", "DEBUGINFO_DEFAULT"])
def test_settings_of_numba_that_change_code_are_in_the_key(monkeypatch, setting):
    before = entry_files._settings()
    monkeypatch.setattr(numba.config, setting, 1 - int(bool(getattr(numba.config, setting))))
    assert entry_files._settings() != before


def test_settings_that_change_no_code_are_not(monkeypatch):
    before = entry_files._settings()
    monkeypatch.setattr(numba.config, "CACHE_DIR", "elsewhere")
    monkeypatch.setattr(numba.config, "DUMP_IR", 1)
    assert entry_files._settings() == before


SYMBOLS = """
import sys
from kernels.compilation.compiler import compiled
def make(value):
    def helper(x):
        return x + value
    def outer(x):
        return helper(x) * 10
    return outer
order = [int(word) for word in sys.argv[1:]]
print([compiled(make(value))(0) for value in order])
"""


def test_code_of_other_processes_is_not_linked_to_functions_of_this_one(script, warm_python, tmp_path):
    """Each process numbers its functions; those of one number and name must not be taken for each other.

    A process that was started and one that was forked get their first numbers in two ways.
    """
    cache = str(tmp_path / "symbols")
    for order in ([1], [2, 4, 1, 3]):
        done = script(SYMBOLS, *map(str, order), NFOLD_CACHE_DIR=cache)
        assert done.stdout.strip() == str([10 * value for value in order])
    for order in ([3, 1], [4, 3, 2, 1]):
        said = warm_python.run(SYMBOLS, *map(str, order), NFOLD_CACHE_DIR=cache)
        assert said.strip() == str([10 * value for value in order])


CIRCLES = """
from kernels.compilation.compiler import compiled
def is_even(n):
    return 1 if n == 0 else is_odd(n - 1)
def is_odd(n):
    return 0 if n == 0 else is_even(n - 1)
def outer(n):
    return is_even(n) + 1
print(compiled(is_even)(10), compiled(is_even)(7), compiled(outer)(4))
"""


def test_circles_of_functions_from_one_process_to_the_next(warm_python, tmp_path):
    for _ in range(2):
        assert warm_python.run(CIRCLES, NFOLD_CACHE_DIR=str(tmp_path / "circles")).split() == ["1", "0", "2"]


FACTORIES = """
from kernels.compilation.compiler import compiled
def packer(step):
    def pack(x):
        return x * step
    return pack
rows, columns = packer(2.0), packer(3.0)
def body(x):
    return rows(x) + 10 * columns(x)
print(compiled(rows)(1.0), compiled(columns)(1.0), compiled(body)(1.0))
"""


def test_two_functions_that_one_factory_made_are_two_entries(warm_python, tmp_path):
    """As matmul's packers of rows and of columns: they have one name, and differ in what they close over."""
    for _ in range(2):
        assert warm_python.run(FACTORIES, NFOLD_CACHE_DIR=str(tmp_path / "cache")).split() == ["2.0", "3.0", "32.0"]
        assert len(entries(tmp_path / "cache")) == 3


BEFORE_ITS_LANE = """
import numpy as np
from compute import Serial, run
from compute.lanes.loop import lane_of
from kernels import kernel
from kernels.compilation import compiler, provenance

@kernel
def body(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = x[i] + 1

x = np.ones(3)
body.nogil(x)
alone, known = compiler.compiled(body.variants["nogil"].source()), provenance.registrations()
run(body, x, on=Serial())
assert provenance.registrations() > known
print(alone in [cell.cell_contents for cell in lane_of(body.nogil, 1, ()).py_func.__closure__])
"""


def test_a_body_that_was_compiled_before_its_lane_is_not_compiled_again(warm_python, tmp_path):
    """Though the first lane of a process teaches numba new words, as any import of an extension does."""
    assert warm_python.run(BEFORE_ITS_LANE, NFOLD_CACHE_DIR=str(tmp_path / "cache")) == "True\n"


REGION = """
import numpy as np
from compute import Prange
from compute.backends import prange
from compute.lanes import loop
from kernels import kernel

@kernel(reduce=np.sum)
def body(lo, hi, out, x):
    total = 0.0
    for i in range(lo, hi):
        if x[i] < 0:
            raise ValueError("below")
        total += x[i] * FACTOR
    out[0] = total

x = np.arange(1000.0)
with Prange(2).open() as pool:
    pool.warm(body.nogil, x)
    value, found = pool.run(body.nogil, x).value, loop.by_numba(body.nogil, make=prange.make_region).stats.cache_hits
    try:
        pool.run(body.nogil, -x)
    except ValueError as error:
        print(value, sum(found.values()), error)
"""


def test_prange_finds_the_region_of_an_earlier_process(warm_python, tmp_path):
    """It takes numba longer than all else: the main job spent ten of its sixty seconds on those of four kernels."""
    for factor, hits in ((2, 0), (2, 1), (3, 0), (3, 1)):
        script = REGION.replace("FACTOR", str(factor))
        printed = warm_python.run(script, NFOLD_CACHE_DIR=str(tmp_path / "cache"))
        assert printed == f"{999 * 500.0 * factor} {hits} below\n"


def test_a_function_of_c_is_known_by_its_name_and_its_types():
    def of(*parts):
        function = numba.types.ExternalFunction(*parts)

        def body(x):
            return function(x)

        return reach_of(body, compiled=True)

    whole, real, pointer = numba.types.intc, numba.types.float64, numba.types.voidptr
    kinds = [("labs", whole(whole)), ("abs", whole(whole)), ("abs", real(real)), ("abs", whole(pointer))]
    assert not any(of(*parts).unkeyed for parts in kinds)
    assert len({of(*parts).key for parts in kinds}) == 4
    assert of(*kinds[0]).key == of(*kinds[0]).key
    assert of("abs", whole(numba.types.CPointer(whole))).unkeyed  # whose text may not tell all


CALLING = """
import ctypes
import numba
import numpy as np
from llvmlite.binding import add_symbol
from compute import Prange, Serial, run
from kernels import kernel

kind = numba.types.KIND
there = numba.types.ExternalFunction("NAME", kind(kind))

@kernel
def body(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = there(x[i])

def register(function):
    add_symbol("NAME", ctypes.cast(function, ctypes.c_void_p).value)
    return function
"""


def calling(name, kind, script):
    """A script with a kernel that calls a function of C, and with what puts another one in its place."""
    return CALLING.replace("NAME", name).replace("KIND", kind) + script


REGISTERED = """
def tried():
    for backend in (Serial(), Prange(2)):
        try:
            print(*run(body.nogil, np.ones(2), on=backend).value)
        except ValueError as error:
            print(error)

def adding(more):
    return ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(lambda x: x + more)

tried()
one = register(adding(FIRST))
tried()
another = register(adding(30))
tried()
"""


@pytest.mark.slow
def test_a_function_that_was_registered_by_its_address_is_the_latest_of_its_name(warm_python, tmp_path):
    """Where there is none, LLVM would end the process."""
    for first in (10, 20):
        script = calling("a_function_of_mine", "float64", REGISTERED.replace("FIRST", str(first)))
        none, none_again, *values = warm_python.run(script, NFOLD_CACHE_DIR=str(tmp_path)).splitlines()
        assert none.startswith("there is no function of C named a_function_of_mine in this process; load its library")
        assert none_again == none
        assert values == [f"{first + 1.0} {first + 1.0}"] * 2 + ["31.0 31.0"] * 2


IN_THE_PLACE = """
def values():
    return [run(body.nogil, np.zeros(1, np.int32), on=backend).value[0] for backend in (Serial(), Prange(2))]

before = values()
function = register(ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(lambda policy: 1000))
print(*before, *values())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the function is Linux's")
def test_a_function_of_a_library_is_the_one_that_was_put_in_its_place(warm_python, tmp_path):
    script = calling("sched_get_priority_max", "intc", IN_THE_PLACE)
    for _ in range(2):  # from nothing, and with what the first process has kept
        assert warm_python.run(script, NFOLD_CACHE_DIR=str(tmp_path)) == "0.0 0.0 1000.0 1000.0\n"
