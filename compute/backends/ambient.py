"""Carry the caller's implicit settings to worker processes: numpy's `errstate`, and the context of `decimal`.

These change what code computes although it does not name them. Threads and coroutines have them anyway, because they
run their lanes in copies of the caller's context (`contextvars`). A ContextVar that a body reads is sent with the body
(see carrier.py).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

Ambient = tuple[dict[str, Any], Any]
_USUAL = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}  # numpy's defaults, as in workers


def here() -> Ambient | None:
    """This thread's settings of numpy and decimal; None where they are the usual ones."""
    errors: Any = np.geterr()
    decimal = sys.modules.get("decimal")
    context = decimal.getcontext().copy() if decimal is not None else None
    if context is not None:
        context.clear_flags()
        if repr(context) == repr(decimal.Context()):  # type: ignore[union-attr]
            context = None
    return None if errors == _USUAL and context is None else (errors, context)


def within(ambient: Ambient, lane: Callable[..., int]) -> Callable[..., int]:
    """The lane function, run with the caller's settings."""
    errors, context = ambient

    def lane_with_settings(*arguments: Any) -> int:
        import decimal

        with np.errstate(**errors), decimal.localcontext(context or decimal.Context()):
            return lane(*arguments)

    return lane_with_settings
