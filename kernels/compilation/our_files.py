"""A hash of this library's own files, which is a part of every key of compiled code.

The files are looked at as this is imported. Code that is imported later may be another than the code on disk.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from pathlib import Path
from typing import Any

from kernels.compilation import digests

ROOTS = ("kernels", "compute")


def digest() -> str:
    """A hash of this library's files.

    "" if a file has changed since it was imported: the code that runs is then not the code on disk.
    """
    return _digest_of_files() if _files() == _IMPORTED else ""


@functools.cache
def _digest_of_files() -> str:
    hashed = digests.sha256()
    for name, path, *_ in _IMPORTED:
        with open(path, "rb", buffering=0) as file:
            content = file.read()
        hashed.update(f"{name}:{len(content)}:".encode() + content)
    return hashed.hexdigest()


def _files() -> list[tuple[Any, ...]]:
    """This library's files: the name of each, its path, and what tells whether it was replaced or edited.

    A file may be replaced by one that is older (`tar x`, `rsync -a`), so its mtime is not enough. ctime cannot be set
    by a program, and a replaced file has another inode number.
    """
    files = []
    for root in ROOTS:
        file = getattr(sys.modules.get(root), "__file__", None) or str(Path(__file__).parents[2] / root / "__init__.py")
        waiting = [(root, os.path.dirname(file))]
        for name, folder in waiting:
            with contextlib.suppress(OSError), os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.endswith(".py"):
                        is_now = entry.stat()
                        states = is_now.st_ino, is_now.st_ctime_ns, is_now.st_mtime_ns, is_now.st_size
                        files.append((f"{name}/{entry.name}", entry.path, *states))
                    elif entry.name != "__pycache__" and entry.is_dir():
                        waiting.append((f"{name}/{entry.name}", entry.path))
    return sorted(files)


_IMPORTED = _files()
