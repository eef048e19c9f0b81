"""Fuzzed files are like the results that tests/scaling invents."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "scaling"))
