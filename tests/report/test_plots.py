"""The picture of a scaling: nothing lies on anything else, and lines are where the numbers are."""

import numpy as np
import pytest
from example_points import a_scaling, explained
from matplotlib.backends.backend_agg import FigureCanvasAgg

from compute.report import bars, plots, style
from compute.scaling.tables import breakdown


@pytest.fixture
def figures(monkeypatch):
    """Every figure that render makes: laid out as for its file, which test_report has written."""
    made = []

    def laid_out(canvas, *_, **__):
        canvas.figure.draw_without_rendering()
        made.append(canvas.figure)

    monkeypatch.setattr(FigureCanvasAgg, "print_figure", laid_out)
    return made


def boxes(figure):
    """The frames, in pixels, of all that is written on a figure, by what it says."""
    renderer = figure.canvas.get_renderer()
    texts = list(figure.texts)
    for ax in figure.axes:
        if ax.axison:
            texts += [ax.title, ax._left_title, ax.xaxis.label, ax.yaxis.label, *ax.texts]
            texts += [*ax.get_xticklabels(), *ax.get_yticklabels()]
    for legend in figure.legends:
        texts += legend.get_texts()
    return [(t.get_text(), t.get_window_extent(renderer)) for t in texts if t.get_text() and t.get_visible()]


COUNTS = [(1,), (1, 2), (1, 64), (1, 2, 3), (1, 2, 4, 8, 16, 24, 32, 48, 64)]


@pytest.mark.parametrize(
    ("counts", "kernels", "with_all"),
    [
        *(
            pytest.param(counts, 1, with_all, marks=pytest.mark.slow if (k + with_all) % 3 else ())
            for k, counts in enumerate(COUNTS)
            for with_all in (False, True)
        ),
        (COUNTS[-1], 4, False),  # more than stand in a row
        *(pytest.param((1, 2), *these, marks=pytest.mark.slow) for these in ((4, False), (3, True))),
        (COUNTS[-1], 2, True),
    ],
)
def test_no_words_overlap_and_none_leave_the_picture(figures, counts, kernels, with_all):
    scaling = a_scaling(counts, [f"kernel_number_{k}" for k in range(kernels)])
    plots.render(explained(scaling) if with_all else scaling)
    (figure,) = figures
    placed = boxes(figure)
    width, height = figure.canvas.get_width_height()
    for text, box in placed:
        assert box.x0 >= -1, text
        assert box.y0 >= -1, text
        assert box.x1 <= width + 1, text
        assert box.y1 <= height + 1, text
    for k, (text, box) in enumerate(placed):
        for other, another in placed[k + 1 :]:
            across = min(box.x1, another.x1) - max(box.x0, another.x0)
            down = min(box.y1, another.y1) - max(box.y0, another.y0)
            assert across < 1 or down < 1, (text, other)


def test_backends_have_colours_of_their_own_in_every_picture():
    assert len({style.colour(name) for name in style.KNOWN}) == len(style.KNOWN)


def test_lines_are_the_speedups(figures):
    scaling = a_scaling((1, 2, 4), ["primes"])
    plots.render(scaling)
    nogil, python = figures[0].axes[:2]
    assert (nogil.texts[0].get_text(), python.texts[0].get_text()) == ("nogil", "python")
    threads = [p.speedup for p in scaling.points if (p.backend, p.variant) == ("threads", "nogil")]
    assert any(len(line.get_ydata()) == 3 and np.allclose(line.get_ydata(), threads) for line in nogil.lines)


def test_a_bar_is_the_ledger(figures):
    scaling = explained(a_scaling((1, 2), ["primes"]))
    plots.render(scaling)
    _, beside = figures[0].axes
    drawn = {}
    for patch in beside.patches:
        drawn.setdefault(round(patch.get_y() + patch.get_height() / 2, 3), []).append(patch.get_width())
    rows = [p for p in scaling.points if p.workers == 2]
    assert len(drawn) == len(rows)
    for p, widths in zip(rows, [drawn[place] for place in sorted(drawn)], strict=True):
        told = [part for part in breakdown.shares(p).values() if abs(part) >= bars.SEEN]
        assert widths == pytest.approx(told)
        assert sum(breakdown.shares(p).values()) == pytest.approx(1)


def test_the_ceiling_is_drawn_where_it_is(figures):
    plots.render(explained(a_scaling((1, 2, 4), ["primes"])))
    line = next(line for line in figures[0].axes[0].lines if line.get_color() == style.INK)
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([1, 2, 4], pytest.approx([1, 1.95, 3.9]))
    plots.render(explained(a_scaling((1, 2), ["primes"])))
    marks = [line for line in figures[1].axes[0].lines if line.get_marker() == "|" and line.get_markersize() == 10]
    assert [float(mark.get_xdata()[0]) for mark in marks] == [1.95] * 9


def test_every_entry_has_a_colour_of_its_own():
    assert set(style.ENTRY_COLOURS) == set(breakdown.ENTRIES)
    assert len(set(style.ENTRY_COLOURS.values())) == len(breakdown.ENTRIES)
