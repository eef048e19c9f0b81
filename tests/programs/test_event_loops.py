"""Programs with a loop of their own: an asyncio server whose executor runs kernels, a notebook's kernel."""

from __future__ import annotations

import importlib.util
import signal
import sys

import pytest
from loopback import check, free_port, snippet

BACKENDS = ["Processes(2)", "Threads(2)", "Joblib(2)"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_asyncio_server_whose_executor_runs_kernels(start, folder, backend):
    (folder / "app.py").write_text(snippet("app.py").replace("Processes(2)", backend))
    (folder / "service.py").write_text(snippet("service.py"))
    port = free_port()
    server = start(sys.executable, "service.py", port)
    server.await_port(port)
    check(port)
    server.signal(signal.SIGTERM)
    assert server.ended() == 0, server.said
    assert "Traceback" not in server.said, server.said


NOTEBOOK = """
import os, sys, time
from jupyter_client.manager import start_new_kernel
from patience import PATIENCE

cell, backend = open("cell.py").read(), sys.argv[1]
CHECK = "assert pool.run(squares, x).value.tobytes() == (x * x).tobytes()"

def execute(code):
    reply = client.execute_interactive(code, timeout=PATIENCE, output_hook=said.append)
    return reply["content"]

def checked(requests, first):
    for k in range(first, first + requests):
        found = execute(f"x = {k} + np.arange(1000.0)\\n" + CHECK)
        assert found["status"] == "ok", found

def begin_for_ever():
    if os.path.exists("runs"):
        os.unlink("runs")
    asked = client.execute(
        CHECK + "\\nopen('runs', 'x').close()\\nwhile True: " + CHECK
    )
    while not os.path.exists("runs"):
        time.sleep(0.01)
    return asked

said = []
manager, client = start_new_kernel(startup_timeout=PATIENCE)
try:
    assert execute(cell)["status"] == "ok", said
    checked(40, 0)
    asked = begin_for_ever()
    manager.interrupt_kernel()
    while (reply := client.get_shell_msg(timeout=PATIENCE))["parent_header"]["msg_id"] != asked:
        pass
    assert reply["content"]["ename"] == "KeyboardInterrupt", reply
    checked(20, 100)
    for now in (True, False):
        begin_for_ever()
        if not now:
            manager.interrupt_kernel()
        manager.restart_kernel(now=now)
        client.wait_for_ready(timeout=PATIENCE)
        assert execute(cell)["status"] == "ok", said
        checked(20, 200)
    # a cell that is changed and run again
    assert execute(cell.replace("x[i] * x[i]", "x[i] + 7").split("pool =")[0])["status"] == "ok"
    assert execute("assert pool.run(squares, x).value.tobytes() == (x + 7).tobytes()")["status"] == "ok"
finally:
    client.stop_channels()
    manager.shutdown_kernel()
print("done")
"""


@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("jupyter_client", "ipykernel"))), reason="jupyter is not installed"
)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_notebooks_kernel_that_is_interrupted_and_restarted_in_a_run(start, folder, sweep, backend):
    (folder / "cell.py").write_text(snippet("cell.py").replace("Processes(2)", backend))
    (folder / "notebook.py").write_text(NOTEBOOK)
    program = start(sys.executable, "notebook.py", backend, JUPYTER_RUNTIME_DIR=str(folder), IPYTHONDIR=str(folder))
    assert program.ended() == 0, program.said
    assert program.said.splitlines()[-1] == "done"
    # One of its kernels was killed, and so was the last one if it was slow: ipykernel ends its children first,
    # and multiprocessing's resource tracker does not hear that.
    sweep()
