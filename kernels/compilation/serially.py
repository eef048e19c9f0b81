"""Compiled functions that Python calls in a lane: as what they read is now, and on no threads but the lane's.

numba freezes what a function reads when it is first called, and keeps in its own cache what was frozen in another
session. So before a run, what the body reaches and numba has compiled is compiled again where anything has changed.

Started from a lane, numba's own threads can end the process: its workqueue aborts when two threads launch at once
(numba#8563), OpenMP in a process that was forked after its first use, and code from a cache finds no threads started.
All CPUs have lanes already. So in a lane, a function compiled with parallel=True, and one that calls such a function,
hands over to a copy that was compiled without it. It is the user's own object that hands over, so it does not matter
where the body finds it.

A function that is found only while a body runs (by a name that is put together, by an import in the body) is not seen
here, nor is what numba.vectorize makes with target="parallel", nor a thread that a body starts.
"""

from __future__ import annotations

import functools
import sys
import threading
import types
import weakref
from collections.abc import Callable
from typing import Any

from kernels.compilation import provenance
from kernels.compilation.bounded import MADE, Bounded
from kernels.compilation.reach import reach_of

_here = threading.local()
_bodies: Bounded[int, tuple[Any, Callable[..., Any]]] = Bounded(MADE)
# What each reached when it was last compiled here.
_renewed: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()


def interpreted(function: Callable[..., Any]) -> Callable[..., Any]:
    """A body for the interpreter: itself, or what calls it and has functions that launch threads run without them.

    The same object each time. What the body reaches, and numba has compiled, is brought up to date.
    """
    if "numba" not in sys.modules or not isinstance(function, types.FunctionType):
        return function
    called = reach_of(function, compiled=False).dispatchers
    if not called:
        return function
    from kernels.compilation.compiler import renewed

    launching = [dispatcher for dispatcher in called if _launches(dispatcher)]
    renew([dispatcher for dispatcher in called if dispatcher not in launching])
    for dispatcher in launching:
        serial = renewed(dispatcher)
        dispatcher.__class__ = _diverting(provenance.kind_of(dispatcher))
        dispatcher.in_lanes = serial
    if not launching:
        return function
    known = _bodies.get(id(function)) or (function, _in_a_lane(function))
    _bodies[id(function)] = known
    return known[1]


def _launches(dispatcher: Any) -> bool:
    """Whether a compiled function launches threads, or one that it calls does."""
    called = [dispatcher, *reach_of(dispatcher.py_func, compiled=True).dispatchers]
    return any(function.targetoptions.get("parallel") for function in called)


def _in_a_lane(function: types.FunctionType) -> Callable[..., Any]:
    @functools.wraps(function)
    def body(*arguments: Any) -> Any:
        before = getattr(_here, "lane", False)
        _here.lane = True
        try:
            return function(*arguments)
        finally:
            _here.lane = before

    return body


@functools.cache
def _diverting(kind: type) -> type:
    """A class of dispatchers that hand over to `in_lanes` where they are called in a lane."""

    def __call__(self: Any, *arguments: Any, **keywords: Any) -> Any:
        if getattr(_here, "lane", False):
            return self.in_lanes(*arguments, **keywords)
        return kind.__call__(self, *arguments, **keywords)

    own = {"__call__": __call__, "__module__": __name__, "_reduce_class": lambda self: kind}
    return type(kind)(kind.__name__, (kind,), own)


def renew(dispatchers: list[Any]) -> None:
    """Have numba compile again what has been compiled from other globals than there are now, or in another session."""
    stale = []
    for dispatcher in dispatchers:
        key = reach_of(dispatcher.py_func, compiled=True).key
        if _renewed.get(dispatcher) != key:
            _renewed[dispatcher] = key
            stale.append((dispatcher, list(dispatcher.overloads), dispatcher._can_compile))
    if not stale:
        return
    from numba.core.caching import NullCache

    # numba's own `recompile` for all at once: one that is compiled before what it calls would get that one's old code.
    for dispatcher, signatures, _ in stale:
        dispatcher._cache = NullCache()  # numba's own does not see a change in another file
        if signatures:
            dispatcher._make_finalizer()()
            dispatcher._reset_overloads()
            dispatcher._can_compile = True
    for dispatcher, signatures, can_compile in stale:
        for signature in signatures:
            dispatcher.compile(signature)
        dispatcher._can_compile = can_compile
