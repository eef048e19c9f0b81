"""A lane in each of several subinterpreters: what runs there, what is refused before anything begins, and its end."""

import builtins
import gc
import importlib.util
import os
import threading
import time
import weakref
from functools import partial

import numpy as np
import plain_bodies
import pytest
from example_kernels import squares
from patience import PATIENCE

from compute import Interpreters, Serial, Threads, run, scale
from compute.backends.interpreters import by_value
from compute.backends.interpreters.subinterpreter import unavailable
from compute.backends.lane_thread import LaneThread
from kernels import Plan, each, kernel, mandelbrot, triad

pytestmark = pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))

A = np.random.default_rng(7).random(50)


def made(body, *, dtype=np.float64, shape=None, **options):
    """A kernel of a body, in chunks of 7."""

    def plan(*inputs):
        return Plan(len(A), inputs, grain=7, dtype=dtype, shape=shape)

    return kernel(plan=plan, **({"compiled": False} | options))(body)


@pytest.fixture(scope="module")
def pool():
    with Interpreters(2).open() as pool:
        yield pool


def same_as_serial(pool, of, *args, **kw):
    found, alone = pool.run(of, *args, **kw).value, run(of, *args, on=Serial(), **kw).value
    assert np.asarray(found).dtype == np.asarray(alone).dtype
    assert np.asarray(found).tobytes() == np.asarray(alone).tobytes()


# ---------------------------------------------------------------- Python bodies


@pytest.mark.parametrize("body", plain_bodies.SAME, ids=lambda body: body.__name__)
def test_a_python_body_computes_there_what_it_computes_here(pool, body):
    same_as_serial(pool, made(body), A)


@pytest.mark.parametrize("body", plain_bodies.NOT_THE_SAME, ids=lambda body: body.__name__)
def test_a_body_that_may_differ_is_refused_before_a_lane_begins(pool, body):
    with pytest.raises(ValueError, match="run it on Threads") as refusal:
        pool.run(made(body), A)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (plain_bodies.uses_numpy, "reads np, which is numpy's|needs numpy"),
        (plain_bodies.uses_a_global_array, "reads WEIGHTS"),
        (plain_bodies.imports_numpy, "needs numpy .imports_numpy's import of it."),
        (plain_bodies.by_global, "sets the global SCALE"),
    ],
)
def test_what_a_body_reads_and_cannot_have_there_is_named(pool, body, word):
    assert pool.backend.refuses(made(body))
    with pytest.raises(ValueError, match=word) as refusal:
        pool.run(made(body), A)
    assert "\n" not in str(refusal.value)


def test_a_body_is_as_the_caller_has_it_now(pool, monkeypatch):
    scaled = made(plain_bodies.calls_helpers)
    before = pool.run(scaled, A).value
    monkeypatch.setattr(plain_bodies, "SCALE", 5)
    same_as_serial(pool, scaled, A)
    assert not np.array_equal(pool.run(scaled, A).value, before)
    monkeypatch.setattr(plain_bodies, "TABLE", [3.0, 1.0, 0.5])
    same_as_serial(pool, made(plain_bodies.uses_math), A)
    plain_bodies.TABLE[1] = 7.0
    same_as_serial(pool, made(plain_bodies.uses_math), A)


def test_lanes_that_run_python_are_at_work_at_the_same_time(pool):
    words = np.zeros(2, np.int64)
    meeting = kernel(plan=lambda words: Plan(2, (words,), grain=1), compiled=False, inout=("words",))(
        plain_bodies.meets
    )
    assert pool.run(meeting, words).value.tolist() == [1.0, 1.0]
    assert words.tolist() == [1, 1]  # the caller's own memory


@pytest.mark.parametrize(
    ("body", "a", "dtype"),
    [
        (plain_bodies.moves, np.float32, np.float64),
        (plain_bodies.moves, np.int16, np.int64),
        (plain_bodies.spreads, np.int64, np.int64),
        (plain_bodies.as_floats, np.float32, np.float32),
    ],
)
def test_dtypes_and_strides(pool, body, a, dtype):
    for view in ((100 * A).astype(a), np.repeat((100 * A).astype(a), 2)[::2], (100 * A).astype(a)[::-1]):
        same_as_serial(pool, made(body, dtype=dtype), view)


def test_arrays_of_two_axes_as_they_lie(pool):
    turned = np.arange(200.0).reshape(50, 4)
    same_as_serial(pool, made(plain_bodies.transposed, shape=(50, 4)), turned.T)
    same_as_serial(pool, made(plain_bodies.transposed, shape=(50, 4)), np.asfortranarray(turned.T))


