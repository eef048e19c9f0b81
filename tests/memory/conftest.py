"""What the files about arenas share."""

import pytest

import compute.memory.arena
from compute import Joblib, Processes

PROCESSES = [Processes(2), Joblib(2), pytest.param(Joblib(2, arrays="memmap"), marks=pytest.mark.slow)]


@pytest.fixture(scope="module", params=PROCESSES, ids=repr)
def pool(request):
    with request.param.open() as pool:
        yield pool


@pytest.fixture
def segments(monkeypatch):
    """The sizes of the segments that are made while a test runs."""
    made = []
    create = compute.memory.arena.create_segment

    def counted(size, *rest):
        made.append(size)
        return create(size, *rest)

    monkeypatch.setattr(compute.memory.arena, "create_segment", counted)
    return made
