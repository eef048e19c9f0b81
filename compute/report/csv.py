"""CSV: a row for each point, with plain numbers in seconds, for a spreadsheet or a data frame."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from compute.scaling.dataset import Point
from compute.scaling.results import Scaling
from compute.scaling.schema import EVIDENCE
from compute.scaling.tables.breakdown import ENTRIES, FACTORS
from compute.texts import in_csv, shown

PAIRS = ("speedup_ci", "seconds_ci")
PARTS: dict[str, tuple[str, Iterable[str]]] = {  # a field that is an object -> the columns' first word, and its keys
    "ledger": ("ledger", ENTRIES),
    "sections": ("seconds", ("plan", "transfer", "dispatch", "finish")),
    "efficiencies": ("efficiency", FACTORS),
    "details": ("lanes", ("voluntary", "involuntary", "faults", "nested")),
    "evidence": ("evidence", EVIDENCE),
    "controls": ("control", [bound + end for bound in ("compute", "memory") for end in ("", "_low", "_high")]),
}
LEFT_OUT = ("timeline",)  # it would be no use as a column
LISTS = {"samples": " ", "pinned": " ", "unknown": " ", "notes": "; "}  # a field that is a list -> what stands between


def render(scaling: Scaling) -> str:
    """The points in their order. A pair is two columns, an object a column for each key, a list one column.

    A text that a spreadsheet would compute has a ' before it.
    """
    rows = [{name: _cell(value) for name, value in _row(point).items()} for point in shown(scaling).points]
    names = list(_row(Point("", None, "", "", 1, 0.0, ())))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    """A number as it is; a text so that no spreadsheet takes it for a formula."""
    return in_csv(value) if isinstance(value, str) else value


def _row(point: Point) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name in (f.name for f in fields(Point) if f.name not in LEFT_OUT):
        value = getattr(point, name)
        if name in PAIRS:
            low, high = value or (None, None)
            row |= {name.replace("_ci", "_low"): low, name.replace("_ci", "_high"): high}
        elif name in PARTS:
            first, keys = PARTS[name]
            row |= {f"{first}_{key}": (value or {}).get(key) for key in keys}
        elif name in LISTS:
            row[name] = LISTS[name].join(repr(float(x)) if name == "samples" else str(x) for x in value or ())
        else:
            row[name] = value
    return row
