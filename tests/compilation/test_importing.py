"""numba is imported whole: by several threads at once, beside other imports of it, in forks, under signals."""

from __future__ import annotations

import ast
import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from compiler import needs_compiler
from patience import PATIENCE

import compute
import kernels
from kernels.compilation import kept_code

ROOT = Path(compute.__file__).parents[1]

FIRSTS = """
import os, signal, sys, threading, time
import numpy as np
from compute import Threads, run
from kernels import count_primes, kernel, mandelbrot, matmul, matvec, primes, transpose, triad
from watched import wait_for

A, X = np.arange(64.0).reshape(8, 8), np.arange(8.0)

@kernel
def doubled(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = 2 * x[i]

FIRSTS = {
    "count_primes": lambda: run(count_primes, 1000).value == 168,
    "primes": lambda: len(primes(100)) == 25,
    "triad": lambda: (triad(X, X, 2.0) == 3 * X).all(),
    "transpose": lambda: (run(transpose, A, on=Threads(2)).value == A.T).all(),
    "matmul": lambda: np.allclose(matmul(A, A), A @ A),
    "matvec": lambda: np.allclose(run(matvec, A, X).value, A @ X),
    "mandelbrot": lambda: mandelbrot((8, 8)).shape == (8, 8),
    "doubled": lambda: (run(doubled, X, on=Threads(2)).value == 2 * X).all(),
    "check": lambda: (run(doubled, X, on=Threads(2), check=True).value == 2 * X).all(),
    "import": lambda: __import__("numba").__name__ == "numba",
}
names = sys.argv[1].split()

def all_right():
    for name in names:
        assert FIRSTS[name](), name

def await_fork_at(lock):
    # Wait until the main thread's fork waits for this one of the locks, or is over.
    def is_there():
        frame = sys._current_frames()[threading.main_thread().ident]
        waits = frame.f_code.co_name == "_hold" and frame.f_locals.get("place", [None])[-1] == lock
        return waits or "child" in globals()
    wait_for(is_there)

def at_once():
    barrier, failed = threading.Barrier(len(names)), {}
    def begin(name):
        barrier.wait()
        try:
            assert FIRSTS[name]()
        except BaseException as error:
            failed[name] = repr(error)
    threads = [threading.Thread(target=begin, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    return threads, failed
"""

# Behind FIRSTS or other imports of os and signal: what this process can do, a child can that is forked beside a thread.
IN_A_FORK = """
def in_a_fork(check, beside):
    global child
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        check()
        os._exit(0)
    beside.join()
    assert os.waitpid(child, 0)[1] == 0, "the child cannot, or waits for ever"
    check()
"""

THREADS = """
threads, failed = at_once()
for thread in threads:
    thread.join()
assert not failed, failed
all_right()
print("right")
"""

FORKS = """
import warnings
from kernels.compilation import importing
warnings.simplefilter("ignore")  # of a fork beside threads: that is what is tried
thread, ends = threading.Thread(target=importing.compiler), []
thread.start()
while "numba" not in sys.modules:
    time.sleep(0.001)
for pause in (0, 0.02, 0.05):
    time.sleep(pause)
    child = os.fork()
    if not child:
        try:
            all_right()
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    ends.append(os.waitpid(child, 0)[1])
thread.join()
assert not any(ends), ends
all_right()
print("right")
"""

SLOW_BODIES = """
import sys, time

sys.modules["__main__"].has_begun.set()
time.sleep(0.5)  # the fork is asked for by now

def filled(lo, hi, out):
    out[lo:hi] = range(lo, hi)
"""

BESIDE_A_BODYS_IMPORT = """
import os, signal, threading, warnings
from compute import Serial, run
from kernels import Plan, kernel

warnings.simplefilter("ignore")  # of a fork beside threads: that is what is tried
has_begun = threading.Event()

@kernel(plan=lambda n: Plan(n, (), grain=1), compiled=False)
def filled(lo, hi, out):
    out[lo:hi] = range(lo, hi)

def named():
    assert run(filled, 4, variant="named", on=Serial()).value.tolist() == [0, 1, 2, 3]

filled.add_variant("named", "slow_bodies:filled")
thread = threading.Thread(target=named)
thread.start()
has_begun.wait()
in_a_fork(named, thread)
print("right")
"""

SIGNALLED_BODIES = """
import os, signal, sys

times = sys.modules["__main__"].times
times.append("begun")
os.kill(os.getpid(), signal.SIGINT)
times.append("ended")

def filled(lo, hi, out):
    out[lo:hi] = range(lo, hi)
"""

