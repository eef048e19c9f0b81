"""Two protections for Python bodies that call `@njit` functions.

1. Stale functions are compiled again before a run. numba freezes what a function reads when it is first called, and its
   own cache keeps what was frozen in another session.
2. Functions compiled with parallel=True run without threads inside a lane, and so do functions that call them. numba's
   threads can end the process when a lane starts them. Its workqueue aborts when two threads launch at once
   (numba#8563). OpenMP aborts in a process that was forked after its first use. Code from a cache finds no threads
   started. Besides, all CPUs have lanes already.

For the second, the user's own dispatcher calls a copy of itself that was compiled without parallel=True. So it does not
matter by which name the body finds the dispatcher.

Not covered are functions that are found only while a body runs (by a computed name, by an import in the body), what
numba.vectorize makes with target="parallel", and threads that a body starts.
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

_this_thread = threading.local()
_bodies: Bounded[int, tuple[Any, Callable[..., Any]]] = Bounded(MADE)
# The key of what each reached when it was last compiled here.
_renewed: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()


def prepare_body(function: Callable[..., Any]) -> Callable[..., Any]:
    """A body for the interpreter: itself, or a wrapper in which its parallel=True functions run on one thread.

    The same object each time. The `@njit` functions that the body reaches are compiled again where they are stale.
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
        was_in_lane = getattr(_this_thread, "in_lane", False)
        _this_thread.in_lane = True
        try:
            return function(*arguments)
        finally:
            _this_thread.in_lane = was_in_lane

    return body


@functools.cache
def _diverting(kind: type) -> type:
    """A class of dispatchers that call `in_lanes` in their place when a lane calls them."""

    def __call__(self: Any, *arguments: Any, **keywords: Any) -> Any:
        if getattr(_this_thread, "in_lane", False):
            return self.in_lanes(*arguments, **keywords)
        return kind.__call__(self, *arguments, **keywords)

    own = {"__call__": __call__, "__module__": __name__, "_reduce_class": lambda self: kind}
    return type(kind)(kind.__name__, (kind,), own)


def renew(dispatchers: list[Any]) -> None:
    """Have numba compile the stale ones again: what they read has changed, or another session compiled them."""
    if not _stale(dispatchers):
        return
    # Another thread may be compiling them: until it has finished, they are as stale as before.
    with provenance.numbas_lock():
        _compile_again(_stale(dispatchers))


def _stale(dispatchers: list[Any]) -> dict[Any, str]:
    """Those that were compiled from something else than there is now, each with the key of what it reaches."""
    keys = {dispatcher: reach_of(dispatcher.py_func, compiled=True).key for dispatcher in dispatchers}
    return {dispatcher: key for dispatcher, key in keys.items() if _renewed.get(dispatcher) != key}


def _compile_again(stale: dict[Any, str]) -> None:
    import numba  # noqa: F401  # all of it, before a part: see kernels/compilation/importing.py
    from numba.core.caching import NullCache

    # numba's own `recompile`, for all at once: a function that is compiled before what it calls would get the old code.
    former = [(dispatcher, list(dispatcher.overloads), dispatcher._can_compile) for dispatcher in stale]
    for dispatcher, signatures, _ in former:
        dispatcher._cache = NullCache()  # numba's own cache does not notice a change in another file
        if signatures:
            dispatcher._make_finalizer()()
            dispatcher._reset_overloads()
            dispatcher._can_compile = True
    for dispatcher, signatures, can_compile in former:
        for signature in signatures:
            dispatcher.compile(signature)
        dispatcher._can_compile = can_compile
    _renewed.update(stale)
