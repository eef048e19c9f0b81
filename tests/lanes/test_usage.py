"""What lanes note of themselves where a run is observed, on every backend; and where the system tells nothing."""

import ctypes
import mmap
import os
import sys
import threading

import numpy as np
import pytest
from every_case import INTERPRETERS
from example_kernels import fails

from compute import Coroutines, Joblib, Prange, Processes, Serial, Threads
from compute.lanes import usage
from compute.lanes.control import BEFORE, FILE, PIN, QUEUED, READINGS, UNKNOWN, ControlArray, line_of
from compute.scaling.ceiling import pins
from kernels import Plan, count_primes

ON = [
    Serial(),
    Threads(2),
    pytest.param(Prange(2), marks=pytest.mark.slow),
    Processes(2),
    Joblib(2),
    Joblib(2, kind="threading"),
    Coroutines(2),
    *INTERPRETERS,
]
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells all of it")


@linux
@pytest.mark.parametrize("backend", ON, ids=repr)
def test_lanes_are_pinned_and_let_go_and_note_what_they_used(backend):
    before, cpus = os.sched_getaffinity(0), pins(backend.workers)
    with backend.open() as pool:
        for variant, size in ("nogil", 10**7), ("python", 10**5):
            if backend.refuses(count_primes.held_to(variant)):
                continue
            pool.warm(count_primes, size, variant=variant)
            with pool.observed(cpus):
                lanes = pool.run(count_primes, size, variant=variant).timeline.lanes
            after = pool.run(count_primes, size, variant=variant).timeline.lanes
            assert os.sched_getaffinity(0) == before
            assert_all_is_noted(backend, cpus, lanes)
            assert all(lane.cpu_number is None and lane.process_cpu is None for lane in after)


def assert_all_is_noted(backend, cpus, lanes):
    """What lanes that were observed, pinned to these CPUs, have to tell."""
    one_thread = backend.name == "coroutines"  # all of it on the first lane's CPU
    told = [cpus[0 if one_thread else lane.lane] if cpus else None for lane in lanes]
    assert [lane.cpu_number for lane in lanes] == told
    for lane in lanes[:1] if one_thread else lanes:
        assert lane.process_cpu is not None
        assert lane.process_cpu >= lane.cpu * 0.9
        if os.path.exists(usage.SCHEDSTAT):
            assert lane.queued is not None
            assert 0 <= lane.queued <= lane.wall + 0.1
        assert None not in (lane.voluntary, lane.involuntary, lane.faults)


@linux
def test_prange_lanes_say_which_thread_they_were():
    with Prange(2).open() as pool:
        pool.warm(count_primes, 10**7)
        with pool.observed():
            lanes = pool.run(count_primes, 3 * 10**7).timeline.lanes
    assert len({lane.thread for lane in lanes}) == len(lanes)


@linux
@pytest.mark.parametrize("variant", ["python", "nogil"])
@pytest.mark.parametrize("backend", [Serial(), Threads(2), Prange(2), Coroutines(2), *INTERPRETERS], ids=repr)
def test_after_an_error_nothing_is_held(backend, variant, no_leaks):
    if variant == "python" and backend.name == "prange":
        pytest.skip("prange runs compiled variants only")
    before = os.sched_getaffinity(0)
    with backend.open() as pool:
        with pool.observed(pins(backend.workers)), pytest.raises(ValueError, match="no good"):
            pool.run(fails, 20, 7, variant=variant)
        assert os.sched_getaffinity(0) == before


def a_control(*cpus):
    control = ControlArray(np.zeros(ControlArray.length(1, 1), np.int64))
    control.lay_out(Plan(1), 1, detailed=True, pins=cpus)
    return control


@pytest.fixture
def afresh():
    """This thread's file is opened when it is next asked for, and closed in the end."""
    usage.forget()
    yield
    usage.forget()


def test_a_cpu_that_is_refused_is_not_claimed(afresh):
    control = a_control(100_000)
    with usage.shared_thread_usage(control.words, 0):
        pass
    assert control.words[line_of(0) + PIN] == 0


def test_where_the_system_tells_nothing_nothing_is_claimed(monkeypatch, tmp_path, afresh):
    monkeypatch.setattr(usage, "SCHEDSTAT", str(tmp_path / "none"))
    monkeypatch.setattr(usage, "RUSAGE_THREAD", None)
    control = a_control()
    with usage.shared_thread_usage(control.words, 0):
        pass
    assert usage.read(UNKNOWN)[:4] == (UNKNOWN,) * 4
    row = control.words[line_of(0) : line_of(1)]
    assert ControlArray._details(row)["queued"] is None
    assert ControlArray._details(row)["faults"] is None


def native(what):
    """A function of compute.lanes.native_usage, to be called from Python."""
    from llvmlite import ir

    from compute.lanes import native_usage
    from kernels.compilation import linking

    module, word, visits = ir.Module(what), ir.IntType(64), what in ("arrive", "leave")
    made = native_usage.emit_visits(module)[what] if visits else getattr(native_usage, what)
    words = word.as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [words, word, *[words] * visits])
    function = ir.Function(module, kind, f"calls_{what}")
    builder = ir.IRBuilder(function.append_basic_block())
    made(builder, *function.args)
    builder.ret_void()
    address = linking.loaded(linking.object_code_of(module), function.name)
    call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, *[ctypes.c_void_p] * visits)(address)
    return lambda control, line, *former: call(control.ctypes.data, line, *(words.ctypes.data for words in former))


