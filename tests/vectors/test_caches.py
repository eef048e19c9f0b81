"""What Linux says of the caches, and what is taken where it says nothing."""

import pytest

from kernels.vectors import caches
from kernels.vectors.caches import Cache


def of_level_2(monkeypatch, **told):
    cache = Cache(**{"level": "2", "kind": "Unified", "bytes": 1 << 20, "cpus": "0"} | told)
    monkeypatch.setattr(caches, "_data_caches", lambda: {"2": cache})


@pytest.mark.parametrize(
    ("listed", "cpus"), [("0", 1), ("0-1", 2), ("0,64", 2), ("0-3,8-11", 8), ("", 1), ("\x00", 1), ("none", 1)]
)
def test_how_many_cpus_share_a_cache(monkeypatch, listed, cpus):
    of_level_2(monkeypatch, cpus=listed)
    assert caches.cache_cpus(2) == cpus
    assert caches.cache_cpus(1) == 1  # of which nothing is told


@pytest.mark.parametrize(
    ("told", "size"),
    [("1024K", 1 << 20), ("512K", 512 << 10), ("32M", 32 << 20), ("64", 64), ("", 512 << 10), ("?", 512 << 10)],
)
def test_how_large_a_cache_is(monkeypatch, tmp_path, told, size):
    folder = tmp_path / "sys/devices/system/cpu/cpu0/cache/index2"
    folder.mkdir(parents=True)
    for name, text in {"level": "2", "type": "Unified", "size": told, "shared_cpu_list": "0-1"}.items():
        (folder / name).write_text(f"{text}\n")
    (cache,) = caches.first_cpus_caches(tmp_path)
    of_level_2(monkeypatch, bytes=cache.bytes)
    assert caches.cache_bytes(2) == size
    assert cache.cpus == "0-1"


def test_this_machine_says_something_or_nothing(tmp_path):
    assert caches.cache_cpus(1) >= 1
    assert caches.cache_bytes(1) >= 1 << 13
    assert caches.first_cpus_caches(tmp_path) == []
