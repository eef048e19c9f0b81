"""What the files of the table share."""

from contextlib import ExitStack

import pytest


@pytest.fixture(scope="module")
def pool_of():
    """The open pool of a backend: opened at its first case, closed when another's comes."""
    with ExitStack() as stack:
        open_now = {}

        def pool_of(backend):
            if backend not in open_now:
                stack.pop_all().close()
                open_now.clear()
                open_now[backend] = stack.enter_context(backend.open())
            return open_now[backend]

        yield pool_of
