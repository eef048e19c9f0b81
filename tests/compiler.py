"""A mark for tests of what is compiled, where nothing of that is an error: figures and choices that come with it."""

import importlib.util

import pytest

needs_compiler = pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="it needs numba's compiler")
