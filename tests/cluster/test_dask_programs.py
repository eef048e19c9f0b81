"""Programs that use a Dask cluster: scripts with kernels of their own, Ctrl-C, TLS, large results, the command line."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import pytest
from dask_processes import ROOT, Daemon, RealCluster
from patience import PATIENCE

import compute
from compute import BACKENDS, Dask, run
from kernels import count_primes

pytest.importorskip("distributed", reason="the extra nfold[dask] is not installed")

OWN = """
import dataclasses
from compute import Dask
from kernels import kernel, Plan
import numpy as np

OFFSET = 3

@dataclasses.dataclass
class Pair:
    a: int
    b: int

def helper(x):
    return x + OFFSET

@kernel
def own(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = 2 * helper(x[i])

if __name__ == "__main__":
    x = np.arange(1000.0)
    with Dask(workers=2).open() as pool:
        for variant in ("python", "nogil"):
            assert (pool.run(own, x, variant=variant).value == 2 * (x + 3)).all()
        OFFSET = 5  # as it is now
        for variant in ("python", "nogil"):
            assert (pool.run(own, x, variant=variant).value == 2 * (x + 5)).all()
        assert pool.map(lambda p: Pair(p.b, p.a), [Pair(1, 2), Pair(3, 4)]) == [Pair(2, 1), Pair(4, 3)]
    print("done")
"""


@pytest.mark.slow
def test_a_scripts_own_kernels_run_on_the_embedded_cluster_and_nothing_is_left(script, no_leaks):
    assert script(OWN).stdout == "done\n"
    folders = Path(tempfile.gettempdir()).glob("nfold-dask-*")
    assert not [f for f in folders if not Path(f"/proc/{f.name.split('-')[2]}").exists()]  # others' may be in use


INTERRUPTED = """
import os, signal, sys, threading, time
from compute import Dask
from patience import PATIENCE
from test_dask_faults import naps
from watched import wait_for

backend = Dask(sys.argv[1]) if len(sys.argv) > 1 else Dask(workers=2)
if __name__ == "__main__":
    with backend.open() as pool:
        pool.run(naps, 4, 0.0)
        client = pool._cluster.client
        processes = client.run(os.getpid)
        def at_work(dask_scheduler):
            return any(worker.processing for worker in dask_scheduler.workers.values())
        for times in (1, 2):
            is_interrupted = False
            def interrupt():
                wait_for(lambda: client.run_on_scheduler(at_work))
                run = pool._running
                os.killpg(0, signal.SIGINT)  # as a terminal does, workers that we started included
                if times == 2:
                    wait_for(lambda: pool._running is not run or run.has_raised)  # it is ending
                    os.killpg(0, signal.SIGINT)
            thread = threading.Thread(target=interrupt)
            thread.start()
            began = time.monotonic()
            try:
                try:
                    pool.run(naps, 100_000, 0.02)
                except KeyboardInterrupt:
                    is_interrupted = True
                thread.join()
            except KeyboardInterrupt:  # the second one, where it came after the run's end
                thread.join()
            assert is_interrupted
            print("interrupted")
            assert time.monotonic() - began < PATIENCE
            assert pool.run(naps, 8, 0.0).value.all()
            assert client.run(os.getpid) == processes  # none has died
        until = time.monotonic() + PATIENCE
        while client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)) and time.monotonic() < until:
            time.sleep(0.05)
        print(client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)), "tasks left")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "elsewhere",
    [
        pytest.param(None, id="embedded"),
        pytest.param(True, id="network", marks=pytest.mark.slow),
        pytest.param(False, id="shared memory", marks=pytest.mark.slow),
    ],
)
def test_a_ctrl_c_cancels_the_tasks_on_the_cluster(tmp_path, elsewhere):
    program = tmp_path / "interrupted.py"
    program.write_text(INTERRUPTED)
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "tests", ROOT / "tests" / "cluster")))

    def interrupted(*address: str) -> str:
        done = subprocess.run(
            [sys.executable, program, *address],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env=os.environ | {"PYTHONPATH": paths},
            start_new_session=True,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout

    if elsewhere is None:
        told = interrupted()
    else:
        with RealCluster(2, elsewhere=elsewhere) as cluster:
            told = interrupted(cluster.address)
    assert told == "interrupted\ninterrupted\n0 tasks left\n"


@pytest.mark.slow
def test_tls_as_the_guide_has_it(tmp_path, monkeypatch):
    """The guide's commands, as they stand there; only the machine's name is another, and the ports are free ones."""
    distributed = pytest.importorskip("distributed")
    section = (ROOT / "docs/cluster.md").read_text().partition("## Who else may listen: TLS")[2]
    certificate, scheduler, worker = re.search(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)[1].splitlines()
    code = re.search(r"^```text\n(.*?)^```", section, re.MULTILINE | re.DOTALL)[1]
    monkeypatch.chdir(tmp_path)
    try:
        subprocess.run(certificate, shell=True, check=True, capture_output=True)
    except subprocess.CalledProcessError:
        pytest.skip("openssl is not here")
    began = []
    try:
        assert scheduler.startswith("dask scheduler --host tls://0.0.0.0 ")
        began.append(Daemon(*shlex.split(scheduler)[1:], "--port", "0", "--no-dashboard"))
        port = began[0].told(r"Scheduler at:\s+tls://\S+:(\d+)")
        assert worker.startswith("dask worker tls://scheduler:8786 ")
        where = f"tls://127.0.0.1:{port}"
        began.append(Daemon(*shlex.split(worker.replace("tls://scheduler:8786", where))[1:], "--no-dashboard"))
        began[1].told(r"Registered to:\s+(\S+)")
        names = {"distributed": distributed, "run": run, "count_primes": count_primes, "Dask": Dask}
        exec(code.replace("run(", "result = run(").replace("tls://scheduler:8786", where), names)
        assert names["result"].value == 50847534
        monkeypatch.setattr("compute.backends.dask.cluster.CONNECTING", 2.0)
        with pytest.raises(ConnectionError, match=r"no scheduler answers .*takes TLS alone, Dask\('tls://"):
            Dask(f"tcp://127.0.0.1:{port}").open()
        told = {
            "DASK_DISTRIBUTED__COMM__TLS__CA_FILE": "cert.pem",
            "DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT": "cert.pem",
            "DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY": "key.pem",
        }
        for name in told:
            assert f"`{name}`" in section
        words = ["run", "count_primes", "1e5", "--on", "dask", "--scheduler", where]
        assert nfold(*words, folder=tmp_path, **told).stdout.split()[:2] == ["value", "9592"]
    finally:
        for daemon in reversed(began):
            daemon.kill()


@pytest.mark.parametrize(
    ("scheme", "security", "says"),
    [
        (
            "tls",
            {},
            r"needs certificates, and none are given; say Dask\('tls://127.0.0.1:1', security=",
        ),
        (
            "tcp",
            {"require_encryption": True},
            "is a plain connection, and encryption is required; write tls://",
        ),
        (
            "tls",
            {"tls_ca_file": "no.pem", "tls_client_cert": "no.pem"},
            r"cannot be read \(.*\); check the paths",
        ),
    ],
    ids=["no certificates", "plain", "no file"],
)
def test_an_address_and_security_that_do_not_go_together(scheme, security, says):
    distributed = pytest.importorskip("distributed")
    for given in (security, distributed.Security(**security)):
        with pytest.raises(ValueError, match=says):
            Dask(f"{scheme}://127.0.0.1:1", security=given).open()


@pytest.mark.parametrize(
    ("address", "is_plain"),
    [
        ("tcp://10.0.0.1:8786", True),
        ("tcp://scheduler:8786", True),
        ("tcp://[fe80::1%eth0]:8786", True),
        ("ws://scheduler:80", True),
        ("tls://scheduler:8786", False),
        ("tcp://127.0.0.1:8786", False),
        ("tcp://127.1.2.3:8786", False),
        ("tcp://[::1]:8786", False),
        ("tcp://localhost:8786", False),
        ("inproc://10.0.0.1/7/1", False),
    ],
)
def test_a_plain_connection_to_another_machine_warns(address, is_plain):
    from compute.backends.dask.knocking import warn_of_plain

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        warn_of_plain(address)
    assert [str(w.message).startswith(f"{address} is a plain connection") for w in told] == [True] * is_plain


MEMORY = """
import resource, sys, numpy as np
from compute import Dask
from kernels import kernel, Plan

@kernel(plan=lambda n: Plan(n, (), grain=2**14), compiled=False)
def filled(lo, hi, out):
    out[lo:hi] = np.arange(lo, hi) + 1.0

if __name__ == "__main__":
    with Dask(sys.argv[1]).open() as pool:
        pool.run(filled, 2**18)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        value = pool.run(filled, 2**24).value
        used = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        assert (value == np.arange(2**24) + 1.0).all()
        print(used / value.nbytes)
"""


@pytest.mark.slow
def test_a_large_result_takes_hardly_more_memory_than_itself(script):
    with RealCluster(2, elsewhere=True) as cluster:
        assert float(script(MEMORY, cluster.address).stdout) < 1.2


def test_the_cpus_of_other_machines_are_counted_once():
    from compute.backends.dask.hosts import Host, cpus_elsewhere

    def host(boot, cpus, usable, has_clock=False):
        return Host("tcp://there:1", 4, 1, "", boot, False, has_clock, boot, frozenset(cpus), usable)

    assert cpus_elsewhere([host("here", range(4), 4, has_clock=True)]) is None
    assert cpus_elsewhere([host("a", range(4), 4), host("a", range(4), 4), host("b", range(64), 8)]) == 4 + 8
    assert cpus_elsewhere([host("here", range(2), 2, has_clock=True), host("a", [0, 1], 2), host("a", [2, 3], 2)]) == 6


@pytest.mark.slow
def test_an_open_client_may_be_given_and_stays_open():
    distributed = pytest.importorskip("distributed")
    with RealCluster(2) as cluster, distributed.Client(cluster.address, set_as_default=False) as client:
        backend = Dask(client, workers=1)
        with backend.open() as pool:
            assert pool.workers == 1
            assert pool.run(count_primes, 10**5).value == 9592
            assert len({lane.process for lane in pool.run(count_primes, 10**6).timeline.lanes}) == 1
        assert client.submit(abs, -3).result() == 3


JOBLIB = """
import distributed, joblib, numpy as np, sys
import compute
from compute import Processes, Threads, run
from kernels import count_primes, each, kernel

@kernel
def own(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = 2 * x[i]

def on(backend, n):
    with backend.open() as pool:
        return pool.run(count_primes, n).value, pool.map(abs, [-n])

def squared(x):
    return x * x

if __name__ == "__main__":
    x = np.random.default_rng(0).random(1000)
    with distributed.Client(sys.argv[1]), joblib.parallel_config(backend="dask"):
        parallel, late = joblib.Parallel(), joblib.delayed
        parts = [(10**4, start) for start in range(2, 9000, 1000)]
        counts = parallel(late(count_primes)(n, start=a) for n, a in parts)
        assert counts == [count_primes(n, start=a) for n, a in parts]
        for variant in ("python", "nogil"):
            body = own.held_to(variant)
            assert all((y == k * 2 * x).all() for k, y in enumerate(parallel(late(body)(k * x) for k in range(4))))
        squares = parallel(late(each(squared))(range(k)) for k in range(4))
        assert squares == [[i * i for i in range(k)] for k in range(4)]
        for backend in (Threads(2), Processes(2)):
            assert parallel(late(on)(backend, 10**4) for _ in range(4)) == [(1229, [10**4])] * 4
    print("done")
"""


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--no-nanny"], ["--nanny"]], ids=" ".join)
def test_joblibs_own_way_to_a_cluster_runs_kernels_and_pools(script, options):
    pytest.importorskip("distributed")
    with RealCluster(2, options=options) as cluster:
        assert script(JOBLIB, cluster.address).stdout == "done\n"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_a_worker_of_several_threads_has_a_lane_for_each_on_the_cpus_that_it_may_use():
    from example_kernels import who

    allowed = os.sched_getaffinity(0)
    with RealCluster(0, options=["--nthreads", "3"]) as cluster:
        os.sched_setaffinity(0, {max(allowed)})
        try:
            worker = cluster.add()  # as under `taskset`
        finally:
            os.sched_setaffinity(0, allowed)
        worker.told(r"Registered to:\s+(\S+)")
        with Dask(cluster.address).open() as pool, pool.observed(pins=sorted(allowed)):
            assert pool.workers == 3
            lanes = pool.run(who, 90).timeline.lanes
            assert [(lane.process, lane.cpu_number) for lane in lanes] == [(worker.process.pid, None)] * 3
            [host] = pool._cluster.hosts.values()
            assert (host.cpus, host.usable) == ({max(allowed)}, 1)
            [used] = pool._cluster.client.run(lambda: os.sched_getaffinity(0)).values()
            assert used == {max(allowed)}
            assert pool.run(count_primes, 10**6).value == 78498


def test_it_is_a_value_like_any_backend():
    backends = [Dask(workers=2), Dask("tcp://there:8786"), Dask("tcp://there:8786", workers=3)]
    for backend in backends:
        assert eval(repr(backend), vars(compute)) == backend
        assert backend.with_workers(7).workers == 7
        assert backend.with_workers(7).address == backend.address
    assert BACKENDS["dask"] is Dask
    for wrong in (
        "there:8786",
        8,
        "tcp://there",
        "tcp://there:",
        "tls://there:70000",
        "tcp://there:0",
        "tcp://8786",
        "://",
    ):
        with pytest.raises(ValueError, match=r"address must be a scheduler's, such as 'tcp://host:8786'"):
            Dask(wrong)
    with pytest.raises(ValueError, match="workers must be at least 1, not 0"):
        Dask(workers=0)


def nfold(*words: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "compute", *words],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"} | env,
    )


