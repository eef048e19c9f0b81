"""The comparison as a table, in a terminal and as Markdown: pure functions of rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from peer_rounds import FEWEST_ROUNDS, Row, Run
from rich.box import SIMPLE
from rich.table import Table

from compute.scaling.formatting import seconds, three_digits
from compute.texts import (
    in_markdown,  # the same signs as in its own tables
    shown,
)

COLUMNS = ("work", "cores", "ratio", "before", "95 % interval", "goal", "met", "nfold", "peer's", "peer", "rounds")
RULE = "---"  # below the names of the columns
NUMBERS = {"cores", "ratio", "before", "95 % interval", "goal", "nfold", "peer's", "rounds"}
GIGA = {"numbers": "G numbers/s", "iterations": "G iterations/s", "flop": "GFLOP/s", "B": "GB/s"}
METHOD = (
    "In each round every contender of a row runs once, in shuffled order, and its answer is checked. The ratio is the"
    " median of the rounds' own ratios, nfold's to the peer's: of times where less is better (≤), of rates where more"
    f" is (≥). The interval is by ranks and assumes no distribution; it needs {FEWEST_ROUNDS} rounds. Times are wall"
    " times, medians; nfold's are those of a run on an open pool, from call to value, Serial() on one core and"
    " Threads(n) on all. Before is the ratio of the page before, on this kind of CPU."
)
NOTES = {
    "primes": "primesieve counts through its C interface inside this process, so no start-up is in its time; its own"
    " threads on all cores. generate_primes fills a new std::vector<int64_t> in one long-lived process, which tells its"
    " own seconds; it has no threads, so on all cores each part of the numbers gets a vector that nobody joins.",
    "mandelbrot": "The C program is started for each round and tells its own wall time: its start, and touching its"
    " image, are not counted. On all cores OpenMP shares out its rows, one at a time. Images are equal byte by byte.",
    "matmul": "BLAS is numpy's, called as numpy.matmul(A, B, out=C) in this process with as many threads as there are"
    " cores (threadpoolctl). In bands means: matmul's tiles over the pool's lanes, BLAS itself on one thread.",
    "streams": "STREAM's triad is started for each round; its own clock, the median of its repeats, arrays touched"
    " before; ours the median of as many runs into an array that is there. Bytes are those that the program reads and"
    " writes, as STREAM counts them. Plain stores are STREAM's own; past the caches is what a tuned build does; reading"
    " alone, the sum of an array, is the limit of a kernel that hardly writes. Both sides' arrays begin with a line of"
    " the cache and ask for huge pages.",
}


Ratios = Mapping[tuple[str, str, str], str]  # (work, cores, peer) -> the ratio, all as a page gives them
NONE: Ratios = {}


def ratios(page: str) -> Ratios:
    """The ratios of a page that `markdown` has made."""
    found, columns = {}, list[str]()
    for line in page.splitlines():
        entries = [entry.strip() for entry in line.strip("|").split(" | ")]
        if entries[:2] == list(COLUMNS[:2]):
            columns = entries
        elif len(entries) == len(columns) and entries[0] != RULE:
            told = dict(zip(columns, entries, strict=True))
            found[told["work"], told["cores"], told["peer"]] = told["ratio"]
    return found


def cells(row: Row, before: Ratios = NONE) -> tuple[str, ...]:
    """One row, in COLUMNS. before: the ratios of the page before."""
    sign = "≤" if row.by == "time" else "≥"
    return (
        row.title,
        str(row.cores),
        digits(row.ratio),
        before.get((in_markdown(row.title), str(row.cores), in_markdown(row.peer)), "–"),
        "–" if row.interval is None else " – ".join(digits(end) for end in row.interval),
        "" if row.goal is None else f"{sign} {row.goal:.3g}",
        row.met,
        _told(row.ours),
        _told(row.theirs),
        row.peer,
        str(row.rounds),
    )


def digits(value: float) -> str:
    """`12.3`, `1.23`, `0.123`: a twentieth and a thirtieth are told apart."""
    return three_digits(value) if value >= 1 else f"{value:.3f}"


def _told(run: Run) -> str:
    """Time, and rate in thousands of millions: the part's heading says of what."""
    return f"{seconds(run.seconds)}, {digits(run.rate / 1e9)}"


def parts(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Rows by part: those on one core first, then those on all."""
    for part in dict.fromkeys(row.part for row in rows):
        yield part, sorted((row for row in rows if row.part == part), key=lambda row: row.cores)


def title(part: str, rows: Sequence[Row]) -> str:
    return f"{part}: time, and rate in {GIGA[rows[0].unit]}"


def text(rows: Sequence[Row], before: Ratios) -> Iterator[Any]:
    """What rich prints: a table and its note for each part."""
    for part, found in parts(rows):
        table = Table(title=title(part, found), box=SIMPLE, title_justify="left", show_edge=False, pad_edge=False)
        for name in COLUMNS:
            table.add_column(name, justify="right" if name in NUMBERS else "left", no_wrap=True)
        for row in found:
            style = "" if row.goal is None else "green" if row.met.endswith("yes") else "red"
            table.add_row(*cells(row, before), style=style)
        yield table
        yield NOTES[part] + "\n"


def summary(rows: Sequence[Row]) -> str:
    """How many goals are met, and which are not."""
    asked = [row for row in rows if row.goal is not None]
    missed = [f"{row.title} on {row.cores} ({digits(row.ratio)})" for row in asked if row.met.endswith("no")]
    told = f"{len(asked) - len(missed)} of {len(asked)} goals met"
    return told + ("." if not missed else "; not: " + "; ".join(missed) + ".")


def markdown(rows: Sequence[Row], told: dict[str, Any], skipped: Sequence[str], before: Ratios) -> str:
    """The whole page: machine, method, a table for each part, what was skipped."""
    lines = ["# Kernels beside their peers", "", about(told), "", METHOD, "", in_markdown(summary(rows)), ""]
    for part, found in parts(rows):
        rule = ["---:" if name in NUMBERS else RULE for name in COLUMNS]
        lines += [f"## {title(part, found)}", "", _line(COLUMNS), _line(rule)]
        lines += [_line([in_markdown(cell) for cell in cells(row, before)]) for row in found]
        lines += ["", NOTES[part].replace("<", "\\<"), ""]
    if skipped:
        lines += ["## Skipped", "", *(f"- {in_markdown(reason)}" for reason in skipped), ""]
    return "\n".join(lines)


def about(told: dict[str, Any]) -> str:
    """The machine and the moment, in a line."""
    told = shown(told)
    load = told["load"][0] if told.get("load") else "unknown"
    caches = ", ".join(f"{name} {size >> 10} KB" for name, size in (told.get("caches") or {}).items())
    return (
        f"{told['model']}, {told['cpus']} usable CPUs ({caches or 'caches unknown'}), {told['platform']};"
        f" Python {told['python']}, numpy {told['numpy']}, numba {told['numba']}; {told['date']};"
        f" load before it {load}."
    )


def _line(row: Sequence[str]) -> str:
    return "| " + " | ".join(row) + " |"
