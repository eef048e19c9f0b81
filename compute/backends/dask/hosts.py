"""The workers of a cluster: what each is asked of itself, and what is known of it from its answer."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
from collections.abc import Iterable
from typing import Any, NamedTuple

DYING = 5.0  # s for a worker's process to end that the cluster has lost, before it is ended
# What each worker runs to tell of itself. It is sent as text: another Python could not load compiled code.
QUESTION = """
def asked():
    import hashlib, importlib.metadata, importlib.util, os, pathlib, platform, socket, sys

    def version(name):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return "none"

    def source():
        digest = hashlib.sha256()
        for package in ("kernels", "compute"):
            found = importlib.util.find_spec(package)
            if found is None or not found.submodule_search_locations:
                return "none"
            root = pathlib.Path(found.submodule_search_locations[0])
            for path in sorted(root.rglob("*.py")):
                digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
        return digest.hexdigest()[:12]

    def sees(address, token):
        try:
            with open(address, "rb") as file:
                return file.read(len(token)) == token
        except OSError:
            return False

    try:
        boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = socket.gethostname()
    try:
        from compute import machine
        from compute.backends.dask.at_worker import LIFE as life
        usable, allowed = machine.usable_cpus(), list(machine.allowed_cpus())
    except (ImportError, AttributeError):
        life, usable, allowed = "", 0, []
    return {
        "life": life,
        "usable": usable,
        "allowed": allowed,
        "versions": {
            "python": platform.python_implementation() + " %d.%d" % sys.version_info[:2],
            "nfold": version("nfold") + " (source " + source() + ")",
            "numpy": version("numpy"),
            "numba": version("numba"),
        },
        "boot": boot,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "sees": sees(ADDRESS, TOKEN),
    }
"""


class Host(NamedTuple):
    """A worker of the cluster that may be given work.

    life: of its process: another one that comes at its address has another. is_local: whether it can map this
    process's memory. has_clock: whether its clock is this machine's. boot: of its machine: another one has another.
    cpus: the numbers of those that it may use there, and usable: how many that is where a quota counts as well.
    """

    address: str
    threads: int
    pid: int
    life: str
    machine: str
    is_local: bool
    has_clock: bool
    boot: str
    cpus: frozenset[int]
    usable: int


def host_of(address: str, threads: int, answer: dict[str, Any]) -> Host:
    """The worker that has answered this."""
    own = own_account()
    has_clock = answer["boot"] == own["boot"]
    return Host(
        address=address,
        threads=threads,
        pid=answer["pid"],
        life=answer["life"],
        machine=answer["host"],
        is_local=has_clock and answer["sees"] and answer["host"] == own["host"],
        has_clock=has_clock,
        boot=answer["boot"],
        cpus=frozenset(answer["allowed"]),
        usable=answer["usable"],
    )


@functools.cache
def own_account() -> dict[str, Any]:
    """What this process would answer."""
    names: dict[str, Any] = {"ADDRESS": "", "TOKEN": b""}
    exec(QUESTION, names)
    account: dict[str, Any] = names["asked"]()
    return account


def cpus_elsewhere(hosts: Iterable[Host]) -> int | None:
    """How many CPUs workers on other machines have; None where all are on this one."""
    by_machine: dict[str, list[Host]] = {}
    for host in hosts:
        by_machine.setdefault(host.boot, []).append(host)
    if all(host.has_clock for own in by_machine.values() for host in own):
        return None
    # Workers of one machine may have the same CPUs, and each a quota of its own.
    return sum(
        min(len(frozenset[int]().union(*(host.cpus for host in own))), sum(host.usable for host in own))
        for own in by_machine.values()
    )


async def end_process(host: Host) -> None:
    """End the process of a worker that maps this process's memory, if it runs though the cluster has lost it.

    What it wrote later would be written to arrays of another run.
    """
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(host.pid)
        for _ in range(int(DYING / 0.05)):
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                return
            await asyncio.sleep(0.05)
        process.send_signal(signal.SIGKILL)
