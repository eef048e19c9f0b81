"""CSV comes back as the numbers that went in."""

import csv
import io
from dataclasses import replace

import pytest
from example_points import a_point, a_scaling, explained

from compute.report import csv as report
from compute.scaling import ledger
from compute.scaling.results import Scaling
from compute.scaling.tables.breakdown import ENTRIES


def test_a_row_a_point_and_every_number_whole():
    scaling = a_scaling()
    rows = list(csv.DictReader(io.StringIO(report.render(scaling))))
    assert len(rows) == len(scaling.points)
    for row, p in zip(rows, scaling.points, strict=True):
        assert (row["kernel"], int(row["size"]), row["variant"], row["backend"]) == (
            p.kernel,
            p.size,
            p.variant,
            p.backend,
        )
        assert (float(row["seconds"]), float(row["speedup"]), int(row["workers"])) == (p.seconds, p.speedup, p.workers)
        assert (float(row["speedup_low"]), float(row["speedup_high"])) == p.speedup_ci
        assert tuple(map(float, row["samples"].split())) == p.samples


def test_what_was_not_measured_is_empty_and_commas_are_quoted():
    point = replace(a_point(), notes=("a, b", 'c "d"'), ledger={"useful": 1.5}, sections={"plan": 0.5})
    (row,) = csv.DictReader(io.StringIO(report.render(Scaling((point,)))))
    assert (row["speedup"], row["speedup_low"], row["ceiling"], row["ledger_idle"]) == ("", "", "", "")
    assert (row["ledger_useful"], row["seconds_plan"], row["notes"]) == ("1.5", "0.5", 'a, b; c "d"')


@pytest.mark.parametrize("scaling", [a_scaling(), Scaling((a_point(),))])
def test_the_head_is_always_the_same(scaling):
    head = report.render(scaling).splitlines()[0]
    assert head.startswith(
        "kernel,size,variant,backend,workers,seconds,samples,speedup,speedup_low,speedup_high,efficiency"
    )


def test_what_explains_a_point_has_columns_of_its_own():
    scaling = explained(a_scaling(kernels=["primes"]))
    rows = list(csv.DictReader(io.StringIO(report.render(scaling))))
    for row, p in zip(rows, scaling.points, strict=True):
        assert {name: float(row[f"ledger_{name}"]) for name in p.ledger} == p.ledger
        assert {name: float(row[f"efficiency_{name}"]) for name in p.efficiencies} == p.efficiencies
        assert {name: float(row[f"lanes_{name}"]) for name in p.details} == p.details
        assert (row["unknown"], row["pinned"]) == (" ".join(p.unknown), " ".join(map(str, p.pinned)))
        assert (float(row["ceiling"]), float(row["attainable"])) == (p.ceiling, p.attainable)


def test_the_ledgers_columns_are_the_ledgers_entries():
    assert tuple(ENTRIES) == ledger.ENTRIES
