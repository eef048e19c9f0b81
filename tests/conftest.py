"""What every test file is held to: nothing of it is left in /dev/shm, among the processes or among the descriptors."""

from __future__ import annotations

import gc
import importlib
import importlib.util
import os
import signal
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

import hypothesis
import pytest
import sampling
from leaks import KEPT, Leaks
from patience import PATIENCE
from warm_python import WarmPython

# The tests start a thousand processes. Each would look for work for its idle BLAS threads for 26 ms, ...
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")
# ... and compile this library's sources, where nobody may keep the outcome.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# A program's output has buffers, which can be lost.
os.environ.pop("PYTHONUNBUFFERED", None)
# numba takes no more threads than it finds CPUs when it is first imported.
if hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) == 1:
    os.environ.setdefault("NUMBA_NUM_THREADS", "2")
# An example that takes long on a busy machine is no failure: what ends a hang is the suite's own limit.
# Without a compiler many a test fails for that alone, and is skipped (below): no smaller example of it is looked for.
WITHOUT_NUMBA = importlib.util.find_spec("numba") is None
PHASES = [phase for phase in hypothesis.Phase if not (WITHOUT_NUMBA and phase.name in ("shrink", "explain"))]
hypothesis.settings.register_profile("quick", deadline=None, max_examples=20, phases=PHASES)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=100, phases=PHASES)  # make test-all
hypothesis.settings.load_profile("quick")
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a shell's background job: what it starts would be deaf too
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config):
    config.pluginmanager.register(sampling)


@pytest.hookimpl(wrapper=True)
def pytest_collection(session):
    """Find the tests without looking for garbage, of which there is none: it cost a third of the time."""
    gc.disable()
    try:
        import_a_share(session.config)
        return (yield)
    finally:
        gc.enable()


def import_a_share(config):
    """Where several processes collect all files, each imports a share of them first: so each is rewritten once.

    pytest rewrites what a test file asserts and keeps the outcome, which costs more than all the rest of an import.
    """
    if not hasattr(config, "workerinput") or config.args_source is not config.ArgsSource.TESTPATHS:
        return
    mine, processes = int(config.workerinput["workerid"].removeprefix("gw")), config.workerinput["workercount"]
    files = sorted(Path(__file__).parent.rglob("test_*.py"))
    for file in files[mine % processes :: processes]:
        if file.parent.name in config.getini("norecursedirs"):
            continue
        if str(file.parent) not in sys.path:
            sys.path.insert(0, str(file.parent))
        with suppress(Exception, pytest.skip.Exception, pytest.fail.Exception):  # whoever collects it is told
            importlib.import_module(file.stem)


# The files that take longest, which are begun first: whoever begins one last is waited for by all others.
# The table compiles every kernel, so it is the first of all; what else compiles several of them comes when it has.
LONGEST = (
    "backends/test_table.py",
    "faults/test_interrupts.py",
    "scaling/test_programs.py",
    "adapters/test_joblib_own_cases.py",
    "cluster/test_dask_table.py",
    "compilation/test_compilation.py",
    "backends/test_each.py",
    "lessons/test_elsewhere.py",
    "adapters/test_scaling_marker.py",
    "faults/test_deaths.py",
    "faults/test_nothing_grows.py",
    "memory/test_arena.py",
    "documents/test_readme.py",
    "cli/test_cli.py",
)


def pytest_collection_modifyitems(items):
    """The longest files first. In each, the cases of one backend follow each other: `pool_of` opens each pool once."""
    places = {Path(__file__).parent / file: place for place, file in enumerate(LONGEST)}

    def place(item):
        backend = item.callspec.params.get("backend") if hasattr(item, "callspec") else None
        whose = item.path, repr(backend) if "pool_of" in getattr(item, "fixturenames", ()) else None
        return places.setdefault(item.path, len(places)), places.setdefault(whose, len(places))

    items.sort(key=place)


@pytest.fixture(scope="session", autouse=True)
def garbage_aside():
    """Blocks that set garbage aside are inside this one, and do not count what is frozen below: it takes 40 ms."""
    from compute.scaling.garbage import garbage_set_aside

    with garbage_set_aside():
        yield
        gc.collect()
    gc.freeze()  # pytest looks for garbage twice more, each time among all that was ever imported: a second