A_SIGNAL_IN_A_BODYS_IMPORT = """
from compute import Serial, run
from kernels import Plan, kernel

@kernel(plan=lambda n: Plan(n, (), grain=1), compiled=False)
def filled(lo, hi, out):
    out[lo:hi] = range(lo, hi)

filled.add_variant("named", "signalled_bodies:filled")
times = []
try:
    run(filled, 4, variant="named", on=Serial())
except KeyboardInterrupt:
    times.append("raised")
assert run(filled, 4, variant="named", on=Serial()).value.tolist() == [0, 1, 2, 3]
assert times == ["begun", "ended", "raised"], times
print("right")
"""

BESIDE_A_FIRST_COMPILATION = """
import gc, warnings
from kernels.compilation import importing, provenance

warnings.simplefilter("ignore")  # of a fork beside threads: that is what is tried
has_turn = threading.Event()

def imports_and_compiles():
    importing.in_turn.acquire()
    has_turn.set()
    await_fork_at("in_turn")
    with provenance.numbas_lock():
        importing.in_turn.release()
        await_fork_at("_lock")

thread = threading.Thread(target=imports_and_compiles)
thread.start()
has_turn.wait()

def compiles():
    assert gc.isenabled(), "collections are off for good"
    all_right()

in_a_fork(compiles, thread)
print("right")
"""

BESIDE_A_LATER_IMPORT = """
import warnings

warnings.simplefilter("ignore")  # of a fork beside threads: that is what is tried
reached = threading.Event()

class Slow:  # numba looks for masked arrays, and numpy 2.4 does not import them by itself
    def find_spec(self, name, *_):
        if name == "numpy.ma.core":
            reached.set()
            await_fork_at("in_turn")

sys.meta_path.insert(0, Slow())
thread = threading.Thread(target=all_right)
thread.start()
while thread.is_alive() and not reached.wait(0.01):
    pass
in_a_fork(all_right, thread)
print("right")
"""

SIGNALS = """
class Alarm(BaseException):
    pass

def ring(*_):
    global armed
    if armed:  # else it comes late, to what is in no try
        armed = False
        raise Alarm

signal.signal(signal.SIGALRM, ring)
rung = 0
for name in names:
    while True:
        try:
            armed = True
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            first = FIRSTS[name]()
            armed = False
            assert first, name
            break
        except Alarm:
            rung += 1
signal.setitimer(signal.ITIMER_REAL, 0)  # at its end Python leaves such a signal to the system, which kills
assert rung
all_right()
print("right")
"""

OURS = "count_primes primes triad transpose matmul matvec mandelbrot"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache of its own, with what numba has compiled, so that nobody's is filled with images of no further use."""
    folder = tmp_path_factory.mktemp("cache", numbered=False)
    for entry in kept_code.cache_folder().glob(kept_code.ENTRY):
        with contextlib.suppress(OSError):  # on another disk, or gone meanwhile
            os.link(entry, folder / entry.name)
    return folder


def says_right(cache: Path, script: str, names: str, firsts: str = FIRSTS) -> None:
    """Run it where no image is on disk: a variable of numba's that nothing reads is in their key."""
    environment = os.environ | {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
        "NFOLD_CACHE_DIR": str(cache),
        "NUMBA_NOTHING": script + names,
    }
    command = [sys.executable, "-c", f"PATIENCE = {PATIENCE}\n{firsts}{script}", names]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (0, "right\n"), done.stderr


@needs_compiler
@pytest.mark.parametrize(
    "names",
    [
        "import doubled triad",
        *(
            pytest.param(names, marks=pytest.mark.slow)
            for names in (OURS, f"{OURS} doubled check import", "doubled check")
        ),
    ],
)
def test_several_threads_may_be_the_first(cache, names):
    says_right(cache, THREADS, names)


@needs_compiler
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_beside_an_import_has_no_half_of_numba(cache):
    says_right(cache, FORKS, "triad transpose doubled")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_beside_the_import_of_a_bodys_module_can_import_it(cache, tmp_path):
    (tmp_path / "slow_bodies.py").write_text(SLOW_BODIES)
    says_right(
        cache, IN_A_FORK + BESIDE_A_BODYS_IMPORT, "named", f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n"
    )


