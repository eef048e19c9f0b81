"""The roofline: what fraction of this machine's own limit each kernel reaches, as text and as a picture.

    make bench-peers                     # after the peers
    .venv/bin/python bench/roofline.py [--budget 40] [--quick] [--png FILE] [--markdown FILE]

A kernel that does F flop on B bytes takes at least max(F / peak, B / bandwidth). Peak is what a loop of multiply-adds
among registers reaches (`peak.py`), bandwidth what the fastest triad here does; both are in every round. F is what the
definition asks for and B what it must read and write once: what blocking saves counts for a kernel.
Source: Williams, Waterman and Patterson, "Roofline", CACM 52 (2009).
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kept
import numpy as np
from peer_groups import MOST_ITER, VIEWS, last_cache
from peer_rounds import Group, Run, shares
from peer_table import about, digits
from peer_tools import Missing, build, stream_run
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from compute import Serial, Threads, machine
from compute.backends.pool import Pool
from compute.report.canvas import FONT
from compute.report.plots import DPI
from compute.report.style import COLOURS, FAINT, RULE
from compute.scaling import statistics
from kernels import mandelbrot, matmul, matvec, primes, transpose, triad
from kernels.definition import Kernel
from kernels.vectors.caches import empty

READS = "reading alone"
FLOP_AN_ITERATION = 7  # x·x, y·y, x·y, doubling it, one minus, two plus; the test need not be done each time
REPEATS = 3  # of a kernel in a round: some take milliseconds
COLUMNS = ("kernel", "cores", "flop a byte", "time", "GFLOP/s", "GB/s", "of the limit", "95 % interval", "limited by")
NOTE = (
    "The limit of a kernel is the larger of its flop at peak and its bytes at bandwidth. Peak counts a multiply-add as"
    " two: mandelbrot may fuse nothing, so half is the most it could reach. The peak is that of float64; float32 has"
    " twice that; complex128 is on half as many numbers, and counts eight flop for one of them. The iterations of"
    " mandelbrot, in a view without interior, are those of the definition. count_primes is not here: its work is"
    " neither flop nor traffic to memory; the peers' table has it."
)


@dataclass(frozen=True)
class Work:
    """What one run of a kernel asks of the machine.

    width: numbers to a register, against those of float64: so many times its peak is what the registers allow.
    """

    flop: float
    bytes: float
    width: float = 1.0

    @property
    def intensity(self) -> float:
        """Flop a byte."""
        return self.flop / self.bytes


def least_seconds(work: Work, peak_rate: float, bandwidth: float) -> float:
    """The roofline: no run is faster than its flop at peak, or its bytes at bandwidth."""
    return max(work.flop / peak_rate, work.bytes / bandwidth)


@dataclass(frozen=True)
class Spot:
    """One kernel on one core count, beside what limits it there."""

    kernel: str
    cores: int
    work: Work
    seconds: float
    fraction: float
    interval: statistics.Interval | None
    limited_by: str


@dataclass(frozen=True)
class Roof:
    """What the machine allows on so many cores: flop/s, bytes/s and by which triad; bytes/s of reading alone.

    A kernel that hardly writes (matvec) cannot do more than that, where it is less than a triad's.
    """

    cores: int
    peak: float
    bandwidth: float
    triad: str
    reads: float | None = None


def judge(rounds: Sequence[dict[str, Run]], works: dict[str, Work], triads: Sequence[str], cores: int) -> Any:
    """(Roof, Spots) of the rounds: each round's own limits beside that round's times; medians and intervals."""
    best = max(triads, key=lambda name: statistics.median([runs[name].rate for runs in rounds]))
    roof = Roof(
        cores,
        statistics.median([runs["peak"].rate for runs in rounds]),
        statistics.median([runs[best].rate for runs in rounds]),
        best,
        statistics.median([runs[READS].rate for runs in rounds]) if READS in rounds[0] else None,
    )
    spots = []
    for name, work in works.items():
        fractions = [least_seconds(work, work.width * r["peak"].rate, r[best].rate) / r[name].seconds for r in rounds]
        memory = work.bytes / roof.bandwidth >= work.flop / (work.width * roof.peak)
        spots.append(
            Spot(
                name,
                cores,
                work,
                statistics.median([runs[name].seconds for runs in rounds]),
                statistics.median(fractions),
                statistics.median_interval(fractions),
                "bandwidth" if memory else "peak",
            )
        )
    return roof, spots


# ---------------------------------------------------------------- what is run


def cases(quick: bool) -> dict[str, tuple[Kernel, tuple[Any, ...], dict[str, Any], Work]]:
    """Kernel, arguments and work by name; streams on arrays of four times the last-level cache."""
    rng = np.random.default_rng(20261122)
    elements = 4 * last_cache() // 8 // (16 if quick else 1)
    side, n, shrunk, last = int(elements**0.5), 512 if quick else 2048, 4 if quick else 1, 10**7 if quick else 10**9
    a, b, total = rng.random(out=empty(elements)), rng.random(out=empty(elements)), empty(elements)
    square, turned, A, B = (
        rng.random(out=empty((side, side))),
        empty((side, side)),
        rng.random((n, n)),
        rng.random((n, n)),
    )
    height, center, width = VIEWS[-1]
    view = (height // shrunk, height // shrunk * 3 // 2), center, width, MOST_ITER
    iterations = float(mandelbrot(*view).sum(dtype=np.int64))
    counted = len(primes(last))
    return {
        "matmul": (matmul, (A, B), {"out": np.empty((n, n))}, Work(2.0 * n**3, 24.0 * n**2)),
        "mandelbrot": (mandelbrot, view, {}, Work(FLOP_AN_ITERATION * iterations, 4.0 * np.prod(view[0]))),
        "matvec": (matvec, (square, a[:side]), {}, Work(2.0 * side**2, 8.0 * (side**2 + 2 * side))),
        "triad": (triad, (a, b, 3.0), {"out": total}, Work(2.0 * elements, 24.0 * elements)),
        "transpose": (transpose, (square,), {"out": turned}, Work(0.0, 16.0 * side**2)),
        "primes": (primes, (last,), {}, Work(0.0, 8.0 * counted)),
        **in_float32(A, B, a, b, square),
        **in_wider(a, b, total, square, turned),
    }


def in_wider(a: Any, b: Any, total: Any, square: Any, turned: Any) -> dict[str, Any]:
    """The kernels that have code of their own for complex128 and int64, on the same bytes."""
    a, b, total = (x[: x.size // 2 * 2].view(np.complex128) for x in (a, b, total))
    flat = square.reshape(-1)[: square.size // 2 * 2].view(np.complex128)
    side = int(flat.size**0.5)
    square_c, turned_c = flat[: side * side].reshape(side, side), empty((side, side), np.complex128)
    as_int = {"out": turned.view(np.int64)}
    return {
        "triad complex128": (triad, (a, b, 3.0 + 0j), {"out": total}, Work(8.0 * a.size, 48.0 * a.size)),
        "transpose complex128": (transpose, (square_c,), {"out": turned_c}, Work(0.0, 32.0 * side**2)),
        "transpose int64": (transpose, (square.view(np.int64),), as_int, Work(0.0, 16.0 * square.size)),
    }


def in_float32(A: Any, B: Any, a: Any, b: Any, square: Any) -> dict[str, Any]:
    """The kernels that have code of their own for float32, on as many numbers of half the size."""
    narrow = [x.astype(np.float32) for x in (A, B, a, b, square)]
    A, B, a, b, square = narrow
    n, side, made = len(A), len(square), np.float32
    return {
        "matmul float32": (matmul, (A, B), {"out": np.empty((n, n), made)}, Work(2.0 * n**3, 12.0 * n**2, 2.0)),
        "triad float32": (triad, (a, b, 3.0), {"out": empty(a.size, made)}, Work(2.0 * a.size, 12.0 * a.size, 2.0)),
        "matvec float32": (matvec, (square, a[:side]), {}, Work(2.0 * side**2, 4.0 * (side**2 + 2 * side), 2.0)),
        "transpose float32": (transpose, (square,), {"out": empty((side, side), made)}, Work(0.0, 8.0 * side**2)),
    }


def group_of(cores: int, pool: Pool, works: dict[str, Any], program: Path | None, elements: int, quick: bool) -> Group:
    """All contenders of one core count: the two limits, and the kernels."""

    def timed(kernel: Kernel, args: tuple[Any, ...], kw: dict[str, Any], work: Work) -> Callable[[], Run]:
        def run() -> Run:
            seconds = []
            for _ in range(REPEATS):
                result = pool.run(kernel, *args, variant="nogil", **kw)
                seconds.append(result.seconds)
            assert kernel.check is not None
            kernel.check(result.value, *args)
            return Run(statistics.median(seconds), work.bytes)

        return run

    from peak import peak  # imports numba

    def registers() -> Run:
        indices = cores * (100 if quick else 1000)
        results = [pool.run(peak, indices) for _ in range(REPEATS)]
        assert all(0 < result.value < np.inf for result in results), "the register loop lost its numbers"
        # The quickest: a loop that something else interrupted says nothing of the limit.
        return Run(min(result.seconds for result in results), peak.plan(indices).work or 0.0)

    contenders = {"peak": registers, **{name: timed(*case) for name, case in works.items()}}
    if program:
        contenders["STREAM"] = lambda: stream_run(program, elements, REPEATS, cores)
        contenders["STREAM past the caches"] = lambda: stream_run(program, elements, REPEATS, cores, "nontemporal")
        contenders[READS] = lambda: stream_run(program, elements, REPEATS, cores, "reads")
    return Group("roofline", cores, "B", contenders, [])


def measure(budget: float, quick: bool) -> tuple[list[Roof], list[Spot], list[str]]:
    """Roofs and spots on one core and on all usable ones, within so many seconds; and what was left out, and why."""
    until, skipped = time.perf_counter() + budget, []
    works, elements = cases(quick), 4 * last_cache() // 8 // (16 if quick else 1)
    with ExitStack() as stack:
        program = None
        try:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            program = build("streams.c", folder, "-fopenmp")
        except Missing as reason:
            skipped.append(f"STREAM: {reason}; the bandwidth is that of nfold's own triad")
        backends = [Serial(), Threads()] if machine.usable_cpus() > 1 else [Serial()]
        groups = []
        for backend in backends:
            pool = stack.enter_context(backend.open())
            groups.append(group_of(backend.workers, pool, works, program, elements, quick))
            groups[-1].prepare()
        roofs, spots = [], []
        for k, group in enumerate(groups):
            group.measure(shares(until - time.perf_counter(), [other.once for other in groups[k:]])[0])
            triads = [name for name in ("triad", "STREAM", "STREAM past the caches") if name in group.contenders]
            asked = {name: work for name, (_, _, _, work) in works.items()}
            roof, found = judge(group.rounds, asked, triads, group.cores)
            roofs.append(roof)
            spots += found
    return roofs, spots, skipped


# ---------------------------------------------------------------- how it is told


def told_roof(roof: Roof) -> str:
    cores = "one core" if roof.cores == 1 else f"{roof.cores} cores"
    reads = "" if roof.reads is None else f"; reading alone, in C, {roof.reads / 1e9:.1f} GB/s"
    told = f"{roof.peak / 1e9:.0f} GFLOP/s among registers, {roof.bandwidth / 1e9:.1f} GB/s ({roof.triad}){reads}"
    return f"On {cores}: {told}."


def cells(spot: Spot) -> tuple[str, ...]:
    """One spot, in COLUMNS."""
    low_high = "–" if spot.interval is None else " – ".join(f"{end * 100:.0f}" for end in spot.interval)
    return (
        spot.kernel,
        str(spot.cores),
        digits(spot.work.intensity) if spot.work.flop else "0",
        f"{spot.seconds * 1e3:.1f} ms",
        digits(spot.work.flop / spot.seconds / 1e9) if spot.work.flop else "–",
        digits(spot.work.bytes / spot.seconds / 1e9),
        f"{spot.fraction * 100:.0f} %",
        low_high,
        spot.limited_by,
    )


def markdown(roofs: Sequence[Roof], spots: Sequence[Spot], told: dict[str, Any], picture: str | None) -> str:
    lines = ["# Roofline", "", about(told), "", *(f"- {told_roof(roof)}" for roof in roofs), ""]
    lines += ["| " + " | ".join(COLUMNS) + " |", "|---|" + "---:|" * (len(COLUMNS) - 2) + "---|"]
    lines += ["| " + " | ".join(cells(spot)) + " |" for spot in spots]
    lines += ["", NOTE] + (["", f"![the roofline]({picture})"] if picture else [])
    return "\n".join(lines) + "\n"


def picture(roofs: Sequence[Roof], spots: Sequence[Spot], heading: str) -> bytes:
    """A PNG: roofs over the flop a byte with the kernels beneath, and beside it each kernel's share of its limit."""
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style.context(["default", FONT]):
        figure = Figure(figsize=(10, 4.6), dpi=DPI, layout="constrained")
        figure.get_layout_engine().set(rect=(0, 0, 1, 0.88))
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        _draw_roofs(left, roofs, [spot for spot in spots if spot.work.flop])
        _draw_shares(right, roofs, spots)
        figure.text(0.01, 0.98, "How near each kernel is to the machine's own limit", va="top", fontsize=13,
                    fontweight="bold")  # fmt: skip
        figure.text(0.01, 0.915, heading, va="top", fontsize=8, color=FAINT)
        data = io.BytesIO()
        FigureCanvasAgg(figure).print_figure(data, format="png", facecolor="white")
        return data.getvalue()


