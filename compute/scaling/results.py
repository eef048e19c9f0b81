"""Scaling: a Dataset that can show itself, and write itself to JSON ("nfold/1") and read it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from compute import notebook_html, texts
from compute.scaling import files, schema
from compute.scaling.dataset import Dataset, Point
from compute.scaling.laws.prospects import tell_assumption, tell_law
from compute.scaling.tables.table import plain
from compute.scaling.verdict.judgement import judge_points


class Scaling(Dataset):
    """What `scale` gives: `.points`, and the rest of a Dataset.

    `str(scaling)` is the table, `to_json` and `from_json` keep it; compute.report shows it in other forms.
    """

    def __str__(self) -> str:
        return plain(self)

    def _repr_html_(self) -> str:
        return notebook_html.render("scaling", self)

    def to_json(self, path: files.StrPath) -> None:
        """Write the dataset; the file is whole or it is not there."""
        files.write(path, self.as_json())

    def as_json(self) -> str:
        """The dataset as the text of a JSON object, schema "nfold/1"."""
        data = {
            "schema": schema.SCHEMA,
            "machine": dict(self.machine),
            "warnings": list(self.warnings),
            "points": [asdict(point) for point in self.points],
            "laws": [dict(law) for law in self.laws],
            "conditions": [dict(condition) for condition in self.conditions],
            "harness": dict(self.harness),
            "command": self.command,
        }
        return texts.as_json(data)

    @classmethod
    def from_json(cls, path: files.StrPath) -> Scaling:
        """Read what to_json wrote. ValueError, in one line, that names the file, what is wrong and the remedy."""
        data = schema.read_object(path)
        if "benchmarks" in data:
            name = texts.visible(str(path))
            raise ValueError(f"{name} is pytest-benchmark's, not nfold's own; read it with `nfold report {name}`")
        return from_data(data, path)


class CutShort(KeyboardInterrupt):
    """Ctrl-C while rounds were measured: `.scaling` holds those that were finished, marked as cut short."""

    def __init__(self, scaling: Scaling) -> None:
        super().__init__()
        self.scaling = scaling


def from_data(data: Mapping[str, Any], path: files.StrPath) -> Scaling:
    """The Scaling of a JSON object of schema "nfold/1", each point judged again from its evidence; path is for errors.

    The cause and the verdict that the file holds are kept where it holds no evidence: files of before it was kept.
    """
    path = texts.visible(str(path))
    dataset = schema.from_data(data, path)
    points = judged(dataset.points, path)
    for number, law in enumerate(dataset.laws, 1):
        if unnamed := [name for name in schema.OF_LAW if law.get(name) is None]:
            raise ValueError(f"{path}: 'laws' {number} has no {unnamed[0]!r}; measure again")
        try:
            tell_law(law), tell_assumption(law)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            missing = f"{error} is missing" if isinstance(error, KeyError) else error
            raise ValueError(f"{path}: 'laws' {number} cannot be told ({missing}); measure again") from None
    return Scaling(**vars(dataset) | {"points": points})


def judged(points: Iterable[Point], path: files.StrPath) -> tuple[Point, ...]:
    """Each point judged from its evidence; ValueError where that cannot be. path is for the error."""
    try:
        return judge_points(points)
    except (ArithmeticError, ValueError) as error:
        raise ValueError(f"{path} holds figures that cannot be judged ({error}); measure again") from None
