"""Where a bench keeps what it found: bench/results, by name and date."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from compute.scaling import files
from compute.texts import visible

RESULTS = Path(__file__).parent / "results"


def place(name: str, told: Mapping[str, Any], suffix: str = ".md") -> Path:
    """The file under that name and the day of machine.describe()."""
    return RESULTS / f"{name}-{told['date'][:10]}{suffix}"


def write(path: Path, content: str | bytes) -> None:
    """Write the file, with the folders that it wants, and say where; in one line why not, and exit, where it cannot be.

    What was measured has been printed by then.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, content)
    except OSError as error:
        raise SystemExit(visible(str(error))) from None
    print(f"kept in {visible(str(path))}")


def keep(name: str, lines: Iterable[str], told: Mapping[str, Any]) -> None:
    """Write the lines under that name and the day of machine.describe(), and say where."""
    write(place(name, told), "\n".join(lines))
