"""`opened`: pools for a lesson, closed at its end, and why some cannot be opened here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from compute.backends.backend import Backend
from compute.backends.pool import Pool


@contextmanager
def opened(backends: Mapping[str, Backend]) -> Iterator[tuple[dict[str, Pool], dict[str, str]]]:
    """(pools, missing) by name: what can be opened here, and for each of the others the reason, in a line."""
    pools: dict[str, Pool] = {}
    missing: dict[str, str] = {}
    with ExitStack() as stack:
        for name, backend in backends.items():
            try:
                pools[name] = stack.enter_context(backend.open())
            except (ValueError, ImportError, OSError, RuntimeError) as error:  # RuntimeError: no more threads
                missing[name] = str(error)
        yield pools, missing
