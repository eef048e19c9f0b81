"""What Python code finds around it without naming it, taken along to where lanes run.

Threads and coroutines run their lanes in copies of the caller's context (`contextvars`). Worker processes are sent what
of it can be sent: numpy's `errstate` and the precision and rounding of `decimal`; a ContextVar that a body reads goes
with the body (see carrier.py).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

Ambient = tuple[dict[str, Any], Any]
_USUAL = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}  # as workers have it


def here() -> Ambient | None:
    """How numpy and decimal compute on this thread; None where that is as usual."""
    errors: Any = np.geterr()
    decimal = sys.modules.get("decimal")
    context = decimal.getcontext().copy() if decimal is not None else None
    if context is not None:
        context.clear_flags()
        if repr(context) == repr(decimal.Context()):  # type: ignore[union-attr]
            context = None
    return None if errors == _USUAL and context is None else (errors, context)


def within(ambient: Ambient, lane: Callable[..., int]) -> Callable[..., int]:
    """A lane function that computes as the caller does."""
    errors, context = ambient

    def in_it(*arguments: Any) -> int:
        import decimal

        with np.errstate(**errors), decimal.localcontext(context or decimal.Context()):
            return lane(*arguments)

    return in_it
