"""fetch: requests to a server that replies after a fixed delay. N lanes wait for N replies at once, on any CPUs."""

from __future__ import annotations

import contextlib
import functools
import math
from typing import Any

import numpy as np

from kernels.definition import as_index, kernel
from kernels.definition.plan import MOST_CHUNKS, Plan
from kernels.waiting.server import reply_to, served

Array = np.ndarray[Any, Any]
LATE = 30.0  # s beyond the delay after which a reply is an error
HOST = "127.0.0.1"


def plan_fetch(n: Any, delay: Any = 0.01) -> Plan:
    """Send n requests, each on a connection of its own, to a server that replies after `delay` seconds.

    The server is a process of this machine, started before the run and ended after it: neither is in its seconds.
    Returns the replies, an int64 array of n: reply k is k**2 % 1_000_003. Each is checked as it comes.
    Raises ValueError for an n below 0 and a delay that is no number of at least 0; ConnectionError or TimeoutError,
    which name the request, where the server refuses, goes away, or is late.
    """
    count = as_index(n, "n")
    if isinstance(delay, str | bytes):
        raise ValueError(f"delay must be a number of seconds, not {delay!r}")
    try:
        seconds = float(delay)
    except (TypeError, ValueError):
        raise ValueError(f"delay must be a number of seconds, not {delay!r}") from None
    if not 0 <= seconds < math.inf:
        raise ValueError(f"delay must be at least 0 seconds, not {delay!r}")
    return Plan(
        count,
        (seconds + LATE,),
        dtype=np.int64,
        grain=max(1, -(-count // MOST_CHUNKS)),
        around=functools.partial(served, seconds),
    )


def check_fetch(value: Any, n: Any, delay: Any = 0.01) -> None:
    """Every reply."""
    np.testing.assert_array_equal(value, [reply_to(k) for k in range(int(n))])


@kernel(plan=plan_fetch, compiled=False, check=check_fetch, unit="request", bound="wait")
def fetch(lo: int, hi: int, out: Array, patience: float, port: int) -> None:
    """Fill out[lo:hi] with replies, one after the other; touch nothing else."""
    import socket

    for k in range(lo, hi):
        with _named(k, port), socket.create_connection((HOST, port), patience) as connection:
            connection.sendall(b"%d\n" % k)
            with connection.makefile("rb") as reader:
                out[k] = _checked(reader.readline(), k)


async def fetch_awaiting(lo: int, hi: int, out: Array, patience: float, port: int) -> None:
    """The same, handing over while it waits."""
    import asyncio

    for k in range(lo, hi):
        with _named(k, port):
            async with asyncio.timeout(patience):
                reader, writer = await asyncio.open_connection(HOST, port)
                try:
                    writer.write(b"%d\n" % k)
                    out[k] = _checked(await reader.readline(), k)
                finally:
                    writer.close()


def _checked(line: bytes, k: int) -> int:
    if not line.endswith(b"\n"):
        raise ConnectionResetError("it went away before its reply")
    reply = int(line)
    if reply != reply_to(k):
        raise ValueError(f"it replied {reply}, and {reply_to(k)} was expected")
    return reply


@contextlib.contextmanager
def _named(k: int, port: int) -> Any:
    """Make an error name the request and the server's port."""
    try:
        yield
    except TimeoutError:
        raise TimeoutError(f"request {k} to the server of fetch on port {port} had no reply in time") from None
    except OSError as error:
        raise ConnectionError(f"request {k} to the server of fetch on port {port} failed: {error}") from None


fetch.add_variant("awaits", fetch_awaiting)