def test_what_a_body_raises_comes_back_with_its_chunk_and_its_traceback(pool):
    with pytest.raises(KeyError, match="no such thing") as raised:
        pool.run(made(plain_bodies.fails_at), A, 30)
    notes = "\n".join(raised.value.__notes__)
    assert "in chunk 4 (indices 28..35) of fails_at" in notes
    assert "in value_at" in notes
    assert 'raise KeyError("no such thing")' in notes
    same_as_serial(pool, made(plain_bodies.fails_at), A, -1)  # and the pool goes on


def test_a_number_that_a_memoryview_does_not_take_says_what_to_do(pool):
    with pytest.raises(TypeError, match="memoryview: invalid type") as raised:
        pool.run(made(plain_bodies.stores_a_table, dtype=np.int64))
    assert "make it one by int(…)" in "\n".join(raised.value.__notes__)


def test_a_write_to_an_input_is_refused(pool):
    def writes(lo, hi, out, a):
        put(a, lo)
        out[lo] = a[lo]

    def put(a, i):
        a[i] = 1.0

    with pytest.raises(ValueError, match="inputs are read-only"):
        pool.run(made(writes), A)


def test_numpys_errstate_is_not_lost_in_silence(pool):
    with np.errstate(over="raise"), pytest.raises(ValueError, match="errstate"):
        pool.run(made(plain_bodies.computes), A)


# ---------------------------------------------------------------- compiled bodies


def test_compiled_bodies_take_arrays_numbers_and_tuples_of_them(pool):
    def mixed(lo, hi, out, a, pair, flag, whole, point, nothing):
        for i in range(lo, hi):
            out[i] = a[i] * pair[0][i] + pair[1] + whole + point.real * point.imag
            if flag and nothing is None:
                out[i] += 1.0

    same_as_serial(pool, made(mixed, compiled=True), A[::-1], (A, 3), True, np.int32(4), 1 + 2j, None, variant="nogil")


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.uint64, np.complex128, np.bool_])
def test_compiled_bodies_take_every_dtype(pool, dtype):
    same_as_serial(pool, made(plain_bodies.moves, compiled=True, dtype=dtype), A.astype(dtype), variant="nogil")


def test_what_compiled_code_raises_is_raised_here(pool):
    def fails(lo, hi, out, bad):
        for i in range(lo, hi):
            if i == bad:
                raise ValueError("no good")
            out[i] = i

    with pytest.raises(ValueError, match="no good") as raised:
        pool.run(made(fails, compiled=True), 30, variant="nogil")
    assert "in chunk 4 (indices 28..35) of fails" in "\n".join(raised.value.__notes__)
    same_as_serial(pool, made(fails, compiled=True), -1, variant="nogil")


def test_machine_code_that_calls_python_is_refused(pool):
    def prints(lo, hi, out, a):
        print(lo)
        out[lo] = a[lo]

    with pytest.raises(ValueError, match="machine code calls Python") as refusal:
        pool.run(made(prints, compiled=True), A, variant="nogil")
    assert "\n" not in str(refusal.value)


def test_figures_of_lanes_are_noted(pool):
    for variant in ("python", "nogil"):
        pool.warm(squares, np.arange(30_000.0), variant=variant)
        with pool.observed():
            lanes = pool.run(squares, np.arange(30_000.0), variant=variant).timeline.lanes
        assert {lane.process for lane in lanes} == {os.getpid()}
        assert threading.get_native_id() not in {lane.thread for lane in lanes}
        assert all(lane.voluntary is not None and lane.faults is not None for lane in lanes)
        assert sum(lane.cpu for lane in lanes) > 0


# ---------------------------------------------------------------- functions over items


def test_a_function_over_items(pool):
    assert pool.map(plain_bodies.cubed, range(1000)) == [n**3 for n in range(1000)]
    assert pool.map(lambda x: x + 1, [2**70, 1.5]) == [2**70 + 1, 2.5]
    assert pool.starmap(max, [(1, 2), (5, 3)]) == [2, 5]
    assert pool.map(partial(pow, 2), range(5)) == [1, 2, 4, 8, 16]
    assert pool.map(plain_bodies.cubed, []) == []


def test_what_two_names_stand_for_is_one_object_there(pool):
    assert pool.map(plain_bodies.by_notes, range(5)) == [1, 2, 5, 10, 17]
    assert plain_bodies.KNOWN == {}


def test_errors_of_items_are_raised_or_returned(pool):
    with pytest.raises(ZeroDivisionError) as raised:
        pool.map(plain_bodies.half, [1, 0, 2])
    assert "in item 1 of half: 0" in raised.value.__notes__
    one, error, two = pool.run(each(plain_bodies.half, errors="return"), [1, 0, 2]).value
    assert (one, type(error), two) == (1.0, ZeroDivisionError, 0.5)


