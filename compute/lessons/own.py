"""A task of the reader's own: `as_task` of a function, `find_task` by its name on the command line."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from typing import Any

from compute.lessons.lesson import Task
from kernels.definition import nearest
from kernels.definition.each import name_of
from kernels.definition.module_names import check_module


def as_task(call: Any, name: str | None = None) -> Task:
    """The task that this function is; a TypeError with the remedy where it cannot be called without arguments."""
    if not callable(call):
        raise TypeError(f"task must be a function without arguments, not {call!r}")
    name = name or name_of(call)
    if inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call):
        raise TypeError(f"{name} is a generator function, which computes nothing when called; use its values in one")
    try:
        inspect.signature(call).bind()
    except TypeError as error:
        raise TypeError(
            f"task must be callable without arguments, and {name} is not ({error}); write a function that calls it"
        ) from None
    except ValueError:  # a builtin that does not tell its parameters
        pass
    return Task(name, call)


def find_task(word: str) -> Task:
    """The task called `package.module:function`; a ValueError or TypeError, in one line, where there is none.

    Modules of the current folder count, as with python -m.
    """
    module, colon, name = word.partition(":")
    if not (module and colon and name):
        raise ValueError(f"a task is written package.module:function, not {word!r}")
    check_module(module, name)
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)
    try:
        home = importlib.import_module(module)
    except Exception as error:  # the reader's module may raise anything
        raise ValueError(f"cannot import {module!r}: {type(error).__name__}: {error}") from error
    if not hasattr(home, name):
        functions = [known for known, value in vars(home).items() if callable(value)]
        raise ValueError(f"{module} has no function {name!r}{nearest(name, functions)}")
    return as_task(getattr(home, name), word)
