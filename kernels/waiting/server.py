"""The server that `fetch` asks: a process of its own, on loopback, which replies to each line after a delay.

    python kernels/waiting/server.py DELAY

It prints its port, and ends with its standard input: when the process that started it closes that, or dies. A request
is a whole number k and a newline; its reply is `reply_to(k)` and a newline.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

GRACE = 10.0  # s that it may take to start, and to end: longer than any busy machine takes
BACKLOG = 4096  # connections that wait to be accepted: a thousand coroutines ask at once


def reply_to(k: int) -> int:
    """The reply to request k. The client computes it, too, and so checks every reply."""
    return k * k % 1_000_003


@contextlib.contextmanager
def served(delay: float) -> Iterator[tuple[int]]:
    """Start a server that replies after `delay` seconds, yield its port, and stop it on exit."""
    import subprocess

    server = subprocess.Popen(
        [sys.executable, __file__, repr(delay)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        line = server.stdout.readline()
        if not line:
            raise RuntimeError(
                f"the server of fetch did not start (exit code {server.wait(GRACE)}); see what it printed"
            )
        yield (int(line),)
    finally:
        with contextlib.suppress(OSError):
            server.stdin.close()
        try:
            server.wait(GRACE)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        server.stdout.close()


async def _serve(delay: float) -> None:
    import asyncio

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                await asyncio.sleep(delay)
                writer.write(b"%d\n" % reply_to(int(line)))
                await writer.drain()
            writer.close()

    loop = asyncio.get_running_loop()
    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=BACKLOG)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


def _allow_many_files() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2**16)), hard))


if __name__ == "__main__":
    import asyncio
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles a Ctrl-C, and then closes our stdin
    _allow_many_files()
    asyncio.run(_serve(float(sys.argv[1])))
