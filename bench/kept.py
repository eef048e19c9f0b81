"""Where a bench keeps its table: bench/results, by name and date."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def keep(name: str, lines: Iterable[str], told: Mapping[str, Any]) -> None:
    """Write the lines under that name and the day of machine.describe(), and say where."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}-{told['date'][:10]}.md"
    path.write_text("\n".join(lines))
    print(f"kept in {path}")
