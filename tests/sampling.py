"""The part of a large table that `make test` runs. The rest is marked `slow`: `make test-all` runs all of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import pytest


def family(backend: Any) -> str:
    """Backends of one family see memory alike and are started by the same code: threads, processes, loky's, ..."""
    traits = backend.traits
    return "threads" if traits.shares_memory and traits.shares_gil and not traits.loads_itself else backend.name


def sample(rows: Iterable[tuple[Any, Any]], kind: Callable[[Any], Hashable]) -> set[tuple[Any, Any]]:
    """Of all rows (backend, case): each case on one backend of each family, and each kind of cases on every backend.

    The cases of a kind go round the backends of a family. The order of the rows decides, and nothing else.
    """
    rows = list(rows)
    choices: dict[tuple, list[Any]] = {}
    for backend, case in rows:
        choices.setdefault((family(backend), case), []).append(backend)
    chosen, turns = set(), Counter[Hashable]()
    for (of, case), backends in choices.items():
        turn = turns[of, kind(case)]
        turns[of, kind(case)] += 1
        chosen.add((backends[turn % len(backends)], case))
    met = {(backend, kind(case)) for backend, case in chosen}
    for backend, case in rows:
        if (backend, kind(case)) not in met:
            met.add((backend, kind(case)))
            chosen.add((backend, case))
    return chosen


def sampled(rows: Iterable[tuple[Any, Any]], kind: Callable[[Any], Hashable]) -> list[Any]:
    """All the rows as parameters: those that are not in their sample are slow."""
    rows = list(rows)
    chosen = sample(rows, kind)
    return [pytest.param(*row, marks=() if row in chosen else pytest.mark.slow) for row in rows]


def pairs(ones: Sequence[Any], others: Sequence[Any]) -> list[Any]:
    """All the pairs as parameters: quick are so many that each of the ones and of the others is in one."""
    quick = {(k % len(ones), k % len(others)) for k in range(max(len(ones), len(others)))}
    return [
        pytest.param(one, other, marks=() if (k, m) in quick else pytest.mark.slow)
        for k, one in enumerate(ones)
        for m, other in enumerate(others)
    ]


def quick_first(count: int, cases: Iterable[Any]) -> list[Any]:
    """All the cases as parameters: the first ones are quick."""
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=() if k < count else pytest.mark.slow)
        for k, case in enumerate(cases)
    ]


def one_of_each(backends: Sequence[Any]) -> list[Any]:
    """All the backends as parameters: of those with one name and equal traits, the first with two workers is quick."""
    quick: dict[Hashable, Any] = {}
    for backend in sorted(backends, key=lambda backend: backend.workers != 2):
        quick.setdefault((backend.name, backend.traits), backend)
    return [pytest.param(b, marks=() if b in quick.values() else pytest.mark.slow) for b in backends]


@pytest.hookimpl(tryfirst=True)  # before tests are deselected by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of each file that is marked `sampled`, mark as slow what is not in its sample.

    Its rows are the tests with a parameter `backend`, or a `pool` of one.
    """
    files: dict[Any, dict[tuple[Any, Any], pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("sampled") is None or not hasattr(item, "callspec"):
            continue
        given = dict(item.callspec.params)
        backend = given.pop("backend", None) or given.pop("pool", None)
        if backend is not None:
            case = item.function.__name__, *((name, id(value)) for name, value in given.items())
            files.setdefault(item.path, {})[_backend(backend), case] = item
    for rows in files.values():
        chosen = sample(rows, kind=lambda case: None)
        for row, item in rows.items():
            if row not in chosen:
                item.add_marker(pytest.mark.slow)


def _backend(told: Any) -> Any:
    import compute  # conftest.py sets the environment first

    return eval(told, vars(compute)) if isinstance(told, str) else told
