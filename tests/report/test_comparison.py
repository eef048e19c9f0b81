"""Files beside each other, as text, Markdown and a page: what must be in it, at any width, whatever names hold."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from example_points import MACHINE, a_point, a_scaling
from hostile import CORPUS, OBEYED

from compute.report import comparison, document
from compute.report.comparison import Compared
from compute.scaling.comparing.gate import Limits, judge_pairs
from compute.scaling.comparing.pairs import pair_up
from compute.scaling.derive import compare_points
from compute.scaling.results import Scaling


def slowed(scaling, factor, kernel="mandelbrot"):
    """The same, a little later; one kernel's threads take `factor` times as long."""
    points = [
        replace(
            p,
            samples=tuple(
                1.001 * s * (factor if (p.kernel, p.backend, p.variant) == (kernel, "threads", "nogil") else 1)
                for s in p.samples
            ),
        )
        for p in scaling.points
    ]
    return replace(scaling, points=compare_points(points))


BEFORE = a_scaling()
AFTER = replace(slowed(BEFORE, 1.25), machine={**MACHINE, "python": "3.14.0t"})


def files(*scalings, names=None, by_controls=False):
    names = names or tuple(f"{k}.json" for k in range(len(scalings)))
    pairs = tuple(pair_up(scalings[0], other) for other in scalings[1:])
    return Compared(tuple(names), tuple(scalings), pairs, by_controls)


def checked(before=BEFORE, after=AFTER, **limits):
    found = files(before, after, names=("before.json", "after.json"))
    return comparison.judged(found, judge_pairs(found.pairs[0], after, Limits(**limits)))


def test_the_first_line_says_what_became_slower():
    told = document.text(comparison.compared(files(BEFORE, AFTER)), 200)
    first = told.splitlines()[0]
    assert first == "B against A, of 40 points: 2 slower, 38 alike"
    assert "\nB is slower: mandelbrot 1,000,000 · threads · nogil · " in told
    assert " 1.25 [1.2" in told
    assert "python 3.14.0 → 3.14.0t" in told


@pytest.mark.parametrize("width", [60, 80, 100, 200])
@pytest.mark.parametrize("many", [2, 3, 5, 30])
def test_every_file_is_in_the_table_and_folded_lines_fit(width, many):
    others = [slowed(BEFORE, 1 + k / 10) for k in range(1, many)]
    told = document.text(comparison.compared(files(BEFORE, *others)), width)
    last = comparison._letters(many)[-1]
    assert re.search(rf"\b{last} is {many - 1}\.json", told)
    assert re.search(rf"{last}/A\b", told)
    if many == 2 and width >= 80:
        assert max(map(len, told.splitlines())) <= width
    assert all(len(line) <= width for line in told.splitlines() if " is " in line and "json" in line)


def test_a_verdict_is_the_first_thing_that_is_said():
    told = document.text(checked(), 200)
    assert told.startswith("Regression: 2 of 40 tests beyond doubt")
    assert "1.25 [1." in told
    assert "times as long" in told
    assert "and 5 % more is allowed" in told
    fine = document.text(checked(after=slowed(BEFORE, 1.0)), 200)
    assert fine.startswith("Fine: 40 of 40 tests, at most 5 % slower")
    fewer = replace(AFTER, points=AFTER.points[:-2])
    told = document.text(checked(after=fewer, slowdown=1.0), 200)
    assert told.startswith("Inconclusive: 2 of 40 undecided")
    assert "Undecided: it is in the first file only\nmandelbrot 1,000,000 · coroutines · python · 1 worker\n" in told


def test_an_efficiency_that_is_too_low_is_told_with_what_is_asked_for():
    told = document.text(checked(efficiency=0.9, slowdown=1.0), 200)
    assert re.search(r"threads · python · 2 workers: 0\.49 \[0\.4\d, 0\.\d+\] efficiency, and 0\.9 is asked for", told)


def test_another_machine_is_named():
    elsewhere = replace(AFTER, machine={**MACHINE, "model": "Other 1"})
    told = document.text(comparison.compared(files(BEFORE, elsewhere)), 300)
    assert "B was measured on another machine (CPU Invented 9000 → Other 1)" in told
    nowhere = replace(AFTER, machine={})
    assert "nobody knows whether it is the same" in document.text(comparison.compared(files(BEFORE, nowhere)), 300)


def test_two_sizes_are_called_neither_slower_nor_faster():
    def of(size, factor, unit):
        made = slowed(BEFORE, factor) if factor != 1 else BEFORE
        points = [replace(p, size=size, unit=unit, work=float(size)) for p in made.points]
        return replace(made, points=tuple(points))

    for unit, ratio in (("indices", False), ("items", False), ("iterations", True)):
        before, after = of(3000, 1, unit), of(2000, 0.5, unit)
        told = document.text(comparison.compared(files(before, after)), 200)
        assert told.startswith("B against A, of 40 points: 40 unclear\n")
        assert not re.search("faster|slower|alike", told)
        assert "mandelbrot · size 3,000 and 2,000" in told
        assert ("the ratio is of the times for one of the iterations" in told) == ratio
        assert bool(re.search(r"\d \[\d", told)) == ratio
        told = document.text(checked(before, after), 200)
        assert told.startswith("Inconclusive: 40 of 40 undecided")
        assert not re.search("faster|slower", told)


