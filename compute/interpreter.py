"""The program that runs Python files: where Python is embedded in another one (uWSGI), sys.executable is that one."""

from __future__ import annotations

import os
import sys
from multiprocessing import spawn


def program() -> str:
    """The path of a Python of this version and environment. RuntimeError with the remedy where there is none."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    said = [os.fsdecode(path or "") for path in (sys.executable, spawn.get_executable())]
    known = [path for path in said if os.path.basename(path).lower().startswith(("python", "pypy"))]
    if os.name != "posix" or (known and known[0] == said[0]):
        return said[0]
    known += [os.path.join(prefix, "bin", f"python{version}") for prefix in (sys.prefix, sys.exec_prefix)]
    found = next((path for path in known if os.access(path, os.X_OK)), None)
    if found is None and (not said[0] or "uwsgi" in sys.modules):
        raise RuntimeError(
            f"worker processes need a Python; {said[0] or 'sys.executable, which is empty,'} is none, and there is no"
            f" python{version} in {os.path.join(sys.prefix, 'bin')}; set sys.executable to the path of one"
        )
    return found or said[0]  # a Python by another name


def start_children_by_it() -> None:
    """Have multiprocessing and loky start their processes by that program."""
    executable = program()
    if executable == sys.executable:
        return
    spawn.set_executable(executable)
    if module := sys.modules.get("joblib.externals.loky.backend.spawn"):
        module._python_exe = executable  # type: ignore[attr-defined]