both = pytest.mark.parametrize("of", [lambda what: getattr(usage, what), native], ids=["python", "compiled"])


@linux
@both
@pytest.mark.parametrize(
    ("text", "waited"), [("", None), ("12", None), ("12 ", None), ("a b c", None), ("5 1234567890123 7\n", 0.0)]
)
def test_a_file_that_says_something_else_says_nothing(monkeypatch, tmp_path, afresh, of, text, waited):
    (tmp_path / "schedstat").write_text(text)
    monkeypatch.setattr(usage, "SCHEDSTAT", str(tmp_path / "schedstat"))
    control, line = a_control(), line_of(0)
    usage.arrive(control.words, line, set())
    of("begin")(control.words, line)
    of("end")(control.words, line)
    assert control.words[line + BEFORE] == (UNKNOWN if waited is None else 1234567890123)
    assert ControlArray._details(control.words[line:])["queued"] == waited


@linux
@both
def test_what_is_noted_is_what_came_between(monkeypatch, tmp_path, afresh, of):
    path = tmp_path / "schedstat"
    monkeypatch.setattr(usage, "SCHEDSTAT", str(path))
    path.write_text("5 1000 7\n")
    control, line = a_control(), line_of(0)
    usage.arrive(control.words, line, set())
    begin, end = of("begin"), of("end")
    for waits in (30, 12):  # a lane may come back to Python and go on: its parts add up
        begin(control.words, line)
        with mmap.mmap(-1, 1 << 20) as fresh:  # what malloc gives may have been touched before
            fresh[0] = 1
        path.write_text(f"5 {1000 + waits} 7\n")
        end(control.words, line)
        path.write_text("5 1000 7\n")
    queued, voluntary, involuntary, faults, process_cpu = control.words[line + QUEUED : line + QUEUED + READINGS]
    assert queued == 42
    assert voluntary >= 0
    assert involuntary >= 0
    assert faults > 0
    assert process_cpu > 0


def visit(of, control, line):
    """The CPUs of this thread once it has arrived, and once it has left."""
    former = np.full(16, -1) if of is native else set()
    of("arrive")(control, line, former)
    there = os.sched_getaffinity(0)
    of("leave")(control, line, former)
    return there, os.sched_getaffinity(0)


@linux
@both
def test_both_kinds_of_threads_arrive_at_their_cpu_and_leave_it(afresh, of):
    before = os.sched_getaffinity(0)
    try:
        for cpu in (max(before), min(before)):
            for former in (before, {cpu}):
                os.sched_setaffinity(0, former)
                control, line = a_control(cpu), line_of(0)
                assert visit(of, control.words, line) == ({cpu}, former)
                assert control.words[line + PIN] == cpu + 1
                named = int(control.words[line + FILE])
                assert os.path.exists(usage.SCHEDSTAT) == (named != UNKNOWN)
    finally:
        os.sched_setaffinity(0, before)


@linux
@both
@pytest.mark.parametrize("cpu", [1023, 1024, 100_000])
def test_a_cpu_that_is_not_there_is_not_claimed_by_either_kind(afresh, of, cpu):
    before = os.sched_getaffinity(0)
    control, line = a_control(cpu), line_of(0)
    assert visit(of, control.words, line) == (before, before)
    assert control.words[line + PIN] == 0


@linux
@both
def test_both_kinds_of_lanes_read_the_same(afresh, of):
    control, line = a_control(), line_of(0)
    usage.arrive(control.words, line, set())
    before = usage.read(int(control.words[line + FILE]))
    of("begin")(control.words, line)
    now = control.words[line + BEFORE : line + BEFORE + READINGS].tolist()
    after = usage.read(int(control.words[line + FILE]))
    assert all(first <= here <= last for first, here, last in zip(before, now, after, strict=True))


@linux
@pytest.mark.skipif(not os.path.exists(usage.SCHEDSTAT), reason="no schedstat here")
def test_an_open_file_tells_of_now_and_is_its_threads_own(afresh, no_leaks):
    def cpu():
        return int(os.pread(usage.schedstat(), 96, 0).split()[0])

    def burn():
        return sum(k * k for k in range(200_000))

    file, first = usage.schedstat(), cpu()
    assert burn()
    os.sched_yield()  # the account is brought up to date at a tick or a switch
    assert cpu() > first
    assert usage.schedstat() == file
    met = []
    other = threading.Thread(target=lambda: met.append(os.readlink(f"/proc/self/fd/{usage.schedstat()}")))
    other.start()
    other.join()
    assert met[0] != os.readlink(f"/proc/self/fd/{file}")
    usage.forget()


FORKS = """
import os
from compute.lanes import usage

def mine():
    return os.readlink(f"/proc/self/fd/{usage.schedstat()}").split("/")[2] == str(os.getpid())

assert mine()
child = os.fork()
if child == 0:
    os._exit(0 if mine() else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


@linux
@pytest.mark.skipif(not os.path.exists(usage.SCHEDSTAT), reason="no schedstat here")
def test_a_fork_reads_a_file_of_its_own(script):
    script(FORKS, OPENBLAS_NUM_THREADS="1")  # Python 3.12 warns of a fork where there are threads


NEVER_CLOSED = """
from compute import Threads
from kernels import count_primes

pool = Threads(2).open()
with pool.observed():
    print(pool.run(count_primes, 10**6).value)
"""


def test_a_pool_that_nobody_closes_ends_in_silence(warm_python):
    assert warm_python.run(NEVER_CLOSED, to_the_end=True) == "78498\n"
