"""The kernels beside the best there is, in the same run: interleaved rounds, ratios with intervals.

    make bench-peers
    .venv/bin/python bench/peers.py [--budget 300] [--only primes,matmul] [--quick] [--markdown FILE]

Prints a table, with the ratios of the one before on this kind of CPU, and keeps it in bench/results/. A peer that is
not on this machine is skipped with the reason: C and C++ peers need a compiler, the primes' peer libprimesieve.
`--primesieve LIBRARY`, or the environment's PRIMESIEVE, takes another libprimesieve.so than the system's. What is
compiled goes to a temporary folder.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import kept
import peer_table
from peer_groups import PARTS, Bench
from peer_rounds import MOST_ROUNDS, Group, Row, shares
from peer_tools import Missing
from rich.console import Console

from compute import Serial, Threads, machine
from compute.backends.backend import Backend

WIDE = 170  # columns that the table needs where no terminal says how many there are


def arguments(words: list[str]) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--budget", type=float, default=300, help="seconds for everything (300)")
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts, with commas between: {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works; not kept")
    parser.add_argument("--markdown", type=Path, help="where to keep the table (bench/results/peers-CPU-DATE.md)")
    parser.add_argument(
        "--primesieve",
        metavar="LIBRARY",
        default=os.environ.get("PRIMESIEVE"),
        help="a libprimesieve.so ($PRIMESIEVE, or the system's)",
    )
    asked = parser.parse_args(words)
    asked.only = [part.strip() for part in asked.only.split(",")]
    if unknown := [part for part in asked.only if part not in PARTS]:
        parser.error(f"no part {unknown[0]!r}; choose from {', '.join(PARTS)}")
    return asked


def gather(bench: Bench, parts: list[str]) -> list[Group]:
    """The groups of the parts, as far as this machine has the peers; the reasons for the others are the bench's."""
    groups: list[Group] = []
    for part in parts:
        try:
            for group in PARTS[part](bench):
                groups.append(group)  # noqa: PERF402, what came before a missing peer stays
        except Missing as reason:
            bench.skipped.append(f"{part}: {reason}")
    return groups


def compare(groups: list[Group], seconds: float, skipped: list[str]) -> list[Row]:
    """Prepare all groups, then give each its rounds; what cannot run after all is skipped with its reason."""
    until = time.perf_counter() + seconds
    ready: list[Group] = []
    for group in groups:
        try:
            group.prepare()
            ready.append(group)
        except Missing as reason:
            skipped.append(f"{group.comparisons[0].title} on {group.cores}: {reason}")
    for k, group in enumerate(ready):
        group.measure(shares(until - time.perf_counter(), [other.once for other in ready[k:]])[0])
        for row in group.rows():
            tell(" ".join(cell for cell in peer_table.cells(row) if cell))
    return [row for group in ready for row in group.rows()]


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(words: list[str] | None = None) -> None:
    asked, began, told = arguments(sys.argv[1:] if words is None else words), time.perf_counter(), machine.describe()
    with ExitStack() as stack:
        backends: list[Backend] = [Serial()]
        backends += [Threads(told["cpus"])] if told["cpus"] > 1 else []
        pools = {backend.workers: stack.enter_context(backend.open()) for backend in backends}
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bench = Bench(folder, pools, stack, asked.primesieve, asked.quick)
        groups = gather(bench, asked.only)
        rows = compare(groups, asked.budget - (time.perf_counter() - began), bench.skipped)
    console = Console(markup=False, emoji=False, highlight=False)  # a CPU's name, a peer's complaint are no markup
    if not console.is_terminal:
        console.width = WIDE
    console.print(peer_table.about(told), peer_table.METHOD, sep="\n", end="\n\n")
    page = kept.before("peers", told)
    before = {} if page is None else peer_table.ratios(page.read_text(encoding="utf-8"))
    for part in peer_table.text(rows, before):
        console.print(part)
    for reason in bench.skipped:
        console.print(f"Skipped {reason}")
    if not rows:
        return
    console.print(peer_table.summary(rows))
    fewest = min(row.rounds for row in rows)
    if fewest < MOST_ROUNDS and any(row.interval is None for row in rows):
        console.print(f"Fewest rounds of a row: {fewest}; for an interval give it more time with --budget.")
    if path := asked.markdown or (None if asked.quick else kept.place("peers", told)):
        kept.write(path, peer_table.markdown(rows, told, bench.skipped, before))


if __name__ == "__main__":
    main()
