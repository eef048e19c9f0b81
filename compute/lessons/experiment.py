"""Experiment: a lesson that was run, with what was measured and in which interpreter. Course: several of them.

Both keep evidence, and sentences are made from it when they are shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from compute.lessons.lesson import Evidence, Judgement, Lesson, Picture, written

SCHEMA = "nfold-lessons/1"


@dataclass(frozen=True)
class Experiment:
    """A lesson with its evidence, from one interpreter.

    python:      what `conduct.where` says of that interpreter.
    seconds:     how long measuring took.
    unavailable: why there is no evidence, in one line; None where there is some.
    """

    lesson: Lesson
    evidence: Evidence
    python: Mapping[str, Any]
    seconds: float = 0.0
    unavailable: str | None = None

    @property
    def judgement(self) -> Judgement:
        if self.unavailable is not None:
            return Judgement(None, "it was not measured", self.unavailable)
        return self.lesson.judge(self.evidence)

    def as_dict(self) -> dict[str, Any]:
        """The experiment for JSON, with its judgement in words for whoever reads it without nfold."""
        lesson, judgement = self.lesson, self.judgement
        return {
            "lesson": lesson.number,
            "name": lesson.name,
            "title": lesson.title,
            "statement": lesson.statement,
            "holds": judgement.holds,
            "found": judgement.found,
            "why": judgement.why,
            "figures": [
                {"name": f.name, "value": f.value, "unit": f.unit, "interval": f.interval and list(f.interval)}
                for f in judgement.figures
            ],
            "evidence": dict(self.evidence),
            "code": source(lesson),
            "python": dict(self.python),
            "seconds": self.seconds,
            "unavailable": self.unavailable,
        }

    def __str__(self) -> str:
        from compute.lessons import text

        return text.render(Course((self,)))

    def _repr_html_(self) -> str:
        from compute.lessons import page

        return page.section([self])


@dataclass(frozen=True)
class Course:
    """Experiments in their order. Those of one lesson are from different interpreters.

    machine: compute.machine.describe, before the first of them. remarks: sentences that a reader must know.
    """

    experiments: tuple[Experiment, ...]
    machine: Mapping[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def by_lesson(self) -> list[Sequence[Experiment]]:
        """The experiments of each lesson, side by side."""
        groups: dict[int, list[Experiment]] = {}
        for experiment in self.experiments:
            groups.setdefault(experiment.lesson.number, []).append(experiment)
        return list(groups.values())

    @property
    def pictures(self) -> list[Picture]:
        """All pictures, each of which names its lesson, and its interpreter where there are several."""
        return [
            replace(picture, about=f"{group[0].lesson.number}  {picture.about}{aside}")
            for group in self.by_lesson
            for aside, experiment in zip(asides(group), group, strict=True)
            for picture in experiment.judgement.pictures
        ]

    def as_dict(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "machine": dict(self.machine),
            "remarks": list(self.remarks),
            "experiments": [experiment.as_dict() for experiment in self.experiments],
        }

    def __str__(self) -> str:
        from compute.lessons import text

        return text.render(self)


def source(lesson: Lesson) -> str:
    """The code of a lesson that is timed, as it is written."""
    return written(lesson.code)


def label(experiment: Experiment) -> str:
    """`3.14.8`, `3.13.0 without a GIL`: its interpreter."""
    python = experiment.python
    return f"{python['python']}{'' if python['gil'] else ' without a GIL'}"


def labels(group: Sequence[Experiment]) -> list[str]:
    """What tells these interpreters apart: their labels, with their paths where nothing else does."""
    names = [label(experiment) for experiment in group]
    return [
        name if names.count(name) == 1 else f"{name}, {experiment.python['path']}"
        for name, experiment in zip(names, group, strict=True)
    ]


def asides(group: Sequence[Experiment]) -> list[str]:
    """` (3.14.8 without a GIL)` for each; "" where there is one interpreter."""
    return [f" ({who})" for who in labels(group)] if len(group) > 1 else [""]
