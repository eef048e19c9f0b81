"""Where dask.distributed is not installed, Dask is refused in a line, as every backend that cannot be had."""

from __future__ import annotations

import importlib.util

import pytest

from compute import Dask
from compute.cli.commands import main


def test_without_distributed_it_is_refused_in_a_line(monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *of: None if name == "distributed" else find(name, *of)
    )
    with pytest.raises(ValueError, match="which is not installed; pip install distributed"):
        Dask().open()
    assert main(["run", "count_primes", "1000", "--on", "dask"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "is not installed" in told
