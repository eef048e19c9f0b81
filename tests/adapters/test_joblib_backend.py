"""joblib.Parallel on our workers: what joblib promises, and what is ours (shared arrays, warm workers, deaths)."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import time
import warnings
from pathlib import Path

import pytest
from joblib import Parallel, delayed, parallel_config
from joblib.parallel import get_active_backend
from lokys_end import end_loky
from patience import PATIENCE

import compute.adapters.joblib as ours
from compute import Processes
from kernels import each

pytestmark = pytest.mark.usefixtures("nobody_idle", "on_nfold")


def process(_=None):
    time.sleep(0.02)
    return os.getpid()


def test_values_in_order():
    assert Parallel()(delayed(pow)(i, 2) for i in range(3000)) == [i**2 for i in range(3000)]


def test_functions_travel_by_value():
    offset = 3
    assert Parallel()(delayed(lambda x: x + offset)(i) for i in range(5)) == [3, 4, 5, 6, 7]


def test_other_processes_do_it_and_stay_for_the_next_call():
    first = set(Parallel(batch_size=1)(delayed(process)() for _ in range(20)))
    second = set(Parallel(batch_size=1)(delayed(process)() for _ in range(20)))
    assert os.getpid() not in first
    assert len(first) == 2
    assert second == first


def test_a_long_task_keeps_nobody_waiting(tmp_path):
    """The first task ends only when all others have ended."""

    def follow(folder, i):
        if i == 0:
            while len(list(folder.iterdir())) < 20:
                time.sleep(0.001)
        else:
            (folder / str(i)).touch()
        return i

    assert Parallel(batch_size=1)(delayed(follow)(tmp_path, i) for i in range(21)) == list(range(21))


def test_a_generator_gives_results_in_order_as_they_come():
    values = Parallel(return_as="generator")(delayed(pow)(i, 2) for i in range(50))
    assert next(values) == 0
    assert list(values) == [i**2 for i in range(1, 50)]


def test_tasks_are_batched_where_they_are_short():
    batches = []

    class Counting(Parallel):
        def _dispatch(self, batch):
            batches.append(len(batch))
            super()._dispatch(batch)

    assert Counting()(delayed(abs)(i) for i in range(5000)) == list(range(5000))
    assert batches[0] == 1
    assert len(batches) < 200


# Errors.


def test_an_error_is_the_tasks_own_with_the_workers_traceback():
    def divide(x):
        return 1 / x

    with pytest.raises(ZeroDivisionError) as caught:
        Parallel()(delayed(divide)(x) for x in (3, 2, 1, 0, 1))
    assert "in divide" in "".join(caught.value.__notes__)


def test_an_error_that_does_not_pickle_is_told():
    class Local(Exception):
        def __init__(self, lock, told):
            super().__init__(told)
            self.lock = lock

    def fail():
        import threading

        raise Local(threading.Lock(), "seven devils")

    with pytest.raises(RuntimeError, match="Local: seven devils"):
        Parallel()(delayed(fail)() for _ in range(2))


@pytest.mark.parametrize("n_tasks", [1, 50])
def test_what_does_not_pickle_is_told(n_tasks):
    with pytest.raises(pickle.PicklingError, match="the task to send cannot be pickled"):
        Parallel()(delayed(print)(generator) for generator in [(i for i in "ab")] * n_tasks)


def test_a_result_that_does_not_pickle_is_told():
    with pytest.raises(TypeError, match="generator"):
        Parallel()(delayed(lambda: (i for i in "ab"))() for _ in range(2))


def test_after_an_error_the_next_call_works_and_nothing_of_the_last_one_goes_on(tmp_path):
    def task(folder, i):
        if i == 0:
            raise LookupError("first")
        time.sleep(0.5)
        (folder / str(i)).touch()

    with pytest.raises(LookupError):
        Parallel(batch_size=1)(delayed(task)(tmp_path, i) for i in range(8))
    assert Parallel()(delayed(abs)(-i) for i in range(9)) == list(range(9))
    made = sorted(tmp_path.iterdir())
    time.sleep(1)
    assert sorted(tmp_path.iterdir()) == made


FOR_EVER = 10 * PATIENCE  # s: who waits for such a task is ended by the suite's limit


def test_a_timeout_is_an_error_and_ends_the_task():
    with pytest.raises(multiprocessing.TimeoutError):
        Parallel(timeout=0.2)(delayed(time.sleep)(FOR_EVER) for _ in range(2))


def die_once(folder: Path, i):
    if i == 3:
        marker = folder / "died"
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return i


def test_tasks_whose_worker_dies_are_run_again(tmp_path):
    assert Parallel(batch_size=2)(delayed(die_once)(tmp_path, i) for i in range(12)) == list(range(12))
    assert (tmp_path / "died").exists()


def test_a_task_whose_worker_always_dies_is_an_error():
    with pytest.raises(Exception, match="3 times"):
        Parallel()(delayed(os._exit)(3) for _ in range(2))
    assert Parallel()(delayed(abs)(-i) for i in range(9)) == list(range(9))


@pytest.mark.parametrize("at_once", [False, True])
def test_a_generator_that_is_dropped_stops_its_tasks(at_once):
    first = FOR_EVER if at_once else 0  # at once is before the workers have been given anything
    values = Parallel(return_as="generator", batch_size=1)(
        delayed(time.sleep)(first if i == 0 else FOR_EVER) for i in range(8)
    )
    if not at_once:
        next(values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # joblib says that tasks were cancelled
        del values
    assert Parallel()(delayed(abs)(-i) for i in range(9)) == list(range(9))


# Nesting.


def levels(depth=3):
    backend, _ = get_active_backend()
    told = [type(backend).__name__]
    return told if depth == 0 else told + Parallel(n_jobs=2)(delayed(levels)(depth - 1) for _ in range(2))[0]


def test_nested_calls_are_on_threads_and_below_them_on_none():
    assert levels() == ["NfoldBackend", "ThreadingBackend", "SequentialBackend", "SequentialBackend"]


def named(_):
    import compute.adapters.joblib  # noqa: F401  (workers that joblib has not sent a task do not know the name)

    with Parallel(n_jobs=2, backend="nfold") as parallel:
        return type(parallel._backend).__name__, parallel([delayed(os.getpid)()] * 2)


def test_a_nested_call_that_names_us_starts_no_processes():
    for name, pids in Parallel()(delayed(named)(i) for i in range(3)):
        assert name == "ThreadingBackend"
        assert len(set(pids)) == 1


def test_in_a_lane_of_ours_the_cpus_are_taken():
    with Processes(2).open() as pool:
        told = pool.run(each(named), range(2)).value
    assert [name for name, _ in told] == 2 * ["SequentialBackend"]


@pytest.mark.parametrize(("parent", "child"), [("nfold", "nfold"), ("threading", "nfold")])
def test_nested_calls_do_not_warn(parent, child):
    def nested():
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            Parallel(n_jobs=2, backend=child)(delayed(abs)(i) for i in range(3))
        return [str(one.message) for one in told]

    assert Parallel(n_jobs=2, backend=parent)(delayed(nested)() for _ in range(2)) == [[], []]


@pytest.mark.parametrize("child", ["loky", "multiprocessing"])
def test_processes_of_others_below_ours_are_refused_as_in_any_daemon(child):
    def nested():
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            Parallel(n_jobs=2, backend=child)(delayed(abs)(i) for i in range(3))
        return [str(one.message) for one in told]

    for (told,) in Parallel()(delayed(nested)() for _ in range(2)):
        assert "backed parallel loops cannot" in told


# Workers.


def threads_of_blas():
    import threadpoolctl

    libraries = threadpoolctl.threadpool_info()
    return os.environ["OMP_NUM_THREADS"], [one["num_threads"] for one in libraries if one["user_api"] == "blas"]


@pytest.mark.parametrize("inner", [1, 2])
def test_inner_threads_are_as_many_as_asked_for(inner):
    with parallel_config(backend="nfold", n_jobs=2, inner_max_num_threads=inner):
        for variable, counts in Parallel()(delayed(threads_of_blas)() for _ in range(2)):
            assert variable == str(inner)
            assert set(counts) <= {inner}


def test_the_callers_blas_keeps_its_threads():
    import threadpoolctl

    with threadpoolctl.threadpool_limits(2):
        before = threadpoolctl.threadpool_info()
        pids = Parallel(return_as="generator", batch_size=1)(delayed(process)() for _ in range(4))
        assert [threadpoolctl.threadpool_info() for _ in pids] == 4 * [before]


def test_an_initializer_runs_in_each_worker_and_in_none_of_a_call_without_one():
    def initialize(value):
        import builtins

        builtins.told_by_initializer = value

    def told():
        import builtins

        time.sleep(0.02)
        return getattr(builtins, "told_by_initializer", None)

    for _ in range(2):
        assert Parallel(initializer=initialize, initargs=(7,))(delayed(told)() for _ in range(8)) == 8 * [7]
    assert Parallel()(delayed(told)() for _ in range(8)) == 8 * [None]


def test_idle_workers_are_closed_when_their_time_is_over():
    pids = Parallel(idle_worker_timeout=0.1)(delayed(process)() for _ in range(2))
    deadline = time.monotonic() + PATIENCE
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_idle_workers_are_no_more_than_the_cpus():
    for n_jobs in (2, 3, 4):
        Parallel(n_jobs=n_jobs)(delayed(process)() for _ in range(4))
    assert [pool.workers for _, _, pool in ours._idle._pools] == [4]


# A program of its own.

MAIN = """
import compute.adapters.joblib
from joblib import Parallel, delayed, parallel_config

