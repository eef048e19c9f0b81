"""Code from the cache computes what was written, after every one of many small edits."""

from __future__ import annotations

import pytest
from edits import INPUTS, chain, truth

from kernels.compilation import compiler
from kernels.compilation.compiler import compiled
from kernels.compilation.reach import reach_of


@pytest.mark.parametrize("seed", range(4))
def test_programs_that_compute_something_else_have_another_key(seed):
    values: dict[str, tuple[float, ...]] = {}
    keys: dict[str, str] = {}
    for program in chain(seed, 100):
        reach = reach_of(program.load(), compiled=True)
        assert not reach.unkeyed, reach.unkeyed
        assert values.setdefault(reach.key, truth(program)) == truth(program), f"one key for two programs: {program}"
        assert keys.setdefault(str(program.files()), reach.key) == reach.key, "two keys for one program"
    assert len(values) > 50


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1])
def test_code_from_the_cache_computes_what_was_written(seed, tmp_path, monkeypatch):
    monkeypatch.setenv("NFOLD_CACHE_DIR", str(tmp_path))
    hits = 0
    for program in chain(seed, 12):
        compiler.forget()  # as in another process
        function = compiled(program.load())
        assert [function(x) for x in INPUTS] == pytest.approx(truth(program), rel=1e-12)
        hits += sum(function.stats.cache_hits.values())
    assert hits > 0
    assert len(list(tmp_path.iterdir())) > 5
