"""Find the Python executable for worker processes.

Where Python is embedded in another program (uWSGI), sys.executable is that program, which cannot run a Python file.
"""

from __future__ import annotations

import os
import sys
from multiprocessing import spawn

from kernels.texts import visible


class NoPython(RuntimeError, OSError):
    """There is no Python that could be started: in a line, with the remedy."""


def find() -> str:
    """The path of a Python of this version and environment. NoPython where there is none that this user may execute."""
    path = _find()
    if os.name == "posix" and os.path.isabs(path) and not _may_execute(path):
        raise NoPython(
            f"worker processes need a Python, and this user may not execute {visible(path)}; let it (chmod), or set"
            " sys.executable to the path of another"
        )
    return path


def _may_execute(path: str) -> bool:
    """Whether this process may, with its rights as they are: those of the real user may be others."""
    return os.access(path, os.X_OK, effective_ids=os.access in os.supports_effective_ids)


def _find() -> str:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    configured = [os.fsdecode(path or "") for path in (sys.executable, spawn.get_executable())]
    candidates = [path for path in configured if os.path.basename(path).lower().startswith(("python", "pypy"))]
    if os.name != "posix" or (candidates and candidates[0] == configured[0]):
        return configured[0]
    candidates += [os.path.join(prefix, "bin", f"python{version}") for prefix in (sys.prefix, sys.exec_prefix)]
    executable = next((path for path in candidates if os.access(path, os.X_OK)), None)
    if executable is None and (not configured[0] or "uwsgi" in sys.modules):
        named = visible(configured[0]) or "sys.executable, which is empty,"
        raise NoPython(
            f"worker processes need a Python; {named} is none, and there is no python{version} in"
            f" {visible(os.path.join(sys.prefix, 'bin'))}; set sys.executable to the path of one"
        )
    return executable or configured[0]  # a Python by another name


def use_for_children() -> None:
    """Have multiprocessing and loky start their processes with that executable."""
    executable = find()
    if executable == sys.executable:
        return
    spawn.set_executable(executable)
    if module := sys.modules.get("joblib.externals.loky.backend.spawn"):
        module._python_exe = executable  # type: ignore[attr-defined]
