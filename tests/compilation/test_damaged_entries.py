"""Entries of the compile cache that are damaged, exchanged, or no files at all; and disks that refuse."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
from patience import PATIENCE
from private_mounts import in_private, refused

from kernels.compilation import kept_code
from kernels.compilation.compiler import compiled, forget


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("NFOLD_CACHE_DIR", str(folder))
    forget()
    return folder


def made(factor: float, name: str = "times"):
    def times(x):
        return x * factor

    times.__name__ = name
    return compiled(times)


def test_another_functions_code_is_not_run_whatever_the_head_says(cache):
    one_s = made(71.0)
    one_s(2.0)
    (one,) = cache.iterdir()
    made(73.0)(2.0)
    (other,) = set(cache.iterdir()) - {one}
    whole, others = one.read_bytes(), other.read_bytes()
    for head in range(250):  # the name of the file, too, was once in there
        one.write_bytes(whole[:head] + others[head:])
        assert one_s._cache.load_overload(one_s.signatures[0], one_s.targetctx) is None, head


def test_an_entry_that_is_far_too_large_is_not_read(cache):
    made(74.0)(2.0)
    (path,) = cache.iterdir()
    os.truncate(path, 1 << 40)  # sparse
    forget()
    assert made(74.0)(2.0) == 148.0
    assert path.stat().st_size < 1 << 20, "and it was replaced"


def test_one_that_is_too_large_does_not_push_the_others_out(cache):
    made(75.0)(2.0)
    vast = cache / f"body-{1:032x}.nbc"
    vast.touch()
    os.truncate(vast, 1 << 40)
    (cache / f"body-{2:032x}.nbc").symlink_to(vast)
    kept_code.prune(cache)
    assert not vast.exists()
    assert any(path.name.startswith("times") for path in cache.iterdir())


def pipe(path):
    os.mkfifo(path, 0o600)


def device(path):
    os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero's number


def listening(path):
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's path has few letters
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(path.name)
    os.chdir(here)
    path.chmod(0o600)


def link_to_a_device(path):
    path.symlink_to("/dev/zero")


def link_to_nothing(path):
    path.symlink_to("nowhere")


def link_to_itself(path):
    path.symlink_to(path.name)


def folder(path):
    path.mkdir()


OPENS = """
import os, sys
from pathlib import Path
from kernels.compilation import kept_code
path, opened = Path(sys.argv[1]), []
sys.addaudithook(lambda event, values: event == "open" and opened.append(str(values[0])))
assert kept_code.read(path) is None
assert not any(name.endswith(path.name) for name in opened), "it was opened"
kept_code.write(path, b"code")
assert [found for found in os.listdir(path.parent) if found.startswith(".")] == []
if not path.is_dir():
    assert kept_code.read(path) == b"code"
"""
THINGS = [pipe, link_to_a_device, link_to_nothing, link_to_itself, folder, listening, device]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="things of this kind are POSIX's")
def test_what_is_no_file_is_never_opened(tmp_path, warm_python):
    for number, thing in enumerate(THINGS):
        if thing is device and os.geteuid():
            continue  # only root makes one
        path = tmp_path / "cache" / f"body-{number:032x}.nbc"
        path.parent.mkdir(exist_ok=True, mode=0o700)
        thing(path)
        warm_python.run(OPENS, str(path), cwd=tmp_path)


REFUSED = """
import os, sys
from kernels import mandelbrot
from kernels.compilation.compiler import compiled
{}
cache = os.environ["NFOLD_CACHE_DIR"]

def made(factor):
    def times(x):
        return x * factor
    return compiled(times)

assert [made(float(k))(2.0) for k in range(12)] == [2.0 * k for k in range(12)]
left = [name for name in os.listdir(cache) if name.startswith(".")]
assert left == [], left
assert len(os.listdir(cache)) < 12, "nothing was refused"
"""
LIMITED = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))"


@pytest.mark.skipif(sys.platform == "win32", reason="limits of this kind are POSIX's")
def test_a_refused_write_leaves_no_file(warm_python, tmp_path):
    warm_python.run(REFUSED.format(LIMITED), NFOLD_CACHE_DIR=str(tmp_path / "cache"))


@pytest.mark.slow
@pytest.mark.skipif(refused() is not None, reason=str(refused()))
@pytest.mark.parametrize("size", ["4k", "20k"])
def test_a_full_disk_leaves_no_file(tmp_path, size):
    command = in_private([f"mount -t tmpfs -o size={size} tmpfs /mnt"], sys.executable, "-c", REFUSED.format(""))
    done = subprocess.run(
        command, env=os.environ | {"NFOLD_CACHE_DIR": "/mnt/cache"}, capture_output=True, text=True, timeout=PATIENCE
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


@pytest.mark.parametrize(
    "name",
    ["a/b", "../../above", "/absolute", "with\0NUL", "\udcff", "two\nlines", ".", "..", "", "é", "*?[", "x" * 300],
)
def test_a_functions_name_is_any_text_and_its_entry_lies_in_the_folder(tmp_path, cache, name):
    assert made(float(len(name)) + 80.5, name)(2.0) == 2 * len(name) + 161.0
    (path,) = cache.iterdir()
    assert path.match(kept_code.ENTRY)
    assert list(tmp_path.iterdir()) == [cache]
    forget()
    again = made(float(len(name)) + 80.5, name)
    assert again(2.0) == 2 * len(name) + 161.0
    assert again.stats.cache_hits, "it is found again"
