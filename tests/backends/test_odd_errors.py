"""Errors of every odd class, raised by an item's function, arrive on every backend with their words and their place."""

from __future__ import annotations

import importlib

import odd_errors
import pytest

from compute import Coroutines, Serial, Threads
from kernels import Plan, kernel

BACKENDS = [Serial(), Threads(2), Coroutines(2)]


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
        assert type(error) is type(odd_errors.ODD[name][0]()) or name == "of a module"
        if name not in ("notes are no list", "notes exit"):
            assert "in item 0 of raises" in odd_errors.notes_of(error)


@pytest.mark.parametrize("backend", BACKENDS, ids=repr)
@pytest.mark.parametrize("name", ["text exits", "text interrupts", "text is a number", "frozen", "own traceback"])
def test_an_odd_error_of_a_kernels_body_arrives(pool_of, backend, name):
    """These are looked at for what numpy and numba say, to which there may be a remedy."""

    @kernel(plan=lambda name: Plan(1, (name,)), compiled=False)
    def fails(lo, hi, out, name):
        raises(("odd_errors", name))

    with pytest.raises(BaseException) as caught:
        pool_of(backend).run(fails, name)
    assert type(caught.value) is type(odd_errors.ODD[name][0]())
    assert "in chunk 0 (indices 0..1) of fails" in odd_errors.notes_of(caught.value)
