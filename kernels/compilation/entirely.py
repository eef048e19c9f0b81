"""What must be done to its end: whoever knows how to put signals off says so here; nobody does where there is nobody.

numba, cut off half-way by what a signal's handler raises, is left with locks that nobody gives back, or with registries
that lack what was being filled in: the next compilation hangs, or fails for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

done: Callable[[], AbstractContextManager[None]] = nullcontext
