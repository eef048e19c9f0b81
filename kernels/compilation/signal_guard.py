"""Postpone exceptions of signal handlers while numba compiles: `with signal_guard.postponed():`.

An exception that a handler raises inside numba leaves locks taken, or registries half filled. The next compilation then
hangs, or every later one fails. `kernels` alone has no way to postpone it, so `postponed` does nothing until
compute/lanes/interrupts.py replaces it at its import.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

postponed: Callable[[], AbstractContextManager[None]] = nullcontext