@pytest.mark.slow
def test_the_command_line_runs_and_measures_on_a_cluster(tmp_path):
    assert "Lanes on the workers of a Dask cluster" in nfold("list", folder=tmp_path).stdout
    with RealCluster(2) as cluster:
        shown = nfold("run", "count_primes", "1e5", "--on", "dask", "--scheduler", cluster.address, folder=tmp_path)
        assert shown.stdout.split()[:2] == ["value", "9592"], shown.stderr
        words = [
            "scale",
            "count_primes",
            "3e6",
            "--on",
            "dask",
            "--workers",
            "1,2",
            "--variant",
            "nogil",
            "--budget",
            "1s",
            "--json",
            "it.json",
        ]
        shown = nfold(*words, "--scheduler", cluster.address, folder=tmp_path)
        assert shown.returncode == 0, shown.stderr
    points = json.loads((tmp_path / "it.json").read_text())["points"]
    assert [p["workers"] for p in points if p["backend"] == "dask"] == [1, 2]
    for p in points:
        assert sum(p["ledger"].values()) == pytest.approx(p["workers"] * p["seconds"], rel=0.05)
    told = nfold("run", "count_primes", "10", "--on", "threads", "--scheduler", "tcp://a:1", folder=tmp_path)
    assert told.returncode == 2
    assert "has no scheduler" in told.stderr