def _draw_roofs(ax: Any, roofs: Sequence[Roof], spots: Sequence[Spot]) -> None:
    low = min(spot.work.intensity for spot in spots) / 2
    high = max(spot.work.intensity for spot in spots) * 3
    for colour, roof in zip(COLOURS, roofs, strict=False):
        ridge = roof.peak / roof.bandwidth
        x = np.array([low, ridge, high])
        ax.plot(x, np.minimum(roof.peak, x * roof.bandwidth) / 1e9, color=colour, linewidth=1.6)
        name = "one core" if roof.cores == 1 else f"{roof.cores} cores"
        ax.annotate(f"{name}: {roof.peak / 1e9:.0f} GFLOP/s, {roof.bandwidth / 1e9:.0f} GB/s", (high, roof.peak / 1e9),
                    (0, 4), textcoords="offset points", ha="right", fontsize=8, color=colour)  # fmt: skip
        for spot in spots:
            if spot.cores == roof.cores:
                ax.plot(spot.work.intensity, spot.work.flop / spot.seconds / 1e9, "o", color=colour, markersize=5)
    for spot in spots:
        if spot.cores == roofs[0].cores:
            ax.annotate(spot.kernel, (spot.work.intensity, spot.work.flop / spot.seconds / 1e9), (0, -13),
                        textcoords="offset points", ha="center", fontsize=8)  # fmt: skip
    ax.set_xscale("log")
    ax.set_yscale("log")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter("{x:g}")
    ax.set_ylim(top=max(roof.peak for roof in roofs) / 1e9 * 1.8)
    ax.set_xlabel("flop a byte of memory traffic that there must be")
    ax.set_ylabel("GFLOP/s")
    ax.grid(color=RULE, linewidth=0.7)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(which="both", length=0)


