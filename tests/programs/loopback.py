"""The other side of a test for a program: who starts it, asks it a hundred times, and looks at what it leaves."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import leaks
import numpy as np
from patience import PATIENCE

ROOT = Path(__file__).parent.parent.parent
REQUESTS, CLIENTS = 100, 4
SIZE = 1000  # numbers in an answer


def snippet(name: str) -> str:
    """The block of docs/servers.md that begins with the comment `# name`."""
    text = (ROOT / "docs" / "servers.md").read_text()
    found = re.search(rf"^```\w+\n((?:#!.*\n)?# {re.escape(name)}\n.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert found, f"docs/servers.md has no {name}"
    return found[1]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Program:
    """A program in a session and a folder of its own; what it says goes into a file there."""

    def __init__(self, folder: Path, *command: str, **env: str) -> None:
        self._log = folder / "log"
        paths = [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))} | env,
            )

    @property
    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_until(self, condition: Callable[[], Any]) -> None:
        """AssertionError, with all that was said, where the program ends before, or never comes to it."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.said}"
            assert time.monotonic() < deadline, f"it never came: {self.said}"
            time.sleep(0.01)

    def await_line(self, line: str) -> None:
        self.wait_until(lambda: line in self.said.splitlines())

    def await_port(self, port: int) -> None:
        def answers() -> bool:
            try:
                ask(port, 0)
            except OSError:
                return False
            except RuntimeError:
                return True
            return True

        self.wait_until(answers)

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def ended(self) -> int:
        """Wait for its end; its exit code, or minus its signal."""
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end: {self.said}") from None

    def kill(self) -> None:
        """End it and its session, unless it has ended."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def ask(port: int, start: int) -> bytes:
    """The answer to one request; what the server says of an error, as a RuntimeError."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/?{start}", timeout=PATIENCE) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        raise RuntimeError(error.code) from None


def check(port: int, requests: int = REQUESTS, first: int = 0) -> None:
    """So many requests, some at a time: every answer is right to the bit."""

    def one(start: int) -> None:
        asked = start + np.arange(float(SIZE))
        assert ask(port, start) == (asked * asked).tobytes(), f"request {start}"

    with ThreadPoolExecutor(CLIENTS) as clients:
        for _ in clients.map(one, range(first, first + requests)):
            pass


def left_by(folder: Path) -> list[str]:
    """What programs have left in their TMPDIR, and in /dev/shm under the names of processes that are dead."""
    files = [str(path) for path in sorted((folder / "tmp").rglob("*"))]
    return files + sorted(name for name in leaks.ours(leaks.names()) if leaks.OWNER.match(name))
