"""What Linux says of the caches, and what is taken where it says nothing."""

import pytest

from kernels.vectors import caches


@pytest.mark.parametrize(
    ("listed", "cpus"), [("0", 1), ("0-1", 2), ("0,64", 2), ("0-3,8-11", 8), ("", 1), ("\x00", 1), ("none", 1)]
)
def test_how_many_cpus_share_a_cache(monkeypatch, listed, cpus):
    monkeypatch.setattr(caches, "_told", lambda level, what: listed)
    assert caches.cache_cpus.__wrapped__(2) == cpus


@pytest.mark.parametrize(("told", "size"), [("1024K", 1 << 20), ("512K", 512 << 10), ("", 512 << 10), ("?", 512 << 10)])
def test_how_large_a_cache_is(monkeypatch, told, size):
    monkeypatch.setattr(caches, "_told", lambda level, what: told)
    assert caches.cache_bytes.__wrapped__(2) == size


def test_this_machine_says_something_or_nothing():
    assert caches.cache_cpus(1) >= 1
    assert caches.cache_bytes(1) >= 1 << 13
    assert caches._told(99, "size") == ""