def _draw_shares(ax: Any, roofs: Sequence[Roof], spots: Sequence[Spot]) -> None:
    names = list(dict.fromkeys(spot.kernel for spot in spots))
    thick = 0.8 / len(roofs)
    for number, (colour, roof) in enumerate(zip(COLOURS, roofs, strict=False)):
        for spot in spots:
            if spot.cores != roof.cores:
                continue
            place, share = names.index(spot.kernel) + (number - (len(roofs) - 1) / 2) * thick, spot.fraction * 100
            ax.barh(place, share, height=thick * 0.9, color=colour, alpha=0.85)
            end = share
            if spot.interval:
                low, high = (100 * value for value in spot.interval)
                ax.plot([low, high], [place, place], color="black", linewidth=1)
                end = max(share, high)
            ax.text(end + 1.5, place, f"{share:.0f} %", va="center", fontsize=8)
    ax.axvline(100, color=FAINT, linestyle=(0, (1, 2)), linewidth=1)
    limits = {spot.kernel: spot.limited_by for spot in spots}
    ax.set_yticks(range(len(names)), [f"{name}\n{limits[name]}" for name in names], fontsize=8)
    ax.invert_yaxis()
    ax.set_xlim(0, max(115.0, *((max(spot.fraction, *(spot.interval or (0.0,))) * 100 + 15) for spot in spots)))
    ax.set_xlabel("% of its limit")
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(length=0)


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--budget", type=float, default=40, help="seconds for everything (40)")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works; not kept")
    parser.add_argument("--png", type=Path, help="where to draw it (bench/results/roofline-CPU-DATE.png)")
    parser.add_argument("--markdown", type=Path, help="where to keep the table (bench/results/roofline-CPU-DATE.md)")
    asked, told = parser.parse_args(words), machine.describe()
    roofs, spots, skipped = measure(asked.budget, asked.quick)
    console = Console(markup=False, emoji=False, highlight=False)  # a CPU's name, a peer's complaint are no markup
    if not console.is_terminal:
        console.width = 120
    table = Table(box=SIMPLE, show_edge=False, pad_edge=False)
    for name in COLUMNS:
        table.add_column(name, justify="left" if name in ("kernel", "limited by") else "right")
    for spot in spots:
        table.add_row(*cells(spot))
    console.print(about(told), *map(told_roof, roofs), table, NOTE, sep="\n")
    for reason in skipped:
        console.print(f"Skipped {reason}")
    png = asked.png or (None if asked.quick else kept.place("roofline", told, ".png"))
    page = asked.markdown or (None if asked.quick else kept.place("roofline", told))
    if page:  # the table first: drawing can fail
        kept.write(page, markdown(roofs, spots, told, png.name if png else None))
    if png:
        heading = f"{told['model']}, {told['cpus']} usable CPUs, {told['date'][:10]}"
        kept.write(png, picture(roofs, spots, heading))


if __name__ == "__main__":
    main()
