"""The one screen as text: what it must contain, at every width, with and without colours."""

import io
import itertools
import re
from dataclasses import replace

import pytest
from example_main_job import a_main_job
from example_points import a_point, a_scaling, explained
from rich.cells import cell_len
from rich.console import Console

from compute import report
from compute.report import screen, style
from compute.report.screen import BLOCKS
from compute.scaling.derive import compare_points
from compute.scaling.results import Scaling
from compute.scaling.tables.screen import screen as seen

FORTY = [f"kernel_{k:02}" for k in range(38)] + ["triad", "transpose"]
LONG = ["a_kernel_whose_name_is_as_long_as_names_become_in_the_wild", "triad", "行列の積"]
SEVEN = (1, 2, 4, 8, 16, 32, 64)
ALL_64 = tuple(range(1, 65))


def shown(scaling, width=80, **console):
    stream = io.StringIO()
    screen.show(scaling, Console(file=stream, width=width, highlight=False, **console))
    return stream.getvalue()


def line_of(told, kernel):
    return next(line for line in told.splitlines() if line.startswith(f"{kernel} "))


WIDTHS = [60, 80, 100, 200]
COUNTS = [(1,), (1, 2), SEVEN, ALL_64]
KERNELS = [["triad"], ["count_primes", "triad"], LONG, FORTY]


@pytest.mark.parametrize(
    ("kernels", "counts", "width"),
    [
        # One of four, so that each is met by each of another kind; but for the most kernels with the most counts.
        pytest.param(KERNELS[k], COUNTS[c], WIDTHS[w], marks=pytest.mark.slow if (k + c + w) % 4 or k == c == 3 else ())
        for k, c, w in itertools.product(range(4), repeat=3)
    ],
    ids=lambda given: given if isinstance(given, int) else len(given),
)
def test_it_fits_and_holds_every_kernel(width, counts, kernels):
    scaling = a_main_job(kernels=kernels, counts=counts)
    told = shown(scaling, width)
    lines = told.splitlines()
    assert max(map(cell_len, lines)) <= width
    for title in kernels:
        assert any(line == title or line.startswith(f"{title} ") for line in lines)
    n = max(counts)
    assert f"Speedup with {n} worker{'s' * (n > 1)}" in told
    best = [c for c in seen(scaling).cells if c.mark == "*"]
    starred = [line for line in lines if re.search(r"\*[~0-9]", line)]
    assert len(best) == len(starred)
    assert len(best) == len(kernels) or n == 1  # where one core may be the fastest
    for cell, line in zip(best, starred, strict=True):
        assert re.search(rf"\*{re.escape(cell.words[0])}\s+{cell.words[1]}", line)
    curved = [line for line in lines if re.search(f"[{BLOCKS}]", line)]
    assert len(curved) == (len(kernels) if len(counts) > 2 else 0)
    assert told.count("\n") < 40 + 3 * len(kernels)


@pytest.mark.parametrize("width", [1, 10, 30])
def test_a_width_of_nothing_is_no_error(width):
    assert "triad" in shown(a_main_job(), width)


def test_four_kernels_are_one_screen_of_a_small_terminal():
    told = shown(a_main_job())
    assert told.count("\n") <= 22
    assert re.search(r"threads +threads +prange +processes +joblib +coroutines\n +·python\n", told)
    assert re.match(r"mandelbrot +0\.98 +\d+%b +\*1\.9\d +9\d% ", line_of(told, "mandelbrot"))
    assert "threads·python, every kernel: the GIL" in told


CAUSE_OF = {"triad": "memory bandwidth", "transpose": "memory bandwidth"}


@pytest.mark.parametrize("counts", [(1, 2), SEVEN], ids=len)
@pytest.mark.parametrize("other", ["text", 60, 80, 200])
def test_a_new_reader_finds_all_answers_in_the_first_thousand_characters(counts, other):
    """Which way is best for this kernel, how far from N-fold it is, and why."""
    scaling = a_main_job(counts=counts)
    text = report.render(scaling, "text") if other == "text" else shown(scaling, other)
    told = text[:1000]
    heads = next(line for line in told.splitlines() if "prange" in line).replace("one core", "").split()
    reasons = dict(re.findall(r"^([a-e]) (.*?)(?=^[a-e!] |\Z)", told, re.DOTALL | re.MULTILINE))
    for line in seen(scaling).lines:
        cells = re.findall(r"([*=]?)([0-9.]+) +(\d+%)([a-e]?)", line_of(told, line.title))
        (at,) = (k for k, cell in enumerate(cells) if cell[0] == "*")
        best = next(cell for cell in line.cells if cell and cell.mark == "*")
        assert heads[at] == best.point.backend  # which is best
        assert cells[at][1:3] == best.words  # how far from N-fold, and from what is possible
        assert f"with {max(counts)} workers" in told
        cause = CAUSE_OF.get(line.title)  # why
        assert bool(cells[at][3]) == (cause is not None)
        because = reasons[cells[at][3]] if cause else told
        assert (cause or "no letter: nothing wrong") in " ".join(because.split())