@pytest.mark.parametrize(
    ("factor", "says"), [(0.93, "unclear"), (1.07, "unclear"), (1.2, "slower"), (0.8, "faster"), (1.0, "alike")]
)
def test_runs_of_one_process_tell_no_small_change(factor, says):
    def of(seed, factor, mode):
        noise = np.exp(0.01 * np.random.default_rng(seed).standard_normal(200))
        return Scaling((a_point("serial", 1, tuple(factor * noise), mode=mode),), MACHINE)

    told = document.text(comparison.compared(files(of(1, 1, None), of(2, factor, None))), 300)
    assert told.startswith(f"B against A, of 1 point: 1 {says}\n")
    assert "A change of less than 10 % is not told from chance" in told
    told = document.text(comparison.compared(files(of(1, 1, "strong"), of(2, factor, "strong"))), 300)
    assert told.startswith(
        f"B against A, of 1 point: 1 {'alike' if factor == 1 else 'slower' if factor > 1 else 'faster'}"
    )
    assert "from chance" not in told


def test_what_a_file_warns_of_is_said_last():
    cut = replace(AFTER, warnings=("cut short after 8 of 12 rounds",))
    for made in (comparison.compared(files(BEFORE, cut)), checked(after=cut)):
        assert document.text(made, 200).rstrip().endswith("B: cut short after 8 of 12 rounds")
    quiet = replace(BEFORE, warnings=()), replace(AFTER, warnings=())
    assert "warn" not in document.text(comparison.compared(files(*quiet)), 200)


def test_what_others_did_and_what_chance_does_is_said():
    noisy = replace(
        AFTER, points=tuple(replace(p, contaminated=9, evidence={"cpus": 2, "others": 1}) for p in AFTER.points)
    )
    told = document.text(comparison.compared(files(BEFORE, noisy)), 200)
    assert "Others disturbed 9 of 12 rounds of B: its times hold that, too" in told
    assert "Of 40 intervals at 95 %, 2 may exclude 1 by chance; nfold check allows for that" in told
    assert "Others disturbed" not in document.text(comparison.compared(files(BEFORE, AFTER)), 200)


def test_markdown_has_the_verdict_open_and_the_tables_folded():
    told = document.markdown(checked())
    assert told.startswith("### Regression: 2 of 40")
    assert told.count("<details>") == told.count("</details>") == 3  # two kernels, and what the files warn of
    assert "| **slower** |" in told


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.tags = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_and_fetches_nothing():
    page = Page()
    page.feed(told := document.html(checked()))
    assert page.open == []
    assert not {"script", "img", "link", "iframe"} & {tag for tag, _ in page.tags}
    assert "http" not in told.replace("http-equiv", "")
    assert "Regression: 2 of 40" in told


@pytest.mark.parametrize("text", CORPUS.values(), ids=CORPUS)
@pytest.mark.parametrize("form", document.FORMS)
def test_a_hostile_name_is_shown_and_not_obeyed(form, text):
    def named(scaling):
        points = [
            replace(
                p, kernel=f"{text}k", variant=f"{p.variant}{text}", backend=f"{text}{p.backend}", file=text, unit=text
            )
            for p in scaling.points[:9]
        ]
        return Scaling(tuple(points), {"model": text, "python": text, text: text})

    before, after = named(BEFORE), replace(named(AFTER), machine={"model": f"{text}!", "python": f"{text}?"})
    found = files(before, after, names=(f"{text}a", f"{text}b"))
    for made in (comparison.compared(found), comparison.judged(found, judge_pairs(found.pairs[0], after, Limits()))):
        told = document.FORMS[form](made)
        assert all(c.isprintable() or c == "\n" for c in told)
        if form == "html":
            page = Page()
            page.feed(told)
            assert not {"script", "img", "a"} & {tag for tag, _ in page.tags}
            assert all(
                name in ("class", "lang", "charset", "name", "content", "http-equiv")
                for _, a in page.tags
                for name in a
            )
        if text in OBEYED.values():
            assert text not in told


def test_ratios_without_the_controls_say_so():
    known = {"compute": 1.0, "compute_low": 0.99, "compute_high": 1.01}
    slow = {name: 1.25 * seconds for name, seconds in known.items()}
    before, after = (
        replace(s, points=tuple(replace(p, controls=c, memory_share=0.0) for p in s.points))
        for s, c in ((BEFORE, known), (slowed(BEFORE, 1.25), slow))
    )
    told = document.text(comparison.compared(files(before, after, by_controls=True)), 200)
    assert "Ratios are what is left when the controls' own are taken out." in told
    assert "2 alike" in told
    assert "38 faster" in told
    assert "The controls took 1.25 times as long beside B as beside A: the machine has changed" in told
