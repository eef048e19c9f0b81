"""fetch and read: on every backend, and beside servers that refuse, go away or are late."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import zlib

import numpy as np
import pytest

from compute import Coroutines, Joblib, Processes, Serial, Threads, run
from kernels import fetch, read
from kernels.waiting import requests, server

pytestmark = pytest.mark.sampled

BACKENDS = [Serial(), Threads(3), Coroutines(3), Processes(2), Joblib(2)]
on_every_backend = pytest.mark.parametrize("backend", BACKENDS, ids=repr)
both = pytest.mark.parametrize("variant", ["python", "awaits"])


@both
@on_every_backend
def test_every_reply_is_in_its_place(pool_of, backend, variant):
    value = pool_of(backend).run(fetch, 20, 0.001, variant=variant).value
    assert value.dtype == np.int64
    fetch.check(value, 20)


def test_it_is_a_plain_function_too(no_leaks):
    assert fetch(4, delay=0).tolist() == [0, 1, 4, 9]
    assert fetch.python(0).tolist() == []
    assert run(fetch, 3, on=Threads(2), check=True).value.tolist() == [0, 1, 4]


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ((-1,), "n must be at least 0, not -1"),
        ((1, "soon"), "delay must be a number of seconds, not 'soon'"),
        ((1, "0.01"), "delay must be a number of seconds, not '0.01'"),
        ((1, -1), "delay must be at least 0 seconds, not -1"),
        ((1, float("nan")), "delay must be at least 0 seconds, not nan"),
    ],
)
def test_bad_arguments_start_no_server(args, told):
    with pytest.raises(ValueError, match=told):
        fetch(*args)


def test_more_waits_than_cpus_overlap(no_leaks):
    """A server that replies to nobody before the last has asked: taking turns, nobody would ever end."""
    with _odd_server(_together(60)) as port, _instead(port):
        assert len(run(fetch, 60, on=Coroutines(60), variant="awaits").value) == 60
    with _odd_server(_together(30)) as port, _instead(port):
        assert len(run(fetch, 30, on=Threads(30), variant="python").value) == 30


@both
@on_every_backend
def test_a_server_that_refuses_is_named(pool_of, backend, variant):
    pool = pool_of(backend)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # a port on which nobody listens
        port = taken.getsockname()[1]
        with _instead(port), pytest.raises(ConnectionError, match=f"server of fetch on port {port} failed"):
            pool.run(fetch, 5, variant=variant)


@both
@on_every_backend
def test_a_server_that_goes_away_is_named(pool_of, backend, variant):
    pool = pool_of(backend)
    with (
        _odd_server(lambda connection: connection.recv(100)) as port,
        _instead(port),
        pytest.raises(ConnectionError, match=r"request \d to the server of fetch"),
    ):
        pool.run(fetch, 5, variant=variant)


@both
@on_every_backend
def test_a_late_server_is_an_error(pool_of, backend, variant):
    pool = pool_of(backend)
    with (
        _odd_server(lambda connection: connection.recv(100) and connection.recv(100)) as port,
        _instead(port, late=0.2),
        pytest.raises(TimeoutError, match="had no reply in time"),
    ):
        pool.run(fetch, 3, 0.01, variant=variant)


@both
def test_a_wrong_reply_is_an_error(no_leaks, variant):
    with (
        _odd_server(lambda connection: connection.recv(100) and connection.sendall(b"7\n")) as port,
        _instead(port),
        pytest.raises(ValueError, match="it replied 7, and 0 was expected"),
    ):
        run(fetch, 1, on=Serial(), variant=variant)


def test_the_server_ends_with_who_started_it():
    starter = "from kernels.waiting.server import served\nwith served(1.0) as (port,): print(port, flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", starter], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        port = int(process.stdout.readline())
        with socket.create_connection(("127.0.0.1", port)) as connection:
            os.kill(process.pid, signal.SIGKILL)
            assert connection.recv(1) == b""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "blocks"
    path.write_bytes(np.random.default_rng(1).bytes(10 * 4096 + 100))
    return path


@both
@on_every_backend
def test_blocks_are_read(pool_of, backend, variant, file):
    value = pool_of(backend).run(read, str(file), block=4096, variant=variant).value
    content = file.read_bytes()
    assert value.tolist() == [zlib.crc32(content[start : start + 4096]) for start in range(0, len(content), 4096)]
    assert read(file, 2, 8192).tolist() == [zlib.crc32(content[:8192]), zlib.crc32(content[8192:16384])]


def test_blocks_are_read_without_o_direct(file, monkeypatch):
    monkeypatch.delattr(os, "O_DIRECT")
    read.check(read(str(file), block=4096), str(file), block=4096)
    monkeypatch.delattr(os, "posix_fadvise")
    with pytest.raises(ValueError, match="only through the page cache"):
        read(str(file), block=4096)


@pytest.mark.parametrize(
    ("more", "kind", "told"),
    [
        ({"block": 1000}, ValueError, "block must be at least 4096, not 1000"),
        ({"block": 5000}, ValueError, "block must be a multiple of 4096 bytes, not 5000"),
        ({"block": 2**31}, ValueError, "block must be at most 1073741824 bytes, not 2147483648"),
        ({"blocks": 99, "block": 4096}, ValueError, "has 11 blocks of 4096 bytes, not 99"),
    ],
)
def test_what_cannot_be_read_is_told(file, more, kind, told):
    with pytest.raises(kind, match=told):
        read(str(file), **more)
    with pytest.raises(FileNotFoundError):
        read(str(file) + ".none")


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "folder", "pipe", 5, None, 1.5], ids=str)
def test_only_a_regular_file_is_read(path, tmp_path):
    """Where a device or a pipe would have no end, or wait for a writer for ever."""
    if path == "folder":
        path = str(tmp_path)
    if path == "pipe":
        path = str(tmp_path / "pipe")
        os.mkfifo(path)
    with pytest.raises(ValueError, match="path must be that of a"):
        read(path)


def test_the_examples_of_the_command_line():
    assert fetch.example(5) == (5,)
    path, blocks = read.example(3)
    assert os.path.getsize(path) >= blocks * 2**20


def _together(count):
    """Reply to each when so many have asked."""
    gate = threading.Barrier(count)

    def answer(connection):
        k = int(connection.recv(100))
        gate.wait()
        connection.sendall(b"%d\n" % server.reply_to(k))

    return answer


@contextlib.contextmanager
def _odd_server(answer):
    """The port of a server in this process that treats each connection so, and closes it."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listening:
        threads = []

        def treat(connection):
            with connection, contextlib.suppress(OSError):
                answer(connection)

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    threads.append(threading.Thread(target=treat, args=(listening.accept()[0],), daemon=True))
                    threads[-1].start()

        accepting = threading.Thread(target=serve, daemon=True)
        accepting.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for thread in threads:
                thread.join()


@contextlib.contextmanager
def _instead(port, late=requests.LATE):
    """Have fetch ask this port in the place of its own server's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(requests, "served", lambda delay: contextlib.nullcontext((port,)))
        patch.setattr(requests, "LATE", late)
        yield
