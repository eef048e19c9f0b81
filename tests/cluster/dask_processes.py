"""A scheduler and workers of Dask as a user starts them: `dask scheduler`, `dask worker`, each a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from patience import PATIENCE

ROOT = Path(__file__).parents[2]
ELSEWHERE = "import socket\nsocket.gethostname = lambda: 'elsewhere'\n"  # preloaded: a worker of another machine


class Daemon:
    """One of Dask's programs, ended with SIGKILL at the end; its words are kept.

    within: a command that runs the rest of its line in other surroundings, in place of itself.
    """

    def __init__(self, *words: str, within: Sequence[str] = (), **env: str) -> None:
        self.process = subprocess.Popen(
            [*within, sys.executable, "-m", "dask", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests")))} | env,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines += iter(self.process.stdout.readline, "")

    def told(self, pattern: str) -> str:
        """The first group of a pattern, once it has written that."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and self.process.poll() is None:
            for line in self.lines:
                if found := re.search(pattern, line):
                    return found[1]
            time.sleep(0.02)
        raise AssertionError("".join(self.lines))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()


class RealCluster:
    """`with RealCluster(2) as cluster`: a scheduler, and workers with one thread each. All are killed at the end.

    elsewhere: whether the workers say that they are on another machine, so that nothing is shared.
    """

    def __init__(self, workers: int, *, elsewhere: bool = False, options: Sequence[str] = (), tls: Sequence[str] = ()):
        self._folder = tempfile.TemporaryDirectory(prefix="nfold-test-dask-")
        self._preload = Path(self._folder.name, "elsewhere.py")
        self._preload.write_text(ELSEWHERE)
        self._elsewhere, self._options, self._tls = elsewhere, options, tls
        self.workers: list[Daemon] = []
        self._count = workers

    def __enter__(self) -> RealCluster:
        where = ["--host", "tls://127.0.0.1" if self._tls else "127.0.0.1", "--port", "0"]
        self.scheduler = Daemon("scheduler", *where, "--no-dashboard", *self._tls)
        try:
            self.address = self.scheduler.told(r"Scheduler at:\s+(\S+)")
            for _ in range(self._count):
                self.add()
            for worker in self.workers:
                worker.told(r"Registered to:\s+(\S+)")
        except BaseException:
            self.close()
            raise
        return self

    def add(self, *options: str, **env: str) -> Daemon:
        """Start another worker."""
        preload = ["--preload", str(self._preload)] if self._elsewhere else []
        worker = Daemon(
            "worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "0",
            "--local-directory", self._folder.name, *preload, *self._options, *self._tls, *options, **env,
        )  # fmt: skip
        self.workers.append(worker)
        return worker

    def close(self) -> None:
        for daemon in (*self.workers, self.scheduler):
            daemon.kill()
        self._folder.cleanup()

    def __exit__(self, *_: Any) -> None:
        self.close()
