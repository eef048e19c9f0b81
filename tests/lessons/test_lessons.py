"""What all lessons have in common: how they are found, timed, told of, shown and kept."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest

from compute import lesson
from compute.lessons import LESSONS, conduct, drawn, find, page, rounds, text
from compute.lessons.experiment import Course, Experiment, source
from compute.lessons.lesson import Evidence, Figure, Judgement, Lesson, Picture, Series, Setting
from compute.lessons.own import as_task
from compute.scaling.verify import WrongAnswer

ROOT = Path(__file__).parents[2]
EVIL = "\x1b[31m<b>red</b>\u202e"
PYTHON = {"python": "3.13.0", "implementation": "CPython", "gil": True, "path": "/usr/bin/python3"}
FREE = PYTHON | {"python": "3.14.8", "gil": False}

BARS = Picture(
    "Bars of two kinds",
    ("one", "two"),
    (Series("threads", (1.0, 2.0), (None, (1.5, 2.5))), Series("ideal", (1.0, None))),
    unit="×",
    ideal=("ideal",),
)
LINES = Picture(
    "A line with a gap",
    (1.0, 10.0, 100.0),
    (Series("pipe", (1e-6, None, 1e-3), ((0.9e-6, 1.1e-6), None, None)),),
    "bytes",
    "time",
    "s",
    logarithmic="xy",
)


def add(a, b):
    return a + b


def judged(holds: bool | None, text: str = "as it is") -> Any:
    figures = Figure("speed", 1.5, "×", (1.4, 1.6)), Figure("share", 0.5, "%"), Figure("time", 0.01, "s")
    return lambda evidence: Judgement(holds, f"found {evidence['found']}", text, figures, (BARS, LINES))


def experiment(
    holds: bool | None = True, found: str = "this", python: Any = PYTHON, why: str = "as it is"
) -> Experiment:
    lesson = Lesson(7, "invented", "An invented lesson", "It holds.", (add,), lambda _: {}, judged(holds, why))
    return Experiment(lesson, {"found": found}, python, 1.0)


@pytest.mark.parametrize("number", LESSONS)
def test_every_lesson_says_what_it_is_and_shows_little_code(number):
    lesson = LESSONS[number]
    assert lesson.number == number
    assert re.fullmatch(r"[a-z]+", lesson.name)
    assert lesson.statement.endswith(".")
    lines = [line for line in source(lesson).splitlines() if line.strip()]
    assert 0 < len(lines) < 15
    assert max(map(len, lines)) <= 100
    assert find(number) is find(lesson.name) is find(f" {number} ") is lesson


@pytest.mark.parametrize("number", LESSONS)
def test_every_lesson_has_a_row_in_the_document(number):
    lesson = LESSONS[number]
    rows = (ROOT / "docs/lessons.md").read_text().splitlines()
    assert f"| {number} | `{lesson.name}` | {lesson.statement} |" in rows


@pytest.mark.parametrize("word", ["", "0", "4.0", "٤", "1e0", "99999", "GIL", "None"])
def test_what_is_no_lesson_is_refused_with_those_that_are(word):
    with pytest.raises(ValueError, match=f"there is no lesson {word!r}; choose from 1 kinds, 2 waits"):
        find(word)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_a_time_that_is_none_is_refused(seconds):
    with pytest.raises(ValueError, match="seconds must be above 0"):
        lesson(1, seconds=seconds)


def test_ways_are_timed_in_rounds_and_their_answers_are_checked():
    calls: list[str] = []
    ways = {name: lambda name=name: calls.append(name) or name for name in "ab"}
    samples = rounds.in_rounds(ways, Setting(1e-9), answers={"a": "a", "b": "b"})
    assert {name: len(taken) for name, taken in samples.items()} == {"a": rounds.FEWEST, "b": rounds.FEWEST}
    assert calls[:2] == ["a", "b"]  # warmed up
    assert len(calls) == 2 + 2 * rounds.FEWEST
    assert all(sorted(pair) == ["a", "b"] for pair in zip(calls[::2], calls[1::2], strict=True))
    assert all(taken > 0 for taken in itertools.chain(*samples.values()))


@pytest.mark.parametrize("when", [1, 4])
def test_a_wrong_answer_is_no_time(when):
    calls = itertools.count(1)
    with pytest.raises(WrongAnswer, match="way gave 'wrong', not 'right'"):
        rounds.in_rounds({"way": lambda: "wrong" if next(calls) == when else "right"}, Setting(1e-9), answer="right")


def test_how_far_a_course_has_come_never_falls_and_ends_before_the_next_lesson(monkeypatch):
    now = iter([0.0, 0.0, 5.0, 9.0, 20.0])
    monkeypatch.setattr(conduct.time, "perf_counter", lambda: next(now))
    told: list[tuple[float, float, str]] = []
    say = conduct.passing(10.0, lambda *words: told.append(words), (2, 11), "4 gil · ")
    for _ in range(4):
        say("threads")
    assert told == [(at, 11, "4 gil · threads") for at in (2.0, 2.5, 2.9, 2.95)]


def test_a_report_has_all_in_eighty_columns():
    report = text.render(Course((experiment(), experiment(False, "that", FREE))))
    assert "7  An invented lesson\n   It holds.\n" in report
    assert "3.13.0: holds here: found this; as it is." in report
    assert "3.14.8 without a GIL: does not hold here: found that; as it is." in report
    assert "speed  1.50 × [1.40, 1.60]  1.50 × [1.40, 1.60]" in report
    assert "│ def add(a, b):" in report
    assert max(map(len, report.splitlines())) <= 80
    assert "2.00 ×" in report
    assert str(experiment()) == text.render(Course((experiment(),)))


def test_a_lesson_that_could_not_be_measured_says_why_everywhere():
    missing = Experiment(experiment().lesson, {}, FREE, unavailable="ModuleNotFoundError: No module named 'numba'")
    course = Course((experiment(), missing))
    for shown in (text.render(course), page.render(course)):
        assert "cannot be told here" in shown
        assert "No module named" in shown
    assert missing.as_dict()["holds"] is None
    assert missing.as_dict()["figures"] == []


def test_a_page_fetches_nothing_and_names_everything():
    two = page.render(Course((experiment(), experiment(None, "that", FREE)), {"model": "Invented 9000", "cpus": 2}))
    assert "<h1>An invented lesson</h1>" in two
    assert "Invented 9000 · 2 usable CPUs" in two
    assert "default-src 'none'" in two
    assert not re.search(r'(?:src|href)="(?!data:|#)', two)
    assert two.count('<img alt="') == 4
    assert two.count("<h2>") == 1
    assert '<strong class="untold">cannot be told here</strong>' in two
    assert "def add(a, b):" in two
    assert "7. An invented lesson" in experiment()._repr_html_()


@pytest.mark.slow
def test_what_came_from_elsewhere_is_shown_as_it_is():
    evil = experiment(False, EVIL, PYTHON | {"python": EVIL}, EVIL)
    course = Course((evil, evil), {"model": EVIL})
    for shown in (text.render(course), page.render(course)):
        assert not {c for c in shown if not c.isprintable() and c != "\n"}
        assert r"\x1b[31m" in shown
    assert "<b>red" not in page.render(course)
    json.dumps(course.as_dict(), allow_nan=False)


def test_what_is_kept_has_the_evidence_and_the_words():
    kept = json.loads(json.dumps(Course((experiment(),), {"cpus": 2}).as_dict(), allow_nan=False))
    assert kept["schema"] == "nfold-lessons/1"
    (told,) = kept["experiments"]
    assert told["evidence"] == {"found": "this"}
    assert told["figures"][0] == {"name": "speed", "value": 1.5, "unit": "×", "interval": [1.4, 1.6]}
    assert told["code"] == "def add(a, b):\n    return a + b"
    document = (ROOT / "docs/lessons.md").read_text()
    assert all(f"`{name}`" in document for name in told)


@pytest.mark.slow
def test_pictures_are_drawn_one_below_the_other():
    assert drawn.render([BARS, LINES]).startswith(b"\x89PNG")
    assert len(drawn.render([BARS, LINES])) > len(drawn.render([BARS]))
    with pytest.raises(ValueError, match="nothing to draw"):
        drawn.render([])


def test_the_ticks_of_powers_are_words_and_not_markup():
    from dataclasses import replace

    from matplotlib.figure import Figure as Canvas

    for picture in (LINES, replace(LINES, unit="×"), replace(LINES, x_unit="B", unit="B")):
        figure = Canvas()
        ax = figure.subplots()
        drawn._draw(ax, picture)
        figure.draw_without_rendering()
        ticks = [tick.get_text() for tick in (*ax.get_xticklabels(), *ax.get_yticklabels())]
        assert not any("$" in tick for tick in ticks)
        assert "1 kB" not in ticks or picture.unit == "B"
    assert [drawn._power(value, "s") for value in (1e-6, 2e-5, 0.5)] == ["1 µs", "20 µs", "500 ms"]
    assert [drawn._power(value, "×") for value in (1.0, 20.0)] == ["1", "20"]


def test_lines_that_are_many_are_told_apart_and_named_below():
    from matplotlib.figure import Figure as Canvas

    many = tuple(Series(f"way {k}", (1.0 + k, 2.0 + k)) for k in range(9))
    figure = Canvas(layout="constrained")
    ax = figure.subplots()
    drawn._draw(ax, Picture("Many", (1.0, 2.0), many))
    looks = {(line.get_color(), line.get_linestyle()) for line in ax.get_lines()}
    assert len(looks) == len(many)
    figure.draw_without_rendering()
    assert ax.get_legend().get_window_extent().y1 < ax.get_window_extent().y0
    figure = Canvas(layout="constrained")
    ax = figure.subplots()
    drawn._draw(ax, Picture("Few", (1.0, 2.0), many[:2]))
    figure.draw_without_rendering()
    assert ax.get_legend().get_window_extent().y0 > ax.get_window_extent().y0


def test_what_holds_of_the_whole_course_is_said_of_it():
    course = Course((experiment(),), {}, (f"others wanted 3 CPUs of 2 when this began: {EVIL}",))
    told = text.render(course)
    assert told.endswith("! others wanted 3 CPUs of 2 when this began: \\x1b[31m<b>red</b>\\u202e\n")
    assert "<p>⚠ others wanted 3 CPUs of 2" in page.render(course)
    assert course.as_dict()["remarks"] == list(course.remarks)


@pytest.mark.parametrize(("load", "said"), [(3.0, "others wanted 3 CPUs of 2 when this began: intervals"), (0.4, None)])
def test_a_busy_machine_is_said_before_a_course(load, said, monkeypatch):
    monkeypatch.setattr("os.getloadavg", lambda: (load, load, load))
    monkeypatch.setattr("compute.machine.usable_cpus", lambda *_: 2)
    course = conduct.empty_course()
    assert course.machine["cpus"] == 2
    assert [remark.startswith(said or "no") for remark in course.remarks] == [True] * (said is not None)


def measured_nothing(setting: Setting) -> Evidence:
    return {"task": setting.task}


def test_a_task_goes_to_the_lessons_that_take_one():
    task = as_task(lambda: 1)
    for takes in (True, False):
        lesson = Lesson(7, "x", "X", "X.", (add,), measured_nothing, judged(True), takes_task=takes)
        assert conduct.run_lesson(lesson, Setting(1.0, task=task)).evidence == {"task": task if takes else None}


def test_neither_a_first_call_nor_one_that_was_held_up_is_taken_for_work(monkeypatch):
    now, delays = [0.0], iter([1.0, 0.5])  # what the first two calls take beside their work

    def run(size: int) -> None:
        now[0] += size * 1e-6 + next(delays, 0.0)

    monkeypatch.setattr(rounds.time, "perf_counter", lambda: now[0])
    assert rounds.enough(run, 256, 0.1) == pytest.approx(100_000, rel=0.01)


def test_long_names_of_bars_are_folded_and_do_not_run_into_each_other():
    from matplotlib.figure import Figure as Canvas

    names = "a coroutine that does not await", "one that awaits between pieces", "thread", "thread in one call of C"
    figure = Canvas(figsize=(drawn.WIDTH, drawn.HEIGHT), dpi=drawn.DPI, layout="constrained")
    ax = figure.subplots()
    drawn._draw(ax, Picture("Bars", names, (Series("held up", (1.0, 2.0, 3.0, 4.0)),)))
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in ax.get_xticklabels()]
    assert [label.get_text().replace("\n", " ") for label in ax.get_xticklabels()] == list(names)
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


def test_a_machine_that_is_too_busy_for_an_interval_ends_the_rounds(monkeypatch):
    now = [0.0]

    def run() -> None:
        now[0] += 10.0

    monkeypatch.setattr(rounds.time, "perf_counter", lambda: now[0])
    samples = rounds.in_rounds({"way": run}, Setting(1.0))
    assert samples == {"way": [10.0, 10.0]}
    assert len(samples["way"]) < rounds.FEWEST
    now[0] = 0.0
    assert len(rounds.in_rounds({"way": run}, Setting(20.0))["way"]) == 5  # three times as long: one warms up
    now[0] = 0.0
    assert len(rounds.in_rounds({"way": run}, Setting(100.0))["way"]) == 9
