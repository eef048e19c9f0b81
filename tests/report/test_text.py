"""The tables on a terminal and in a pipe, and when they are printed."""

import io
import re
from dataclasses import replace

import pytest
from example_points import a_point, a_scaling, explained
from rich.console import Console

from compute.report import text
from compute.scaling.derive import compare_points
from compute.scaling.results import Scaling
from compute.scaling.tables import sheet, table


def shown(scaling, width=80, ledgers=None, **console):
    """The tables alone."""
    stream = io.StringIO()
    text.show_tables(scaling, Console(file=stream, width=width, **console), ledgers)
    return stream.getvalue()


@pytest.mark.parametrize("width", [80, 95, 96, 200])
def test_nothing_is_cut_from_80_columns_on(width):
    lines = text.render(a_scaling(), width).splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in "".join(lines)
    assert any(
        line.startswith("serial      nogil          1  49.9 ms                  1       100 %") for line in lines
    )


@pytest.mark.parametrize("width", [80, 90, 100, 120, 200])
@pytest.mark.parametrize("counts", [(1, 2), (1, 1024)])
def test_with_all_that_explains_it_fits_80_columns_too(width, counts):
    scaling = explained(a_scaling(counts, ["primes"]))
    lines = text.render(scaling, width).splitlines()
    assert max(map(len, lines)) <= width
    for name in ("useful", "blocked", "serial", "global", "parallel", "Laws", "unknown"):
        assert any(name in line for line in lines)
    wanted = {
        80: r"threads     2  25.4 ms  1.97 \[.{10}\]        98 %     1.95  101 %      0.98",
        120: r"threads     nogil          2  25.4 ms  1.97 \[.{10}\]        98 %     1.95       101 %      0.98  ━{12}",
    }
    if counts == (1, 2):
        assert any(re.fullmatch(wanted.get(width, ".*"), line) for line in lines)


def test_names_shorten_one_by_one_as_the_width_shrinks():
    main, ledger, _ = everything(explained(a_scaling((1, 2), ["primes"])))
    heads = {width: sheet.fit(main, width).heads for width in (200, 85, 80, 70, 10)}
    assert heads[200][1:3] == ("variant", "workers")
    assert heads[85] == ("backend", "workers", "time", "speedup", "efficiency", "allowed", "of it", "CPU/wall")
    assert heads[80] == ("backend", "N", "time", "speedup", "efficiency", "allowed", "of it", "CPU/wall")
    assert heads[70] == heads[10] == ("backend", "N", "time", "speedup", "eff.", "allowed", "of it", "CPU/wall")
    assert [sheet.fit(main, width).gap for width in (200, 80, 75, 70)] == [2, 2, 2, 1]
    assert sheet.fit(ledger, 80).width <= 80


def everything(scaling):
    (group,) = table.groups(scaling)
    return group.sheet, *group.details


def test_variants_are_lines_of_their_own_where_their_column_has_no_room():
    lines = shown(explained(a_scaling(kernels=["primes"])), 80).splitlines()
    assert lines.index("nogil:") == 4
    assert lines.index("python:") == 4 + 1 + 11
    assert lines[5].startswith("serial ")


def test_tables_are_for_one_kernel_for_a_file_or_where_they_are_asked_for():
    one, many = explained(a_scaling(kernels=["primes"])), explained()
    assert "CPU/wall" in text.render(one, details=None)
    assert "CPU/wall" not in text.render(one, details=False)
    assert "CPU/wall" not in text.render(many, details=None)
    assert text.render(many) == text.render(many, details=True)
    assert text.render(many).count("CPU/wall") == 2
    for told in text.render(one), text.render(many):
        assert told.count("numpy") == 1
        assert told.count("one thing that a reader must know") == 1
        assert told.index("Speedup with 2 workers") < told.index("CPU/wall")


