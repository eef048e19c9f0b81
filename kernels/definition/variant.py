"""Variant: one way to run a kernel's body; and whether there is a compiler for those that are compiled."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from kernels.compilation import importing, provenance, ready
from kernels.compilation.jitted_in_lanes import prepare_body
from kernels.definition.plan import Plan
from kernels.definition.rows import keeps_to_its_row

Body = Callable[..., Any]
Mode = Literal["python", "compiled", "awaits"]


@dataclass(frozen=True)
class Variant:
    """One way to run a body: a function and a mode.

    mode: "python" (the interpreter runs it, with whatever lock that interpreter has), "compiled" (numba; it releases
    the GIL) or "awaits" (a coroutine function: it hands over while it waits).

    A function whose module needs numba to be imported is given as "package.module:name". A variant may have a planner
    of its own, with the kernel's arguments, where another grain suits it.
    """

    function: Body | str
    mode: Mode = "python"
    planner: Callable[..., Plan] | None = None

    @property
    def compiled(self) -> bool:
        return self.mode == "compiled"

    def source(self) -> Body:
        """The Python function of the body."""
        if isinstance(self.function, str):
            module, _, name = self.function.partition(":")
            body: Body = getattr(importing.body_module(module), name)
            return body
        return self.function

    def load(self, reduces: bool = False, arguments: tuple[Any, ...] | None = None) -> Body:
        """The function to call, compiled where it is to be.

        reduces: whether the kernel has a `reduce`. arguments: where they are given, it takes such as these alone, and
        may be machine code that needs no numba.
        """
        if not self.compiled:
            return prepare_body(self.source())
        if arguments is None or not self.is_ours:
            return self._by_numba(reduces)
        made: Body = ready.function(self._ready_as(reduces), lambda: self._by_numba(reduces), arguments)
        return made

    def _by_numba(self, reduces: bool) -> Body:
        compiler = importing.compiler()
        body, name = self.source(), self._ready_as(reduces) if self.is_ours else ""
        machine_code: Body = compiler.compiled(body, name, **checks(body, reduces))
        return machine_code

    def _ready_as(self, reduces: bool) -> str:
        return f"body {self.function}{' reduces' * reduces}"

    @property
    def is_ours(self) -> bool:
        """Whether it is a body in this library's files, given by its name, and still as it is written there."""
        if not isinstance(self.function, str):
            return False
        module, _, name = self.function.partition(":")
        home = sys.modules.get(module)
        return provenance.is_ours(module) and (home is None or provenance.is_as_written(vars(home).get(name), name))


def awaited(body: Body) -> Body:
    """A coroutine function as a plain function, which runs the coroutine to its end."""

    def waits(*args: Any) -> Any:
        import asyncio
        from concurrent.futures import ThreadPoolExecutor

        if asyncio._get_running_loop() is None:
            return asyncio.run(body(*args))
        with ThreadPoolExecutor(1) as thread:  # loops do not nest
            return thread.submit(asyncio.run, body(*args)).result()

    return waits


def checks(body: Body, reduces: bool) -> dict[str, Any]:
    """numba's options for a body: bounds are checked where a reducing one may write beyond its row of the output."""
    return {"boundscheck": True} if reduces and not keeps_to_its_row(body) else {}


@functools.cache
def numba_is_here() -> bool:
    """Whether bodies can be compiled: numba is installed, and NUMBA_DISABLE_JIT has not switched it off."""
    if importlib.util.find_spec("numba") is None:
        return False
    if config := getattr(sys.modules.get("numba"), "config", None):
        return not config.DISABLE_JIT
    return os.environ.get("NUMBA_DISABLE_JIT", "").strip() in ("", "0")


def where_numba_is() -> str:
    """Of a compiler that is not here, in words: what keeps it away."""
    return "not installed" if importlib.util.find_spec("numba") is None else "switched off by NUMBA_DISABLE_JIT"
