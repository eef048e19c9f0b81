"""Sheets of where the core-seconds went and of the POP efficiencies; sentences of what the laws say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from compute.scaling.dataset import Point
from compute.scaling.formatting import listed, percent, share
from compute.scaling.laws.prospects import tell_assumption, tell_law
from compute.scaling.tables.notes import Remark
from compute.scaling.tables.sheet import KEYS, Row, Sheet, keyed

ENTRIES = {  # of the ledger, and their names in a report
    "useful": "useful", "inflation": "inflation", "waiting": "waiting", "blocked": "blocked", "runqueue": "run queue",
    "idle": "idle", "startup": "start-up", "transfer": "transfer", "serialisation": "serialisation",
    "network": "network", "scheduler": "scheduler", "serial": "serial", "unexplained": "unexplained",
}  # fmt: skip
SHORT_ENTRIES = {
    "run queue": "queue", "workers": "N", "unexplained": "unex.", "inflation": "infl.", "transfer": "trans.",
    "start-up": "start", "serialisation": "seri.", "network": "net.", "scheduler": "sched.",
}  # fmt: skip
LEDGER = "Core-seconds, in % of workers × time"
LEDGER_NOTE = (
    "useful: the CPU time of the serial baseline; inflation: CPU time beyond it; blocked: a lane waits for the GIL, a"
    " lock or data; run queue: for a CPU; idle: for the others' last chunks; start-up: for its first chunk, and until"
    " the caller sees that all are done; transfer: arrays move; serial: the caller works alone; unexplained: the rest."
)
NOTES = {  # of entries that most ledgers have nothing in, and that are left out then
    "waiting": " waiting: a lane waits for what is outside, as the serial run does.",
    "serialisation": " serialisation: a lane has no chunk while messages are packed or unpacked",
    "network": "; network: while they are on their way",
    "scheduler": "; scheduler: for whatever else it takes a cluster to hand out a group of chunks.",
}
CLUSTER = "serialisation", "network", "scheduler"  # shown together
UNKNOWN_NOTE = " unknown: this system does not tell; it is within its neighbours."
FACTORS = {
    "global": "global", "parallel": "parallel", "load_balance": "load balance", "communication": "communication",
    "computation": "computation",
}  # fmt: skip
SHORT_FACTORS = {"workers": "N", "communication": "commun.", "load balance": "balance", "computation": "comput."}
EFFICIENCIES = "Efficiencies"
EFFICIENCIES_NOTE = (
    "global = parallel × computation; parallel = load balance × communication (POP). Under 80 % a factor deserves a"
    " look: marked !"
)
LOW = 0.8  # POP says that a lower factor deserves a look


def sheets(points: Sequence[Point]) -> Iterable[Sheet]:
    """The ledger and the efficiencies, where there are any."""
    split = [p for p in points if p.ledger]
    if split:
        seen = {name for name in NOTES if any((p.ledger or {}).get(name) for p in split)}
        seen |= set(CLUSTER) if seen.intersection(CLUSTER) else set()
        note = LEDGER_NOTE + "".join(text for name, text in NOTES.items() if name in seen)
        note += UNKNOWN_NOTE * any(p.unknown for p in split)
        titles = (title for name, title in ENTRIES.items() if name in seen or name not in NOTES)
        columns = (*KEYS, *titles)
        yield Sheet(LEDGER, columns, tuple(_rows(split, lambda p: _ledger_cells(p, columns))), SHORT_ENTRIES, note)
    factored = [p for p in points if p.efficiencies]
    if factored:
        columns = (*KEYS, *FACTORS.values())
        yield Sheet(EFFICIENCIES, columns, tuple(_rows(factored, _factor_cells)), SHORT_FACTORS, EFFICIENCIES_NOTE)


def _rows(points: Sequence[Point], cells: Any) -> Iterable[Row]:
    for k, p in enumerate(points):
        texts: dict[str, str] = cells(p)
        flagged = frozenset(name for name, cell in texts.items() if cell.endswith("!"))
        yield Row(p, (*keyed(p), *texts.values()), k > 0 and p.variant != points[k - 1].variant, flagged)


def shares(p: Point) -> dict[str, float]:
    """The ledger's entries as parts of the whole, by name, in their order; without those that could not be read."""
    ledger = p.ledger or {}
    whole = sum(ledger.values())
    return {name: ledger.get(name, 0.0) / whole for name in ENTRIES if name not in p.unknown} if whole > 0 else {}


def _ledger_cells(p: Point, columns: Sequence[str]) -> dict[str, str]:
    known = shares(p)
    cells = {title: share(known[name]) if name in known else "unknown" for name, title in ENTRIES.items()}
    return {title: cell for title, cell in cells.items() if title in columns}


def _factor_cells(p: Point) -> dict[str, str]:
    values = {title: (p.efficiencies or {}).get(name) for name, title in FACTORS.items()}
    return {
        title: "unknown" if value is None else percent(value) + (" !" if value < LOW else "")
        for title, value in values.items()
    }


def laws(points: Sequence[Point], fitted: Iterable[Mapping[str, Any]]) -> Iterable[Remark]:
    """What the laws say of these points' configurations, in their order; what holds for all of them is said once."""
    mine = [law for law in fitted if _place(law, points) is not None]
    disturbed = [law for law in mine if _is_disturbed(law, points)]
    if disturbed:
        where = listed([f"{law['backend']} · {law['variant']}" for law in disturbed])
        yield Remark(where, "No law is told: half of the rounds or more were disturbed, and it would be one of that.")
    mine = [law for law in mine if law not in disturbed]
    mine.sort(key=lambda law: _place(law, points) or 0)
    assumptions = {tell_assumption(law) for law in mine}
    assumed = assumptions.pop() if len(mine) > 1 and len(assumptions) == 1 else ""
    sentences = [tell_law(law, with_assumption=not assumed) for law in mine]
    shared = [text for text in sentences[0] if all(text in others for others in sentences)] if len(mine) > 1 else []
    if shared:
        yield Remark("All", " ".join(shared))
    for law, texts in zip(mine, sentences, strict=True):
        own = [text for text in texts if text not in shared]
        if own:
            yield Remark(f"{law['backend']} · {law['variant']}", " ".join(own))
    if assumed:
        yield Remark("Assumed", assumed)


def _is_disturbed(law: Mapping[str, Any], points: Sequence[Point]) -> bool:
    """Whether others disturbed half of the rounds or more of a point that a law is fitted to."""
    return any(p.is_of(law) and 2 * (p.contaminated or 0) >= len(p.samples) > 0 for p in points)


def _place(law: Mapping[str, Any], points: Sequence[Point]) -> int | None:
    """The number of the first point that a law is about; None where it is about none of these."""
    return next((number for number, p in enumerate(points) if p.is_of(law)), None)