def test_ledgers_are_for_one_kernel_or_where_they_are_asked_for():
    one, many = explained(a_scaling(kernels=["primes"])), explained()
    assert "Core-seconds" in shown(one)
    assert "Core-seconds" not in shown(one, ledgers=False)
    assert "Core-seconds" not in shown(many)
    assert shown(many, ledgers=True).count("Core-seconds") == 2
    assert shown(one, ledgers=True) == shown(one)
    sizes = [replace(p, size=size) for size in (10, 20) for p in one.points]
    assert shown(replace(one, points=tuple(sizes))).count("Core-seconds") == 2


def test_a_ledger_sums_to_a_hundred_in_every_row():
    lines = shown(explained(a_scaling(kernels=["primes"])), 200).splitlines()
    at = next(k for k, line in enumerate(lines) if line.startswith("Core-seconds"))
    rows = [line.split() for line in lines[at + 1 :] if line.split()[3:4] and line.split()[2:3][0] in "12"]
    told = [[0.0 if cell == "unknown" else float(cell) for cell in row[3:]] for row in rows if len(row) == 12]
    assert len(told) == 20
    for row in told:
        assert sum(row) == pytest.approx(100, abs=2)


def test_low_factors_stand_out_in_a_pipe_and_on_a_terminal():
    scaling = explained(a_scaling(kernels=["primes"]))
    assert "50 % !" in text.render(scaling)
    assert "\x1b[1;4m50 % !" in shown(scaling, force_terminal=True, color_system="standard")


def test_the_widest_row_there_is_fits_80_columns():
    serial = a_point(samples=[1.0, 1.1, 0.9] * 4, cpu_per_wall=1.0)
    widest = a_point("interpreters", 1024, [0.0521, 0.05, 0.055] * 4, cpu_per_wall=1.0)
    lines = text.render(Scaling(compare_points([serial, widest])), 80).splitlines()
    assert "interpreters  nogil       1024  52.1 ms  19.2 [16.4, 22.0]         2 %      1.00" in lines


def test_words_stay_whole_in_a_narrow_terminal_and_long_lines_hang():
    lines = text.render(a_scaling(), 80).splitlines()
    at = next(k for k, line in enumerate(lines) if line.startswith("! one thing"))
    assert lines[at + 1].startswith("  folded")


def test_a_pipe_gets_no_escapes_and_a_terminal_gets_colours():
    assert "\x1b" not in shown(a_scaling())
    colours = shown(a_scaling(), force_terminal=True, color_system="standard")
    assert "\x1b[30;106m      98 %" in colours  # nearly N-fold
    assert "\x1b[30;43m      49 %" in colours  # far from it


def test_a_wide_terminal_shows_efficiency_as_a_bar():
    wide = text.render(a_scaling(), 92)
    row = next(line for line in wide.splitlines() if line.startswith("coroutines") and "  2  " in line)
    assert row.endswith("━━━━━━──────")
    assert "━" not in text.render(a_scaling(), 91)


def test_markup_in_a_name_is_only_text():
    scaling = Scaling(compare_points([a_point(kernel="[red]k[/red]")]), {"model": "[bold]"}, ("[/nothing]",))
    told = text.render(scaling)
    assert "[red]k[/red]" in told
    assert "[bold]" in told
    assert "! [/nothing]" in told


def test_variants_are_apart():
    lines = text.render(a_scaling(kernels=["primes"])).splitlines()
    python = next(k for k, line in enumerate(lines) if line.startswith("serial      python"))
    assert set(lines[python - 1]) == {"─", " "}


def test_only_the_name_of_a_remark_stands_out():
    told = shown(explained(a_scaling(kernels=["primes"])), 200, force_terminal=True, color_system="standard")
    line = next(line for line in told.splitlines() if "threads · python: " in line)
    assert re.match(r"\x1b\[1;33mthreads · python: \x1b\[0m[0-9]", line)


@pytest.mark.parametrize("width", range(1, 9))
def test_a_terminal_of_a_few_columns_gets_a_report(width):
    assert text.render(explained(a_scaling()), width)