@pytest.fixture(scope="module", autouse=True)
def leave_nothing():
    """Fail a test file that leaves a process, a descriptor or a shared-memory name behind."""
    if sys.platform != "linux":
        yield
        return
    before = Leaks()
    gc.freeze()  # what all files have imported: a collection, of which tests make hundreds, need not look at it again
    yield
    assert before.found() == {}


@pytest.fixture
def no_leaks():
    """The same for a single test."""
    before = Leaks()
    yield
    assert before.found() == {}


@pytest.fixture(scope="session")
def one_warm_python(tmp_path_factory):
    with WarmPython(tmp_path_factory.mktemp("scripts")) as warm_python:
        KEPT.append(warm_python.server)
        yield warm_python
        KEPT.clear()


@pytest.fixture(scope="module")
def warm_python(one_warm_python):
    """A Python that has imported numba and nfold, each of whose scripts begins at once."""
    yield one_warm_python
    one_warm_python.let_go()


@pytest.fixture(scope="module")
def importable(tmp_path_factory):
    """A folder whose modules this process imports, and every worker that it starts."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("importable")
        patch.syspath_prepend(folder)
        yield folder


@pytest.fixture(scope="module")
def finding_pools(importable):
    """Pools whose workers find that folder: two in this process, two of processes."""
    from compute import Joblib, Processes, Serial, Threads  # after the environment above

    with ExitStack() as stack:
        yield [stack.enter_context(backend.open()) for backend in (Serial(), Threads(2), Processes(2), Joblib(2))]


@pytest.fixture(scope="module")
def pool_of():
    """The open pool of a backend: opened at its first case, closed when another's comes."""
    with ExitStack() as stack:
        open_now = {}

        def pool_of(backend):
            if backend not in open_now:
                stack.pop_all().close()
                open_now.clear()
                open_now[backend] = stack.enter_context(backend.open())
            return open_now[backend]

        yield pool_of


@pytest.fixture
def script(tmp_path, request):
    """script(text, *args, timeout=PATIENCE, **env) -> the finished process of a Python script in a folder of its own.

    Anything that it writes on stderr is an error: warnings, and the resource tracker's last words.
    """
    root = Path(__file__).parent.parent
    paths = os.pathsep.join(map(str, (root, root / "tests", request.path.parent)))

    def run_script(text: str, *args: str, timeout: float = PATIENCE, quiet: bool = True, **env: str):
        path = tmp_path / "script.py"
        path.write_text(text)
        done = subprocess.run(
            # The tracker must not be made to swallow what it says of leaks.
            [sys.executable, "-W", "error", "-W", "default:resource_tracker", str(path), *args],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=os.environ | {"PYTHONPATH": paths} | env,
            cwd=tmp_path,
        )
        if quiet:
            assert done.stderr == "", done.stderr
            assert done.returncode == 0, done.stdout
        return done

    return run_script


if WITHOUT_NUMBA:  # as on a free-threaded 3.13: what needs the compiler is skipped
    # What asks for it says one of these, in whichever process it runs.
    NEEDS = (
        "No module named 'numba",
        "No module named 'llvmlite",
        "needs numba's compiler",
        "numba's threads, and numba is not",
    )

    def pytest_itemcollected(item):
        if any("numba" in str(mark.args) for mark in item.iter_markers("filterwarnings")):
            item.own_markers = [mark for mark in item.own_markers if mark.name != "filterwarnings"]
            item.add_marker(pytest.mark.skip(reason="it names a warning of numba's"))

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(collector):
        report = yield
        if report.failed and any(words in str(report.longrepr) for words in NEEDS):
            report.outcome, report.longrepr = "skipped", (str(collector.path), 0, "it imports numba, which is not here")
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(item, call):
        report = yield
        if report.failed and any(words in str(report.longrepr) for words in NEEDS):
            report.outcome, report.longrepr = "skipped", (str(item.path), 0, "it needs numba's compiler")
            for name in ("last_exc", "last_value", "last_traceback"):  # they would keep the test's arrays
                vars(sys).pop(name, None)
        return report