def test_a_signal_in_the_import_of_a_bodys_module_leaves_no_half_of_it(cache, tmp_path):
    (tmp_path / "signalled_bodies.py").write_text(SIGNALLED_BODIES)
    says_right(cache, A_SIGNAL_IN_A_BODYS_IMPORT, "named", f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n")


@needs_compiler
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_that_waited_for_an_import_waits_for_the_compilation_behind_it(cache):
    says_right(cache, IN_A_FORK + BESIDE_A_FIRST_COMPILATION, "triad doubled")


@pytest.mark.slow
@needs_compiler
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_beside_what_numba_imports_later_has_no_half_of_it(cache):
    says_right(cache, IN_A_FORK + BESIDE_A_LATER_IMPORT, "doubled")


@needs_compiler
@pytest.mark.parametrize(
    "names", ["triad transpose", *(pytest.param(name, marks=pytest.mark.slow) for name in ("doubled", "check"))]
)
def test_a_signal_cuts_no_import_off(cache, names):
    says_right(cache, SIGNALS, names)


def parts_alone(source: str) -> list[int]:
    """The lines that import a part of numba where nothing before them, in the same function or module, imports all."""
    found = []

    def visit(nodes: list[ast.AST], is_whole: bool) -> None:
        for node in nodes:
            if isinstance(node, ast.Import):
                names = [name.name for name in node.names]
                if any(name.startswith("numba.") for name in names) and not is_whole:
                    found.append(node.lineno)
                is_whole |= "numba" in names
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("numba.") and not is_whole:
                found.append(node.lineno)
            elif isinstance(node, ast.With) and "whole()" in ast.unparse(node.items[0]):
                is_whole = True
            if ast.unparse(getattr(node, "test", ast.Constant(0))) == "TYPE_CHECKING":
                continue
            is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            for field in ("body", "orelse", "finalbody", "handlers", "cases"):
                visit(getattr(node, field, []), is_whole and not is_function)

    visit(ast.parse(source).body, False)
    return found


def test_a_part_alone_is_found():
    assert parts_alone("from numba.core import types") == [1]
    assert parts_alone("import numba\nfrom numba.core import types") == []
    assert parts_alone("import numba\ndef f():\n    from numba.core import types") == [3]
    assert parts_alone("def f():\n    with g():\n        import numba.core.compiler") == [3]
    assert parts_alone("try:\n    pass\nexcept ImportError:\n    from numba.core import types") == [4]
    assert parts_alone("def f():\n    with importing.whole():\n        from numba.core import types") == []


def test_no_part_of_numba_is_imported_before_the_whole():
    sources = [*Path(compute.__file__).parent.rglob("*.py"), *Path(kernels.__file__).parent.rglob("*.py")]
    found = {str(path): lines for path in sources if (lines := parts_alone(path.read_text()))}
    assert not found


TWO_FORKS = """
import warnings
from kernels.compilation import importing
warnings.simplefilter("ignore")
importing.WAITS = 0.5
os.register_at_fork(before=lambda: time.sleep(1))  # of a library: it comes after ours, which was registered later
importing.compiler()
from numba.core.compiler_lock import global_compiler_lock as numbas
held, go = threading.Event(), threading.Event()

def compiles_for_long():
    with numbas:
        held.set()
        go.wait()

def forks():
    child = os.fork()
    if not child:
        os._exit(0)
    ends.append(os.waitpid(child, 0)[1])

ends, others = [], [threading.Thread(target=forks) for _ in range(2)]
compiles = threading.Thread(target=compiles_for_long)
compiles.start()
held.wait()
for other in others:
    other.start()
    time.sleep(0.2)
for other in others:
    other.join()
go.set()
compiles.join()
assert ends == [0, 0], ends
assert importing.in_turn.acquire(timeout=PATIENCE), "a fork kept it"
importing.in_turn.release()
all_right()
print("right")
"""


@pytest.mark.slow
@needs_compiler
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_forks_of_several_threads_let_go_what_each_of_them_holds(cache):
    says_right(cache, TWO_FORKS, "triad")


IN_VAIN = """
import signal
import numpy as np
import numba
from compute import Serial, Threads, run
from kernels import kernel
from kernels.compilation import importing
from llvmlite.binding import ffi
importing.WAITS = 0.5
importing.compiler()
from numba.core.compiler_lock import global_compiler_lock as numbas
held, go = threading.Event(), threading.Event()
locks = {"numba's": numbas, "LLVM's": ffi.lib._lock, "ours": importing.in_turn}

@kernel
def doubled(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = 2 * x[i]

def holds(lock):
    with lock:
        held.set()
        go.wait()

def refused(do):
    try:
        do()
    except RuntimeError as error:
        return "forked while another thread of its parent imported or" in str(error) and chr(10) not in str(error)

def child():
    expected = [2.0, 2.0, 2.0]
    if sys.argv[1] == "LLVM's":
        return run(doubled, np.ones(3)).value.tolist() == expected and numba.njit(lambda x: x + 1)(1) == 2
    compiles = [lambda: run(doubled, np.ones(3), on=Threads(2))]
    if sys.argv[1] == "numba's":
        compiles.append(lambda: numba.njit(lambda x: x + 1)(1))
    for do in compiles * 2:
        assert refused(do)
    assert run(doubled.python, np.ones(3), on=Serial()).value.tolist() == expected
    if not (grandchild := os.fork()):  # which waits for nothing
        os._exit(refused(compiles[-1]) is not True)
    return os.waitpid(grandchild, 0)[1] == 0

thread = threading.Thread(target=holds, args=[locks[sys.argv[1]]])
thread.start()
held.wait()
if not (forked := os.fork()):
    signal.alarm(60)
    os._exit(child() is not True)
code = os.waitpid(forked, 0)[1]
go.set()
thread.join()
assert code == 0, code
assert run(doubled, np.ones(3), on=Threads(2)).value.tolist() == [2.0, 2.0, 2.0]
print("right")
"""


@pytest.mark.slow
@needs_compiler
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("whose", ["numba's", "LLVM's", "ours"])
def test_a_child_of_a_fork_that_waited_in_vain_refuses_to_compile(cache, whose):
    says_right(cache, IN_VAIN, whose)


BROKEN = """
import sys
import numpy as np
from compute import Threads, run
from kernels import count_primes, kernel

@kernel
def doubled(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = 2 * x[i]

calls = lambda: count_primes(1000), lambda: doubled(np.ones(2)), lambda: run(doubled, np.ones(2), on=Threads(2))
for call in calls * 2:
    try:
        call()
    except ImportError as error:
        print(error)
"""
SAYS = (
    "numba is installed and cannot be imported ({}); install it again, or set NUMBA_DISABLE_JIT=1 to run everything in"
    " Python\n"
)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("raise ImportError('Numba needs\\nNumPy 9')", "ImportError: Numba needs NumPy 9"),
        pytest.param("raise OSError('no libllvmlite.so')", "OSError: no libllvmlite.so", marks=pytest.mark.slow),
        pytest.param(
            "import a_part_that_is_gone",
            "ModuleNotFoundError: No module named 'a_part_that_is_gone'",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_numba_that_cannot_be_imported_is_told_in_a_line_each_time(tmp_path, source, said):
    (tmp_path / "numba").mkdir()
    (tmp_path / "numba" / "__init__.py").write_text(source)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    command = [sys.executable, "-c", BROKEN]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (0, 6 * SAYS.format(said)), done.stderr
    environment["NUMBA_DISABLE_JIT"] = "1"
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


ALONE = """
import os, signal, sys, threading, time
import numpy as np
from kernels import triad

def interrupts():
    while "numba.core" not in sys.modules:
        time.sleep(0.0005)
    os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
assert "compute" not in sys.modules
threading.Thread(target=interrupts).start()
try:
    triad(np.ones(3), np.ones(3), 2.0)
    time.sleep(60)
except KeyboardInterrupt:
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    print("right" if (triad(np.ones(3), np.ones(3), 2.0) == 3).all() else "wrong")
"""


@needs_compiler
def test_ctrl_c_cuts_no_import_off_where_kernels_are_alone(cache):
    says_right(cache, ALONE, "alone", firsts="")


PUT_OFF = """
import os, signal, sys, threading, time
if sys.argv[1] == "compute":
    import compute
from kernels.compilation import signal_guard

def interrupted(block):
    try:
        block()
    except KeyboardInterrupt:
        return True
    return False

def fails():
    with signal_guard.postponed():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise ValueError("the block's own")

def hears():
    signal.raise_signal(signal.SIGINT)

def forks():
    child = os.fork()
    if not child:
        os._exit(not (interrupted(hears) and signal.getsignal(signal.SIGINT) is signal.default_int_handler))
    ends.append(os.waitpid(child, 0)[1])

signal.signal(signal.SIGINT, signal.default_int_handler)
assert interrupted(fails)
ends, thread = [], threading.Thread(target=forks)
with signal_guard.postponed():
    thread.start()
    thread.join()
assert ends == [0], ends
assert interrupted(hears)
print("right")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("names", ["kernels", "compute"])
def test_ctrl_c_is_heard_after_a_block_that_fails_and_in_a_child_of_another_thread(cache, names):
    says_right(cache, PUT_OFF, names, firsts="")
