"""Attributes of classes, and of modules that a body imports itself, set to and fro between runs of open pools."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from test_never_stale import BODY, TO_AND_FRO, assert_right_everywhere, module, x

from compute import Processes

CLASSES = """
class Base:
    RATE = 1.0
    class Inner:
        RATE = 1.0
class Config(Base):
    def rate(self):
        return self.RATE
instance = Config()
"""


@pytest.mark.parametrize("by_value", [False, True], ids=["imported", "made by hand"])
@pytest.mark.parametrize("read", ["Config.RATE", "Config.Inner.RATE", "instance.RATE", "instance.rate()"])
def test_a_class_attribute(finding_pools, importable, read, by_value):
    if by_value:
        settings = module("classes_by_hand", CLASSES)
    else:
        (importable / "classes_in_a_file.py").write_text(CLASSES)
        settings = importlib.import_module("classes_in_a_file")
    name = settings.__name__
    by_module = module("reads_a_class", f"import {name} as settings" + BODY.format(f"x[i] * settings.{read}"))
    by_name = module("names_a_class", f"from {name} import *" + BODY.format(f"x[i] * {read}"))
    for value in TO_AND_FRO:
        settings.Base.RATE = settings.Base.Inner.RATE = value
        assert_right_everywhere(finding_pools, by_module.body, x * value, variants=("python",))
        assert_right_everywhere(finding_pools, by_name.body, x * value, variants=("python",))


IMPORTS = {
    "a module": "import to_import\n    rate = to_import.RATE",
    "a name": "from to_import import RATE as rate",
    "a class": "from to_import import Config\n    rate = Config.RATE",
    "a submodule": "import a_package.inside\n    rate = a_package.inside.RATE",
    "out of a package": "from a_package import inside\n    rate = inside.RATE",
    "in an inner function": "def f():\n        import to_import as t\n        return t.RATE\n    rate = f()",
    "relative": "from . import inside\n    rate = inside.RATE",
    "a function": "from to_import import step\n    rate = step()",
    "by import_module": "import importlib\n    rate = importlib.import_module('a_package.inside').RATE",
    "by __import__": "rate = __import__('to_import').RATE",
    "among those loaded": "import sys\n    rate = sys.modules['to_import'].RATE",
}


@pytest.mark.parametrize("how", IMPORTS)
def test_what_a_body_imports_itself(finding_pools, importable, how):
    for file in ("to_import.py", "a_package/inside.py", "a_package/__init__.py"):
        (importable / file).parent.mkdir(exist_ok=True)
        (importable / file).write_text("RATE = 1.0\nclass Config:\n    RATE = 1.0\ndef step():\n    return RATE\n")
    importlib.invalidate_caches()
    imported = [importlib.import_module(name) for name in ("to_import", "a_package.inside")]
    m = module(
        "imports_itself",
        f"__package__ = 'a_package'\n@kernel(compiled=False)\ndef body(lo, hi, out, x):\n    {IMPORTS[how]}\n"
        "    out[lo:hi] = x[lo:hi] * rate\n",
    )
    for value in TO_AND_FRO:
        for each in imported:
            each.RATE = each.Config.RATE = value
        assert_right_everywhere(finding_pools, m.body, x * value, variants=("python",))


def test_an_input_whose_class_brings_other_attributes(finding_pools):
    m = module(
        "class_of_an_input",
        "from collections import namedtuple\nfrom kernels import Plan\nclass Pair(namedtuple('Pair', 'a')):\n"
        "    RATE = 1.0\n@kernel(plan=lambda x, pair: Plan(len(x), (x, pair)), compiled=False)\n"
        "def other(lo, hi, out, x, pair):\n    out[lo:hi] = x[lo:hi] * pair.a\n"
        "@kernel(compiled=False)\ndef body(lo, hi, out, x):\n    out[lo:hi] = x[lo:hi] * Pair.RATE\n",
    )
    for value in TO_AND_FRO:
        m.Pair.RATE = 10.0
        for pool in finding_pools:
            np.testing.assert_array_equal(pool.run(m.other, x, m.Pair(7.0)).value, x * 7)
        m.Pair.RATE = value
        assert_right_everywhere(finding_pools, m.body, x * value, variants=("python",))


def test_workers_do_not_keep_every_state_of_an_object():
    m = module(
        "keeps_no_states",
        "STATE = [0]\n@kernel(compiled=False)\ndef body(lo, hi, out, x):\n    from compute.backends import remote\n"
        "    STATE[0]\n    out[lo:hi] = len(remote._loaded)\n",
    )
    with Processes(1).open() as pool:
        for k in range(200):
            m.STATE[0] = k
            kept = pool.run(m.body, x).value[0]
    assert kept < 100
