"""`package.module:name` as a user writes it: the path of a file is refused; what a module has instead."""

from __future__ import annotations

import inspect
import os
from types import ModuleType

MOST = 12  # names that are listed


def check_module(module: str, name: str) -> None:
    """ValueError, with what to write, where the module is written as the path of its file."""
    if not ("/" in module or "\\" in module or module.startswith(".") or module.endswith(".py")):
        return
    folder, base = os.path.split(module.replace("\\", "/"))
    stem = base.removesuffix(".py")
    inside = f" in the folder {folder}" if folder not in ("", ".") else ""
    remedy = f"{stem}:{name or 'NAME'}{inside}" if stem.isidentifier() else "package.module:name"
    raise ValueError(f"{module!r} is the path of a file, where the name of a module is needed; write {remedy}")


def functions_of(module: ModuleType) -> set[str]:
    """The names of the functions that it defines, each of which `find` makes a kernel of."""
    return {
        name
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
    } - {"example"}


def listed(names: list[str]) -> str:
    """`a, b and 3 more`, or `none`."""
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return (", ".join(names[:MOST]) or "none") + more