def square(x):
    return x ** 2

def run(f, x):
    return f(x)

with parallel_config(backend="nfold", n_jobs=2):
    print(Parallel()(delayed(square)(i) for i in range(5)))
    print(Parallel()(delayed(run)(square, i) for i in range(5)))
    print(Parallel()(delayed(run)(f=lambda x: square(x), x=i) for i in range(5)))
"""


def test_main(warm_python):
    assert warm_python.run(MAIN) == 3 * "[0, 1, 4, 9, 16]\n"


DROPPED = """
import compute.adapters.joblib, time
from joblib import Parallel, delayed
from patience import PATIENCE

values = Parallel(n_jobs=2, backend="nfold", return_as="generator", batch_size=1)(
    delayed(time.sleep)(0 if i == 0 else 10 * PATIENCE) for i in range(8)
)
next(values)
print("over")
"""


def test_a_program_that_ends_in_the_middle_does_not_wait(script):
    assert script(DROPPED, quiet=False).stdout == "over\n"


# scikit-learn, as a user of joblib.


def test_scikit_learn_has_the_same_scores_as_under_loky():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed; it comes with the extra `peers`")
    from sklearn.datasets import make_classification
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import GridSearchCV, cross_val_score
    from sklearn.svm import SVC

    X, y = make_classification(600, 20, random_state=0)
    told = {}
    for backend in ("loky", "nfold"):
        with parallel_config(backend=backend, n_jobs=2):
            forest = RandomForestClassifier(20, random_state=0).fit(X, y)
            grid = GridSearchCV(SVC(), {"C": [0.1, 1, 10], "gamma": [0.01, 0.1]}, cv=3).fit(X, y)
            scores = cross_val_score(RandomForestClassifier(10, random_state=1), X, y, cv=4)
        told[backend] = (
            forest.predict_proba(X).tolist(),
            grid.cv_results_["mean_test_score"].tolist(),
            grid.best_params_,
            scores.tolist(),
        )
    end_loky()
    assert told["nfold"] == told["loky"]
