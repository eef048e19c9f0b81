"""A Python that has imported numba and this library: each script runs in a fork of it, as if it had been started alone.

So what takes most of a second, and is none of a test's business, is paid once for all of its scripts. A script is
`__main__`, has a session and a folder of its own, and ends as the interpreter ends it. What forks would share and
separate programs would not is no matter for these: the seed of hashes, above all.

What all of them share is exempt from collections: an interpreter that ends looks for garbage several times, and that
would take 0.2 s of each script. Where the end is the matter, a script is started `to_the_end`: nothing is exempt.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import linecache
import os
import select
import signal
import subprocess
import sys
import time
import types
import warnings
from pathlib import Path
from typing import Any

from patience import PATIENCE

ROOT = Path(__file__).parent.parent
# A warning is an error; but the resource tracker, which is told the same, would keep an error of its own to itself.
STRICTLY = ["-W", "error", "-W", "default:resource_tracker"]


class Script:
    """A script that was started. It says what it says into a file, and what is wrong into a pipe."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._errors = folder, b""
        self.code: int | None = None
        os.mkfifo(folder / "err")
        (folder / "out").touch()
        self._pipe: int | None = os.open(folder / "err", os.O_RDONLY | os.O_NONBLOCK)

    def begin(self, job: dict[str, Any], server: subprocess.Popen[bytes]) -> None:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps(job).encode() + b"\n")
        self._told = server.stdout
        self.pid = int(self._told.readline())

    def await_line(self, line: str) -> None:
        """Return when it has said so; AssertionError where it ends without a word of it."""
        deadline = time.monotonic() + PATIENCE
        while line not in self.stdout.splitlines():
            assert time.monotonic() < deadline, f"never said {line!r}, but {self.stdout}"
            if select.select([self._told], [], [], 0.002)[0] and line not in self.stdout.splitlines():
                raise AssertionError(f"ended with {self.ended()} and never said {line!r}: {self.stdout}{self.stderr}")

    def ended(self) -> int:
        """Wait for its end: its exit code, or minus its signal. If none comes, it tells where it is, and is killed."""
        if not select.select([self._told], [], [], PATIENCE)[0]:
            os.kill(self.pid, signal.SIGUSR1)
            time.sleep(1)
            self.kill()
            raise AssertionError(f"does not end: {self.stdout}{self.stderr}")
        self.code = int(self._told.readline())
        return self.code

    def kill(self) -> None:
        """End it and all of its session, unless it has ended."""
        if self.code is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                os.killpg(self.pid, signal.SIGKILL)
            self.code = int(self._told.readline())

    @property
    def stdout(self) -> str:
        """What it has said."""
        return (self._folder / "out").read_text()

    @property
    def stderr(self) -> str:
        """What was wrong: the last word of every process below it, for whose end this waits."""
        while self._pipe is not None:
            assert select.select([self._pipe], [], [], PATIENCE)[0], f"somebody lives on: {self._errors.decode()}"
            part = os.read(self._pipe, 2**16)
            self._errors += part
            if not part:
                self.close()
        return self._errors.decode()

    def close(self) -> None:
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None


class WarmPython:
    """The warm Python; its scripts run one after the other, each in a folder below the one given."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0
        self._latest: Script | None = None

    def __enter__(self) -> WarmPython:
        self.server = subprocess.Popen(
            [sys.executable, *STRICTLY, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
            start_new_session=True,  # it lives on where a test interrupts its own process group
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go()
        with self.server as server:
            server.kill()

    def let_go(self) -> None:
        """Of the script before, which a test that failed may have left alive."""
        if self._latest:
            self._latest.kill()
            self._latest.close()

    def start(self, text: str, *args: str, cwd: Path | None = None, to_the_end: bool = False, **env: str) -> Script:
        """Start a script; the one before has ended, or ends now."""
        self.let_go()
        self._count += 1
        folder = self._folder / str(self._count)
        folder.mkdir()
        self._latest = Script(folder)
        job = {"text": text, "argv": ["script", *args], "folder": str(folder), "cwd": str(cwd or folder), "env": env}
        job["collects"] = to_the_end
        self._latest.begin(job, self.server)
        return self._latest

    def run(self, text: str, *args: str, **settings: Any) -> str:
        """What a script says that has nothing to say on stderr and ends well."""
        script = self.start(text, *args, **settings)
        code = script.ended()
        assert (script.stderr, code) == ("", 0), f"{args} ended with {code}: {script.stdout}{script.stderr}"
        return script.stdout


def _become(job: dict[str, Any]) -> None:
    """Be a program of its own."""
    os.setsid()
    for descriptor, name in enumerate((os.devnull, "out", "err")):
        opened = os.open(os.path.join(job["folder"], name), (os.O_WRONLY if descriptor else os.O_RDONLY) | os.O_APPEND)
        os.dup2(opened, descriptor)
        os.close(opened)
    faulthandler.register(signal.SIGUSR1)
    os.environ.update(job["env"])
    os.chdir(job["cwd"])
    sys.argv = job["argv"]
    sys.path[0] = job["cwd"]
    if job["collects"]:
        gc.unfreeze()


def _next_script() -> Any:
    """Serve until there is nothing to do: None. A fork returns from here with its script, compiled."""
    for line in sys.stdin:
        job = json.loads(line)
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of BLAS's threads in a fork
            pid = os.fork()
        if not pid:
            _become(job)
            linecache.cache["script"] = len(job["text"]), None, job["text"].splitlines(keepends=True), "script"
            return compile(job["text"], "script", "exec", dont_inherit=True)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
    return None


def _new_main() -> types.ModuleType:
    """A `__main__` that is collected when the interpreter ends: this file's own is exempt."""
    main = types.ModuleType("__main__")
    vars(main).update({name: value for name, value in globals().items() if name.startswith("__")})
    sys.modules["__main__"] = main
    return main


if __name__ == "__main__":
    import fault_kernels  # noqa: F401

    import compute.backends.joblib

    for _name in compute.__all__:  # each is imported when it is asked for
        getattr(compute, _name)

    with contextlib.suppress(ImportError):  # there is none on a free-threaded 3.13
        import numba

        numba.njit(lambda: 0)()  # LLVM and numba's own tables
    gc.collect()
    gc.freeze()
    if (_script := _next_script()) is not None:
        exec(_script, vars(_new_main()))
