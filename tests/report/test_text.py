"""The table on a terminal and in a pipe."""

import io

import pytest
from invented import a_point, a_scaling
from rich.console import Console

from compute.report import text
from compute.scaling.dataset import Scaling
from compute.scaling.points import compared


def shown(scaling, width=80, **console):
    stream = io.StringIO()
    text.show(scaling, Console(file=stream, width=width, **console))
    return stream.getvalue()


@pytest.mark.parametrize("width", [80, 95, 96, 200])
def test_nothing_is_cut_from_80_columns_on(width):
    lines = text.render(a_scaling(), width).splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in "".join(lines)
    assert (
        "serial      nogil          1  49.9 ms                  1       100 %      0.99"
        in {line.rstrip() for line in lines}
        or width > 95
    )


def test_the_widest_row_there_is_fits_80_columns():
    serial = a_point(samples=[1.0, 1.1, 0.9] * 4, cpu_per_wall=1.0)
    widest = a_point("interpreters", 1024, [0.0521, 0.05, 0.055] * 4, cpu_per_wall=1.0)
    lines = text.render(Scaling(compared([serial, widest])), 80).splitlines()
    assert "interpreters  nogil       1024  52.1 ms  19.2 [16.4, 22.0]         2 %      1.00" in lines


def test_words_stay_whole_in_a_narrow_terminal_and_long_lines_hang():
    lines = text.render(a_scaling(), 80).splitlines()
    at = next(k for k, line in enumerate(lines) if line.startswith("! one thing"))
    assert lines[at + 1].startswith("  folded")


def test_a_pipe_gets_no_escapes_and_a_terminal_gets_colours():
    assert "\x1b" not in shown(a_scaling())
    colours = shown(a_scaling(), force_terminal=True, color_system="standard")
    assert "\x1b[32m" in colours  # nearly N-fold
    assert "\x1b[31m" in colours  # far from it


def test_a_wide_terminal_shows_efficiency_as_a_bar():
    wide = text.render(a_scaling(), text.WIDE)
    row = next(line for line in wide.splitlines() if line.startswith("coroutines") and "  2  " in line)
    assert row.rstrip().endswith("━━━━━━──────")
    assert "━" not in text.render(a_scaling(), text.WIDE - 1)


def test_markup_in_a_name_is_only_text():
    scaling = Scaling(compared([a_point(kernel="[red]k[/red]")]), {"model": "[bold]"}, ("[/nothing]",))
    told = text.render(scaling)
    assert "[red]k[/red]" in told
    assert "[bold]" in told
    assert "! [/nothing]" in told


def test_variants_are_apart():
    lines = text.render(a_scaling(kernels=["primes"])).splitlines()
    python = next(k for k, line in enumerate(lines) if line.startswith("serial      python"))
    assert set(lines[python - 1].strip()) == {"─"}
