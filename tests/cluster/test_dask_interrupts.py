"""Ctrl-C in every phase of a run on a Dask cluster: its tasks are cancelled there, and nothing is left anywhere."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from dask_processes import ROOT, RealCluster
from patience import PATIENCE

from compute.backends.dask.cluster import without_broken_connections

pytest.importorskip("distributed", reason="the extra nfold[dask] is not installed")

# Inputs and output are large, so that scattering and gathering take a while; each chunk naps.
KERNEL = """
import numpy as np
from kernels import Plan, kernel

@kernel(plan=lambda x, nap: Plan(len(x), (x, nap), shape=x.shape, grain=-(-len(x) // 256)), compiled=False)
def doubled(lo, hi, out, x, nap):
    time.sleep(nap)
    out[lo:hi] = 2 * x[lo:hi]
"""

SCRIPT = f"""
import os, signal, sys, threading, time
from compute import Dask
{KERNEL}
PHASES = {{
    "open": lambda: "_connected" in functions_of_main(),
    "scatter": lambda: (now := pool._pass) is not None and now._packing._sending.locked(),
    "compute": lambda: (now := pool._pass) is not None and now._control.done.any(),
    "gather": lambda: (now := pool._pass) is not None and now._gathering.locked(),
}}

def functions_of_main():
    frame, names = sys._current_frames().get(threading.main_thread().ident), set()
    while frame is not None:
        names.add(frame.f_code.co_name)
        frame = frame.f_back
    return names

def interrupt_in(phase):
    def interrupt():
        while not PHASES[phase]():
            time.sleep(0.0002)
        os.killpg(0, signal.SIGINT)  # as a terminal does: workers that we have started get it, too
    thread = threading.Thread(target=interrupt)
    thread.start()
    return thread

def left(client, count):
    '''Tasks on the scheduler and runs on the workers; other than 0 only if they stay.'''
    until = time.monotonic() + {PATIENCE}
    while (found := count(client)) and time.monotonic() < until:
        time.sleep(0.02)
    return found

def tasks(client):
    return client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))

def entered():
    from compute.backends.dask import at_worker
    return len(at_worker._entered)

def runs(client):
    return sum(client.run(entered).values())

backend = Dask(sys.argv[1]) if len(sys.argv) > 1 else Dask(workers=2)
if __name__ == "__main__":
    thread = interrupt_in("open")
    try:
        backend.open()
    except KeyboardInterrupt:
        print("open: interrupted")
    thread.join()
    x = np.random.default_rng(0).random(2**22)
    with backend.open() as pool:
        for phase in sys.argv[2:] or ["compute"]:
            thread = interrupt_in(phase)
            try:
                pool.run(doubled, x, 0.05)
            except KeyboardInterrupt:
                client = pool._cluster.client
                print(phase + ": interrupted,", left(client, tasks), "tasks,", left(client, runs), "runs")
            thread.join()
            assert (pool.run(doubled, x, 0.0).value == 2 * x).all()
"""


def clients_of(cluster, but=0):
    """How many clients a scheduler has once others are gone; more than expected only if they stay."""
    import distributed

    with distributed.Client(cluster.address, set_as_default=False) as client:
        until = time.monotonic() + PATIENCE
        while True:
            names = client.run_on_scheduler(lambda dask_scheduler: sorted(dask_scheduler.clients))
            others = [name for name in names if name not in (client.id, "fire-and-forget")]
            if not others or time.monotonic() > until:
                return others
            time.sleep(0.05)


def ended(command, folder: Path, **more) -> subprocess.CompletedProcess[str]:
    """A program that has a process group of its own, which is what it sends a Ctrl-C to."""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, env=env, cwd=folder, start_new_session=True, **more
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "elsewhere",
    [pytest.param(True, id="network"), pytest.param(False, id="shared memory", marks=pytest.mark.slow)],
)
def test_a_ctrl_c_in_each_phase_of_a_script(tmp_path, elsewhere):
    phases = ["scatter", "compute", "gather"] if elsewhere else ["compute"]
    (tmp_path / "script.py").write_text(SCRIPT)
    with RealCluster(2, elsewhere=elsewhere) as cluster:
        done = ended([sys.executable, "script.py", cluster.address, *phases], tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        told = [f"{phase}: interrupted, 0 tasks, 0 runs" for phase in phases]
        assert done.stdout.splitlines() == ["open: interrupted", *told]
        assert clients_of(cluster) == []


@pytest.mark.slow
def test_a_ctrl_c_while_the_embedded_cluster_starts_leaves_nothing(tmp_path, no_leaks):
    (tmp_path / "script.py").write_text(SCRIPT)
    done = ended([sys.executable, "script.py"], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["open: interrupted", "compute: interrupted, 0 tasks, 0 runs"]
    folders = Path(tempfile.gettempdir()).glob("nfold-dask-*")
    assert not [f for f in folders if not Path(f"/proc/{f.name.split('-')[2]}").exists()]


def tasks_of(client):
    return client.run_on_scheduler(
        lambda dask_scheduler: sum(str(key).startswith("nfold-") for key in dask_scheduler.tasks)
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [["run", "count_primes", "1e12"], ["scale", "count_primes", "3e8", "--budget", "600s"]]
)
def test_a_ctrl_c_on_the_command_line(tmp_path, words):
    import distributed

    command = [sys.executable, "-m", "compute", *words, "--on", "dask", "--scheduler"]
    with RealCluster(2) as cluster, distributed.Client(cluster.address, set_as_default=False) as client:
        process = subprocess.Popen(
            [*command, cluster.address],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
            start_new_session=True,
        )
        while not tasks_of(client) and process.poll() is None:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=PATIENCE)
        assert (process.returncode, stderr.splitlines()[-1:]) == (130, ["nfold: interrupted"])
        until = time.monotonic() + PATIENCE
        while tasks_of(client) and time.monotonic() < until:
            time.sleep(0.02)
        assert tasks_of(client) == 0
        assert client.submit(abs, -3).result(PATIENCE) == 3  # its workers are free


# In a process of its own: what Jupyter's client leaves open is its own business.
NOTEBOOK = f"""
import sys, time
from jupyter_client.manager import start_new_kernel

FIRST = '''
import time
from compute import Dask
{KERNEL}
pool = Dask({{!r}}).open()
x = np.random.default_rng(0).random(2**18)
'''
CHECK = "assert (pool.run(doubled, x, 0.0).value == 2 * x).all()"
TASKS = "print(pool._cluster.client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)))"

def execute(code):
    told = []
    reply = client.execute_interactive(code, timeout={PATIENCE}, output_hook=told.append)
    return reply["content"], "".join(message["content"].get("text", "") for message in told)

manager, client = start_new_kernel(startup_timeout={PATIENCE})
try:
    for code in (FIRST.format(sys.argv[1]), CHECK):
        content, _ = execute(code)
        assert content["status"] == "ok", content
    for _ in range(2):
        asked = client.execute("open('runs', 'w').close(); pool.run(doubled, x, 1.0)")
        while client.get_iopub_msg(timeout={PATIENCE})["content"].get("execution_state") != "busy":
            pass
        time.sleep(1.0)  # two of the 256 naps
        manager.interrupt_kernel()
        while (reply := client.get_shell_msg(timeout={PATIENCE}))["parent_header"]["msg_id"] != asked:
            pass
        assert reply["content"].get("ename") == "KeyboardInterrupt", reply
        content, _ = execute(CHECK)
        assert content["status"] == "ok", content
    until = time.monotonic() + {PATIENCE}
    while (left := execute(TASKS)[1]) != "0\\n" and time.monotonic() < until:
        time.sleep(0.05)
    assert left == "0\\n", left
    assert execute("pool.close()")[0]["status"] == "ok"
finally:
    client.stop_channels()
    manager.shutdown_kernel()
print("done")
"""


@pytest.mark.slow
def test_a_notebooks_kernel_is_interrupted_and_goes_on(tmp_path):
    pytest.importorskip("jupyter_client")
    (tmp_path / "notebook.py").write_text(NOTEBOOK)
    with RealCluster(2, elsewhere=True) as cluster:
        done = ended([sys.executable, "-W", "ignore", "notebook.py", cluster.address], tmp_path)
        assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
        assert clients_of(cluster) == []


def test_what_cannot_be_sent_as_a_pool_closes_is_not_logged():
    logger, told = logging.getLogger("distributed.batched"), []
    handler = logging.Handler(logging.INFO)
    handler.emit = told.append
    logger.addHandler(handler)
    try:
        with without_broken_connections():
            with without_broken_connections():
                logger.error("one")
            logger.error("two")  # of several pools, the last one that closes
        logger.error("three")
    finally:
        logger.removeHandler(handler)
    assert [record.msg for record in told] == ["three"]
