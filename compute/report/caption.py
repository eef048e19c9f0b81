"""The sentences that explain the overview: its cells and its marks. They are the same in text, page and notebook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compute.scaling.tables.reasons import some
from compute.scaling.tables.screen import (
    ALONE,
    AS_FAST,
    BEST,
    CELL,
    FEWER,
    NO_SERIAL,
    NOT_SLOWER,
    TOO_FEW,
    Line,
    Screen,
)

NOTHING = "Only one core was measured; there is nothing to compare it with."
FINE = "Nothing wrong: each way comes close to what this machine allows."
# Why a line has no mark. Nothing is said where work and size differ, because then nothing is known.
WITHOUT = {
    ALONE: "one core is fastest",
    NOT_SLOWER: "one core is as fast, within noise",
    FEWER: "fewer workers are fastest",
    TOO_FEW: "too few rounds to tell which is fastest",
    NO_SERIAL: "no serial run to compare with",
}


@dataclass(frozen=True)
class Caption:
    """sentence: what a cell says. marks: what each mark means that is there."""

    sentence: str
    marks: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join(filter(None, [self.sentence, f"{'; '.join(self.marks)}." if self.marks else ""]))


def caption(seen: Screen, best: str = BEST) -> Caption:
    """What stands above the overview. best: the mark of the fastest there."""
    cells = seen.cells
    if not cells:
        return Caption(NOTHING)
    n = seen.workers
    text = f"Speedup with {n} worker{'s' * (n != 1)}"
    if other := next((cell.point.workers for cell in cells if cell.point.workers != n), None):
        text += f" (or with {other}: {other_workers(other, n)})"
    text += " as the work grows with them" if any(cell.point.mode == "weak" for cell in cells) else ""
    measured = [cell.point.share_of_ceiling is not None for cell in cells]
    text += f", and its share of {'what this machine allows' if any(measured) else f'{n}-fold'}"
    text += " (of N-fold where that is not known)" if any(measured) and not all(measured) else ""
    marks = [
        _fastest(seen.lines, best),
        f"{AS_FAST} as fast, within noise" if any(cell.mark == AS_FAST for cell in cells) else "",
        "~ uncertain" if any(cell.is_unsure for cell in cells) else "",
        _letters(seen),
    ]
    return Caption(f"{text}.", tuple(filter(None, marks)))


def other_workers(workers: int, most: int) -> str:
    """`/4`: stands behind a speedup with another number of workers than most cells have."""
    return f"/{workers}" if workers != most else ""


def more_reasons(seen: Screen) -> str:
    """`2 more reasons`: those that are not shown; "" where all are."""
    return f"{seen.untold} more reason{'s' * (seen.untold != 1)}" if seen.untold else ""


def _fastest(lines: Sequence[Line], best: str) -> str:
    """What the mark of the fastest means, and why lines have none; short where one core is the fastest."""
    starred = any(line.fastest == CELL for line in lines)
    without = {why: mine for why in WITHOUT if (mine := [line for line in lines if line.fastest == why])}
    if starred and list(without) == [ALONE] and all(line.fastest in (CELL, ALONE) for line in lines):
        return f"{best} fastest (no {best}: one core is)"
    reasons = "; ".join(_without(why, mine, len(lines)) for why, mine in without.items())
    if not starred:
        return reasons
    return f"{best} fastest (no {best}: {reasons})" if reasons else f"{best} fastest"


def _without(why: str, mine: Sequence[Line], of: int) -> str:
    """`fewer workers are fastest: threads with 16`; with the kernels in brackets where it is not so for all."""
    if why == FEWER:
        named = [line.fewer + f" ({line.title})" * (of > 1) for line in mine]
        return f"{WITHOUT[why]}: {some(named, 'kernels')}"
    return WITHOUT[why] + ("" if len(mine) == of else f" ({some([line.title for line in mine], 'kernels')})")


def _letters(seen: Screen) -> str:
    letters = [reason.letter for reason in seen.reasons]
    if not letters:
        return ""
    which = letters[0] if len(letters) == 1 else f"{letters[0]}–{letters[-1]}"
    rest = "; no letter: nothing wrong" if seen.judged and not all(cell.letter for cell in seen.cells) else ""
    return f"{which} why not more, below{rest}"
