"""Errors of every odd class, raised by an item's function, arrive on every backend with their words and their place."""

from __future__ import annotations

import importlib

import odd_errors
import pytest

from compute import Coroutines, Interpreters, Joblib, Processes, Serial, Threads
from compute.backends.interpreters.subinterpreter import unavailable
from kernels import Plan, kernel

SAME_OBJECT = [Serial(), Threads(2), Coroutines(2)]
PROCESSES = [Processes(2), Joblib(2)]
BACKENDS = SAME_OBJECT + PROCESSES + ([Interpreters(2)] if unavailable() is None else [])


def raises(item):
    module, name = item  # imported by name: its classes are not sent along, where some could not be
    raise importlib.import_module(module).ODD[name][0]()


async def raises_later(item):
    raises(item)


def failed(pool, name, **options):
    awaits = isinstance(pool.backend, Coroutines) and name != "StopIteration"  # which no coroutine may raise
    return pool.map(raises_later if awaits else raises, [("odd_errors", name)], **options)


@pytest.mark.parametrize("backend", BACKENDS, ids=repr)
@pytest.mark.parametrize("name", odd_errors.ODD)
def test_an_odd_error_arrives_raised_and_returned(pool_of, backend, name):
    pool = pool_of(backend)
    with pytest.raises(BaseException) as caught:
        failed(pool, name)
    arrived = [caught.value]
    if isinstance(odd_errors.ODD[name][0](), Exception):
        arrived += failed(pool, name, errors="return")
    for error in arrived:
        if backend in SAME_OBJECT or (backend not in PROCESSES and name == "only where made"):
            assert type(error).__name__ == type(odd_errors.ODD[name][0]()).__name__
        else:
            odd_errors.check(name, error)
            assert "in raises\n" in odd_errors.notes_of(error)
        if name not in ("notes are no list", "notes exit"):
            assert "in item 0 of raises" in odd_errors.notes_of(error)


@pytest.mark.parametrize("name", odd_errors.ODD)
def test_an_odd_error_arrives_from_a_task_and_as_its_result(pool_of, name):
    with pool_of(Processes(2)).executor() as executor:
        error = executor.submit(raises, ("odd_errors", name)).exception()
        odd_errors.check(name, error)
        assert "in raises\n" in odd_errors.notes_of(error)
        odd_errors.check(name, executor.submit(returns, ("odd_errors", name)).result())


def returns(item):
    return importlib.import_module(item[0]).ODD[item[1]][0]()


@pytest.mark.parametrize("backend", BACKENDS[:5], ids=repr)
@pytest.mark.parametrize("name", ["text exits", "text interrupts", "text is a number", "frozen", "own traceback"])
def test_an_odd_error_of_a_kernels_body_arrives(pool_of, backend, name):
    """These are looked at for what numpy and numba say, to which there may be a remedy."""

    @kernel(plan=lambda name: Plan(1, (name,)), compiled=False)
    def fails(lo, hi, out, name):
        raises(("odd_errors", name))

    with pytest.raises(BaseException) as caught:
        pool_of(backend).run(fails, name)
    if backend in SAME_OBJECT:
        assert type(caught.value) is type(odd_errors.ODD[name][0]())
    else:
        odd_errors.check(name, caught.value)
    assert "in chunk 0 (indices 0..1) of fails" in odd_errors.notes_of(caught.value)


MAIN = """
from compute import Joblib, Processes

class Own(Exception):
    def __init__(self, text, held=None):
        super().__init__(text, held)

def made():
    class Local(Exception):
        pass
    return Local

Local = made()

def raises(kind):
    raise kind("what happened")

if __name__ == "__main__":
    for backend in (Processes(2), Processes(2, start="spawn"), Joblib(2)):
        with backend.open() as pool:
            for kind in (Own, Local):
                try:
                    pool.map(raises, [kind])
                except kind as error:
                    assert "in raises" in str(error.__notes__), error.__notes__
                (error,) = pool.map(raises, [kind], errors="return")
                assert type(error) is kind and error.args[0] == "what happened", error
                if isinstance(backend, Processes):
                    with pool.executor() as executor:
                        assert type(executor.submit(raises, kind).exception()) is kind
    print("done")
"""


def test_errors_of_classes_of_main_and_of_functions_are_of_the_same_class_here(script):
    assert script(MAIN).stdout == "done\n"