def test_a_generator_of_a_bodys_own_is_the_same_everywhere(pool):
    assert pool.map(plain_bodies.draws_its_own, range(9)) == [plain_bodies.draws_its_own(x) for x in range(9)]


def test_any_error_comes_back(pool):
    with pytest.raises(SystemExit, match="3"):
        pool.map(plain_bodies.leaves, range(4))
    with pytest.raises(OSError, match="with something that does not pickle") as raised:
        pool.map(plain_bodies.breaks, [1])
    assert "in breaks" in "\n".join(raised.value.__notes__)


@pytest.mark.parametrize(
    ("kernel_", "items", "word"),
    [
        (each(plain_bodies.cubed), [plain_bodies.Point(1)], "item 0 of cubed.*made of Point, of plain_bodies"),
        (each(plain_bodies.cubed), [np.float64(3)], "numpy"),
        (each(plain_bodies.moved), [1], "reads Point"),
        (each(plain_bodies.slowly, timeout=9.0), [1], "timeout"),
        (each(lambda x, rng: x, seed=3), [1], "numpy"),
        (each(plain_bodies.draws), [1], "draws reads random.random, which is drawn from one generator"),
        (each(plain_bodies.draws_by_name), [1], "reads gauss, which is a generator of random numbers"),
        (each(threading.Lock().acquire), [1], "acquire reads f, .* cannot have it"),
    ],
)
def test_what_cannot_be_there_is_refused_in_one_line(pool, kernel_, items, word):
    with pytest.raises((ValueError, TypeError), match=word) as refusal:
        pool.run(kernel_, items)
    assert "\n" not in str(refusal.value)


def test_a_coroutine_function_is_refused(pool):
    async def waits(x):
        return x

    with pytest.raises(ValueError, match="Coroutines"):
        pool.map(waits, [1])


def test_a_result_that_does_not_pickle_names_its_items(pool):
    with pytest.raises(TypeError, match="a result of <lambda>, of items 0 to 0, does not pickle"):
        pool.map(lambda x: (n for n in ()), [1])


def test_tasks_that_come_one_by_one_are_refused(pool):
    for tasks in (pool.executor, lambda: pool.imap(plain_bodies.cubed, range(30))):
        with pytest.raises(ValueError, match="subinterpreters share no objects"):
            tasks()


# ---------------------------------------------------------------- around


def test_it_is_measured_like_every_other_backend():
    scaling = scale(squares, np.arange(9000.0), on=[Interpreters(2)], variants=["python", "nogil"], rounds=1)
    found = {(point.backend, point.variant, point.workers) for point in scaling.points}
    assert found >= {("interpreters", "python", 2), ("interpreters", "nogil", 2)}


def test_a_kernel_that_is_refused_is_left_out_with_the_reason():
    scaling = scale(made(plain_bodies.by_sum), A, on=[Interpreters(2), Threads(2)], rounds=1)
    assert {point.backend for point in scaling.points} == {"serial", "threads"}
    assert any("by_sum has `a`" in warning for warning in scaling.warnings)


def test_progress_is_told_and_bodies_are_checked(pool):
    told = []
    value = pool.run(mandelbrot.python, (20, 20), progress=lambda *done: told.append(done), check=True).value
    assert np.array_equal(value, mandelbrot.python((20, 20)))
    assert told[-1][0] == told[-1][1] > 1


def test_a_run_inside_a_lane_runs_here_and_alone():
    def inside(x):
        return run(mandelbrot.python, (3, 3), on=Interpreters(2)).timeline.lanes

    (lanes,) = run(each(inside), [1], on=Threads(2)).value
    assert len(lanes) == 1


def test_pools_end_whoever_ends_them(no_leaks):
    import _interpreters as interpreters  # of 3.13 and of 3.14

    before = len(interpreters.list_all())
    first = Interpreters(2).open()
    threads = [lane.thread for lane in first._threads._lanes]
    assert len(interpreters.list_all()) == before + 2
    first.close()
    second = Interpreters(1).open()
    threads += [lane.thread for lane in second._threads._lanes]
    gone = weakref.ref(second)
    del first, second
    gc.collect()
    assert gone() is None
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert len(interpreters.list_all()) == before


def test_nothing_of_a_run_is_kept(pool):
    given = np.random.default_rng(3).random(200_000)
    gone = weakref.ref(given)
    pool.run(triad, given, given, 2.0, variant="nogil")
    pool.run(made(plain_bodies.copies), given)
    del given
    until = time.monotonic() + PATIENCE
    while gone() is not None and time.monotonic() < until:  # a lane may come late to a run
        pool.rest()
        gc.collect()
    assert gone() is None