def test_seven_kernels_and_their_reasons_begin_within_it_too():
    told = shown(a_main_job(kernels=["count_primes", "primes", "mandelbrot", "matmul", "matvec", "transpose", "triad"]))
    assert "memory bandwidth" in " ".join(told[:1000].split())


@pytest.mark.parametrize("system", ["standard", "256", "truecolor"])
def test_colours_say_nothing_that_is_not_said_without_them(system):
    plain = shown(a_main_job())
    assert "\x1b" not in plain
    coloured = shown(a_main_job(), force_terminal=True, color_system=system, legacy_windows=False)
    assert "\x1b[" in coloured
    assert [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", coloured).splitlines()] == plain.splitlines()


def test_only_names_and_the_fastest_are_bold():
    coloured = shown(a_main_job(), force_terminal=True, color_system="truecolor", legacy_windows=False)
    row = next(line for line in coloured.splitlines() if "mandelbrot" in line)
    bold = re.findall(r"\x1b\[1[;0-9]*m([^\x1b]*)", row)
    assert [text.strip()[:5] for text in bold] == ["mande", "*1.95"]


def test_no_color_is_heeded(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    told = shown(a_main_job(), force_terminal=True, color_system="truecolor", legacy_windows=False)
    assert set(re.findall(r"\x1b\[([0-9;]*)m", told)) <= {"0", "1", "2"}  # bold and dim are no colours


def _luminance(colour):
    channels = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def _as_seen_without_green(colour):
    """Deuteranopia after Viénot, Brettel and Mollon 1999."""
    r, g, b = ((int(colour[k : k + 2], 16) / 255) ** 2.2 for k in (1, 3, 5))
    return 0.29275 * r + 0.70725 * g, 0.29275 * r + 0.70725 * g, -0.02234 * r + 0.02234 * g + b


def test_colours_are_safe_for_colour_blind_readers_and_black_is_read_on_all():
    colours = [colour for _, colour in style.SHARES]
    assert all((_luminance(colour) + 0.05) / 0.05 >= 4.5 for colour in colours)  # WCAG AA
    worse = [_luminance(colour) for colour in colours[1:]]
    assert worse == sorted(worse, reverse=True)
    seen_as = [_as_seen_without_green(colour) for colour in colours]
    apart = [sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) ** 0.5 for x in seen_as for y in seen_as if x != y]
    assert min(apart) > 0.15
    assert [style.share_colour(share) for share in (1.2, 0.9, 0.85, 0.6, 0.51, 0.0)] == [
        colours[0], colours[0], colours[1], colours[2], colours[3], colours[3]
    ]  # fmt: skip


def test_a_pipe_that_takes_ascii_only_has_no_curves():
    stream = io.TextIOWrapper(io.BytesIO(), "ascii", errors="replace")
    screen.show(a_main_job(counts=SEVEN), Console(file=stream, width=80))
    stream.flush()
    told = stream.buffer.getvalue().decode("ascii")
    assert "????" not in told
    assert "*62" in told


def test_a_curve_climbs_evenly_for_n_fold_and_stays_down_for_the_gil():
    lines = shown(a_main_job(kernels=["count_primes"], counts=SEVEN), 200).splitlines()
    curves = re.findall(f"[{BLOCKS}]+", next(line for line in lines if line.startswith("count_primes")))
    assert curves[0] == BLOCKS[0] * 7
    assert curves[1] == "▁▂▃▄▆▇█"
    long = shown(a_main_job(kernels=["count_primes"], counts=ALL_64), 200)
    assert "▁▂▃▄▅▆▇█" in long
    assert "speedup with 1 to 64 workers" in long


def test_ways_without_room_are_told_in_words():
    ways = [
        (backend, "nogil") for backend in ("threads", "prange", "processes", "joblib", "dask", "interpreters", "mine")
    ]
    told = " ".join(shown(a_main_job(ways=[("threads", "python"), ("processes", "python"), *ways])).split())
    assert "Also measured: " in told
    assert re.search(r"coroutines 0\.9\d \d+%[a-e] \(count_primes\)", told)
    assert re.search(r"processes·python [0-9.]+–[0-9.]+", told)
    narrow = " ".join(shown(a_main_job(), 34).split())
    assert narrow.count("* for") + len(re.findall(r"\*[0-9]", narrow)) >= 1


def test_another_number_of_workers_stands_at_the_figure():
    points = compare_points(
        [a_point(), a_point("threads", 8, [0.2] * 6), a_point("prange", 8, [0.2] * 6), a_point("mine", 4, [0.3] * 6)]
    )
    told = shown(Scaling(points))
    assert "Speedup with 8 workers (or with 4: /4)" in told
    assert "3.33/4" in told


def test_what_cannot_be_compared_is_a_dash_and_a_lone_core_is_said():
    alone = compare_points([a_point("threads", 2), a_point("prange", 2)])
    assert "–" in line_of(shown(Scaling(alone)), "mandelbrot")
    assert "Only one core was measured" in shown(Scaling(compare_points([a_point()])))
    assert shown(Scaling(()))


def test_all_is_well_only_where_that_was_judged():
    ways = [("threads", "nogil"), ("prange", "nogil")]
    assert "Nothing wrong" in shown(a_main_job(kernels=["mandelbrot"], ways=ways, once=False))
    assert "Nothing wrong" not in shown(a_scaling())
    assert "nothing wrong" not in shown(a_scaling())


def test_warnings_are_told_unless_tables_follow_which_tell_them():
    scaling = explained(a_scaling())
    many = Scaling(scaling.points, scaling.machine, tuple(f"warning {k}" for k in range(6)))
    told = shown(many)
    assert [f"! warning {k}\n" in told for k in range(6)] == [True] * 3 + [False] * 3
    assert "! all warnings in full: see the tables (--details)\n" in told
    long = shown(Scaling(scaling.points, scaling.machine, ("many words " * 90,)))
    assert re.search(r"^! (many words ){5,}.*\n  (many |words ){9,}…\n! all warnings in full", long, re.MULTILINE)
    assert "all that is" not in shown(Scaling(scaling.points, scaling.machine, ("few words",)))
    stream = io.StringIO()
    screen.show(many, Console(file=stream, width=80), tables_follow=True)
    assert "warning 0" not in stream.getvalue()


def test_how_the_work_grows_is_said():
    assert "as the work grows with them" in shown(a_main_job(mode="weak"))


def test_where_one_core_is_the_fastest_it_says_so():
    slow = [a_point(kernel="slow"), a_point("threads", 2, [1.2] * 6, kernel="slow")]
    fast = [a_point(kernel="fast"), a_point("threads", 2, [0.6] * 6, kernel="fast")]
    assert "* fastest (no *: one core is)" in shown(Scaling(compare_points(slow + fast)), 120)
    assert "one core is fastest" in shown(Scaling(compare_points(slow)))
    assert "one core is" not in shown(Scaling(compare_points(fast)))


def a_line(kernel, *runs, serial=1.0):
    return [a_point(kernel=kernel, samples=[serial] * 6)] + [
        a_point(backend, n, [seconds] * 6, kernel=kernel) for backend, n, seconds in runs
    ]


def test_where_fewer_workers_are_faster_it_says_which():
    collapse = ("threads", 4, 0.26), ("threads", 16, 0.2), ("threads", 64, 1.3)
    told = " ".join(shown(Scaling(compare_points(a_line("triad", *collapse)))).split())
    assert "fewer workers are fastest: threads with 16." in told
    assert "one core is" not in told
    lines = a_line("triad", *collapse) + a_line("fast", ("threads", 64, 0.1)) + a_line("slow", ("threads", 64, 2.0))
    told = " ".join(shown(Scaling(compare_points(lines))).split())
    assert "* fastest (no *: one core is fastest (slow); fewer workers are fastest: threads with 16 (triad))" in told


def test_what_the_rounds_do_not_carry_is_said_and_not_marked():
    few = compare_points([a_point(samples=[1.0] * 3), a_point("threads", 2, [0.5] * 3)])
    told = shown(Scaling(few))
    assert "too few rounds to tell" in told
    assert "*" not in told
    assert "no serial run to compare with" in shown(Scaling(compare_points([a_point("threads", 2)])), 120)
    alike = compare_points([a_point(samples=[1.0, 1.01] * 3), a_point("threads", 2, [1.01, 1.0] * 3)])
    assert "one core is as fast, within noise" in shown(Scaling(alike), 120)


def test_results_that_are_joined_are_shown():
    one = Scaling(compare_points([a_point(), a_point("threads", 2, [0.6] * 6)]))
    assert "1.67" in line_of(shown(one + one + one), "mandelbrot")


def test_a_curve_s_top_is_what_it_is_scaled_to():
    threads = [("threads", n, 1.0 / n) for n in (1, 2, 4, 64)]
    both = [*threads, *(("processes", n, 1.0 / n) for n in (1, 2, 8))]
    of_each = "Curves: speedup by workers; to the top is N-fold at the most of each way."
    assert of_each in shown(Scaling(compare_points(a_line("triad", *both))))
    short = [*(("threads", n, 1.0 / n) for n in (1, 2, 4)), ("processes", 64, 0.1)]  # which has no curve
    told = shown(Scaling(compare_points(a_line("triad", *short))))
    assert "Curves: speedup with 1 to 4 workers; to the top is 4-fold." in told


def test_with_many_reasons_there_is_one_warning_and_a_word_of_the_others():
    causes = ["noise", "lock", "imbalance", "start-up", "transfer", "quota", "serial section"]
    points = [p for name in causes for p in a_line(name, ("threads", 2, 0.7))]
    judged = [
        replace(p, cause=p.kernel, verdict=f"{p.kernel} happened; mend it", attainable=0.7) if p.workers > 1 else p
        for p in compare_points(points)
    ]
    told = shown(Scaling(tuple(judged), warnings=("first", "second")))
    under = [line for line in told.split("\n\n")[-1].splitlines() if not line.startswith("  ")]
    assert [line[:2] for line in under] == ["a ", "b ", "c ", "d ", "e ", "! ", "! "]
    assert under[5:] == ["! first", "! 2 more reasons and all warnings in full: see the tables (--details)"]
