"""Daemonic workers, which may have no children of their own: celery's, multiprocessing.Pool's, joblib's."""

from __future__ import annotations

import importlib.util
import signal
import sys

import pytest
from loopback import REQUESTS, snippet
from patience import PATIENCE

POOLS = """
import multiprocessing, sys, time
import numpy as np
from compute import *
from example_kernels import squares

pool = None

def begin(backend):
    global pool
    try:
        pool = eval(backend).open()
    except Exception as error:
        print(f"refused: {type(error).__name__}: {error}".replace("\\n", "|"), flush=True)
        pool = Threads(2).open()

def squared(k):
    x = k + np.arange(1000.0)
    return pool.run(squares, x).value.tobytes()

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[2])
    with context.Pool(2, begin, [sys.argv[1]]) as workers:
        for k, found in enumerate(workers.imap(squared, range(100))):
            x = k + np.arange(1000.0)
            assert found == (x * x).tobytes(), k
        workers.close()
        workers.join()
    print("done")
"""

BACKENDS = ["Threads(2)", "Processes(2)", "Joblib(2)"]


def check_refusals(said):
    for line in said.splitlines():
        if line.startswith("refused: "):
            assert not line.startswith("refused: AssertionError"), said
            assert "|" not in line, f"more than one line: {line}"
            assert ";" in line, f"no remedy: {line}"


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_multiprocessings_pool(start, folder, backend, method):
    (folder / "pools.py").write_text(POOLS)
    program = start(sys.executable, "pools.py", backend, method)
    assert program.ended() == 0, program.said
    assert program.said.splitlines()[-1] == "done", program.said
    check_refusals(program.said)


CONFIG = """
from pathlib import Path

here = Path(__file__).parent
for name in ("queue", "done", "results"):
    (here / name).mkdir(exist_ok=True)
broker_url = "filesystem://"
broker_transport_options = {
    "data_folder_in": str(here / "queue"),
    "data_folder_out": str(here / "queue"),
    "control_folder": str(here / "done"),
    "polling_interval": 0.02,
}
result_backend = f"file://{here / 'results'}"
broker_connection_retry_on_startup = True
"""

ASK = """
import sys

import tasks

asked = {k: tasks.squares_from.delay(float(k)) for k in range(int(sys.argv[1]))}
for k, result in asked.items():
    assert result.get(timeout=float(sys.argv[2]), interval=0.02) == [k * k, (k + 1.0) ** 2], k
print("done")
"""


@pytest.mark.skipif(not importlib.util.find_spec("celery"), reason="celery is not installed")
@pytest.mark.parametrize("backend", BACKENDS)
def test_celery(start, folder, sweep, backend):
    app = snippet("app.py").replace("pool = Processes(2).open()", f"pool = opened('{backend}')")
    opened = POOLS[POOLS.index("def begin") : POOLS.index("def squared")]
    opened = opened.replace("def begin", "def opened").replace("    global pool\n", "") + "    return pool\n"
    (folder / "app.py").write_text(app + opened)
    (folder / "tasks.py").write_text(snippet("tasks.py"))
    (folder / "celeryconfig.py").write_text(CONFIG)
    (folder / "ask.py").write_text(ASK)
    worker = start(sys.executable, "-m", "celery", "-A", "tasks", "worker", "--concurrency", "2", "--loglevel", "INFO")
    worker.wait_until(lambda: " ready." in worker.said)
    client = start(sys.executable, "ask.py", REQUESTS, PATIENCE)
    assert client.ended() == 0, client.said
    worker.signal(signal.SIGTERM)
    assert worker.ended() == 0, worker.said
    assert "Traceback" not in worker.said, worker.said
    check_refusals(worker.said)
    sweep()  # celery's workers end without what multiprocessing does at exit
