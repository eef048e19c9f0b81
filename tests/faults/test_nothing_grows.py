"""What a session does again and again keeps nothing: no descriptor, mapping, thread, file, handler or object."""

from __future__ import annotations

import json
import sys

import pytest

from compute import Interpreters

GROWS = """
import atexit, gc, json, os, sys, tempfile, threading, weakref
from multiprocessing import util
from pathlib import Path
import numpy as np
import psutil
import compute
from compute import *
from kernels import each, kernel
from kernels.definition.plan import Plan

backend, cases = eval(sys.argv[1]), json.loads(sys.argv[2])
os.environ["TMPDIR"] = tempfile.tempdir = os.getcwd()

def figures():
    gc.collect()
    mine = psutil.Process()
    all_ = [mine, *mine.children(recursive=True)]
    return {
        "descriptors": sum(process.num_fds() for process in all_),
        "threads": sum(process.num_threads() for process in all_),
        "processes": len(all_),
        "mappings": sum(len(Path(f"/proc/{process.pid}/maps").read_text().splitlines()) for process in all_),
        "files": len(os.listdir()),
        "exit handlers": atexit._ncallbacks() + len(threading._threading_atexits),
        "finalizers": len(weakref.finalize._registry) + len(util._finalizer_registry),
        "objects": len(gc.get_objects()),
        "ten MB": sum(process.memory_info().rss for process in all_) // 10**7,
    }

def in_each_chunk(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = x[i]

@kernel
def plus(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = x[i] + 1.0

chunks = kernel(plan=lambda n, x: Plan(n, (x,), grain=1))(in_each_chunk)
chunks = chunks if backend.name == "prange" else chunks.python

def add(x):
    return x + 1

def fails(x):
    raise ValueError(x)

def sizes(k):
    assert pool.run(plus, np.zeros(20_000 + 512 * (k % 1000))).value[-1] == 1.0

def few_chunks_after_many(k):
    size = 40_000 + 4096 * (k % 500)  # each larger than the one before, whose memory could be used again
    pool.run(chunks, 2 * pool.workers, np.ones(size))
    for more in (1024, 2048):  # the second one tells that the memory of the first run is gone, and not to all
        pool.run(chunks, 1, np.ones(size + more))

def functions(k):
    assert pool.map(lambda x: x + k, range(4)) == [k, k + 1, k + 2, k + 3]

def results(k):
    assert pool.map(np.ones, [20_000 + 512 * (k % 100)] * 4)[3][-1] == 1.0

def shared_arrays(k):
    pool.run(plus, compute.shared.array(np.ones(3000 + k)))

def errors(k):
    try:
        pool.map(fails, range(4))
    except ValueError:
        return
    raise AssertionError

def progress(k):
    pool.run(plus, np.ones(3000), progress=lambda *_: None)

def tasks(k):
    with pool.executor() as executor:
        assert list(executor.map(add, range(4))) == [1, 2, 3, 4]

def iterators(k):
    results = pool.imap(add, range(99))
    assert next(results) == 1
    results.close()

def other_threads(k):
    caller = threading.Thread(target=pool.run, args=(plus, np.ones(3000)))
    caller.start()
    caller.join()

def observed(k):
    with pool.observed():
        pool.run(plus, np.ones(3000)).timeline

def pools(k):  # and what is made for a kernel, once
    with backend.open() as another:
        another.run(plus, np.ones(3000))

def pools_left_to_the_collector(k):
    another = backend.open()
    another.run(plus, np.ones(3000))

pool = backend.open()
for case, (before, times) in cases.items():
    do = globals()[case]
    for k in range(before):
        do(k)
    base = figures()
    for k in range(before, before + times):
        do(k)
    now = figures()
    if not case.startswith("pools") or times < 20:  # tables that keep the latest hundreds of a kind are not full yet
        now["objects"] = base["objects"] = 0
    if times < 20:  # a few of these come and go
        now["mappings"] = base["mappings"] = 0
    most = dict.fromkeys(now, max(1, times / 2))
    most["ten MB"] = min(most["ten MB"], 10)  # 200 pools of 1.9 MB are caught, and what malloc keeps for later is not
    grown = {name: now[name] - base[name] for name in now if now[name] - base[name] >= most[name]}
    assert not grown, f"{times} times {case} on {backend!r} left {grown}, of {now}"
pool.close()
print("done")
"""

