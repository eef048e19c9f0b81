"""The overview as an HTML table. Cells are coloured by what was reached, and every colour is also given as text."""

from __future__ import annotations

from itertools import pairwise

from compute.report.caption import FINE, NOTHING, caption, more_reasons, other_workers
from compute.report.style import SHARES
from compute.scaling.dataset import Dataset
from compute.scaling.tables.reasons import OTHER, Reason
from compute.scaling.tables.screen import AS_FAST, BEST, Cell, Line, Screen, Way, screen
from compute.scaling.tables.table import Group, speedup
from compute.texts import in_html

STAR = "★"
HEARD = {BEST: (STAR, "fastest"), AS_FAST: (AS_FAST, "as fast")}  # a mark, and what a screen reader says for it


def heat(dataset: Dataset, groups: list[Group]) -> str:
    """The overview: a line for each kernel, which links to its section, a column for each way, and its sentences."""
    seen = screen(dataset)
    if not seen.cells:
        return f"<p>{in_html(NOTHING)}</p>"
    heads = "".join(map(_head, seen.ways))
    lines = "".join(_line(seen, line, number) for number, line in enumerate(seen.lines))
    table = (
        f'<table class="heat" aria-labelledby="caption"><thead><tr><th scope="col">kernel</th>'
        f'<th scope="col" class="alone">one core</th>{heads}</tr></thead><tbody>{lines}</tbody></table>'
    )
    assert len(seen.lines) == len(groups)  # a line and its section are found by the same number
    return (
        f'<p id="caption">{in_html(caption(seen, STAR).sentence)}</p>'
        f'<div class="wide" tabindex="0" role="region" aria-label="All kernels">{table}</div>'
        f"{_scale(seen)}{_reasons(seen)}"
    )


def _head(way: Way) -> str:
    variant = "" if way.is_plain else f"<br><small>{in_html(way.variant)}</small>"
    return f'<th scope="col">{in_html(way.backend)}{variant}</th>'


def _line(seen: Screen, line: Line, number: int) -> str:
    cells = "".join(_cell(cell, seen) if cell else '<td class="none">–</td>' for cell in line.cells)
    return (
        f'<tr><th scope="row"><a href="#k{number}">{in_html(line.title)}</a></th>'
        f'<td class="alone">{in_html(line.alone_in_words)}</td>{cells}</tr>'
    )


def _cell(cell: Cell, seen: Screen) -> str:
    p = cell.point
    figure, share = cell.words
    fast = {BEST: "the fastest of its line", AS_FAST: "as fast as the fastest, within noise"}.get(cell.mark)
    about = f"{p.backend} · {p.variant}: {speedup(p)} with {p.workers} workers", p.verdict, fast
    title = "\n".join(filter(None, about))
    seen_as, heard = HEARD.get(cell.mark, ("", ""))
    mark = f'<span aria-hidden="true" class="mark">{seen_as}</span><span class="heard"> {heard}</span>' if heard else ""
    letter = f' <sup class="letter">{in_html(cell.letter)}</sup>' if cell.letter else ""
    other = f"<small>{other_workers(p.workers, seen.workers)}</small>" if p.workers != seen.workers else ""
    return (
        f'<td class="{_shade(cell.share)}" title="{in_html(title)}"><b>{in_html(figure)}</b>{other}{mark}'
        f"<br><small>{in_html(share)}</small>{letter}</td>"
    )


def _shade(share: float | None) -> str:
    if share is None:
        return "none"
    return f"share share-{next(k for k, (least, _) in enumerate(SHARES) if share >= least or least == 0.0)}"


def _scale(seen: Screen) -> str:
    """What the colours and marks mean."""
    names = "".join(f'<li><i class="share share-{k}"></i>{in_html(text)}</li>' for k, text in enumerate(_steps()))
    marks = "".join(f"<li>{in_html(mark)}</li>" for mark in caption(seen, STAR).marks)
    return f'<ul class="scale">{names}{marks}</ul>'


def _steps() -> list[str]:
    """`90 % and more`, `80–90 %` …, `under 60 %`: what the colours stand for."""
    least = [f"{least * 100:.0f}" for least, _ in SHARES]
    between = [f"{low}–{high} %" for high, low in pairwise(least[:-1])]
    return [f"{least[0]} % and more", *between, f"under {least[-2]} %"]


def _reasons(seen: Screen) -> str:
    if not seen.reasons:
        return f"<p>{FINE}</p>" if seen.judged else ""
    items = "".join(map(_reason, seen.reasons))
    other = f'<span class="letter">{OTHER}</span>'
    more = f"<li>{other} {more_reasons(seen)}: see the kernels below.</li>" if seen.untold else ""
    return f'<ul class="remarks">{items}{more}</ul>'


def _reason(reason: Reason) -> str:
    letter = f'<span class="letter">{in_html(reason.letter)}</span>'
    return f"<li>{letter} <b>{in_html(reason.where)}</b>: {in_html(reason.text)}</li>"
