"""Processes beside a lesson: no way of ending leaves one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from compute.lessons import child

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")


@pytest.fixture
def interrupted_as_it_starts(monkeypatch) -> None:
    starting = child._starting

    @contextmanager
    def with_a_ctrl_c() -> Iterator[None]:
        with starting():
            yield
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(child, "_starting", with_a_ctrl_c)


def test_a_ctrl_c_as_a_process_starts_leaves_none(interrupted_as_it_starts) -> None:
    with pytest.raises(KeyboardInterrupt), child.started(time.sleep, 600):
        pass
    assert multiprocessing.active_children() == []


def test_a_ctrl_c_as_a_manager_starts_leaves_none(interrupted_as_it_starts) -> None:
    with pytest.raises(KeyboardInterrupt), child.manager():
        pass
    assert multiprocessing.active_children() == []