# How often each is done before it is counted, and then. A worker keeps the latest 64 segments, and loky skips workers.
SEVERAL = {"functions": (90, 60), "results": (40, 40), "shared_arrays": (40, 40), "errors": (40, 40)}
SEVERAL |= {"tasks": (10, 20), "iterators": (90, 20)}
CASES = {
    "Serial()": {"functions": (90, 60), "pools": (10, 60)},
    "Threads(2)": SEVERAL
    | dict.fromkeys(("progress", "other_threads", "observed"), (10, 20))
    | dict.fromkeys(("pools", "pools_left_to_the_collector"), (10, 60)),
    "Prange(2)": {"few_chunks_after_many": (40, 40), "pools": (10, 60)},
    "Coroutines(2)": {"functions": (90, 60), "pools": (10, 60)},
    "Joblib(2, kind='threading')": {"functions": (10, 20), "pools": (5, 20)},
    "Processes(2)": {"few_chunks_after_many": (150, 60)} | SEVERAL | {"pools": (1, 2)},
    "Joblib(2)": {"few_chunks_after_many": (300, 80)} | SEVERAL | {"pools": (1, 2)},
}
if Interpreters(2).lacks() is None:
    CASES["Interpreters(2)"] = {"few_chunks_after_many": (30, 30), "pools": (2, 4)}

linux = pytest.mark.skipif(sys.platform != "linux", reason="counted by what Linux tells of a process")


QUICK = ("Processes(2)",)  # the others take half a minute


@linux
@pytest.mark.parametrize("backend", [pytest.param(b, marks=() if b in QUICK else pytest.mark.slow) for b in CASES])
def test_nothing_grows(warm_python, no_leaks, backend):
    assert warm_python.run(GROWS, backend, json.dumps(CASES[backend])) == "done\n"


MANY = {
    "Processes(2)": {"few_chunks_after_many": (300, 1500), "sizes": (300, 1500), "results": (300, 1500)},
    "Joblib(2)": {"sizes": (300, 9000), "few_chunks_after_many": (300, 2000), "results": (300, 1500)},
    "Joblib(2, arrays='memmap')": {"few_chunks_after_many": (300, 1500)},
    "Prange(2)": {"pools": (10, 200)},
    "Threads(2)": {"pools": (10, 500), "functions": (300, 3000), "errors": (300, 3000), "iterators": (300, 1000)},
}


@linux
@pytest.mark.slow
@pytest.mark.parametrize(("backend", "case"), [(backend, case) for backend in MANY for case in MANY[backend]])
def test_nothing_grows_in_a_long_session_with_few_descriptors(script, no_leaks, backend, case):
    """9,000 runs of changing sizes were once too many for 1,024 descriptors, and 200 pools took 380 MB."""
    limited = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))"
    # What may be left, whatever the number of times: loky skips workers, so the 64 segments that each of two keeps
    # mapped may come late. A leak of one a run is five times as much and more.
    bounded = "times = min(times, 300)"
    text = GROWS.replace("\n", f"\n{limited}\n", 1).replace("    most = ", f"    {bounded}\n    most = ")
    # numpy asks for huge pages for each large array. That splits the heap into some ninety mappings, a few at a time.
    whole = {"NUMPY_MADVISE_HUGEPAGE": "0"}
    assert script(text, backend, json.dumps({case: MANY[backend][case]}), **whole).stdout == "done\n"
