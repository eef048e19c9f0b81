"""CSV: one row a point, plain numbers in seconds, for a spreadsheet or a data frame."""

from __future__ import annotations

import csv
import io
from dataclasses import fields
from typing import Any

from compute.scaling.dataset import Point, Scaling

PAIRS = ("speedup_ci", "seconds_ci")
LEDGER = ("useful", "inflation", "blocked", "runqueue", "idle", "startup", "transfer", "serial", "unexplained")
SECTIONS = ("plan", "transfer", "dispatch", "finish")


def render(scaling: Scaling) -> str:
    """The points in their order; a pair is two columns, the samples are one (separated by blanks)."""
    rows = [_row(point) for point in scaling.points]
    names = list(_row(Point("", None, "", "", 1, 0.0, ())))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _row(point: Point) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name in (f.name for f in fields(Point)):
        value = getattr(point, name)
        if name in PAIRS:
            low, high = value or (None, None)
            row |= {name.replace("_ci", "_low"): low, name.replace("_ci", "_high"): high}
        elif name == "ledger":
            row |= {f"ledger_{part}": (value or {}).get(part) for part in LEDGER}
        elif name == "sections":
            row |= {f"seconds_{part}": (value or {}).get(part) for part in SECTIONS}
        elif name == "samples":
            row[name] = " ".join(repr(float(sample)) for sample in value)
        else:
            row[name] = "; ".join(value) if name == "notes" else value
    return row
