"""What the files of the table share."""

from contextlib import ExitStack

import pytest


def pytest_collection_modifyitems(items):
    """In each file, the cases of one backend follow each other: `pool_of` opens each pool once."""
    places = {}

    def place(item):
        backend = item.callspec.params.get("backend") if hasattr(item, "callspec") else None
        whose = item.path, repr(backend) if "pool_of" in item.fixturenames else None
        return places.setdefault(item.path, len(places)), places.setdefault(whose, len(places))

    items.sort(key=place)


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
