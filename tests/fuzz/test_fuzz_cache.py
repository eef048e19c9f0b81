"""Damaged entries of the compile cache: no bit of one is used. NFOLD_FUZZ_SECONDS sets for how long (make fuzz)."""

from __future__ import annotations

import json
import os

import pytest
from patience import PATIENCE

SECONDS = float(os.environ.get("NFOLD_FUZZ_SECONDS", "3"))

# A process of its own, because machine code that was damaged may end it. Entries are damaged, read back through the
# functions whose entries they are, and put back.
DAMAGES = r"""
import gc, json, os, random, resource, shutil, sys, time
from pathlib import Path
from kernels import count_primes
from kernels.compilation import compiler
from kernels.compilation.compiler import CodeOnDisk, compiled

seed, seconds = sys.argv[1:]
at_random, until = random.Random(int(seed)), time.monotonic() + float(seconds)

def add(x):
    return x + 31
def halve(x):
    return x / 2 + 0.25
SMALL = ((add, 1, 32), (halve, 1.0, 0.75))
for function, given, expected in SMALL:
    assert compiled(function)(given) == expected
assert count_primes(10**5) == 9592

kept = []  # each entry with the function and the types that it is of
for found in [x for x in gc.get_objects() if isinstance(getattr(x, "_cache", None), CodeOnDisk)]:
    for signature in found.signatures:
        path = found._cache._path(signature, found.targetctx)
        if path.exists():
            kept.append((path, found, signature))
folder = Path("cache")
folder.mkdir(mode=0o700)
for path, _, _ in kept:
    shutil.copy(path, folder)
os.environ["NFOLD_CACHE_DIR"] = str(folder.absolute())
entries = [(folder.absolute() / path.name, (folder / path.name).read_bytes(), *rest) for path, *rest in kept]
assert any("count_in_chunk" in path.name for path, *_ in entries)

def flipped(whole, other):
    at = at_random.randrange(8 * len(whole))
    damaged = bytearray(whole)
    damaged[at // 8] ^= 1 << at % 8
    return damaged
def flipped_often(whole, other):
    for _ in range(at_random.randrange(1, 64)):
        whole = flipped(whole, other)
    return whole
def somewhere(whole):
    return at_random.randrange(len(whole))
def cut(whole, other):
    return whole[:somewhere(whole)]
def lengthened(whole, other):
    return whole + at_random.choice([b"\0", other, whole])
def zeroed(whole, other):  # a block that never reached the disk
    at = somewhere(whole) // 512 * 512
    return whole[:at] + bytes(min(512, len(whole) - at)) + whole[at + 512 :]
def left_out(whole, other):
    at = somewhere(whole)
    return whole[:at] + whole[at + 1 + at_random.randrange(64) :]
def spliced(whole, other):
    at = min(somewhere(whole), somewhere(other))
    return whole[:at] + other[at:]
def exchanged(whole, other):
    return other
def random_bytes(whole, other):
    return at_random.randbytes(at_random.randrange(2000))
def empty(whole, other):
    return b""
BYTES = (flipped, flipped_often, cut, lengthened, zeroed, left_out, spliced, exchanged, random_bytes, empty)

def pipe(path, other):
    os.mkfifo(path, 0o600)
def folder_there(path, other):
    path.mkdir()
def link(path, other):
    path.symlink_to(at_random.choice(["/dev/zero", "/dev/full", "/dev/tty", "missing", path.name, str(other)]))
def vast(path, other):  # sparse
    path.touch(0o600)
    os.truncate(path, 1 << 40)
THINGS = (pipe, folder_there, link, vast)

counts = dict.fromkeys([damage.__name__ for damage in BYTES + THINGS], 0)
def damaged(damage):
    (path, whole, function, signature), (other, others, *_) = at_random.sample(entries, 2)
    counts[damage.__name__] += 1
    if damage in BYTES:
        content = bytes(damage(whole, others))
        if content == whole:
            return
        path.write_bytes(content)
    else:
        path.unlink()
        damage(path, other)
    result = function._cache.load_overload(signature, function.targetctx)
    assert result is None, f"{damage.__name__} of {path.name} was loaded (seed {seed})"
    path.rmdir() if path.is_dir() else path.unlink()
    path.write_bytes(whole)

for _ in range(1000):
    damaged(flipped)
while time.monotonic() < until or min(counts.values()) < 5:
    damaged(at_random.choice(BYTES + THINGS))
for path, whole, function, signature in entries:  # none of that was refused for another reason
    assert function._cache.load_overload(signature, function.targetctx) is not None, path
for function, given, expected in SMALL:  # and what calls them gets its value, and mends them
    (path,) = folder.glob(f"{function.__name__}-*")
    for damage in (flipped, cut, empty):
        path.write_bytes(damage(path.read_bytes(), b""))
        compiler.forget()
        assert compiled(function)(given) == expected
        compiler.forget()
        assert compiled(function)(given) == expected
print(json.dumps(counts | {"peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


@pytest.mark.slow
def test_no_damaged_entry_is_used(script):
    seed = str(int.from_bytes(os.urandom(4)))
    counts = json.loads(script(DAMAGES, seed, str(SECONDS), timeout=SECONDS + PATIENCE).stdout)
    print(counts)
    assert counts["flipped"] >= 1000
    assert counts.pop("peak MB") < 1500  # numba frees no machine code: on some Pythons it alone is 1,000