def test_a_program_that_closes_no_pool_ends_without_a_word(script):
    done = script(
        "from compute import Interpreters\n"
        "from kernels import mandelbrot\n"
        "pool = Interpreters(2).open()\n"
        "print(pool.run(mandelbrot, (9, 9), variant='python').value.sum())\n"
        "print(pool.map(lambda x: x + 1, range(3)))\n"
    )
    assert done.stdout.splitlines()[1] == "[1, 2, 3]"


# Whether every lane waits for a job, and whether every lane has one.
AT_WORK = """
def idle():
    return all(lane.sleeps for lane in pool._threads._lanes)
def at_work():
    return not any(lane.sleeps for lane in pool._threads._lanes)
"""


def test_ctrl_c_ends_a_run_and_the_pool_goes_on(script):
    done = script(
        "import os, signal, threading\n"
        "from compute import Interpreters\n"
        "from watched import wait_for\n"
        "def slowly(x):\n    import time\n    time.sleep(0.02)\n    return x\n"
        f"{AT_WORK}"
        "def interrupt():\n"
        "    wait_for(at_work)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "with Interpreters(2).open() as pool:\n"
        "    pool.map(slowly, range(2))\n"
        "    wait_for(idle)\n"
        "    threading.Thread(target=interrupt).start()\n"
        "    try:\n        pool.map(slowly, range(100_000))\n"
        "    except KeyboardInterrupt:\n        print('stopped')\n"
        "    print(pool.map(slowly, range(3)))\n"
    )
    assert done.stdout.splitlines() == ["stopped", "[0, 1, 2]"]


def test_the_end_of_a_program_in_the_middle_of_a_run_ends_the_run(script):
    done = script(
        "import atexit, threading\n"
        f"def told():\n    running.join({PATIENCE})\n    print(*said)\n"
        "atexit.register(told)\n"  # called after what modules register that are imported later
        "from compute import Interpreters\n"
        "from watched import wait_for\n"
        "def slowly(x):\n    import time\n    time.sleep(0.02)\n    return x\n"
        "pool, said = Interpreters(2).open(), []\n"
        f"{AT_WORK}"
        "pool.map(slowly, range(2))\n"
        "wait_for(idle)\n"
        "def runs():\n"
        "    try:\n        pool.map(slowly, range(100_000))\n"
        "    except RuntimeError as error:\n        said.append(error)\n"
        "running = threading.Thread(target=runs, daemon=True)\n"
        "running.start()\n"
        "wait_for(at_work)\n"
    )
    assert done.stdout.splitlines() == ["the program ended in the middle of this run"]


def test_what_the_user_has_put_among_pythons_builtins_is_found_there(pool, monkeypatch):
    monkeypatch.setattr(builtins, "shouted", lambda x: f"{x}!", raising=False)
    monkeypatch.setattr(builtins, "ascii", lambda x: f"<{x}>")
    assert pool.map(lambda x: shouted(ascii(x)), ["a"]) == ["<a>!"]  # noqa: F821


# ---------------------------------------------------------------- what a message names


def test_modules_of_one_name_keep_their_own_globals(pool, tmp_path):
    def helper_of(factor):
        path = tmp_path / f"file_{factor}.py"
        path.write_text(f"FACTOR = {factor}.0\n\n\ndef scaled(x):\n    return x * FACTOR\n")
        spec = importlib.util.spec_from_file_location("twins", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.scaled

    two, three = helper_of(2), helper_of(3)

    def body(lo, hi, out, a):
        for i in range(lo, hi):
            out[i] = float(two(float(a[i]))) - float(three(float(a[i])))

    same_as_serial(pool, made(body), A)


def test_a_body_whose_code_is_another_by_now_is_read_again(pool):
    def body(lo, hi, out, a):
        for i in range(lo, hi):
            out[i] = float(a[i])

    of = made(body)
    same_as_serial(pool, of, A)
    body.__code__ = plain_bodies.NOT_THE_SAME[0].__code__
    with pytest.raises(ValueError, match="run it on Threads"):
        pool.run(of, A)


def test_the_code_that_a_message_names_lives_as_long_as_the_message(pool, monkeypatch):
    given = []
    give = LaneThread.give
    monkeypatch.setattr(LaneThread, "give", lambda lane, job: (given.append(job), give(lane, job)))

    def body(lo, hi, out, a):
        for i in range(lo, hi):
            out[i] = float(a[i]) + 1.0

    same_as_serial(pool, made(body), A)
    content = weakref.ref(by_value.code_of(body, "body").content)
    pool.run(made(plain_bodies.SAME[0]), A)  # another message is the pool's by now
    by_value._known.clear()
    gc.collect()
    assert content() is not None


def test_a_body_that_imports_random_and_draws_is_refused(pool):
    def body(lo, hi, out, a):
        import random

        for i in range(lo, hi):
            out[i] = random.random()

    with pytest.raises(ValueError, match="random"):
        pool.run(made(body), A)