@pytest.mark.slow
def test_the_guide_runs_as_it_stands(script):
    guide = (ROOT / "docs/cluster.md").read_text()
    [block] = re.findall(r"^```python\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    assert script(block).stdout == f"5761455\n{[k * k for k in range(10)]}\n"


NEVER_CLOSED = """
from compute import Dask
if __name__ == "__main__":
    pool = Dask(workers=2).open()
    {}
"""


@pytest.mark.slow
def test_pools_are_ended_by_the_programs_end(script):
    assert script(NEVER_CLOSED.format("print(pool.map(abs, [-1]))")).stdout == "[1]\n"


@pytest.mark.slow
def test_workers_that_a_pool_started_are_ended_at_once_and_none_comes_in_their_place():
    with Dask(workers=2).open() as pool:
        pool.map(abs, [-1])
        [cluster] = [owned for owned in pool._cluster._owned if hasattr(owned, "workers")]
        processes = [nanny.process.process for nanny in cluster.workers.values()]
    assert [process.exitcode for process in processes] == [-signal.SIGKILL] * 2
    assert not cluster.workers


@pytest.mark.slow
def test_a_killed_program_leaves_no_worker(tmp_path):
    program = tmp_path / "killed.py"
    program.write_text(
        NEVER_CLOSED.format("print(*[h.pid for h in pool._cluster.hosts.values()], flush=True); input()")
    )
    process = subprocess.Popen(
        [sys.executable, program],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    pids = [int(pid) for pid in process.stdout.readline().split()]
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    process.stdin.close()
    until = time.monotonic() + PATIENCE
    while any(os.path.exists(f"/proc/{pid}") for pid in pids) and time.monotonic() < until:
        time.sleep(0.05)
    assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}")]
