"""Where a bench keeps what it found: bench/results, by name, kind of CPU and date."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from compute.scaling import files
from compute.texts import visible
from kernels.vectors.memory import text

RESULTS = Path(__file__).parent / "results"


def kind_of_cpu(told: Mapping[str, Any], cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The CPU of machine.describe() for a file's name: `amd-epyc-25-17`.

    With the family and model of x86, where Linux tells them: in a cloud, CPUs of several kinds have one name.
    """
    numbers = re.findall(r"^(?:cpu family|model)\s*:\s*(\d+)$", text(cpuinfo), re.MULTILINE)[:2]
    return re.sub(r"[^a-z0-9]+", "-", " ".join([str(told["model"]), *numbers]).lower()).strip("-")


def place(name: str, told: Mapping[str, Any], suffix: str = ".md") -> Path:
    """The file under that name, the CPU and the day of machine.describe()."""
    return RESULTS / f"{name}-{kind_of_cpu(told)}-{told['date'][:10]}{suffix}"


def before(name: str, told: Mapping[str, Any]) -> Path | None:
    """The latest page that is kept under that name and this kind of CPU."""
    pages = RESULTS.glob(f"{name}-{kind_of_cpu(told)}-????-??-??.md")
    return max(pages, default=None, key=lambda page: page.name)


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
    """Write the lines under that name, the CPU and the day of machine.describe(), and say where."""
    write(place(name, told), "\n".join(lines))
