"""A Course as one HTML page: statements, verdicts, pictures, figures, code. It has no scripts and loads nothing."""

from __future__ import annotations

from collections.abc import Sequence

from compute.lessons import drawn
from compute.lessons.experiment import Course, Experiment, asides, label, labels, source
from compute.lessons.lesson import FAILS, HOLDS, Judgement
from compute.lessons.text import in_words
from compute.report.notebook import html_table, image
from compute.report.static_page import static_page
from compute.texts import in_html, shown, visible

CSS = """\
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem }
section { border-top: 1px solid var(--rule); margin-top: 2rem; break-inside: avoid }
blockquote { margin: .5rem 0; font-size: 1.1rem; font-style: italic }
.holds { color: var(--good) }
.fails { color: var(--bad) }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem }
th, td { padding: .1rem 1rem .1rem 0; vertical-align: top }
th + th, td + td { white-space: nowrap }
pre { overflow-x: auto; padding: .75rem; border: 1px solid var(--rule); font-size: .85rem }
img { background: #fff }"""
CLASSES = {HOLDS: "holds", FAILS: "fails"}
MEDIAN = "median [95 % interval]"  # the head of the figures where there is one interpreter


def render(course: Course) -> str:
    """The page."""
    groups = course.by_lesson
    title = groups[0][0].lesson.title if len(groups) == 1 else "Concurrency in Python, measured here"
    parts = [
        f"<p>{in_html(_machine(course))}</p>",
        "".join(f"<p>⚠ {in_html(remark)}</p>" for remark in course.remarks),
        _summary(groups) if len(groups) > 1 else "",
        *map(section, groups),
    ]
    return static_page(title, CSS, "\n".join(parts), images=True)


def _machine(course: Course) -> str:
    machine = course.machine
    parts = [
        machine.get("model"),
        f"{machine['cpus']} usable CPU{'s' * (machine['cpus'] != 1)}" if "cpus" in machine else None,
        "Python " + " and ".join(dict.fromkeys(map(label, course.experiments))),
        str(machine.get("date", ""))[:16].replace("T", " "),
    ]
    return visible(" · ".join(str(part) for part in parts if part))


def _summary(groups: Sequence[Sequence[Experiment]]) -> str:
    rows = "".join(
        f'<li value="{g[0].lesson.number}"><a href="#lesson-{g[0].lesson.number}">{in_html(g[0].lesson.statement)}</a>'
        + "".join(f" {_word(e.judgement)}{in_html(aside)}" for e, aside in zip(g, asides(g), strict=True))
        + "</li>"
        for g in groups
    )
    return f"<ol>{rows}</ol>"


def _word(judgement: Judgement) -> str:
    return f'<strong class="{CLASSES.get(judgement.word, "untold")}">{judgement.word}</strong>'


def section(experiments: Sequence[Experiment]) -> str:
    """One lesson, run in one interpreter or in several."""
    lesson = experiments[0].lesson
    parts = [
        f'<section id="lesson-{lesson.number}"><h2>{lesson.number}. {in_html(lesson.title)}</h2>',
        f"<blockquote>{in_html(lesson.statement)}</blockquote>",
    ]
    heads = list(map(visible, labels(experiments)))
    for head, experiment in zip(heads, experiments, strict=True):
        judgement = shown(experiment.judgement)
        who = f"<b>{in_html(head)}</b>: " if len(experiments) > 1 else ""
        parts.append(f"<p>{who}{_word(judgement)}: {in_html(judgement.found)}; {in_html(judgement.why)}.</p>")
        parts += [f"<p>{image(drawn.render([p]), _alternative(p.about))}</p>" for p in judgement.pictures]
    columns = [{f.name: in_words(f) for f in shown(e.judgement).figures} for e in experiments]
    if names := list(dict.fromkeys(name for column in columns for name in column)):
        heads = ["", *heads] if len(experiments) > 1 else ["", MEDIAN]
        rows = [[name, *(column.get(name, "–") for column in columns)] for name in names]
        parts.append(f'<div class="wide">{html_table(heads, rows, left=1)}</div>')
    parts.append(f"<p>What is timed:</p><pre><code>{in_html(source(lesson))}</code></pre></section>")
    return "\n".join(parts)


def _alternative(about: str) -> str:
    return f"{about}; the table below holds the numbers"
