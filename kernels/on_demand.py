"""Names that a package offers, of modules that are imported when the names are first used (scientific-python's SPEC 1).

A script that runs one kernel on threads then pays neither for processes nor for statistics, and a worker process that
is sent machine code for none of the kernels.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def getter(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """A package's `__getattr__`: the value of a name, which the package has from then on.

    homes: the module of each name, within the package. AttributeError for a name that is not there.
    """

    def value_of(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{package}.{homes[name]}"), name)
        return vars(sys.modules[package]).setdefault(name, value)

    return value_of
