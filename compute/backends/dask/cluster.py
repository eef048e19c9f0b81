"""A connection to a cluster: what it was opened with, which workers it has, and whether these may be used.

Every worker is asked about itself before it gets work, in plain text that any Python can run: its versions, its
machine, and whether it can open a piece of this process's memory. What would compute something else is refused.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import importlib.util
import logging
import secrets
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, TypeVar

from compute.backends import children, host_program
from compute.backends.dask.hosts import QUESTION, Host, host_of, own_account
from compute.backends.dask.knocking import Unfit, knock, warn_of_plain
from compute.memory.descriptors import check_files
from compute.memory.segments import Segment, create_segment
from kernels.texts import visible

Value = TypeVar("Value")

CONNECTING = 10.0  # s for a scheduler to answer, and for workers to come that an elastic cluster starts on demand
OWN_FILES, WORKERS_FILES = 24, 13  # that a cluster of this machine has open here; 16 and 13 were counted
LOOK = 1.0  # s between looks whether the event loop has ended
ANSWER = 30.0  # s for an answer to a question; a scheduler of thousands of workers takes one


class Lost(ConnectionError):
    """The scheduler does not answer any more; what it had not given back is lost. Raised in bounded time."""


class Cluster:
    """An open connection. Coroutines of it run on the client's event loop; `call` runs one from another thread."""

    def __init__(self, address: Any, workers: int, security: Any) -> None:
        import distributed

        if address is None:  # workers of this machine, each beside a nanny with queues
            host_program.check_semaphores("dask's", "use Processes, which needs none")
            # A scheduler that can open no more would say so without end, and its workers wait.
            check_files(OWN_FILES + WORKERS_FILES * workers)
        self._distributed = distributed
        self._owned: list[Any] = []  # what was started here, in the order in which it is closed
        self._folder = contextlib.ExitStack()
        self._token = secrets.token_bytes(16)
        self._segment = _segment_with(self._token)
        self.hosts: dict[str, Host] = {}
        self._asked: dict[str, asyncio.Task[None]] = {}  # address -> the question to that worker
        self.refused: dict[str, str] = {}  # address -> why it gets no work
        self._caught: list[Any] = []  # dask's own warnings of versions, which are given where ours allow to go on
        try:
            self.client = self._connected(address, workers, security)
            self._loop: asyncio.AbstractEventLoop = self.client.loop.asyncio_loop
            self.address = str(self.client.scheduler.address)
            warn_of_plain(self.address)
            self.call(self.settled())
            if not self.hosts and not self.refused:
                self.call(self._first_worker())
        except BaseException:
            self.close()
            raise
        if self.refused:
            reason = next(iter(self.refused.values()))
            self.close()
            raise Unfit(reason)
        for warning in self._caught:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)

    def _connected(self, address: Any, workers: int, security: Any) -> Any:
        client_class = self._distributed.Client
        if isinstance(address, client_class):
            if address.asynchronous:
                raise ValueError("a Client that is asynchronous cannot be waited for; pass its scheduler's address")
            if address.status != "running":
                raise ValueError(f"the Client of {address.scheduler} is {address.status}; open another")
            return address
        if address is None:
            address = self._local_cluster(workers, security)
            security = getattr(address, "security", security)
        try:
            if isinstance(address, str):
                knock(address, security, CONNECTING)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", self._distributed.versions.VersionMismatchWarning)
                client = client_class(address, security=security, set_as_default=False, timeout=CONNECTING)
        except (OSError, concurrent.futures.TimeoutError) as error:
            raise Lost(
                f"no scheduler answers at {visible(str(address))} within {CONNECTING:g} s"
                f" ({_said(error)}); start one with `dask scheduler`, or leave the address out for"
                " workers of this machine"
            ) from error
        self._owned.insert(0, client)
        self._caught = caught
        return client

    def _local_cluster(self, workers: int, security: Any) -> Any:
        import dask

        folder = self._folder.enter_context(host_program.own_folder("dask"))
        in_folder = dask.config.set({"temporary-directory": folder})  # the scheduler has no argument for it
        # The event loop's thread gets no Ctrl-C, nor does any process that it starts, now or in place of one that died.
        with host_program.able_to_start_processes(), children.with_sigint_blocked(), children.without_main(), in_folder:
            cluster = self._distributed.LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                dashboard_address="127.0.0.1:0",  # of no use here, and only so nobody else's port is asked for
                memory_limit=0,  # arrays that are mapped would count, and workers be killed for them
                scheduler_kwargs={"dashboard": False},  # which takes a second to import where bokeh is installed
                silence_logs=logging.CRITICAL,  # a worker that died is told of in the result's timeline
                local_directory=folder,
                security=security,
            )
        self._owned.append(cluster)
        return cluster

    async def _first_worker(self) -> None:
        """Wait for a worker; ask for one by a task, since an elastic cluster starts workers when there are tasks."""
        task = self.client.submit(int, pure=False)
        try:
            for _ in range(int(CONNECTING / 0.1)):
                await asyncio.sleep(0.1)
                await self.settled()
                if self.hosts or self.refused:
                    return
        finally:
            task.release()
        raise Unfit(
            f"the scheduler at {self.address} has no workers, and none came within {CONNECTING:g} s; start some:"
            f" dask worker {self.address}"
        )

    async def await_threads(self, count: int) -> None:
        """Wait a moment until the workers have so many threads. Unfit where they do not."""
        for _ in range(int(CONNECTING / 0.1)):
            if self.threads >= count:
                return
            await asyncio.sleep(0.1)
            await self.settled()
        raise Unfit(
            f"the cluster at {self.address} has {self.threads} threads, not {count}; leave workers out to use all, or"
            " start more workers"
        )

    def call(self, coroutine: Coroutine[Any, Any, Value]) -> Value:
        """Run a coroutine on the client's event loop and wait for its value. Lost where the loop ends before it."""
        try:
            answer = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:  # it has ended
            coroutine.close()
            raise self.lost() from None
        while not concurrent.futures.wait([answer], LOOK).done:  # a loop that ends forgets what came in the meantime
            if self._loop.is_closed():
                raise self.lost()
        if answer.cancelled():
            raise self.lost()
        return answer.result()

    def soon(self, call: Callable[[], object]) -> None:
        """Have the client's event loop call this, if it has not ended."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call)

    @property
    def threads(self) -> int:
        """Of all workers that may be given work."""
        return sum(host.threads for host in self.hosts.values())

    async def answer(self, question: Any) -> Any:
        """What the scheduler says to this. Lost where it says nothing."""
        try:
            return await asyncio.wait_for(question, ANSWER)
        except (OSError, TimeoutError) as error:
            raise self.lost(error) from error

    def lost(self, error: BaseException | None = None) -> Lost:
        """The error where the scheduler is gone."""
        why = f" ({_said(error)})" if error is not None else ""
        closed = "" if self.client in self._owned else ", or the Client was closed"
        return Lost(
            f"the scheduler at {self.address} is gone{why}{closed}, and what its workers had not given back with it;"
            " start it again and open another pool"
        )

    def deserted(self, seconds: float) -> RuntimeError:
        """The error where there has been no worker for so long."""
        refused = next(iter(self.refused.values()), None)
        return RuntimeError(
            f"the cluster at {self.address} has had no worker for {seconds:g} s that this run can use"
            f"{f' ({refused})' if refused else ''}; start some: dask worker {self.address}"
        )

    def check(self) -> None:
        """Lost where the connection to the scheduler has ended."""
        if self.client.status != "running":
            raise self.lost()

    async def refresh(self) -> list[Host]:
        """Learn which workers there are; begin to ask those that are new. Returns those that are gone."""
        self.check()
        threads = await self.answer(self.client.scheduler.ncores())
        gone = [host for address, host in self.hosts.items() if address not in threads]
        for host in gone:
            del self.hosts[host.address]
        self.refused = {address: why for address, why in self.refused.items() if address in threads}
        for address, count in threads.items():
            if address not in self.hosts and address not in self.refused and address not in self._asked:
                self._asked[address] = asyncio.ensure_future(self._ask(address, count))
        return gone

    async def _ask(self, address: str, threads: int) -> None:
        """Ask a worker about itself, and admit or refuse it. Where it does not answer, it is asked again later."""
        question = f"(lambda names: (exec({self._question!r}, names), names['asked']())[1])({{}})"
        run = self.client.run(eval, question, workers=[address], on_error="ignore", asynchronous=True)
        try:
            for answer in (await asyncio.wait_for(run, ANSWER)).values():
                self._admit(address, threads, answer)
        except (OSError, TimeoutError):  # it may be gone by now
            pass
        finally:
            del self._asked[address]

    async def settled(self) -> None:
        """Learn which workers there are, and wait until those that are new have answered."""
        await self.refresh()
        if self._asked:
            await asyncio.wait(list(self._asked.values()))

    def _admit(self, address: str, threads: int, answer: dict[str, Any]) -> None:
        own = own_account()
        differing = [
            f"{name} is {theirs} on the worker and {own['versions'][name]} here"
            for name, theirs in answer["versions"].items()
            if theirs != own["versions"][name]
        ]
        if differing:
            self.refused[address] = (
                f"the worker {address} on {answer['host']} does not have what this process has: {'; '.join(differing)}."
                " It could compute something else; install the same there and here"
            )
            return
        self.hosts[address] = host_of(address, threads, answer)

    @property
    def _question(self) -> str:
        address = None if self._segment is None else self._segment.address
        if address is not None and address.startswith("shm:"):
            address = f"/dev/shm/{address.removeprefix('shm:')}"
        return f"ADDRESS, TOKEN = {address or ''!r}, {self._token!r}\n{QUESTION}"

    def close(self) -> None:
        """Close what was opened here: a Client that was given stays open."""
        self._segment = None
        with without_broken_connections():
            for owned in self._owned:
                try:
                    if isinstance(owned, self._distributed.LocalCluster) and owned.status.name == "running":
                        ending = asyncio.run_coroutine_threadsafe(_end_workers(owned), owned.loop.asyncio_loop)
                        ending.result(ANSWER)
                    owned.close()
                except (OSError, TimeoutError, concurrent.futures.TimeoutError):  # whom it would tell is gone
                    continue
            self._owned.clear()
        self._folder.close()


@contextlib.contextmanager
def without_broken_connections() -> Iterator[None]:
    """Within the block dask logs no message that it could not send, and no connection that it did not get again."""
    loggers = [logging.getLogger(name) for name in ("distributed.batched", "distributed.client")]

    def nothing(record: logging.LogRecord) -> bool:  # of its own: several pools may be closed at once
        return False

    for logger in loggers:
        logger.addFilter(nothing)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(nothing)


async def to_its_end(asked: Awaitable[Value], late: Callable[[Value], object] | None = None) -> Value:
    """The answer to what dask was asked. Where the caller is cancelled meanwhile it still comes; `late` is given it.

    A Client whose gather is cancelled as it begins cancels every later one (distributed 2026.8, Client._gather_future).
    """
    answering = asyncio.ensure_future(asked)

    def answered(answering: asyncio.Future[Value]) -> None:
        if not answering.cancelled() and answering.exception() is None and late is not None:
            late(answering.result())

    try:
        await asyncio.wait([answering])  # asyncio.shield would log, from Python 3.14, that what comes late is an error
    except asyncio.CancelledError:
        answering.add_done_callback(answered)
        raise
    return answering.result()


async def _end_workers(cluster: Any) -> None:
    """Kill the workers of an embedded cluster, which keep nothing: with numba loaded, an orderly end takes seconds."""
    for nanny in cluster.workers.values():
        nanny.close_gracefully(reason="the pool is closed")  # it would start another one in its place
        process = nanny.process and nanny.process.process
        if process is not None and process.is_alive():
            await process.kill()


def unavailable() -> str | None:
    """Why there is no dask.distributed here, or None."""
    if importlib.util.find_spec("distributed") is not None:
        return None
    return "Dask needs dask.distributed, which is not installed; pip install distributed"


def _said(error: BaseException) -> str:
    """What an error says; of one that says nothing, what it is."""
    return str(error) or type(error).__name__


def _segment_with(token: bytes) -> Segment | None:
    """A piece of memory that begins with the token; None where there is none that others could open."""
    try:
        segment = create_segment(len(token), "shared", None, set())
    except (OSError, MemoryError):
        return None
    segment[: len(token)] = token
    return segment
