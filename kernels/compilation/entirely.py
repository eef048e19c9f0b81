"""`with entirely.done():` puts signals off in its block. `compute` assigns `done`; without it nothing is put off.

An exception that a handler raises inside numba leaves locks taken, or registries half filled. The next compilation then
hangs, or every later one fails.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

done: Callable[[], AbstractContextManager[None]] = nullcontext
